/**
 * Handlers from `Request` to `Response`: Hono's and Bun's `fetch`, Deno, workers, edge functions, route handlers.
 *
 * Measured is the time until the handler has its response; a body that streams on is the runtime's. A handler that
 * throws is a status 500, unless what it throws is Next.js's way to answer; what it threw goes on to whoever called. Where nothing runs after a
 * response, pass the platform's `waitUntil`, or an argument of the handler that has one.
 */

import type { Client } from '../client.js';
import { edge } from '../edge.js';
import { hasBody, sizeOf } from '../event.js';
import type { Options } from '../options.js';
import { isCountedByNext } from './counted.js';
import { claim, forget, innerRoute, join } from './once.js';

type Handler<A extends unknown[]> = (request: Request, ...rest: A) => Response | Promise<Response>;

export interface FetchOptions extends Options {
  client?: Client;
  /** The route's template, or how to get it from the request. Never the raw path. */
  route?: string | ((request: Request) => string | undefined);
  /** Keeps the runtime alive until the events are sent. */
  waitUntil?: (work: Promise<unknown>) => void;
}

export function withPeep<A extends unknown[]>(handler: Handler<A>, options: FetchOptions = {}): Handler<A> {
  let client = options.client;
  return async function observed(request, ...rest) {
    if (options.client === undefined && isCountedByNext()) return handler(request, ...rest);
    // Only now: a worker has no environment before its first request.
    client ??= edge(options);
    const route = () => routeOf(options, request);
    if (!claim(client, request) && !join(client, request, route)) return handler(request, ...rest);
    const started = performance.now();
    let answer: Answer = NOTHING;
    try {
      const response = await handler(request, ...rest);
      answer = response;
      return response;
    } catch (error) {
      answer = { status: statusOfThrown(error), headers: undefined };
      throw error;
    } finally {
      finish(client, request, answer, performance.now() - started, route);
      hold(client, options, rest);
    }
  };
}

/** As much of a response as is looked at. */
interface Answer {
  status: number;
  headers: Headers | undefined;
}
const NOTHING: Answer = { status: 500, headers: undefined };

/** Counts a request of the web that is over. */
export function finish(
  client: Client,
  request: Request,
  { status, headers: answered }: Answer,
  durationMs: number,
  routeOf: () => string,
): void {
  try {
    const { headers, method } = request;
    client.request(
      innerRoute(client, request) || routeOf(),
      method,
      status,
      durationMs,
      sizeOf(headers.get('content-length') ?? undefined),
      hasBody(method, status) ? sizeOf(answered?.get('content-length') ?? undefined) : 0,
      headers.get('traceparent') ?? undefined,
    );
    forget(client, request);
  } catch {
    // Counting is no reason for a request to fail.
  }
}

/** A function of the application that throws is no reason to count less. */
function routeOf({ route }: FetchOptions, request: Request): string {
  try {
    return (typeof route === 'function' ? route(request) : route) ?? '';
  } catch {
    return '';
  }
}

/** Next.js's `redirect()`, `notFound()` and their like throw, and what they throw says what the answer is to be. */
function statusOfThrown(error: unknown): number {
  const digest = (error as { digest?: unknown } | undefined | null)?.digest;
  if (typeof digest !== 'string') return 500;
  if (digest === 'NEXT_NOT_FOUND') return 404;
  // The address of a redirect may have semicolons: the status is what the last one but one is before.
  const status =
    /^NEXT_REDIRECT;.*;(\d{3});$/s.exec(digest) ?? /^NEXT_HTTP_ERROR_FALLBACK;(\d{3})$/.exec(digest);
  return status === null ? 500 : Number(status[1]);
}

/** Sees that the events are sent before the runtime stops. */
function hold(client: Client, options: FetchOptions, rest: unknown[]): void {
  try {
    const waiter = rest.find(
      (argument) => typeof (argument as WaitUntil | undefined)?.waitUntil === 'function',
    );
    if (options.waitUntil !== undefined) options.waitUntil(client.flush());
    else (waiter as WaitUntil | undefined)?.waitUntil(client.flush());
  } catch {
    // Then they are sent when they are.
  }
}

interface WaitUntil {
  waitUntil: (work: Promise<unknown>) => void;
}
