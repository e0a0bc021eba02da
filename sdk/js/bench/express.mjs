// What does a request cost with the SDK, against the same application without it?
// In turns, one process each, so that both see the same machine. CPU of the application's process, compression and sending
// included. Exits 1 when a limit is missed.
import { load, median, startServer, startSink } from './load.mjs';

const PAIRS = Number(process.env.PAIRS ?? 15);
const REQUESTS = Number(process.env.REQUESTS ?? 8000);
const COST_US_MAX = 5;
const LOSS_MAX = 0.02;

const sink = await startSink();
const without = await startServer(null);
const withSdk = await startServer({ url: sink.url, key: 'k', service: 'bench' });

async function once(server) {
  const before = await server.cpuUs();
  const { failed, seconds } = await load(server.port, REQUESTS);
  if (failed > 0) throw new Error(`${failed} requests failed`);
  return { cpuUs: (await server.cpuUs()) - before, seconds };
}
for (const server of [without, withSdk]) await load(server.port, 20_000);

const costs = [];
const ratios = [];
const speeds = [];
for (let pair = 0; pair < PAIRS; pair += 1) {
  // Whoever is first alternates: what drifts over a pair cancels out.
  const results = {};
  for (const name of pair % 2 === 0 ? ['without', 'with'] : ['with', 'without']) {
    results[name] = await once(name === 'with' ? withSdk : without);
  }
  costs.push((results.with.cpuUs - results.without.cpuUs) / REQUESTS);
  ratios.push(results.with.cpuUs / results.without.cpuUs);
  speeds.push(results.without.seconds / results.with.seconds);
}
const { recorded, accepted, dropped } = await withSdk.stats();
await Promise.all([without.stop(), withSdk.stop()]);
sink.stop();

const cost = median(costs);
const loss = 1 - median(speeds);
console.log(
  `requests          ${PAIRS} pairs of ${REQUESTS}; ${recorded} recorded, ${accepted} accepted, ${dropped.full} dropped`,
);
console.log(
  `CPU per request   ${cost.toFixed(2)} µs more (min ${Math.min(...costs).toFixed(2)}, max ${Math.max(...costs).toFixed(2)}; limit ${COST_US_MAX}), ratio ${median(ratios).toFixed(3)}`,
);
console.log(`throughput        ${(loss * 100).toFixed(2)} % less (limit ${LOSS_MAX * 100} %)`);
const isMissed = cost > COST_US_MAX || loss > LOSS_MAX;
if (isMissed) console.log('MISSED');
process.exitCode = isMissed ? 1 : 0;
