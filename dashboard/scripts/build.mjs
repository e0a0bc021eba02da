/**
 * Builds the static export and checks what the page promises about itself: the JavaScript of the overview within its
 * budget, no inline style element (the policy forbids them), nothing loaded from another origin.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const OUT = join(ROOT, 'out');
const JS_BUDGET = 250 * 1024;
const CSS_BUDGET = 25 * 1024;
const FONT_BUDGET = 60 * 1024;

const built = spawnSync(process.execPath, [join(ROOT, 'node_modules/next/dist/bin/next'), 'build'], {
  cwd: ROOT,
  stdio: 'inherit',
  env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production' },
});
if (built.status !== 0) process.exit(built.status ?? 1);
// The folder must exist for whoever embeds it, even before the first build; the export wipes it.
writeFileSync(join(OUT, '.keep'), '');

const problems = [];
const pages = readdirSync(OUT, { recursive: true })
  .map(String)
  .filter((file) => file.endsWith('.html'));
for (const page of pages) {
  const html = readFileSync(join(OUT, page), 'utf8');
  if (/<style[\s>]/.test(html)) problems.push(`${page} carries a <style> element`);
  for (const [, url] of html.matchAll(/<(?:script|link|img)[^>]+(?:src|href)="([^"]+)"/g)) {
    if (/^(https?:)?\/\//.test(url)) problems.push(`${page} loads ${url}`);
  }
}

const size = (file) => gzipSync(readFileSync(join(OUT, file)), { level: 9 }).length;
const index = readFileSync(join(OUT, 'index.html'), 'utf8');
const sum = (urls) => [...new Set(urls)].reduce((bytes, url) => bytes + size(url), 0);
const scripts = [...index.matchAll(/<script[^>]*src="([^"]+\.js)"[^>]*>/g)]
  // Browsers of today skip what is marked for those without modules.
  .filter(([tag]) => !/nomodule/i.test(tag))
  .map(([, url]) => url);
const styles = [...index.matchAll(/<link[^>]+href="([^"]+\.css)"/g)].map(([, url]) => url);
const fonts = [...index.matchAll(/<link[^>]+href="([^"]+\.woff2)"/g)].map(([, url]) => url);
const fontBytes = [...new Set(fonts)].reduce((bytes, url) => bytes + readFileSync(join(OUT, url)).length, 0);
const report = (what, bytes, budget) => {
  console.log(`${what.padEnd(28)} ${(bytes / 1024).toFixed(1).padStart(7)} KB of ${budget / 1024} KB`);
  if (bytes > budget) problems.push(`${what} is over its budget`);
};
report('JavaScript, overview, gzip', sum(scripts), JS_BUDGET);
report('CSS, overview, gzip', sum(styles), CSS_BUDGET);
report('fonts', fontBytes, FONT_BUDGET);

if (problems.length > 0) {
  for (const problem of problems) console.error(`build: ${problem}`);
  process.exit(1);
}
