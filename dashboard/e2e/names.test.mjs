/** Names that turn the direction of text, in a real browser: what stands around them keeps its order. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch } from '../scripts/browser.mjs';
import { eventually, open, requests, send, textOf, unique } from './stack.mjs';

/** It ends the isolation it stands in, and turns what follows. */
const route = '/a\u2069\u202etxet';
/** The same where no element isolates it. */
const isolated = `\u2068\u2068${route}\u2069`;
const service = unique('names');

let browser;
before(async () => {
  browser = await launch();
  await send(requests(service, 4, { route, failEvery: 2 }));
});
after(async () => {
  await browser?.close();
});

/** Where the words of an element begin, from left to right. */
const places = (locator, words) =>
  locator.evaluate((element, wanted) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const found = [];
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      for (const word of wanted) {
        const at = node.data.indexOf(word);
        if (at === -1) continue;
        const range = document.createRange();
        range.setStart(node, at);
        range.setEnd(node, at + 1);
        found.push({ word, x: range.getBoundingClientRect().left });
      }
    }
    return found.sort((a, b) => a.x - b.x).map(({ word }) => word);
  }, words);

test('a sentence and a label around a name that turns text keep their order', async () => {
  const address = `/service/?service=${service}&route=${encodeURIComponent(route)}&method=POST&status=4xx`;
  const { page, context, problems } = await open(browser, address);
  const title = page.locator('h1').first();
  await eventually(
    'nothing matches',
    () => textOf(title),
    (text) => text.startsWith('No request matches') && text.includes(isolated),
  );
  // Narrow pages may break the sentence into lines; this one has room for it.
  assert.deepEqual(await places(title, ['matches', '/a', 'status', '4xx']), [
    'matches',
    '/a',
    'status',
    '4xx',
  ]);
  await page.getByRole('button', { name: `Remove route ${isolated}`, exact: true }).waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test('a cell with a name that turns text and words behind it keeps its order', async () => {
  const { page, context, problems } = await open(browser, `/requests/?service=${service}`);
  const cell = page.locator('td:visible', { hasText: 'upstream refused' }).first();
  await cell.waitFor({ timeout: 30_000 });
  assert.deepEqual(await places(cell, ['/a', 'upstream', 'refused', 'connection']), [
    '/a',
    'upstream',
    'refused',
    'connection',
  ]);
  assert.deepEqual(problems, []);
  await context.close();
});
