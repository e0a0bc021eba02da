/** A reader's ways through the dashboard, in a real browser against a real peep. Order matters only where it says so. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { launch, login } from '../scripts/browser.mjs';
import { eventually, open, requests, send, stack, textOf, unique } from './stack.mjs';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser;
const failing = unique('checkout');
const fine = unique('catalog');

before(async () => {
  browser = await launch();
});
after(async () => {
  await browser?.close();
});

async function noViolations(page, where) {
  const result = await page.evaluate(
    `${axeSource}\nwindow.axe.run(document, { resultTypes: ['violations'] })`,
  );
  const found = result.violations.map(
    (item) => `${item.id}: ${item.nodes.map((node) => node.target.join(' ')).join(', ')}`,
  );
  assert.deepEqual(found, [], `axe, ${where}`);
}

/** Whether this peep has an endpoint: those built later are tested where they are. */
const answers = new Map();
async function has(path) {
  if (!answers.has(path)) {
    const answer = await fetch(`${stack.url}${path}`, {
      headers: { authorization: `Bearer ${stack.readKey}` },
    });
    answers.set(path, answer.status !== 404);
  }
  return answers.get(path);
}

/**
 * Two minutes of two services: one fails a tenth of its requests on one route, the other none. And the better part of an
 * hour before, in which neither failed: that is what is usual.
 */
async function seed() {
  for (let minutes = 58; minutes >= 20; minutes -= 4) {
    const ageMs = minutes * 60_000;
    await send([
      ...requests(failing, 40, { ageMs }),
      ...requests(fine, 40, { ageMs, route: '/items', method: 'GET', durationMs: 3 }),
    ]);
  }
  for (let ageMs = 120_000; ageMs > 10_000; ageMs -= 10_000) {
    await send([
      ...requests(failing, 60, { ageMs, failEvery: 10 }),
      ...requests(failing, 40, { ageMs, route: '/items/{id}', method: 'GET', durationMs: 80 }),
      ...requests(fine, 100, { ageMs, route: '/items', method: 'GET', durationMs: 3 }),
    ]);
  }
}

test('without a session the page leads to the login, and a read key leads back', async () => {
  const { page, context } = await open(browser, '/service/?service=nobody', { loggedIn: false });
  await page.waitForURL('**/login/?next=*');
  await page.getByLabel('Read key or one-time link').fill('peep_read_nonsense');
  await page.getByRole('button', { name: 'Log in' }).click();
  await eventually(
    'a wrong key is refused',
    () => textOf(page.locator('#problem')),
    (text) => text.includes('does not know this key'),
  );
  await page.getByLabel('Read key or one-time link').fill(stack.readKey);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.waitForURL('**/service/?service=nobody');
  await eventually(
    'the page opens',
    () => textOf(page.locator('h1').first()),
    (text) => text.startsWith('No requests to nobody'),
  );
  await context.close();
});

test('a one-time link works from the fragment, once, and leaves no trace in the address', {
  skip: !process.env.PEEP_LOGIN_URL,
}, async () => {
  const link = new URL(process.env.PEEP_LOGIN_URL);
  const { page, context } = await open(browser, `${link.pathname}${link.hash}`, { loggedIn: false });
  await page.waitForURL(`${stack.url}/`);
  assert.equal(new URL(page.url()).hash, '');
  await context.clearCookies();
  await page.goto(`${stack.url}${link.pathname}${link.hash}`);
  await eventually(
    'the second use is refused',
    () => textOf(page.locator('#problem')),
    (text) => text.includes('Links work once'),
  );
  assert.equal(new URL(page.url()).hash, '');
  await context.close();
});

test('an empty environment says how to send the first event', async () => {
  const { page, context, problems } = await open(browser, `/?env=${unique('nowhere')}`);
  await eventually(
    'the words',
    () => textOf(page.locator('h1').first()),
    (text) => text === 'No events yet',
  );
  assert.match(
    await page.getByRole('link', { name: 'Connect an app' }).last().getAttribute('href'),
    /^\/connect\//,
  );
  await noViolations(page, 'no events');
  assert.deepEqual(problems, []);
  await context.close();
});

test('the overview names what fails, since when and where, and agrees with the table', async () => {
  await seed();
  const { page, context, problems } = await open(browser, '/');
  const row = page.locator('tr', { has: page.getByRole('link', { name: failing, exact: true }) });
  await eventually(
    'the failing service is listed',
    () => textOf(row.locator('td').nth(4)),
    (text) => text === '6.00 %',
  );
  await eventually(
    'the sentence',
    () => textOf(page.locator('h1').first()),
    (text) => /^\d+ of \d+ services needs? attention$/.test(text),
  );
  const finding = page
    .getByRole('list', { name: 'Findings' })
    .getByRole('listitem')
    .filter({ hasText: failing })
    .first();
  const judged = await has('/v1/findings');
  await eventually(
    'the finding',
    () => textOf(finding),
    (text) =>
      text.includes('6.00 % of requests fail') &&
      (!judged || (text.includes('usually 0') && text.includes('on POST /buy'))),
  );
  await eventually(
    'the other service has no error',
    () => textOf(page.locator('tr', { hasText: fine }).locator('td').nth(4)),
    (text) => text === '0',
  );
  assert.deepEqual(problems, []);
  await context.close();
});

test('an event shows up on the open page by itself, in seconds', async () => {
  const service = unique('arrival');
  const { page, context } = await open(browser, '/');
  await eventually(
    'the page is live',
    () => textOf(page.locator('.live-badge:visible')),
    (text) => text.startsWith('Live'),
  );
  const sent = Date.now();
  await send(requests(service, 3));
  const row = page.locator('tr', { hasText: service });
  await eventually(
    'the new service appears',
    () => row.count(),
    (count) => count === 1,
    5000,
  );
  const seconds = (Date.now() - sent) / 1000;
  await send(requests(service, 4));
  await eventually(
    'its count moves in place',
    () => row.locator('td').nth(2).locator('span').first().getAttribute('title'),
    (title) => title === '7 requests',
    5000,
  );
  console.log(`# event to page: ${seconds.toFixed(2)} s`);
  await context.close();
});

test('a service opens from its row, its routes can be narrowed, and Back undoes it', async () => {
  const { page, context, problems } = await open(browser, '/');
  await page.locator('table [data-row]', { hasText: failing }).click();
  await page.waitForURL(`**/service/?service=${failing}`);
  await eventually(
    'its sentence',
    () => textOf(page.locator('h1').first()),
    (text) => text.startsWith('6.00 % of requests fail'),
  );
  await eventually(
    'its evidence',
    () => textOf(page.locator('header h1 ~ p:not(.sr-only)').last()),
    (text) => text.includes('66 of 1,100 requests failed') || text.includes('POST /buy'),
  );
  await eventually(
    'status codes',
    () => textOf(page.getByRole('region', { name: 'Status codes' })),
    (text) => text.includes('502') && text.includes('66') && text.includes('1,034'),
  );
  await page.locator('table [data-row]', { hasText: '/items/{id}' }).click();
  await eventually(
    'the route page',
    () => textOf(page.locator('h1').first()),
    (text) => text === 'GET /items/{id}',
  );
  assert.match(page.url(), /route=%2Fitems%2F%7Bid%7D&method=GET/);
  await eventually(
    'the other routes stay at hand',
    () => page.locator('table [data-row]').count(),
    (count) => count === 2,
  );
  await page.goBack();
  await eventually(
    'Back shows all routes',
    () => textOf(page.locator('h1').first()),
    (text) => text.startsWith('6.00 % of requests fail'),
  );
  await page.getByRole('button', { name: 'Add filter' }).click();
  await page.getByRole('combobox', { name: 'Filter by' }).fill('4xx');
  await page.keyboard.press('Enter');
  await eventually(
    'a filter that matches nothing says so',
    () => textOf(page.locator('h1').first()),
    (text) => text === 'No request matches status 4xx',
  );
  await page.getByRole('button', { name: 'Remove status 4xx' }).first().click();
  await eventually(
    'and offers the way back',
    () => textOf(page.locator('h1').first()),
    (text) => text.startsWith('6.00 % of requests fail'),
  );
  assert.deepEqual(problems, []);
  await context.close();
});

test('the cursor is one time in all charts, by mouse and by keyboard', async () => {
  const { page, context } = await open(browser, `/service/?service=${failing}`);
  const charts = page.locator('[role=img][tabindex]');
  await eventually(
    'three charts',
    () => charts.count(),
    (count) => count >= 3,
  );
  const box = await charts.first().boundingBox();
  await page.mouse.move(box.x + box.width * 0.9, box.y + 60);
  const heads = () => page.locator('h2 + div ~ p').allTextContents();
  await eventually('the same time in every head', heads, (texts) => {
    const times = texts.map((text) => /^\d\d:\d\d:\d0/.exec(text)?.[0]);
    return (
      times.length >= 3 && times[0] !== undefined && times.slice(0, 3).every((time) => time === times[0])
    );
  });
  await eventually(
    'the badge says that time is held',
    () => textOf(page.locator('.live-badge:visible')),
    (text) => text.startsWith('Holding'),
  );
  await page.mouse.move(5, 5);
  await eventually(
    'leaving lets go',
    () => textOf(page.locator('.live-badge:visible')),
    (text) => text.startsWith('Live'),
    5000,
  );
  await charts.nth(1).focus();
  await page.keyboard.press('ArrowLeft');
  await page.keyboard.press('ArrowLeft');
  await eventually('the keyboard moves it too', heads, (texts) =>
    texts.slice(0, 3).every((text) => /^\d\d:\d\d:\d0/.test(text)),
  );
  await context.close();
});

test('events that come late mark the step that they revise', async () => {
  const service = unique('late');
  await send(requests(service, 20, { ageMs: 90_000 }));
  const { page, context, problems } = await open(browser, `/service/?service=${service}`);
  const chart = page.getByRole('region', { name: 'Requests', exact: true }).getByRole('img');
  // A page that is slow to read is told of several changes at once, and then cannot tell which came late.
  await eventually(
    'the chart says how many',
    async () => {
      await send(requests(service, 20, { ageMs: 60_000 }));
      await page.waitForTimeout(2000);
      return (await chart.getAttribute('aria-label')) ?? '';
    },
    (label) => /\+\d+ late events, \d\d:\d\d:\d0\./.test(label),
    30_000,
  );
  assert.deepEqual(problems, []);
  await context.close();
});

test('a chart can be read as a table', async () => {
  const { page, context } = await open(browser, `/service/?service=${failing}`);
  const errors = page.getByRole('region', { name: 'Errors', exact: true });
  await errors.hover();
  await errors.getByRole('button', { name: 'Show as table' }).click();
  await eventually(
    'rows with numbers',
    () => textOf(errors.locator('tbody')),
    (text) => text.includes('6.00 %'),
  );
  await context.close();
});

test('every view is in the address: range, zone, sorting, and a frozen window', async () => {
  const { page, context } = await open(browser, '/');
  await page.locator('table [data-row]').first().waitFor();
  await page.getByRole('button', { name: 'p99', exact: true }).click();
  await eventually(
    'the head says how it is sorted',
    () => page.locator('th[aria-sort=descending]').allTextContents(),
    (heads) => heads.join() === 'p99',
  );
  assert.match(page.url(), /sort=-p99/);
  for (const range of ['1 h', '6 h', '24 h', '7 d', '5 m']) {
    await page.getByRole('button', { name: range, exact: true }).click();
    await eventually(
      `${range} shows the service`,
      () => textOf(page.locator('tr', { hasText: failing }).locator('td').nth(4)),
      // Over an hour and more the calm before counts too, unless the verdict says what is now.
      (text) => text === '6.00 %' || text === '4.40 %',
    );
  }
  assert.match(page.url(), /from=-5m/);
  const from = new Date(Date.now() - 200_000).toISOString();
  const to = new Date().toISOString();
  await page.goto(`${stack.url}/?from=${from}&to=${to}`);
  await eventually(
    'history says so',
    () => textOf(page.getByRole('status').first()),
    (text) => text.startsWith('History, '),
  );
  await eventually(
    'the same numbers in history',
    () => textOf(page.locator('tr', { hasText: failing }).locator('td').nth(4)),
    (text) => text === '6.00 %',
  );
  await page.keyboard.press('l');
  await eventually(
    'L goes live',
    () => textOf(page.locator('.live-badge:visible')),
    (text) => text.startsWith('Live'),
  );
  await page.goto(`${stack.url}/?from=yesteday`);
  await eventually(
    'what was not understood is said',
    () => page.getByRole('status').allTextContents(),
    (texts) => texts.join().includes('Ignored from=yesteday: not a time.'),
  );
  await context.close();
});

test('the keyboard does it all', async () => {
  const { page, context } = await open(browser, '/');
  await page.locator('table [data-row]').first().waitFor();
  const badge = page.locator('.live-badge:visible');
  await page.keyboard.press('3');
  assert.match(page.url(), /from=-1h/);
  await page.keyboard.press('2');
  await page.getByRole('button', { name: '15 m', exact: true, pressed: true }).waitFor();
  await eventually(
    'live again',
    () => textOf(badge),
    (text) => text.startsWith('Live'),
  );
  await page.keyboard.press(' ');
  await eventually(
    'Space pauses',
    () => textOf(badge),
    (text) => /^Paused ?at \d\d:\d\d:\d\d, \d+ s behind/.test(text),
  );
  await page.keyboard.press(' ');
  await eventually(
    'and resumes',
    () => textOf(badge),
    (text) => text.startsWith('Live'),
  );
  await page.keyboard.press('[');
  await page.waitForURL(/from=.*&to=/);
  // The address changes before the page does.
  await page.locator('.live-badge[data-kind=history]:visible').waitFor();
  await page.keyboard.press(']');
  await page.waitForURL((url) => !url.searchParams.has('to'));
  await page.keyboard.press('v');
  await page.waitForURL(/vs=week/);
  await page.keyboard.press('p');
  await page.waitForURL(/q=0.5%2C0.9%2C0.95%2C0.99%2C0.999/);
  await page.keyboard.press('t');
  await page.getByRole('dialog', { name: 'Another time' }).waitFor();
  await page.keyboard.press('Escape');
  await page.goto(`${stack.url}/`);
  await page.locator('table [data-row]').first().waitFor();
  const before = await page.evaluate(() => document.documentElement.dataset.theme);
  await page.keyboard.press('d');
  assert.notEqual(await page.evaluate(() => document.documentElement.dataset.theme), before);
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  const second = await page.evaluate(() => document.activeElement.textContent);
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/service/?service=${encodeURIComponent(second)}`);
  await page.keyboard.press('Backspace');
  await page.waitForURL((url) => url.pathname === '/');
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox', { name: 'Search or jump' }).fill(fine);
  await page.keyboard.press('Enter');
  await page.waitForURL(`**/service/?service=${fine}`);
  await context.close();
});

test('a pause pressed the moment a view has changed is kept', async () => {
  const { page, context } = await open(browser, '/');
  await page.locator('table [data-row]').first().waitFor();
  const range = page.getByRole('button', { name: '1 h', exact: true });
  await range.evaluate((button) => {
    new MutationObserver((_, observer) => {
      observer.disconnect();
      document.body.dispatchEvent(new KeyboardEvent('keydown', { key: ' ', bubbles: true }));
    }).observe(button, { attributeFilter: ['aria-pressed'] });
  });
  await range.click();
  await eventually(
    'it is paused',
    () => textOf(page.locator('.live-badge:visible')),
    (text) => text.startsWith('Paused'),
  );
  await context.close();
});

test('a pause lasts when another view is opened, until it is ended', async () => {
  const { page, context } = await open(browser, '/');
  await page.locator('table [data-row]').first().waitFor();
  const badge = page.locator('.live-badge:visible');
  const isPaused = (text) => text.startsWith('Paused');
  await page.keyboard.press(' ');
  await eventually('it is paused', () => textOf(badge), isPaused);
  await page.locator('table [data-row]').first().click();
  await page.waitForURL('**/service/?service=*');
  await eventually(
    'the service has a picture',
    () => page.locator('[role=img][tabindex]').count(),
    (count) => count >= 3,
  );
  await eventually('it is still paused', () => textOf(badge), isPaused);
  await page.keyboard.press(' ');
  await eventually(
    'and live again',
    () => textOf(badge),
    (text) => text.startsWith('Live'),
  );
  await context.close();
});

test('Z undoes the zoom and nothing else, also where a link had opened it', async () => {
  const { page, context } = await open(browser, '/');
  await page.locator('table [data-row]').first().waitFor();
  // The address changes before the page does.
  const isHistory = page.locator('.live-badge[data-kind=history]:visible');
  await page.keyboard.press('[');
  await isHistory.waitFor();
  await page.keyboard.press('v');
  await eventually(
    'it is compared with last week',
    () => page.getByLabel('Compare with').first().inputValue(),
    (value) => value === 'week',
  );
  await page.keyboard.press('z');
  await page.waitForURL((url) => !url.searchParams.has('to') && url.searchParams.get('vs') === 'week');
  const [from, to] = [900_000, 300_000].map((ago) => new Date(Date.now() - ago).toISOString());
  await page.goto(`${stack.url}/?from=${from}&to=${to}`);
  await isHistory.waitFor();
  await page.keyboard.press('z');
  await page.waitForURL((url) => url.pathname === '/' && !url.searchParams.has('to'));
  await context.close();
});

test('when the server is away the page says so, keeps the picture, and comes back by itself', async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await login(context, stack.url, stack.readKey);
  const page = await context.newPage();
  let away = false;
  let socket;
  await page.routeWebSocket('**/v1/live?*', (client) => {
    if (away) {
      client.close();
      return;
    }
    client.connectToServer();
    socket = client;
  });
  await page.route('**/v1/**', (route) => (away ? route.abort('connectionrefused') : route.continue()));
  await page.goto(`${stack.url}/`);
  const row = page.locator('table [data-row]', { hasText: failing });
  await row.waitFor();
  const badge = page.locator('.live-badge:visible');
  const isLive = (text) => text.startsWith('Live');
  await eventually('live', () => textOf(badge), isLive);
  away = true;
  await socket.close();
  await eventually(
    'the age of the data and the next attempt are said',
    () => textOf(badge),
    (text) => /^No data for \d+ s\.Reconnecting/.test(text),
    20_000,
  );
  assert.equal(await row.count(), 1);
  away = false;
  await eventually('live again', () => textOf(badge), isLive, 25_000);
  await eventually(
    'what was missed is said to be there',
    () => page.getByRole('status').allTextContents(),
    (texts) => /Back\. \d+\s*s filled in, nothing missing\./.test(texts.join()),
    4000,
  );
  await context.setOffline(true);
  await eventually(
    'offline is said',
    () => page.getByRole('status').allTextContents(),
    (texts) => texts.join().includes('You are offline.'),
  );
  assert.equal(await row.count(), 1);
  await context.close();
});

test('without WebSockets it is live over server-sent events', async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await context.addInitScript(() => {
    window.WebSocket = class {
      constructor() {
        setTimeout(() => this.onclose?.(new CloseEvent('close')), 10);
      }
      close() {}
    };
  });
  await login(context, stack.url, stack.readKey);
  const page = await context.newPage();
  await page.goto(`${stack.url}/`);
  const badge = page.locator('.live-badge:visible');
  await eventually(
    'live',
    () => textOf(badge),
    (text) => text.startsWith('Live'),
    20_000,
  );
  assert.match(await badge.getAttribute('title'), /SSE/);
  await context.close();
});

test('a filter and a zoom survive a reload, and Back undoes them', async () => {
  const { page, context, problems } = await open(browser, `/service/?service=${failing}`);
  const title = page.locator('h1').first();
  await page.locator('table [data-row]', { hasText: '/buy' }).click();
  await eventually(
    'the route',
    () => textOf(title),
    (text) => text === 'POST /buy',
  );
  const chart = page.locator('[role=img][tabindex]').first();
  const box = await chart.boundingBox();
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * 0.6, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.95, y, { steps: 6 });
  await page.mouse.up();
  await page.waitForURL(/from=.*&to=/);
  const zoomed = page.url();
  const history = () => textOf(page.getByRole('status').first());
  const words = await eventually('history says so', history, (text) => text.startsWith('History, '));
  await page.reload();
  await eventually('the same window', history, (text) => text === words);
  assert.equal(page.url(), zoomed);
  await eventually(
    'the same filter',
    () => textOf(title),
    (text) => text === 'POST /buy',
  );
  await page.keyboard.press('z');
  await page.waitForURL((url) => !url.searchParams.has('to') && url.searchParams.get('route') === '/buy');
  await page.keyboard.press('Backspace');
  await page.waitForURL((url) => url.pathname === '/service/' && !url.searchParams.has('route'));
  assert.deepEqual(problems, []);
  await context.close();
});

test('a server that restarts says so, and live resumes by itself with nothing missing', async () => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  await login(context, stack.url, stack.readKey);
  const page = await context.newPage();
  let away = false;
  let socket;
  await page.routeWebSocket('**/v1/live?*', (client) => {
    if (away) {
      client.close();
      return;
    }
    client.connectToServer();
    socket = client;
  });
  await page.route('**/v1/**', (route) => (away ? route.abort('connectionrefused') : route.continue()));
  await page.goto(`${stack.url}/`);
  const row = page.locator('table [data-row]', { hasText: failing });
  await row.waitFor();
  const badge = page.locator('.live-badge:visible');
  await eventually(
    'live',
    () => textOf(badge),
    (text) => text.startsWith('Live'),
  );
  away = true;
  // What the server closes every socket with when it is told to stop.
  await socket.close({ code: 1001, reason: 'retry=1; the service restarts' });
  await eventually(
    'the bar',
    () => page.getByRole('status').allTextContents(),
    (texts) =>
      /peep is restarting\. Last data \d\d:\d\d:\d\d\s*UTC\. Nothing sent to ingest is lost\./.test(
        texts.join(),
      ),
  );
  assert.equal(await row.count(), 1);
  await send(requests(fine, 5, { route: '/items', method: 'GET', durationMs: 3 }));
  away = false;
  await eventually(
    'live again',
    () => textOf(badge),
    (text) => text.startsWith('Live'),
    25_000,
  );
  await eventually(
    'what was missed is said to be there',
    () => page.getByRole('status').allTextContents(),
    (texts) => /Back\. \d+\s*s filled in, nothing missing\./.test(texts.join()),
    4000,
  );
  await context.close();
});

test('a rectangle of the heatmap explains itself', async () => {
  const { page, context, problems } = await open(browser, `/service/?service=${failing}`);
  const card = page.getByRole('region', { name: 'Every request by duration' });
  const plot = card.getByRole('img');
  await plot.waitFor();
  await plot.scrollIntoViewIfNeeded();
  const differs = page.getByRole('region', { name: 'What differs' });
  await eventually(
    'the invitation',
    () => textOf(differs),
    (text) => text.includes('Drag a rectangle over the heatmap.'),
  );
  const box = await plot.boundingBox();
  // /items/{id} is the slow route of this service: its requests are the upper band.
  await page.mouse.move(box.x + box.width * 0.3, box.y + 26);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.9, box.y + box.height * 0.3, { steps: 6 });
  await page.mouse.up();
  await page.waitForURL(/sel=\d+/);
  await eventually(
    'the route that it is',
    () => textOf(differs),
    (text) => text.includes('GET /items/{id}') && /100 % of/.test(text),
  );
  await noViolations(page, 'a selection');
  await page.reload();
  await eventually(
    'the selection survives a reload',
    () => textOf(differs),
    (text) => text.includes('GET /items/{id}'),
  );
  await differs.getByRole('button', { name: /GET \/items/ }).click();
  await page.waitForURL(
    (url) => url.searchParams.get('route') === '/items/{id}' && !url.searchParams.has('sel'),
  );
  await page.goBack();
  await page.waitForURL(/sel=\d+/);
  await page.keyboard.press('Escape');
  await page.waitForURL((url) => !url.searchParams.has('sel'));
  await plot.focus();
  for (const key of ['ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowLeft', 'Shift+ArrowUp', 'Enter'])
    await page.keyboard.press(key);
  await page.waitForURL(/sel=\d+/);
  assert.deepEqual(problems, []);
  await context.close();
});

test('versions and hosts of a service are told apart, and one host narrows the page', async () => {
  const { page, context, problems } = await open(browser, `/service/?service=${failing}`);
  const versions = page.getByRole('region', { name: 'Versions' });
  await eventually(
    'the version',
    () => textOf(versions),
    (text) => text.includes('v1.0.0'),
  );
  const hosts = page.getByRole('region', { name: 'Hosts' });
  await eventually(
    'three hosts',
    () => hosts.getByRole('button').allTextContents(),
    (texts) => ['web-0', 'web-1', 'web-2'].every((host) => texts.some((text) => text.startsWith(host))),
  );
  await hosts.getByRole('button', { name: /^web-1/ }).click();
  await page.waitForURL((url) => url.searchParams.get('host') === 'web-1');
  await eventually(
    'the routes of that host',
    () => page.locator('table').allTextContents(),
    (texts) => texts.join().includes('/buy') && texts.join().includes('/items/{id}'),
  );
  assert.equal(await page.getByText(/kept requests, weighted/).count(), 0, 'one host is exact');
  // Hosts are counted without statuses: no class of them is said to be 0.
  await page.getByRole('region', { name: 'Requests', exact: true }).getByText('not by status').waitFor();
  await noViolations(page, 'one host');
  assert.deepEqual(problems, []);
  await context.close();
});

test('the palette finds a route, a time and an action, and names the nearest', async () => {
  const { page, context, problems } = await open(browser, '/');
  await page.locator('table [data-row]').first().waitFor();
  const ask = async (text) => {
    await page.keyboard.press('Control+k');
    const field = page.getByRole('combobox', { name: 'Search or jump' });
    await field.waitFor();
    await field.fill(text);
  };
  await ask(`buy ${failing}`);
  await eventually(
    'the route',
    () => textOf(page.getByRole('dialog', { name: 'Search or jump' }).getByRole('option').first()),
    (text) => text.includes('POST /buy'),
  );
  await noViolations(page, 'the palette');
  await page.keyboard.press('Enter');
  await page.waitForURL((url) => url.pathname === '/service/' && url.searchParams.get('route') === '/buy');
  await ask('last 3 h');
  await page.keyboard.press('Enter');
  await page.waitForURL(/from=-3h/);
  await ask(`${failing.slice(0, -1)}!`);
  await eventually(
    'the nearest',
    () => textOf(page.getByRole('dialog', { name: 'Search or jump' })),
    (text) => text.includes(`Nearest: ${failing}`),
  );
  await page.keyboard.press('Escape');
  await ask('4bf92f3577b34da6a3ce929d0e0e4736');
  await eventually(
    'a trace id',
    () => textOf(page.getByRole('dialog', { name: 'Search or jump' }).getByRole('option').first()),
    (text) => text.startsWith('Requests of this trace'),
  );
  assert.deepEqual(problems, []);
  await context.close();
});

test('a pinned cursor stays, and Esc lets it go', async () => {
  const { page, context } = await open(browser, `/service/?service=${failing}`);
  const charts = page.locator('[role=img][tabindex]');
  await charts.first().waitFor();
  const box = await charts.first().boundingBox();
  await page.mouse.click(box.x + box.width * 0.85, box.y + box.height / 2);
  const head = () => textOf(page.getByRole('region', { name: 'Latency', exact: true }).locator('h2 ~ p'));
  const pinned = await eventually('a time', head, (text) => /^\d\d:\d\d:\d0/.test(text));
  await page.mouse.move(5, 5);
  await page.waitForTimeout(2500);
  assert.equal(await head(), pinned);
  await page.keyboard.press('Escape');
  await eventually('let go', head, (text) => text.startsWith('bound'));
  await context.close();
});

test('a session that ends is told, with the way back', async () => {
  const { page, context } = await open(browser, `/service/?service=${failing}&from=-6h`);
  await eventually(
    'the page is there',
    () => textOf(page.locator('h1').first()),
    (text) => /^(6\.00|4\.40) %/.test(text),
  );
  await page.evaluate(() => fetch('/v1/session', { method: 'DELETE' }));
  await page.reload();
  await eventually(
    'the words',
    () => textOf(page.locator('h1').first()),
    (text) => text === 'Your session ended. Log in, then you return here.',
  );
  assert.match(
    await page.getByRole('link', { name: 'Log in' }).getAttribute('href'),
    /next=%2Fservice%2F%3Fservice%3D/,
  );
  await noViolations(page, 'session ended');
  await context.close();
});

test('nobody is locked out: no accessibility violation on any page, in both themes, wide and narrow', async () => {
  for (const colorScheme of ['dark', 'light']) {
    for (const width of [1440, 900, 375]) {
      for (const path of ['/', `/service/?service=${failing}`, '/login/']) {
        const { page, context, problems } = await open(browser, path, {
          colorScheme,
          viewport: { width, height: 900 },
        });
        await page.locator('h1:not(.sr-only)').first().waitFor();
        if (path !== '/login/') await page.locator('[data-row]:visible').first().waitFor();
        await page.waitForTimeout(300);
        await noViolations(page, `${path} ${colorScheme} ${width}`);
        const scrolls = await page.evaluate(
          () => document.documentElement.scrollWidth > document.documentElement.clientWidth,
        );
        assert.equal(scrolls, false, `${path} scrolls sideways at ${width}`);
        assert.deepEqual(problems, [], `${path} ${colorScheme} ${width}`);
        await context.close();
      }
    }
  }
});

test('nothing moves while the page loads and lives', async () => {
  const { page, context } = await open(browser, '/');
  await page.evaluate(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts.push(entry.value);
    }).observe({ type: 'layout-shift', buffered: true });
  });
  await page.locator('table [data-row]').first().waitFor();
  for (let round = 0; round < 5; round += 1) {
    await send(requests(fine, 20, { route: '/items', method: 'GET', durationMs: 3 }));
    await page.waitForTimeout(700);
  }
  const total = await page.evaluate(() => window.shifts.reduce((sum, value) => sum + value, 0));
  assert.ok(total < 0.02, `cumulative layout shift ${total}`);
  await context.close();
});
