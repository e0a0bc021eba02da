// The page's SDK in a real browser, from a page of another origin than ingest's.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { Interactions, Shifts } from '../dist/esm/vitals.js';
import { backend } from './backend.mjs';
import { until } from './scripted.mjs';

// The dashboard's tests have it already.
const require = createRequire(new URL('../../../dashboard/package.json', import.meta.url));
const { chromium } = require('playwright-core');
const executablePath = process.env.PEEP_CHROMIUM || '/usr/bin/chromium';

const sdk = new URL('../dist/esm/', import.meta.url);
const page = (settings) => `<!doctype html><meta name=route content="/products/{id}"><title>A product</title>
<h1>A product</h1><button id=buy>Buy</button>
<script type=module>
  import { peepBrowser } from '/sdk/browser.js';
  const settings = ${JSON.stringify(settings)};
  window.peep = peepBrowser({ ...settings, route: () => document.querySelector('meta[name=route]').content });
  document.querySelector('#buy').addEventListener('click', () => {
    const end = performance.now() + 60;
    while (performance.now() < end);
    document.querySelector('h1').style.marginTop = '200px';
  });
</script>`;

/** The example as it stands, but for the address and the key, which are those of whoever copied it. */
function examplePage({ url, key, service }) {
  const example = readFileSync(new URL('../examples/page.mjs', import.meta.url), 'utf8');
  const own = example
    .replace('https://ingest.shop.example', url)
    .replace('peep_browser_…', key)
    .replace("service: 'web'", `service: '${service}'`);
  return `<!doctype html><meta name=route content="/products/{id}"><title>A product</title><button id=buy>Buy</button>
<script type=importmap>{"imports": {"@peep/sdk/browser": "/sdk/browser.js"}}</script>
<script type=module>${own}</script>`;
}

let place;
let site;
let origin;
let settings;
let browser;
before(async () => {
  assert.ok(existsSync(executablePath), `a Chromium at ${executablePath}`);
  place = await backend();
  site = createServer((request, response) => {
    const [, file] = /^\/sdk\/(\w+\.js)$/.exec(request.url) ?? [];
    if (file !== undefined) {
      response.setHeader('content-type', 'text/javascript');
      return void response.end(readFileSync(new URL(file, sdk)));
    }
    if (request.url === '/favicon.ico') return void response.writeHead(404).end();
    response.setHeader('content-type', 'text/html');
    response.end(request.url === '/example' ? examplePage(settings) : page(settings));
  }).listen(0, '127.0.0.1');
  await once(site, 'listening');
  origin = `http://127.0.0.1:${site.address().port}`;
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
});
after(async () => {
  await browser?.close();
  site?.closeAllConnections();
  site?.close();
  await place?.close();
});

/** A key for the pages of the site, once ingest knows it: until then a browser is refused, and the page would try again. */
async function keyForPages() {
  if (process.env.PEEP_BIN === undefined) return place.env.PEEP_INGEST_KEY;
  const args = [
    'key',
    'create',
    '--project',
    'dev',
    '--env',
    'browser',
    '--scope',
    'ingest',
    '--origin',
    origin,
  ];
  const key = /peep_browser_\w+/.exec(execFileSync(process.env.PEEP_BIN, args, { encoding: 'utf8' }))[0];
  let allowed = null;
  await until(
    async () => {
      const answer = await fetch(`${place.env.PEEP_INGEST_URL}/v1/events`, {
        method: 'OPTIONS',
        headers: { origin, 'access-control-request-method': 'POST' },
      });
      allowed = answer.headers.get('access-control-allow-origin');
      return allowed === origin;
    },
    () => `pages of ${origin} may not send: ${allowed}`,
  );
  return key;
}

async function rows(service, count) {
  let found = [];
  await until(
    async () => {
      found = await place.rows(service);
      return found.reduce((sum, row) => sum + row.count, 0) >= count;
    },
    () => JSON.stringify(found),
  );
  return new Map(found.map((row) => [row.route, row]));
}

test('a page that is used and left: its load, its vitals, and no address', async () => {
  const service = `web-${process.pid}`;
  settings = { url: place.env.PEEP_INGEST_URL, key: await keyForPages(), service };
  const tab = await browser.newPage();
  const said = [];
  tab.on('console', (message) => said.push(message.text()));
  await tab.goto(`${origin}/products/secret?token=secret`, { waitUntil: 'load' });
  await tab.click('#buy');
  await tab.evaluate(() => window.peep.record({ route: 'buy', durationMs: 12 }));
  // The first batch goes out while the page lives, with identity and answer.
  assert.equal(await tab.evaluate(() => window.peep.flush(60_000)), true, said.join('\n'));
  assert.deepEqual(
    await tab.evaluate(() => [window.peep.stats().accepted, window.peep.stats().retried]),
    [1, 0],
  );
  await tab.goto('about:blank');
  const found = await rows(service, 6);
  assert.deepEqual([...found.keys()].sort(), [
    '/products/{id}',
    '/products/{id} CLS',
    '/products/{id} FCP',
    '/products/{id} INP',
    '/products/{id} LCP',
    '/products/{id} TTFB',
    'buy',
  ]);
  const load = found.get('/products/{id}');
  assert.deepEqual([load.method, load.status, load.count, load.timed], ['GET', 200, 1, 1]);
  assert.equal(found.get('/products/{id} CLS').timed, 0, 'a score is no duration');
  assert.equal(found.get('/products/{id} INP').timed, 1);
  await tab.close();
});

test('the example for pages counts its page and its operation', async () => {
  const service = `web-example-${process.pid}`;
  settings = { url: place.env.PEEP_INGEST_URL, key: await keyForPages(), service };
  const tab = await browser.newPage();
  await tab.goto(`${origin}/example`, { waitUntil: 'load' });
  await tab.click('#buy');
  await tab.goto('about:blank');
  const found = await rows(service, 6);
  assert.deepEqual([found.get('buy').count, found.get('buy').timed], [1, 1]);
  const load = found.get('/products/{id}');
  assert.deepEqual([load.method, load.status, load.count], ['GET', 200, 1]);
  await tab.close();
});

test('a page that is left at once has still sent its events, once', async () => {
  const service = `web-left-${process.pid}`;
  settings = { url: place.env.PEEP_INGEST_URL, key: await keyForPages(), service, vitals: false };
  const tab = await browser.newPage();
  await tab.goto(`${origin}/products/1`, { waitUntil: 'load' });
  await tab.evaluate(() => {
    for (let index = 0; index < 5; index += 1)
      window.peep.record({ route: 'last-minute', durationMs: index });
  });
  await tab.goto('about:blank');
  const found = await rows(service, 6);
  // Were anything sent twice, it would be here a moment later.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  assert.equal((await rows(service, 6)).get('last-minute').count, 5);
  assert.equal(found.get('/products/{id}').count, 1);
  await tab.close();
});

test('the largest burst of shifts is the score', () => {
  const shifts = new Shifts();
  const at = (startTime, value, hadRecentInput = false) => shifts.add({ startTime, value, hadRecentInput });
  at(0, 0.1);
  at(500, 0.1);
  at(600, 9, true);
  at(2000, 0.15);
  for (let time = 10_000; time <= 16_000; time += 900) at(time, 0.05);
  // Five seconds of the third burst are six shifts; the rest is another.
  assert.ok(Math.abs(shifts.value() - 0.3) < 1e-9, `${shifts.value()}`);
});

test('of fifty interactions the longest does not count', () => {
  const few = new Interactions();
  for (let id = 1; id <= 49; id += 1) few.add({ interactionId: id, duration: id === 7 ? 900 : 100 });
  few.add({ interactionId: 0, duration: 5000 });
  assert.equal(few.value(), 900);
  few.add({ interactionId: 50, duration: 40 });
  assert.equal(few.value(), 100);
  assert.equal(new Interactions().value(), undefined);
});
