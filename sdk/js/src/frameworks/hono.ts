/**
 * Hono 4: `app.use(peepHono())` before everything that is to be counted, on any runtime.
 *
 * The route is the one that Hono's router matched last; what only middleware answered, and a 404, have none.
 */

import type { Client } from '../client.js';
import { edge } from '../edge.js';
import type { Options } from '../options.js';
import { templateOf } from '../template.js';
import { finish } from './fetch.js';
import { claim, join } from './once.js';

interface Matched {
  path: string;
  method: string;
}
interface HonoContext {
  req: { raw: Request; method: string; routeIndex: number; matchedRoutes: Matched[] };
  res: Response;
  error?: Error | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: Hono's own type has parameters, and this package no dependency
type Middleware = (c: any, next: () => Promise<void>) => Promise<void>;

export function peepHono(options: Options & { client?: Client } = {}): Middleware {
  let client = options.client;
  return async (c: HonoContext, next) => {
    client ??= edge(options);
    // Kept: an application may put another one in its place.
    const { raw } = c.req;
    const route = () => routeOf(c);
    if (!claim(client, raw) && !join(client, raw, route)) return next();
    const started = performance.now();
    let isAnswered = false;
    try {
      // Hono turns every error into a response before this returns. What is thrown and no `Error` it throws on, for the server to answer.
      await next();
      isAnswered = true;
    } finally {
      const durationMs = performance.now() - started;
      finish(client, raw, isAnswered ? c.res : { status: 500, headers: undefined }, durationMs, route);
      hold(client, c);
    }
  };
}

function hold(client: Client, c: HonoContext): void {
  try {
    executionContext(c)?.waitUntil(client.flush());
  } catch {
    // Then they are sent when they are.
  }
}

function routeOf(c: HonoContext): string {
  const matched = c.req.matchedRoutes[c.req.routeIndex];
  // Middleware is registered for all methods; so is `app.all`, which is told from it by the others behind it: none.
  if (matched === undefined || (matched.method === 'ALL' && /(^|\/)\*$/.test(matched.path))) return '';
  return templateOf(matched.path, 'hono');
}

/** Workers have one; reading it elsewhere throws. */
function executionContext(c: HonoContext): { waitUntil: (work: Promise<unknown>) => void } | undefined {
  try {
    return (c as { executionCtx?: { waitUntil: (work: Promise<unknown>) => void } }).executionCtx;
  } catch {
    return undefined;
  }
}
