/**
 * Hono 4: `app.use(peepHono())` before everything that is to be counted, on any runtime.
 *
 * The route is the one that Hono's router matched last; what only middleware answered, and a 404, have none.
 */

import type { Client } from '../client.js';
import { edge } from '../edge.js';
import { sizeOf } from '../event.js';
import type { Options } from '../options.js';
import { templateOf } from '../template.js';

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
    const started = performance.now();
    // Hono turns whatever a handler throws into a response before this returns.
    await next();
    try {
      const { headers } = c.req.raw;
      client.request(
        routeOf(c),
        c.req.method,
        c.res.status,
        performance.now() - started,
        sizeOf(headers.get('content-length') ?? undefined),
        sizeOf(c.res.headers.get('content-length') ?? undefined),
        headers.get('traceparent') ?? undefined,
      );
      const waiting = executionContext(c);
      if (waiting !== undefined) waiting.waitUntil(client.flush());
    } catch {
      // Counting is no reason for a request to fail.
    }
  };
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
