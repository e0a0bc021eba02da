// make mutants: shows that the proofs can fail. Each file in scripts/mutants/ breaks one thing that exactly-once counting rests
// on; the suite that claims to guard it must turn red. A mutant that survives fails the target, and so does one that no longer
// fits the sources: then the sources have moved on and the mutant must follow.
//
// Arrives: the sources as they are, committed or not. They are copied to target/mutants, so that nothing here is ever broken;
// what is built of other crates is shared. Leaves: a line for each mutant.
//
//   make mutants                 all of them
//   make mutants MUTANT=dedup    those whose name contains "dedup"
//
// A mutant is a text: `title:`, `suite:` (simulation, or store for what only SQL can get wrong), then one or several edits:
// `file:`, the lines between `<<<<` and `====` as they are, those between `====` and `>>>>` as they shall be.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const root = execFileSync("git", ["rev-parse", "--show-toplevel"], { encoding: "utf8" }).trim();
const copy = join(root, "target/mutants");
const wanted = process.env.MUTANT ?? "";
const seeds = process.env.SEEDS ?? "1000";

/** How a suite is built and run, and what it says when it has found something, as opposed to having fallen over. */
const suites = {
  simulation: { filter: "no_fault_loses_or_doubles_an_event", red: /breaks a promise/ },
  store: { filter: "", red: /panicked at/ },
};

/** Brings the copy up to date. Files that have not changed keep their time, so that cargo builds little. */
function copySources() {
  const list = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" });
  const files = list.split("\n").filter((file) => /(^|\/)(Cargo\.(toml|lock)|[^/]+\.(rs|sql|proto|sh))$|toolchain/.test(file));
  const present = files.filter((file) => existsSync(join(root, file)));
  for (const file of present) put(file, readFileSync(join(root, file)));
  for (const file of walk("")) if (!present.includes(file)) rmSync(join(copy, file));
}

function put(file, content) {
  const place = join(copy, file);
  if (existsSync(place) && readFileSync(place).equals(Buffer.from(content))) return;
  mkdirSync(dirname(place), { recursive: true });
  writeFileSync(place, content, { mode: statSync(join(root, file)).mode });
}

function walk(folder) {
  const names = existsSync(join(copy, folder)) ? readdirSync(join(copy, folder)) : [];
  return names.flatMap((name) => {
    const file = folder ? `${folder}/${name}` : name;
    // The dashboard's export, and the private servers of the tests.
    if (statSync(join(copy, file)).isDirectory()) return name === "out" || name === ".peep" ? [] : walk(file);
    return [file];
  });
}

function read(name) {
  const text = readFileSync(join(root, "scripts/mutants", name), "utf8");
  const field = (key) => text.match(new RegExp(`^${key}: (.*)$`, "m"))?.[1];
  const edits = [...text.matchAll(/^file: (.*)\n<<<<\n([\s\S]*?)^====\n([\s\S]*?)^>>>>$/gm)];
  return {
    name: name.replace(/\.mutant$/, ""),
    title: field("title"),
    suite: field("suite"),
    edits: edits.map(([, file, before, after]) => ({ file, before, after })),
  };
}

/** What is wrong with the mutant itself; nothing, when it is applied. */
function apply(mutant) {
  if (!suites[mutant.suite]) return `no such suite: ${mutant.suite}`;
  if (mutant.edits.length === 0) return "changes nothing";
  for (const { file, before, after } of mutant.edits) {
    const text = readFileSync(join(copy, file), "utf8");
    if (text.split(before).length !== 2) return `does not fit ${file} any more`;
    writeFileSync(join(copy, file), text.replace(before, () => after));
  }
}

/** Applies, judges, and puts back, whatever happens in between. */
function judge(mutant) {
  const files = [...new Set(mutant.edits.map(({ file }) => file))].filter((file) => existsSync(join(copy, file)));
  const before = files.map((file) => [file, readFileSync(join(copy, file))]);
  const misfit = apply(mutant);
  const built = misfit ? { error: misfit } : build(mutant.suite);
  const ran = built.binary ? run(mutant.suite, built.binary) : undefined;
  for (const [file, content] of before) put(file, content);
  return { misfit, built, ran };
}

/** Builds the suite and answers its binary, or what the compiler says. */
function build(suite) {
  const environment = { ...process.env, CARGO_TARGET_DIR: join(root, "target"), CARGO_INCREMENTAL: "1" };
  const command = ["test", "--no-run", "--locked", "-p", "peep-rollup", "--test", suite, "--message-format=json-render-diagnostics"];
  const built = spawnSync("cargo", command, { cwd: copy, env: environment, encoding: "utf8", maxBuffer: 1 << 28 });
  const artifacts = built.stdout.split("\n").filter((line) => line.includes('"compiler-artifact"')).map((line) => JSON.parse(line));
  const binary = artifacts.find((artifact) => artifact.target.name === suite && artifact.executable)?.executable;
  return built.status === 0 && binary ? { binary } : { error: built.stderr };
}

function run(suite, binary) {
  const environment = { ...process.env, PEEP_SIM_SEEDS: seeds, RUST_BACKTRACE: "0", CARGO_MANIFEST_DIR: join(copy, "rollup") };
  delete environment.PEEP_SIM_SEED;
  const options = { cwd: join(copy, "rollup"), env: environment, encoding: "utf8", maxBuffer: 1 << 28, timeout: 600_000 };
  const ran = spawnSync(binary, [suites[suite].filter, "--nocapture"].filter(Boolean), options);
  return { green: ran.status === 0, text: ran.stdout + ran.stderr };
}

/** The first thing that the suite complains of. */
function complaint(text) {
  const lines = text.split("\n");
  const promise = lines.findIndex((line) => /breaks a promise/.test(line));
  if (promise >= 0) return `${lines[promise].replace(" breaks a promise:", "")}: ${lines[promise + 1].trim()}`.slice(0, 150);
  const panic = lines.findIndex((line) => /panicked at/.test(line));
  return (lines[panic + 1] ?? "").trim().slice(0, 150);
}

const seconds = (since) => `${Math.round((Date.now() - since) / 1000)} s`;
const mutants = readdirSync(join(root, "scripts/mutants"))
  .filter((name) => name.endsWith(".mutant") && name.includes(wanted))
  .sort()
  .map(read);
if (mutants.length === 0) {
  console.error(`no mutant is named like "${wanted}"`);
  process.exit(1);
}
mkdirSync(join(copy, "dashboard/out"), { recursive: true });
copySources();
/** A suite that is red without any mutant proves nothing. */
const sound = new Set();
function insistOnGreen(suite) {
  if (!suites[suite] || sound.has(suite)) return;
  const built = build(suite);
  const ran = built.binary ? run(suite, built.binary) : { green: false, text: built.error };
  if (!ran.green) {
    console.error(`without any mutant the suite "${suite}" is red already:\n${ran.text.slice(-2000)}`);
    process.exit(1);
  }
  sound.add(suite);
}

let survivors = 0;
for (const mutant of mutants) {
  const started = Date.now();
  insistOnGreen(mutant.suite);
  const { misfit, built, ran } = judge(mutant);
  const caught = ran && !ran.green && suites[mutant.suite].red.test(ran.text);
  survivors += caught ? 0 : 1;
  const verdict = caught ? "caught  " : ran?.green ? "SURVIVES" : "BROKEN  ";
  const why = caught ? complaint(ran.text) : (misfit ?? (ran ? ran.text.slice(-400) : built.error.slice(-1500)));
  console.log(`${verdict}  ${mutant.name}: ${mutant.title} (${mutant.suite}, ${seconds(started)})`);
  if (!ran?.green) console.log(`          ${why}`);
}
console.log(`${mutants.length - survivors} of ${mutants.length} mutants caught`);
process.exit(survivors === 0 ? 0 : 1);
