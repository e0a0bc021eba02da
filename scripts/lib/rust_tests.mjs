// Runs the test programs that `cargo test` would run, several at once: most of them wait for leases, heartbeats and databases
// for most of their time. What measures time or memory itself runs alone, at the end. Each program's output is printed whole when it
// has ended, then what failed. Programs are started as cargo starts them: in the folder of their package.
//
// usage: node scripts/lib/rust_tests.mjs [--jobs N]
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import path from "node:path";

/** Programs that judge how fast something was, or how much memory the process took. */
const ALONE = new Set(["overload", "short", "memory", "hot_path", "freshness"]);
/** The longest ones first, so that the last to end is not one that began late; any other order is as right. */
const LONG = ["levels", "simulation", "journey", "books", "main_job", "contract", "revocation"];

const jobs = Number(flag("--jobs") ?? availableParallelism() + 1);
const cargo = process.env.CARGO ?? "cargo";

function flag(name) {
  const at = process.argv.indexOf(name);
  return at === -1 ? undefined : process.argv[at + 1];
}

/** Resolves to the exit status and all output; `stdout` apart when asked for. */
function run(command, args, { cwd, inherit = false } = {}) {
  const env = cwd ? { ...process.env, CARGO_MANIFEST_DIR: cwd } : process.env;
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", inherit ? "inherit" : "pipe"] });
    let output = "";
    const take = (piece) => (output += piece);
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr?.setEncoding("utf8").on("data", take);
    child.on("error", (error) => resolve({ status: 127, output: `${output}${error.message}\n` }));
    child.on("close", (code, signal) => resolve({ status: code ?? 1, output: signal ? `${output}ended by ${signal}\n` : output }));
  });
}

/** Every test program of the workspace, built. */
async function programs() {
  const args = ["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"];
  const built = await run(cargo, args, { inherit: true });
  if (built.status !== 0) {
    process.exit(built.status);
  }
  const artifacts = built.output
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))
    .filter((message) => message.reason === "compiler-artifact" && message.profile.test && message.executable);
  return artifacts.map(({ target, executable, manifest_path: manifest }) => {
    const folder = path.dirname(manifest);
    return { name: target.name, title: path.relative(".", target.src_path), executable, folder };
  });
}

const rank = ({ name }) => (LONG.includes(name) ? LONG.indexOf(name) : LONG.length);
const all = (await programs()).sort((one, other) => rank(one) - rank(other));
if (all.length === 0) {
  console.error("no test program was built: nothing would be tested");
  process.exit(1);
}
const failed = [];

async function test({ title, executable, folder }) {
  const started = Date.now();
  const { status, output } = await run(executable, [], { cwd: folder });
  const seconds = ((Date.now() - started) / 1000).toFixed(1);
  process.stdout.write(`\n     Ran ${title} in ${seconds} s\n${output}`);
  if (status !== 0) {
    failed.push(`${title} (exit status ${status})`);
  }
}

async function drain(queue) {
  for (let next = queue.shift(); next; next = queue.shift()) {
    await test(next);
  }
}

const together = all.filter(({ name }) => !ALONE.has(name));
await Promise.all(Array.from({ length: jobs }, () => drain(together)));
await drain(all.filter(({ name }) => ALONE.has(name)));

const documented = await run(cargo, ["test", "--workspace", "--locked", "--doc", "--no-fail-fast"]);
process.stdout.write(documented.output);
if (documented.status !== 0) {
  failed.push("examples in documentation");
}

console.log(`\n${all.length} test programs, ${failed.length} failed`);
failed.forEach((what) => console.log(`  failed: ${what}`));
process.exit(failed.length === 0 ? 0 : 1);
