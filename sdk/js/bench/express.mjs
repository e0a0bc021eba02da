// What does a request cost with the SDK, against the same application without it? Two processes, each of which gets a few requests at a
// time in turns (without, with, with, without), so that both see the same machine, however its speed changes from one second to the
// next. They have a core to themselves, load and ingest have the other. Counted is the CPU time of the whole process between its turns:
// threads, compression, sending and garbage collection included. What a process compiled when, and where it lies in memory, makes it several
// microseconds cheaper or dearer for all of its life, so pairs of processes are begun anew, and a pair's median over its blocks is one value. The result
// is the median of the pairs, with its confidence interval. Exits 1 when a limit is missed. SETUP=middleware measures
// `app.use(peepExpress())` instead of `peepExpressApp(app)`. BASE=declared compares with an application
// that is spared what the SDK spares Express (`src/frameworks/declare.ts`), so that what is left is the price of counting alone. PROFILE=1 leaves profiles in bench/*.cpuprofile.
import { connections, cpuUsOf, median, pin, startServer, startSink } from './load.mjs';

const PAIRS = Number(process.env.PAIRS ?? 10);
const BLOCKS = Number(process.env.BLOCKS ?? 4);
const ROUNDS = 25;
const BURST = 48;
const WARM_UP_BLOCKS = 5;
const COST_US_MAX = 5;
const LOSS_MAX = 0.02;

const setUp = process.env.SETUP ?? 'application';

const isDeclared = process.env.BASE === 'declared';

const isPinned = pin(process.pid, 0);
const sink = await startSink();

/** CPU microseconds and milliseconds of each, per request. */
async function block(servers) {
  const spent = { without: { cpuUs: 0, ms: 0 }, with: { cpuUs: 0, ms: 0 } };
  const before = { without: cpuUsOf(servers.without.pid), with: cpuUsOf(servers.with.pid) };
  for (let round = 0; round < ROUNDS; round += 1) {
    // Whoever is first alternates too.
    const [outer, inner] = round % 2 === 0 ? ['without', 'with'] : ['with', 'without'];
    for (const name of [outer, inner, inner, outer]) {
      const started = performance.now();
      const failed = await servers[name].connections.run(BURST);
      spent[name].ms += performance.now() - started;
      if (failed > 0) throw new Error(`${failed} requests failed`);
    }
  }
  // What is under way is its own. Both are asked, so that asking is no difference.
  for (const server of Object.values(servers)) await server.flush();
  for (const name of ['without', 'with']) {
    spent[name].cpuUs = (cpuUsOf(servers[name].pid) - before[name]) / (2 * ROUNDS * BURST);
    spent[name].ms /= 2 * ROUNDS * BURST;
  }
  return spent;
}

/** Blocks of a pair of processes, and what the SDK of one of them says of itself. */
async function pair() {
  const options = { url: sink.url, key: 'k', service: 'bench', setUp };
  const servers = {
    without: await startServer(null, { isDeclared }),
    with: await startServer(options, { isProfiled: process.env.PROFILE === '1' }),
  };
  for (const server of Object.values(servers)) {
    pin(server.pid, 1);
    server.connections = await connections(server.port);
  }
  for (let index = 0; index < WARM_UP_BLOCKS; index += 1) await block(servers);
  const blocks = [];
  for (let index = 0; index < BLOCKS; index += 1) blocks.push(await block(servers));
  const stats = await servers.with.stats();
  for (const server of Object.values(servers)) {
    server.connections.close();
    await server.stop();
  }
  return { blocks, stats };
}

const pairs = [];
for (let index = 0; index < PAIRS; index += 1) pairs.push(await pair());
sink.stop();
const blocks = pairs.flatMap((each) => each.blocks);
const sum = (of) => pairs.reduce((total, { stats }) => total + of(stats), 0);
const [recorded, accepted] = [sum((stats) => stats.recorded), sum((stats) => stats.accepted)];
const [requests, full] = [sum((stats) => stats.requests), sum((stats) => stats.dropped.full)];

/** The median, and between which two values it lies with 95 %: by the ranks, whatever the distribution is. */
function told(values, digits, unit) {
  const sorted = [...values].sort((a, b) => a - b);
  const reach = (1.96 * Math.sqrt(sorted.length)) / 2;
  const at = (rank) =>
    sorted[Math.max(0, Math.min(sorted.length - 1, Math.round(rank)))].toFixed(digits) + unit;
  return `${median(values).toFixed(digits)}${unit} (95 %: ${at(sorted.length / 2 - reach)} to ${at(sorted.length / 2 + reach)}; all: ${at(0)} to ${at(sorted.length)})`;
}

const ofPairs = (value) => pairs.map((each) => median(each.blocks.map(value)));
const costs = ofPairs((each) => each.with.cpuUs - each.without.cpuUs);
const losses = ofPairs((each) => 1 - each.without.ms / each.with.ms);
console.log(
  `${setUp.padEnd(13)} against ${isDeclared ? 'an application with declared properties' : 'the same application'}, ${PAIRS} pairs, ${BLOCKS} blocks of ${2 * ROUNDS * BURST} each, ${BURST} at a time, ${isPinned ? 'pinned to a core' : 'not pinned: no taskset here'}; ${recorded} recorded, ${accepted} accepted in ${requests} batches, ${full} dropped`,
);
for (const name of ['without', 'with']) {
  const cpuUs = median(blocks.map((each) => each[name].cpuUs));
  const perSecond = 1000 / median(blocks.map((each) => each[name].ms));
  console.log(
    `${name.padEnd(13)} ${cpuUs.toFixed(1)} µs of CPU a request, ${perSecond.toFixed(0)} requests a second`,
  );
}
console.log(`CPU more      ${told(costs, 2, ' µs')}; limit ${COST_US_MAX} µs`);
const percents = losses.map((loss) => loss * 100);
console.log(`requests less ${told(percents, 2, ' %')}; limit ${LOSS_MAX * 100} %`);
const isMissed =
  median(costs) > COST_US_MAX || median(losses) > LOSS_MAX || accepted !== recorded || full > 0;
console.log(isMissed ? 'MISSED' : 'kept');
process.exitCode = isMissed ? 1 : 0;
