// Facts about the repository that no compiler checks. Part of `make check`.
//
// - Paths and links in Markdown lead somewhere; `make <target>` names a target of the Makefile.
// - Tests that README.md names as proof exist.
// - Crates depend on each other only in the direction that ARCHITECTURE.md states.
// - The project speaks of itself alone: no paths of one machine, no registry but the public one in lock files.
// - Nothing is left unfinished.
//
// It also prints the longest files: a place to look, not a verdict.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], { encoding: "utf8" })
  .split("\n")
  .filter((file) => file && existsSync(file));
const text = (file) => readFileSync(file, "utf8");
const isSource = (file) => /\.(rs|ts|tsx|mjs|js|css|sql|sh|toml|proto|md)$|^Makefile$|^\.ci\//.test(file);
const isLock = (file) => /(^|\/)(Cargo\.lock|package-lock\.json)$/.test(file);

const problems = [];
const complain = (file, line, what) => problems.push(`${file}:${line}: ${what}`);
/** Calls `found(match, lineNumber)` for every match of `pattern` in `file`. */
function scan(file, pattern, found) {
  text(file)
    .split("\n")
    .forEach((line, index) => {
      for (const match of line.matchAll(pattern)) found(match, index + 1, line);
    });
}

const folders = new Set(files.map((file) => file.split("/")[0]).filter((name) => existsSync(join(name, "."))));
const targets = new Set([...text("Makefile").matchAll(/^([a-z-]+):/gm)].map((match) => match[1]));

function checkMarkdown(file) {
  scan(file, /\]\(([^)#\s]+)(?:#[^)]*)?\)/g, ([, link], line) => {
    if (!/^[a-z]+:/.test(link) && !existsSync(join(dirname(file), link))) complain(file, line, `link to ${link}, which does not exist`);
  });
  scan(file, /`([^`\s]+)`/g, ([, word], line) => {
    const path = word.replace(/[.,:]$/, "").replace(/:\d+$/, "");
    const looksLikeOurs = path.includes("/") && folders.has(path.split("/")[0]) && /^[\w./@-]+$/.test(path);
    if (looksLikeOurs && !isGenerated(path) && !existsSync(path)) complain(file, line, `names ${path}, which does not exist`);
  });
  scan(file, /(?:`|^\s*)make ([a-z][a-z-]*)/g, ([, target], line) => {
    if (!targets.has(target)) complain(file, line, `names make ${target}, which is no target`);
  });
}
const isGenerated = (path) => /^(target|dashboard\/out|dashboard\/node_modules)(\/|$)/.test(path);

// A test is named in README.md as `like_this_one`, in Rust's manner, or in "quotes" for the others.
function checkProofs() {
  const rust = files.filter((file) => file.endsWith(".rs")).map(text).join("\n");
  scan("README.md", /`([a-z0-9]+(?:_[a-z0-9]+){2,})`/g, ([, name], line) => {
    if (!rust.includes(`fn ${name}(`)) complain("README.md", line, `names the test ${name}, which does not exist`);
  });
}

// What each room may use of ours; tests may use anything.
const mayUse = {
  wire: [],
  migrations: [],
  chassis: [],
  log: ["chassis"],
  ingest: ["wire", "chassis", "log"],
  rollup: ["wire", "chassis", "log"],
  stream: ["wire", "chassis", "log"],
  ship: ["wire", "chassis", "nginx-record"],
  "nginx-module/record": [],
  "sdk/rust": [],
};
function checkDirections() {
  for (const [folder, allowed] of Object.entries(mayUse)) {
    const manifest = `${folder}/Cargo.toml`;
    const dependencies = text(manifest).split(/^\[/m).find((section) => section.startsWith("dependencies]")) ?? "";
    for (const [, used] of dependencies.matchAll(/^peep-([a-z-]+)/gm)) {
      if (!allowed.includes(used)) complain(manifest, 1, `${folder}/ may not use ${used}/, see ARCHITECTURE.md`);
    }
  }
}

// The brackets keep this file from finding itself.
const foreign = [
  [/(?<![\w.])\/(?:hom[e]|User[s]|roo[t]|wor[k])\/[\w.-]/g, "a path of one machine"],
  [/\b(?:todo!|unimplemented!)\(|\b(?:FIXM[E]|XX[X])\b/g, "something unfinished"],
];
const isExcused = (line) => line.includes("tidy: ");

for (const file of files) {
  // Fixtures are the words of others.
  if (file.endsWith(".md") && !file.includes("/fixtures/")) checkMarkdown(file);
  if (isSource(file)) {
    for (const [pattern, what] of foreign) {
      scan(file, pattern, ([match], number, line) => {
        if (!isExcused(line)) complain(file, number, `${what}: ${match}`);
      });
    }
  }
  if (isLock(file)) {
    scan(file, /"resolved": "https?:\/\/([^/"]+)/g, ([, host], line) => {
      if (host !== "registry.npmjs.org") complain(file, line, "a package from another registry than the public one");
    });
  }
}
checkProofs();
checkDirections();

const lengths = files
  .filter((file) => /\.(rs|ts|tsx|mjs|sh|sql)$/.test(file))
  .map((file) => [text(file).split("\n").length, file])
  .sort(([a], [b]) => b - a)
  .slice(0, 8);
console.log("Longest files (a place to look, not a verdict):");
for (const [lines, file] of lengths) console.log(`  ${String(lines).padStart(5)}  ${file}`);

for (const problem of problems) console.log(problem);
console.log(problems.length === 0 ? `tidy: ${files.length} files, nothing to complain about` : `tidy: ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;
