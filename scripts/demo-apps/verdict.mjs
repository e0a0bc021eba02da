// What the load was answered, what the applications counted and what nginx counted, through peep, must be the same, route by route.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const { APPS, LOAD_LOG, PEEP_READ_KEY, PEEP_URL, SUFFIX } = process.env;
const DEADLINE = performance.now() + 90_000;

/** Until `ask` gives something, or the time is over. */
async function until(ask) {
  while (true) {
    const answer = await ask();
    if (answer !== undefined || performance.now() > DEADLINE) return answer;
    await sleep(200);
  }
}

/** `METHOD route status` and its count, of a service. */
async function counted(service) {
  const query = `from=-1h&to=now&service=${service}${SUFFIX}&group_by=route,method,status`;
  const answer = await fetch(`${PEEP_URL}/v1/summary?${query}`, { headers: { Authorization: `Bearer ${PEEP_READ_KEY}` } });
  if (!answer.ok) throw new Error(await answer.text());
  const { rows } = await answer.json();
  const untimed = rows.filter(({ count, latency_count: timed }) => count !== timed);
  if (untimed.length > 0) throw new Error(`without duration: ${JSON.stringify(untimed)}`);
  return Object.fromEntries(rows.map(({ route, method, status, count }) => [`${method} ${route} ${status}`, count]));
}

const sorted = (counts) => JSON.stringify(Object.entries(counts).sort());
const load = await until(() => {
  const line = readFileSync(LOAD_LOG, "utf8").split("\n").find((text) => text.startsWith("{"));
  return line && JSON.parse(line);
});
if (load === undefined) throw new Error(`the load did not end: ${readFileSync(LOAD_LOG, "utf8")}`);

let wrong = 0;
for (const app of APPS.split(" ")) {
  const wanted = sorted(load[app]);
  const routes = Object.keys(load[app]);
  if (routes.length < 2 || routes.some((route) => !/ (200|500)$/.test(route))) {
    wrong += 1;
    console.log(`    NOT OK  ${app} was to answer each of its routes, with 200 or 500: ${wanted}`);
  }
  for (const service of [`shop-${app}`, `shop-${app}-nginx`]) {
    let found = "";
    const equal = await until(async () => {
      found = sorted(await counted(service));
      return found === wanted ? true : undefined;
    });
    if (equal) {
      console.log(`    ok      ${service} counted what the load was answered: ${wanted}`);
    } else {
      wrong += 1;
      console.log(`    NOT OK  ${service}\n            wanted: ${wanted}\n            found:  ${found}`);
    }
  }
}
process.exitCode = wrong > 0 ? 1 : 0;
