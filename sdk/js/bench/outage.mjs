// Ingest is away for ten minutes while an application serves requests. Time is compressed sixtyfold: every interval of the
// SDK is a sixtieth, and so are the ten minutes. No request may fail or slow down; afterwards the counts are right.
import { load, quantile, startServer, startSink } from './load.mjs';

const SPEED = 60;
const OUTAGE_MS = (10 * 60_000) / SPEED;
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
const server = await startServer(options);
await load(server.port, 10_000);

let sent = 10_000;
/** Load for a while, at most a third of what the machine can, so that the machine itself is not the news. */
async function serve(ms) {
  const latencies = [];
  const end = Date.now() + ms;
  while (Date.now() < end) {
    const { latenciesMs, failed } = await load(server.port, 200, 4);
    if (failed > 0) throw new Error(`${failed} requests failed`);
    latencies.push(...latenciesMs);
    sent += 200;
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  return latencies;
}

const before = await serve(OUTAGE_MS / 2);
isUp = false;
const during = await serve(OUTAGE_MS);
const { held, heldBytes, dropped } = await server.stats();
isUp = true;
const after = await serve(OUTAGE_MS / 2);
let stats = await server.stats();
for (let wait = 0; wait < 200 && stats.held > 0; wait += 1) {
  await new Promise((resolve) => setTimeout(resolve, 50));
  stats = await server.stats();
}
await server.stop();
sink.stop();

const slower = (q) => quantile(during, q) / Math.max(quantile(before, q), quantile(after, q));
console.log(`requests        ${sent}, none failed; ${during.length} while ingest was away`);
console.log(
  `latency p50     ${quantile(before, 0.5).toFixed(2)} ms before, ${quantile(during, 0.5).toFixed(2)} during, ${quantile(after, 0.5).toFixed(2)} after`,
);
console.log(
  `latency p99     ${quantile(before, 0.99).toFixed(2)} ms before, ${quantile(during, 0.99).toFixed(2)} during, ${quantile(after, 0.99).toFixed(2)} after`,
);
console.log(
  `held            ${held} events in ${(heldBytes / 1024).toFixed(0)} KiB when ingest came back, ${dropped.full} dropped`,
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
