// Ingest is away for ten minutes while an application serves requests. Time is compressed sixtyfold: every interval of the
// SDK is a sixtieth, and so are the ten minutes; `SPEED=1` takes them as they are. No request may fail or slow down;
// afterwards the counts are right. Beside it runs the same application without the SDK, in turns with it, so that
// what the machine does meanwhile is not taken for the SDK's doing.
import { load, quantile, startServer, startSink } from './load.mjs';

const SPEED = Number(process.env.SPEED ?? 60);
const OUTAGE_MS = (10 * 60_000) / SPEED;
const AROUND_MS = Math.min(OUTAGE_MS / 2, 60_000);
// Requests of a burst, and the pause after it: some 1200 events a second in compressed time, 200 in real time.
const [BURST, PAUSE_MS] = SPEED > 10 ? [100, 60] : [20, 100];
const SLOWER_MAX = 1.25;

let isUp = true;
const sink = await startSink(() => isUp);
const options = {
  url: sink.url,
  key: 'k',
  service: 'bench',
  flushIntervalMs: 1000 / SPEED,
  attemptTimeoutMs: 15_000 / SPEED,
  backoffFirstMs: 200 / SPEED,
  backoffMaxMs: 15_000 / SPEED,
  giveUpAfterMs: (6 * 3600_000) / SPEED,
};
const servers = { with: await startServer(options), without: await startServer(null) };
for (const server of Object.values(servers)) await load(server.port, 10_000);

let sent = 10_000;
/** Load for a while, at most a third of what the machine can, so that the machine itself is not the news. */
async function serve(ms) {
  const latencies = { with: [], without: [] };
  const end = Date.now() + ms;
  for (let turn = 0; Date.now() < end; turn += 1) {
    for (const name of turn % 2 === 0 ? ['with', 'without'] : ['without', 'with']) {
      const { latenciesMs, failed } = await load(servers[name].port, BURST, 4);
      if (failed > 0) throw new Error(`${failed} requests failed`);
      for (const each of latenciesMs) latencies[name].push(each);
    }
    sent += BURST;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return latencies;
}

const before = await serve(AROUND_MS);
isUp = false;
const during = await serve(OUTAGE_MS);
const { held, heldBytes, dropped, retried } = await servers.with.stats();
isUp = true;
const after = await serve(AROUND_MS);
let stats = await servers.with.stats();
for (let wait = 0; wait < 200 && stats.held > 0; wait += 1) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  stats = await servers.with.stats();
}
await Promise.all([servers.with.stop(), servers.without.stop()]);
sink.stop();

/** How many times as slow as the application beside it. */
const ratio = (phase, q) => quantile(phase.with, q) / quantile(phase.without, q);
const slower = (q) => ratio(during, q) / Math.max(ratio(before, q), ratio(after, q));
const told = (q) =>
  Object.entries({ before, during, after })
    .map(
      ([name, phase]) =>
        `${quantile(phase.with, q).toFixed(2)} (${quantile(phase.without, q).toFixed(2)}) ms ${name}`,
    )
    .join(', ');
console.log(
  `outage          ${(OUTAGE_MS / 1000).toFixed(0)} s, ${SPEED === 1 ? 'in real time' : `time compressed ${SPEED}-fold`}`,
);
console.log(`requests        ${sent}, none failed; ${during.with.length} while ingest was away`);
console.log(`latency p50     ${told(0.5)}; in brackets without the SDK`);
console.log(`latency p99     ${told(0.99)}`);
console.log(
  `held            ${held} events in ${(heldBytes / 1024).toFixed(0)} KiB when ingest came back, ${dropped.full} dropped, ${retried} retries`,
);
console.log(
  `counted         ${sink.counts.events} by the server, ${stats.accepted} accepted, ${stats.dropped.full} dropped of ${stats.recorded}`,
);
const isRight =
  stats.recorded === sent &&
  stats.held === 0 &&
  stats.accepted + stats.dropped.full === sent &&
  sink.counts.events === stats.accepted;
const isSlow = slower(0.5) > SLOWER_MAX;
if (!isRight) console.log('WRONG COUNTS');
if (isSlow) console.log(`SLOWER: ${slower(0.5).toFixed(2)} times`);
process.exit(isRight && !isSlow ? 0 : 1);
