/**
 * One request of `node:http`, from here to the end of its response.
 *
 * What every Node framework shares. Promised: one listener per request, nothing thrown, nothing awaited; method, status,
 * sizes from the headers, and the trace id are all that is read of a request. A client that hung up before the response was complete
 * is status 499, as nginx has it: no error of the service, but not a success.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';

/** What frameworks may have put on the request. */
export type Observed = IncomingMessage & { [ROUTE]?: string };

/** A route that the application set itself, which beats the framework's. */
export const ROUTE = Symbol.for('peep.sdk.route');

export function observe<R extends IncomingMessage>(
  client: Client,
  request: R,
  response: ServerResponse,
  routeOf: (request: R, response: ServerResponse) => string,
): void {
  if (!client.enabled) return;
  const started = performance.now();
  response.on('close', () => {
    try {
      const now = performance.now();
      const { headers } = request;
      const isComplete = response.writableFinished ?? response.writableEnded;
      client.note(
        (request as Observed)[ROUTE] ?? routeOf(request, response),
        request.method ?? '',
        isComplete ? response.statusCode : 499,
        now - started,
        now,
        sizeOf(headers['content-length']),
        sizeOf(response.getHeader('content-length')),
        headers.traceparent,
      );
    } catch {
      client.request('', request.method ?? '', response.statusCode, performance.now() - started);
    }
  });
}

/** Names the route of a request from inside the application, as a template. */
export function setRoute(request: object, route: string): void {
  (request as Observed)[ROUTE] = route;
}

export function sizeOf(header: unknown): number {
  if (header === undefined) return -1;
  const size = Number(header);
  return Number.isSafeInteger(size) && size >= 0 ? size : -1;
}
