/** What the build promises about itself, read from `out/`: how much the overview loads, and from where. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const OUT = fileURLToPath(new URL('../out', import.meta.url));
const gzipped = (url) => gzipSync(readFileSync(join(OUT, url)), { level: 9 }).length;
const index = () => readFileSync(join(OUT, 'index.html'), 'utf8');

/** What a browser of today loads before anything is asked for. */
function urls(html, pattern) {
  const tags = [...html.matchAll(pattern)].filter(([tag]) => !/nomodule/i.test(tag));
  return [...new Set(tags.map(([, url]) => url))];
}

test('there is a build to look at', () => {
  assert.ok(existsSync(join(OUT, 'index.html')), 'run npm run build first');
});

test('the overview ships at most 250 KB of JavaScript and 25 KB of CSS, compressed', () => {
  const scripts = urls(index(), /<script[^>]*src="([^"]+\.js)"[^>]*>/g);
  assert.ok(scripts.length > 3, `only ${scripts.length} scripts found: does the pattern still fit?`);
  const js = scripts.reduce((sum, url) => sum + gzipped(url), 0);
  const css = urls(index(), /<link[^>]+href="([^"]+\.css)"/g).reduce((sum, url) => sum + gzipped(url), 0);
  console.log(`# JavaScript ${(js / 1024).toFixed(1)} KB, CSS ${(css / 1024).toFixed(1)} KB`);
  assert.ok(js <= 250 * 1024, `${js} bytes of JavaScript`);
  assert.ok(css <= 25 * 1024, `${css} bytes of CSS`);
});

test('the heatmap and the palette are not among what the overview loads first', () => {
  const first = urls(index(), /<script[^>]*src="([^"]+\.js)"[^>]*>/g).map((url) =>
    readFileSync(join(OUT, url), 'utf8'),
  );
  for (const words of ['Every request by duration', 'A service, a route, a page, a time'])
    assert.ok(!first.some((script) => script.includes(words)), `"${words}" is loaded at once`);
});

test('no page loads anything from elsewhere or carries a style element', () => {
  const pages = readdirSync(OUT, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.html'));
  for (const page of pages) {
    const html = readFileSync(join(OUT, page), 'utf8');
    assert.ok(!/<style[\s>]/.test(html), `${page} carries a <style> element`);
    for (const [, url] of html.matchAll(/<(?:script|link|img)[^>]+(?:src|href)="([^"]+)"/g))
      assert.ok(!/^(https?:)?\/\//.test(url), `${page} loads ${url}`);
  }
});
