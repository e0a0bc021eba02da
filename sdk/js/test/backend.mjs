// Where tests send to and look up what was counted: the peep that scripts/sdk.sh started, or else a scripted ingest.
import { scripted, until } from './scripted.mjs';

export async function backend() {
  return process.env.PEEP_URL === undefined ? scriptedBackend() : realBackend();
}

async function realBackend() {
  const { PEEP_URL, PEEP_INGEST_URL, PEEP_INGEST_KEY, PEEP_READ_KEY } = process.env;
  const headers = { Authorization: `Bearer ${PEEP_READ_KEY}` };
  return {
    env: { PEEP_INGEST_URL, PEEP_INGEST_KEY },
    async rows(service) {
      const query = `from=-1h&to=now&service=${service}&group_by=route,method,status`;
      const answer = await fetch(`${PEEP_URL}/v1/summary?${query}`, { headers });
      if (!answer.ok) throw new Error(await answer.text());
      return (await answer.json()).rows.map(({ route, method, status, count, latency_count }) => ({
        route,
        method,
        // `null` in answers: an event that had none.
        status: status ?? 0,
        count,
        timed: latency_count,
      }));
    },
    async close() {},
  };
}

async function scriptedBackend() {
  const ingest = await scripted();
  return {
    env: { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'peep_any_x' },
    async rows(service) {
      const rows = new Map();
      for (const event of ingest.requests.flatMap(({ lines }) => lines)) {
        if (event.service !== service) continue;
        const { route = '(none)', method = '', status = 0 } = event;
        const key = JSON.stringify({ route, method, status });
        const row = rows.get(key) ?? { count: 0, timed: 0 };
        rows.set(key, { count: row.count + 1, timed: row.timed + (event.duration_ms === undefined ? 0 : 1) });
      }
      return [...rows].map(([key, row]) => ({ ...JSON.parse(key), ...row }));
    },
    close: () => ingest.close(),
  };
}

/** `METHOD route status count` of each series, sorted; as soon as all events are there, or what there is after a while. */
export async function counted(place, service, count) {
  let rows = [];
  await until(
    async () => {
      rows = await place.rows(service);
      return rows.reduce((sum, row) => sum + row.count, 0) >= count;
    },
    () => JSON.stringify(rows),
  );
  const untimed = rows.filter((row) => row.timed !== row.count);
  if (untimed.length > 0) throw new Error(`without duration: ${JSON.stringify(untimed)}`);
  return rows.map((row) => `${row.method} ${row.route} ${row.status} ${row.count}`).sort();
}
