/**
 * Handlers from `Request` to `Response`: Hono's and Bun's `fetch`, Deno, workers, edge functions, route handlers.
 *
 * Measured is the time until the handler has its response; a body that streams on is the runtime's. A handler that
 * throws is a status 500, and what it threw goes on to whoever called. Where nothing runs after a response, pass the
 * platform's `waitUntil`, or an argument of the handler that has one.
 */

import type { Client } from '../client.js';
import { edge } from '../edge.js';
import { sizeOf } from '../event.js';
import type { Options } from '../options.js';

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
    if (options.client === undefined && isCountedByServer()) return handler(request, ...rest);
    // Only now: a worker has no environment before its first request.
    client ??= edge(options);
    const started = performance.now();
    let response: Response | undefined;
    try {
      response = await handler(request, ...rest);
      return response;
    } finally {
      finish(client, options, request, response, performance.now() - started, rest);
    }
  };
}

/** An edge function that Next.js hosts itself: `register()` of the server around it counts the same requests. */
function isCountedByServer(): boolean {
  return typeof process === 'object' && process.env?.PEEP_NEXT_REGISTERED === '1';
}

function finish(
  client: Client,
  options: FetchOptions,
  request: Request,
  response: Response | undefined,
  durationMs: number,
  rest: unknown[],
): void {
  try {
    const route = typeof options.route === 'function' ? options.route(request) : options.route;
    const { headers } = request;
    client.request(
      route ?? '',
      request.method,
      response?.status ?? 500,
      durationMs,
      sizeOf(headers.get('content-length') ?? undefined),
      sizeOf(response?.headers.get('content-length') ?? undefined),
      headers.get('traceparent') ?? undefined,
    );
    const waiter = rest.find(
      (argument) => typeof (argument as WaitUntil | undefined)?.waitUntil === 'function',
    );
    if (options.waitUntil !== undefined) options.waitUntil(client.flush());
    else (waiter as WaitUntil | undefined)?.waitUntil(client.flush());
  } catch {
    // Counting is no reason for a request to fail.
  }
}

interface WaitUntil {
  waitUntil: (work: Promise<unknown>) => void;
}
