/**
 * What the browser tests need of a running peep: its addresses and keys from the environment, a browser context that is
 * logged in, and traffic with known numbers.
 */
import { randomUUID } from 'node:crypto';
import { login } from '../scripts/browser.mjs';

const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: start a stack (make up) and load its dev.env`);
  return value.replace(/\/$/, '');
};

export const stack = {
  url: need('PEEP_URL'),
  readKey: need('PEEP_READ_KEY'),
  ingestUrl: need('PEEP_INGEST_URL'),
  ingestKey: need('PEEP_INGEST_KEY'),
};

/** A name no other run used, so that a stack can serve many. */
export const unique = (name) => `${name}-${randomUUID().slice(0, 8)}`;

export async function send(events) {
  const answer = await fetch(`${stack.ingestUrl}/v1/events`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.ingestKey}`, 'content-type': 'application/json' },
    body: JSON.stringify(events),
  });
  const body = await answer.json();
  if (answer.status !== 202 || body.rejected.length > 0) {
    throw new Error(`ingest answered ${answer.status}: ${JSON.stringify(body)}`);
  }
}

/** `n` requests, ended `ageMs` ago, every `failEvery`th of them with 502. */
export function requests(
  service,
  n,
  { ageMs = 0, failEvery = 0, route = '/buy', method = 'POST', durationMs = 12, env } = {},
) {
  const ts = Date.now() - ageMs;
  return Array.from({ length: n }, (_, index) => {
    const failed = failEvery > 0 && index % failEvery === 0;
    return {
      service,
      route,
      method,
      ts,
      status: failed ? 502 : 200,
      duration_ms: durationMs * (1 + (index % 10) / 10),
      host: `web-${index % 3}`,
      version: 'v1.0.0',
      ...(failed ? { error: 'upstream refused the connection' } : {}),
      ...(env === undefined ? {} : { env }),
    };
  });
}

/** What an older peep does not have. */
const LATER = /\/v1\/(tickets|findings|alerts)/;

/** A logged-in page; everything it complains about is collected in `problems`. */
export async function open(browser, path, options = {}) {
  const { key = stack.readKey, loggedIn = true, ...rest } = options;
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...rest });
  if (loggedIn) await login(context, stack.url, key);
  const page = await context.newPage();
  const problems = [];
  page.on('console', (message) => {
    // The page asks once whether a peep has what came later, and does without it; browsers report that as an error.
    const isLeftOut = message.text().includes('404') && LATER.test(message.location().url);
    if (message.type() === 'error' && !isLeftOut)
      problems.push(`console: ${message.text()} ${message.location().url}`);
  });
  page.on('pageerror', (error) => problems.push(`page: ${error.message}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (!['data:', 'blob:'].includes(url.protocol) && url.origin !== new URL(stack.url).origin)
      problems.push(`foreign request: ${request.url()}`);
  });
  await page.goto(`${stack.url}${path}`);
  return { page, context, problems };
}

/** Asks until it is so; says what it saw last when it never was. */
export async function eventually(what, read, wanted, withinMs = 15_000) {
  const deadline = Date.now() + withinMs;
  let seen;
  for (;;) {
    seen = await read().catch((error) => error.message);
    if (wanted(seen)) return seen;
    if (Date.now() > deadline)
      throw new Error(`${what}: never so within ${withinMs} ms; last seen: ${JSON.stringify(seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Text as people read it: no-break spaces are blanks. */
export const textOf = async (locator) =>
  ((await locator.textContent()) ?? '').replaceAll('\u00a0', ' ').trim();
