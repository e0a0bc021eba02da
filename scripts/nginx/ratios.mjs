// Reads what `nginx-bench.sh` measured and prints what each variant leaves of the plain one: `ratios.mjs RUNS TURNS`, both with lines
// "<round> <variant> <requests> <seconds> <CPU in ns>". Runs are wrk's, of seconds, and show what a saturated nginx serves. Turns are those of
// `turns.mjs`, of milliseconds; they decide, because what a worker can serve is its CPU time over that of a request, and because within a round of wrk's
// the machine changes by more than the limit. Exits 1 when a median leaves less than it must.

import { readFileSync } from "node:fs";

/** Of what a worker can serve, by median. */
const KEEPS_AT_LEAST = { log: 0.98, module: 0.97 };
const VARIANTS = ["plain", "combined", "log", "module"];

function roundsOf(file) {
  const rounds = new Map();
  for (const line of readFileSync(file, "utf8").trim().split("\n")) {
    const [round, variant, requests, seconds, cpu] = line.split(" ");
    const runs = rounds.get(round) ?? new Map();
    rounds.set(round, runs.set(variant, { rate: requests / seconds, cpuUs: cpu / 1000 / requests }));
  }
  return [...rounds.values()];
}

const sorted = (values) => values.toSorted((a, b) => a - b);
const median = (values) => sorted(values)[Math.floor(values.length / 2)];
const spread = (values, digits) =>
  [Math.min(...values), median(values), Math.max(...values)].map((value) => value.toFixed(digits)).join(" / ");

/** Between which two values the median lies with 95 %: by the ranks, whatever the distribution is. */
function interval(values, digits) {
  const ranked = sorted(values);
  const reach = (1.96 * Math.sqrt(ranked.length)) / 2;
  const at = (rank) => ranked[Math.max(0, Math.min(ranked.length - 1, Math.round(rank)))].toFixed(digits);
  return `${median(values).toFixed(digits)} (${at(ranked.length / 2 - reach)} to ${at(ranked.length / 2 + reach)})`;
}

const [runs, turns] = process.argv.slice(2).map(roundsOf);
const of = (rounds, variant, value) => rounds.map((round) => value(round.get(variant), round.get("plain")));

console.log("| variant | requests/s under wrk | of plain | worker CPU, µs per request, in turns | leaves of what plain can serve | must |");
console.log("| --- | --- | --- | --- | --- | --- |");
const missed = [];
for (const variant of VARIANTS) {
  const leaves = of(turns, variant, (run, plain) => plain.cpuUs / run.cpuUs);
  const must = KEEPS_AT_LEAST[variant];
  if (must && !(median(leaves) >= must)) missed.push(variant);
  const columns = [
    variant,
    spread(of(runs, variant, (run) => run.rate), 0),
    spread(of(runs, variant, (run, plain) => run.rate / plain.rate), 3),
    interval(of(turns, variant, (run) => run.cpuUs), 2),
    interval(leaves, 4),
    must ? `≥ ${must}` : "–",
  ];
  console.log(`| ${columns.join(" | ")} |`);
}
console.log(`wrk: ${runs.length} rounds, minimum / median / maximum. Turns: ${turns.length} rounds, median (95 %).`);
if (missed.length > 0) {
  console.log(`missed: ${missed.join(", ")}`);
  process.exitCode = 1;
}
