// A little load for the example applications behind nginx: RATE requests a second for SECONDS_MAX seconds, whether they are answered or not, and
// never more than 64 at once. A third of the clients are far away: the second half of their request takes its time, which nginx, that
// reads it, sees, and the application behind it does not.
//
// The last line on standard output says what was answered: `{"express":{"GET /users/{id} 200":12}}`.
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const { APPS, NGINX_PORT, RATE, SECONDS_MAX } = process.env;
const IN_FLIGHT_MAX = 64;
const PATIENCE_MS = 30_000;

const shop = [
  { route: "/users/{id}", path: (id) => `/users/${id}`, share: 19 },
  { route: "/boom", path: () => "/boom", share: 1 },
];
const next = [
  { route: "/", path: () => "/", share: 3 },
  { route: "/users/{id}", path: (id) => `/users/${id}`, share: 6 },
  { route: "/api/users/{id}", path: (id) => `/api/users/${id % 21}`, share: 6 },
  { route: "/api/edge/{id}", path: (id) => `/api/edge/${id}`, share: 4 },
  { route: "/legacy/{*rest}", path: (id) => `/legacy/${id}/old`, share: 1 },
];

/** One after the other by their shares, so that every route is reached early. */
function* turns(routes) {
  const due = routes.map(() => 0);
  while (true) {
    routes.forEach(({ share }, index) => {
      due[index] += share;
    });
    const chosen = due.indexOf(Math.max(...due));
    due[chosen] -= routes.reduce((sum, { share }) => sum + share, 0);
    yield routes[chosen];
  }
}

/** The status of the answer. */
function request(app, path, delayMs) {
  return new Promise((resolve, reject) => {
    const head = `GET ${path} HTTP/1.1\r\nHost: ${app}.localhost\r\nConnection: close\r\n\r\n`;
    const half = head.length >> 1;
    const socket = connect(Number(NGINX_PORT), "127.0.0.1");
    let answer = "";
    socket.setEncoding("latin1").setTimeout(PATIENCE_MS, () => socket.destroy(new Error("no answer")));
    socket.on("connect", async () => {
      if (delayMs > 0) {
        socket.setNoDelay(true).write(head.slice(0, half));
        await sleep(delayMs);
        socket.write(head.slice(half));
      } else {
        socket.write(head);
      }
    });
    socket.on("data", (text) => {
      if (answer.length < 64) answer += text;
    });
    socket.on("error", reject);
    socket.on("end", () => resolve(Number(answer.slice(9, 12))));
  });
}

const apps = APPS.split(" ").filter((name) => name !== "");
const plans = apps.map((app) => ({ app, turns: turns(app === "next" ? next : shop), answered: {} }));
const [total, started] = [Number(RATE) * Number(SECONDS_MAX), performance.now()];
let [inFlight, failed, skipped, ended] = [0, 0, 0, false];

async function send(plan, number) {
  const { route, path } = plan.turns.next().value;
  const delayMs = number % 3 === 0 ? Math.min(20 - 60 * Math.log(1 - Math.random()), 500) : 0;
  inFlight += 1;
  try {
    const status = await request(plan.app, path(number), delayMs);
    const key = `GET ${route} ${status}`;
    plan.answered[key] = (plan.answered[key] ?? 0) + 1;
  } catch (error) {
    failed += 1;
    console.error(`${plan.app}${path(number)}: ${error.message}`);
  }
  inFlight -= 1;
}

process.on("SIGTERM", () => {
  ended = true;
});
for (let number = 0; number < total && !ended; number += 1) {
  const waitMs = started + (number * 1000) / Number(RATE) - performance.now();
  if (waitMs > 0) await sleep(waitMs);
  if (inFlight < IN_FLIGHT_MAX) void send(plans[number % plans.length], number);
  else skipped += 1;
}
while (inFlight > 0) await sleep(20);
if (skipped > 0) console.error(`${skipped} requests were not sent: ${IN_FLIGHT_MAX} others had no answer yet`);
console.log(JSON.stringify(Object.fromEntries(plans.map(({ app, answered }) => [app, answered]))));
process.exitCode = failed > 0 ? 1 : 0;
