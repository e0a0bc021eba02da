// Reads runs ("<round> <variant> <requests> <seconds> <CPU in ns>") and prints what each variant keeps of the plain one, within rounds.
// Exits 1 when the median loses more than it may.

import { readFileSync } from "node:fs";

/** Of the throughput, by median. */
const KEEPS_AT_LEAST = { log: 0.98, module: 0.97 };

const rounds = new Map();
for (const line of readFileSync(process.argv[2], "utf8").trim().split("\n")) {
  const [round, variant, requests, seconds, cpu] = line.split(" ");
  const runs = rounds.get(round) ?? new Map();
  rounds.set(round, runs.set(variant, { rate: requests / seconds, cpuUs: cpu / 1000 / requests }));
}

const spread = (values, digits) => {
  const sorted = values.toSorted((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  return { median, text: [sorted[0], median, sorted.at(-1)].map((value) => value.toFixed(digits)).join(" / ") };
};
const of = (variant, value) => [...rounds.values()].map((runs) => value(runs.get(variant), runs.get("plain")));

console.log("| variant | requests/s | of plain | worker CPU, µs per request | of plain | must |");
console.log("| --- | --- | --- | --- | --- | --- |");
const missed = [];
for (const variant of ["plain", "log", "module"]) {
  const kept = spread(of(variant, (run, plain) => run.rate / plain.rate), 3);
  const must = KEEPS_AT_LEAST[variant];
  if (must && !(kept.median >= must)) missed.push(variant);
  const columns = [
    variant,
    spread(of(variant, (run) => run.rate), 0).text,
    kept.text,
    spread(of(variant, (run) => run.cpuUs), 2).text,
    spread(of(variant, (run, plain) => run.cpuUs / plain.cpuUs), 3).text,
    must ? `≥ ${must}` : "–",
  ];
  console.log(`| ${columns.join(" | ")} |`);
}
console.log(`${rounds.size} rounds; minimum / median / maximum.`);
if (missed.length > 0) {
  console.log(`missed: ${missed.join(", ")}`);
  process.exitCode = 1;
}
