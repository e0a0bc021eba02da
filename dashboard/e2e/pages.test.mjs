/**
 * Journeys through the pages beside the charts: single requests, comparison, alerts, ledger, first event, keys. In a real
 * browser against a real peep; what changes something is done by a session of an admin key (`PEEP_ADMIN_KEY`).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { launch } from '../scripts/browser.mjs';
import { eventually, open, requests, send, stack, textOf, unique } from './stack.mjs';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const adminKey = process.env.PEEP_ADMIN_KEY;
if (!adminKey)
  throw new Error('PEEP_ADMIN_KEY is not set: peep key create --project dev --scope admin makes one');

let browser;
const service = unique('pages');

before(async () => {
  browser = await launch();
  // A failing release after a good one, ended within the last two minutes.
  for (let ageMs = 110_000; ageMs > 5000; ageMs -= 10_000) {
    await send([
      ...requests(service, 40, { ageMs, failEvery: 8 }),
      ...requests(service, 40, { ageMs, route: '/items/{id}', method: 'GET', durationMs: 700 }),
    ]);
  }
});
after(async () => {
  await browser?.close();
});

/** A page of somebody who may make keys and rules. */
const openAsAdmin = (path, options = {}) => open(browser, path, { ...options, key: adminKey });

async function noViolations(page, where) {
  const result = await page.evaluate(
    `${axeSource}\nwindow.axe.run(document, { resultTypes: ['violations'] })`,
  );
  const found = result.violations.map(
    (item) => `${item.id}: ${item.nodes.map((node) => node.target.join(' ')).join(', ')}`,
  );
  assert.deepEqual(found, [], `axe, ${where}`);
}

/** Raw events are stored with a flush, a few seconds after they are counted. */
const stored = 30_000;

test('a filter of three terms is typed, found, and survives a reload', async () => {
  const { page, context, problems } = await open(browser, `/requests/?service=${service}`);
  const title = page.locator('h1').first();
  await eventually(
    'all are listed',
    () => textOf(title),
    (text) => /^880 of [\d,]+ requests match$/.test(text),
    stored,
  );
  const filter = page.getByRole('combobox', { name: 'Filter requests' });
  await filter.fill('status:5xx route:/buy >5ms');
  await filter.press('Enter');
  await eventually(
    'what matches is counted',
    () => textOf(title),
    (text) => /^55 of [\d,]+ requests match$/.test(text),
  );
  const address = page.url();
  assert.match(address, /status=5xx/);
  await page.reload();
  await eventually(
    'the same after a reload',
    () => textOf(title),
    (text) => /^55 of [\d,]+ requests match$/.test(text),
  );
  assert.equal(page.url(), address);
  for (const chip of ['Edit status:5xx', 'Edit route:/buy', 'Edit >5ms'])
    await page.getByRole('button', { name: chip }).waitFor();
  await page.getByText('Kept in full.').waitFor();

  await page.locator('[data-row]:visible').first().click();
  const drawer = page.getByRole('dialog');
  await drawer.getByText('upstream refused the connection').first().waitFor();
  await eventually(
    'its passport is shown',
    () => textOf(drawer),
    (text) => text.includes('Counted, once.'),
  );
  await noViolations(page, 'drawer of a request');
  await page.keyboard.press('Escape');
  await drawer.waitFor({ state: 'detached' });

  await filter.fill('host:nowhere');
  await filter.press('Enter');
  await eventually(
    'nothing matches, and the way back is named',
    () => textOf(title),
    (text) => text.startsWith('No request matches') && text.includes('host nowhere'),
  );
  await page.getByRole('button', { name: 'Remove host nowhere', exact: true }).click();
  await eventually(
    'the way back works',
    () => textOf(title),
    (text) => text.startsWith('55 of'),
  );
  await filter.fill('colour:red');
  await filter.press('Enter');
  await page.getByRole('alert').filter({ hasText: 'There is no field “colour”' }).waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test('new requests wait behind a button and push nothing away', async () => {
  const name = unique('waiting');
  await send(requests(name, 3));
  const { page, context } = await open(browser, `/requests/?service=${name}`);
  const rows = page.locator('[data-row]:visible');
  await eventually(
    'three rows',
    () => rows.count(),
    (n) => n === 3,
    stored,
  );
  await send(requests(name, 4));
  const show = page.getByRole('button', { name: '4 new, show' });
  await show.waitFor({ timeout: stored });
  assert.equal(await rows.count(), 3);
  await show.click();
  await eventually(
    'seven rows',
    () => rows.count(),
    (n) => n === 7,
  );
  await context.close();
});

test('a receipt is looked up and its way told, and nonsense is refused in words', async () => {
  const name = unique('passport');
  const answer = await fetch(`${stack.ingestUrl}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.ingestKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(requests(name, 2)),
  });
  const { receipt } = await answer.json();
  const { page, context, problems } = await open(browser, '/ledger/');
  await eventually(
    'the balance is an equation that adds up',
    async () => {
      const words = await page.locator('h1').first().getAttribute('aria-label');
      const n = (words ?? '').replaceAll(',', '').match(/\d+/g)?.map(Number) ?? [];
      return n.length === 5 && n[0] === n[1] + n[2] + n[3] + n[4] && n[0] > 0;
    },
    (adds) => adds,
  );
  await page.getByText('Balanced', { exact: true }).waitFor();
  const field = page.getByLabel('Receipt or trace id');
  await eventually(
    'it is counted',
    async () => {
      await field.fill(receipt);
      await field.press('Enter');
      await page.getByText(`Receipt ${receipt}`).waitFor({ timeout: 5000 });
      return textOf(page.getByRole('status').filter({ hasText: receipt }));
    },
    (text) => text.includes('Counted, once.') && /partition \d+, offset [\d,]+/.test(text),
    stored,
  );
  await noViolations(page, 'ledger with a passport');
  await field.fill('r1.nonsense');
  await field.press('Enter');
  await eventually(
    'nonsense is refused',
    () => page.getByRole('status').allTextContents(),
    (texts) => texts.some((text) => /receipt/i.test(text) && !text.includes('Counted')),
  );
  // The browser itself reports the answer 400; nothing else may be wrong.
  assert.deepEqual(
    problems.filter((problem) => !problem.includes('400')),
    [],
  );
  await context.close();
});

test('the first event: the snippet works as it is, and its arrival is shown', async () => {
  const { page, context, problems } = await openAsAdmin('/connect/');
  const name = unique('first');
  await page.getByLabel('Service', { exact: true }).fill(name);
  const code = page.getByRole('region', { name: 'curl, to copy' }).locator('pre');
  await eventually(
    'a key is in it',
    () => textOf(code),
    (text) => /Bearer peep_\w+/.test(text) && text.includes(name),
  );
  const text = await textOf(code);
  const [, url] = /curl -sS (\S+)/.exec(text);
  const [, key] = /Bearer (peep_\w+)/.exec(text);
  const [, body] = /-d '(.*)'/.exec(text);
  assert.equal(new URL(url).port, new URL(stack.ingestUrl).port);
  await page.getByText('Listening for your first event').waitFor();
  await noViolations(page, 'connect, listening');

  const post = (payload) =>
    fetch(`${stack.ingestUrl}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: payload,
    });
  const refused = await post(JSON.stringify({ service: name, duration_ms: 'soon' }));
  assert.equal(refused.status, 422);
  await eventually(
    'the rejection is shown with its code',
    () => textOf(page.getByRole('region', { name: 'See it arrive' })),
    (words) => words.includes('Rejected 1 event: invalid_duration'),
    stored,
  );
  assert.equal((await post(body)).status, 202);
  await eventually(
    'it arrived',
    () => textOf(page.getByRole('region', { name: 'See it arrive' })),
    (words) => words.includes('Received') && words.includes('POST /cart/{id}') && words.includes('38.40 ms'),
    stored,
  );
  await noViolations(page, 'connect, received');
  await page.getByRole('link', { name: `Open ${name}` }).click();
  await page.waitForURL(`**/service/?service=${name}*`);
  assert.deepEqual(problems, []);
  await context.close();
});

test('the proposed name stays when its own test event has arrived', async () => {
  const { page, context, problems } = await openAsAdmin('/connect/');
  const field = page.getByLabel('Service', { exact: true });
  const code = page.getByRole('region', { name: 'curl, to copy' }).locator('pre');
  await eventually(
    'a key is in it',
    () => textOf(code),
    (text) => /Bearer peep_\w+/.test(text),
  );
  const proposed = await field.inputValue();
  await page.getByRole('button', { name: 'Send a test event from here' }).click();
  await eventually(
    'it arrived',
    () => textOf(page.getByRole('region', { name: 'See it arrive' })),
    (words) => words.includes('Received'),
    stored,
  );
  assert.equal(await field.inputValue(), proposed);
  await field.fill('no name');
  await eventually(
    'a name that cannot be is not replaced by somebody else’s',
    () => textOf(code),
    (text) => text.includes('YOUR_SERVICE'),
  );
  assert.deepEqual(problems, []);
  await context.close();
});

test('a receipt and a trace id that are pasted into the palette lead to what they name', async () => {
  const name = unique('pasted');
  const trace = unique('').replaceAll('-', '').padEnd(32, 'a').slice(-32);
  const answer = await fetch(`${stack.ingestUrl}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.ingestKey}`, 'content-type': 'application/json' },
    body: JSON.stringify({ service: name, duration_ms: 3, trace_id: trace }),
  });
  const { receipt } = await answer.json();
  const { page, context, problems } = await open(browser, '/');
  // Until then nobody listens to keys.
  await page.locator('table [data-row]').first().waitFor();
  const paste = async (text) => {
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox', { name: 'Search or jump' }).fill(text);
    await page.keyboard.press('Enter');
  };
  await paste(receipt);
  await page.getByText(`Receipt ${receipt}`).waitFor();
  await paste(trace);
  await page.waitForURL((url) => url.pathname === '/requests/' && url.searchParams.get('trace') === trace);
  assert.deepEqual(problems, []);
  await context.close();
});

test('a key is created, shown once, copied, used, and revoked by typing its name', async () => {
  const { page, context, problems } = await openAsAdmin('/settings/', {
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  const name = unique('key');
  await page.getByRole('button', { name: 'Create a key' }).click();
  await page.getByLabel('Name', { exact: true }).fill(name);
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Your new key' });
  await dialog.waitFor();
  await noViolations(page, 'a new key');
  await page.keyboard.press('Escape');
  await dialog.getByText('You have not copied the key. It cannot be shown again.').waitFor();
  await dialog.getByRole('button', { name: 'Go back' }).click();
  await dialog.getByRole('button', { name: 'Copy' }).click();
  await dialog.getByRole('button', { name: 'Copied' }).waitFor();
  const key = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(key, /^peep_\w+$/);
  await dialog.getByRole('button', { name: 'Done' }).click();
  await dialog.waitFor({ state: 'detached' });
  const row = page.locator('tr', { hasText: name });
  await row.waitFor();
  assert.ok(!(await page.content()).includes(key), 'the key is nowhere on the page any more');

  const send = () =>
    fetch(`${stack.ingestUrl}/v1/events`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ service: name, duration_ms: 1 }),
    });
  assert.equal((await send()).status, 202);
  await row.getByRole('button', { name: `Revoke ${name}` }).click();
  const revoke = page.getByRole('dialog', { name: `Revoke ${name}` });
  const button = revoke.getByRole('button', { name: 'Revoke', exact: true });
  assert.equal(await button.isDisabled(), true);
  await revoke.getByRole('textbox').fill(name);
  await button.click();
  await revoke.waitFor({ state: 'detached' });
  await row.getByText(/^revoked/).waitFor();
  await eventually(
    'it is refused',
    async () => (await send()).status,
    (status) => status === 401,
  );
  assert.deepEqual(problems, []);
  await context.close();
});

test('a read key looks, and is told why it may not make keys', async () => {
  const { page, context, problems } = await open(browser, '/settings/');
  await page.getByText('This session only reads').waitFor();
  await page.goto(`${stack.url}/connect/`);
  await page.getByText('This session may not make keys').waitFor();
  assert.deepEqual(problems, [], 'what it may not is not tried');
  await context.close();
});

test('two halves of a window are compared, with the table behind the sentence', async () => {
  const to = Date.now() - 5000;
  const [from, middle] = [to - 110_000, to - 55_000];
  const { page, context, problems } = await open(
    browser,
    `/compare/?service=${service}&a=window:${from},${middle}&b=window:${middle},${to}`,
  );
  await page.getByRole('table').first().waitFor({ timeout: stored });
  assert.ok((await page.getByRole('row').count()) >= 8);
  await page.getByRole('img', { name: /^Latency by quantile/ }).waitFor();
  await page.getByRole('button', { name: 'Swap' }).click();
  await page.waitForURL((url) => (url.searchParams.get('a') ?? '').includes(`window:${middle}`));
  assert.deepEqual(problems, []);
  await context.close();
});

test('requests of 0 ms, as a log of nginx has them, are drawn on every logarithmic axis', async () => {
  const quick = unique('quick');
  for (const durationMs of [0, 0, 30])
    await send(requests(quick, 60, { ageMs: 40_000, durationMs, route: `/took-${durationMs}` }));
  const drawn = [
    // What single requests are read from is flushed with what is compared, which is asked once.
    [`/requests/?service=${quick}`, /^Durations of /],
    [`/compare/?service=${quick}&a=host:web-0&b=host:web-1`, /^Durations, /],
    [`/service/?service=${quick}`, /^Requests by duration over /],
  ];
  for (const [path, name] of drawn) {
    const { page, context, problems } = await open(browser, path);
    await page.getByRole('img', { name }).first().waitFor({ timeout: stored });
    // A page that is stuck draws no further frame.
    await page.waitForFunction(() => new Promise((drawn) => requestAnimationFrame(() => drawn(true))));
    assert.deepEqual(problems, [], path);
    await context.close();
  }
});

test('a rule is previewed, saved, switched off and deleted', async () => {
  const { page, context, problems } = await openAsAdmin('/alerts/');
  await page
    .getByRole('button', { name: /No requests for 2.minutes/ })
    .first()
    .click();
  const editor = page.getByRole('dialog');
  const name = unique('silence');
  await editor.getByLabel('Name', { exact: true }).fill(name);
  await editor.getByText(/^Would (not )?have fired/).waitFor({ timeout: stored });
  await noViolations(page, 'the editor of a rule');
  await editor.getByRole('button', { name: 'Save' }).click();
  await editor.waitFor({ state: 'detached' });
  const row = page.locator('tr', { hasText: name });
  await row.waitFor();
  await row.getByRole('switch').click();
  await row.getByText('off', { exact: true }).waitFor();
  await row.getByRole('button', { name }).first().click();
  await editor.getByRole('button', { name: 'Delete', exact: true }).click();
  await editor.getByRole('button', { name: 'Delete it for good' }).click();
  await editor.waitFor({ state: 'detached' });
  await row.waitFor({ state: 'detached' });
  assert.deepEqual(problems, []);
  await context.close();
});

test('nobody is locked out of these pages, in both themes, wide and narrow', async () => {
  const paths = [
    `/requests/?service=${service}`,
    '/requests/?status=418',
    `/compare/?service=${service}`,
    '/alerts/',
    '/ledger/',
    '/connect/',
    '/settings/',
    '/settings/?tab=display',
    '/settings/?tab=about',
  ];
  for (const colorScheme of ['dark', 'light']) {
    for (const width of [1440, 320]) {
      const { page, context, problems } = await openAsAdmin('/ledger/', {
        colorScheme,
        viewport: { width, height: 900 },
      });
      for (const path of paths) {
        const where = `${path} ${colorScheme} ${width}`;
        await page.goto(`${stack.url}${path}`);
        await page.locator('h1').first().waitFor({ state: 'attached' });
        await eventually(
          `${where} has loaded`,
          () => page.locator('[aria-busy=true]').count(),
          (n) => n === 0,
        );
        await noViolations(page, where);
        const beyond = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.equal(beyond, 0, `${where} scrolls sideways`);
        assert.deepEqual(problems, [], where);
      }
      await context.close();
    }
  }
});
