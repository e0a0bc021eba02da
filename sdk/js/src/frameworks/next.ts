/**
 * Next.js on Node: `register()` in `instrumentation.ts` counts every request of the server.
 *
 * Requests are seen through Node's own diagnostics channel, so nothing of Next.js is replaced. The route is the page or
 * route handler that Next.js matched, which it notes on the request; should a version not do that, the route is empty
 * and the request is counted all the same. Edge functions that run elsewhere are wrapped with `withPeep`.
 */

import { subscribe } from 'node:diagnostics_channel';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';
import { type Options, peep } from '../node.js';
import { templateOf } from '../template.js';
import { claimNext } from './counted.js';
import { observe } from './observe.js';

export { setRoute } from './observe.js';

export interface NextOptions extends Options {
  client?: Client;
  /** Count requests for Next.js's own files under `/_next/`. Default false. */
  assets?: boolean;
}

const META = Symbol.for('NextInternalRequestMeta');

export function register(options: NextOptions = {}): void {
  if (!claimNext()) return;
  const client = options.client ?? peep(options);
  subscribe('http.server.request.start', (message) => {
    const { request, response } = message as { request: IncomingMessage; response: ServerResponse };
    if (options.assets !== true && /^\/_next\//.test(request.url ?? '')) return;
    observe(client, request, response, routeOf);
  });
}

interface Meta {
  match?: { definition?: { pathname?: unknown; page?: unknown } };
  invokeOutput?: unknown;
}

function routeOf(request: IncomingMessage, response: ServerResponse): string {
  if (/^\/_next\//.test(request.url ?? '')) return '/_next/{*}';
  const meta = (request as { [META]?: Meta })[META];
  const matched = meta?.match?.definition?.pathname;
  const page = typeof matched === 'string' ? matched : meta?.invokeOutput;
  if (typeof page !== 'string' || isErrorPage(page) || response.statusCode === 404) return '';
  // What Next.js found is a file of its own making, or an application's static file, whose name is a path.
  return page.startsWith('/') ? templateOf(page, 'bracket') : '';
}

function isErrorPage(page: string): boolean {
  return /^\/(?:_not-found|_error|404|500|_global-error)/.test(page);
}
