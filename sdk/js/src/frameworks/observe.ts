/**
 * One request of `node:http`, from here to the end of its response.
 *
 * What every Node framework shares. Promised: one listener per request, nothing thrown, nothing awaited; method, status,
 * sizes from the headers, and the trace id are all that is read of a request; whoever observes a request that its client has already, only adds
 * the route (`once.ts`). A client that hung up before the response was complete is status 499, as nginx has it: no error of the service, but not
 * a success.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';
import { hasBody } from '../event.js';
import { claim, innerRoute, join } from './once.js';

/** What frameworks may have put on the request. */
export type Observed = IncomingMessage & { [ROUTE]?: string };

/** A route that the application set itself, which beats the framework's. */
export const ROUTE = Symbol.for('peep.sdk.route');

/** Node's global is a getter. */
const clock = performance;

/** Of the process, also when the package is loaded twice: whether any route was named by the application. */
const NAMED = Symbol.for('peep.sdk.named');
const place = globalThis as { [NAMED]?: { any: boolean } };
place[NAMED] ??= { any: false };
const named = place[NAMED];

/**
 * What is known at the beginning is read at the beginning. Express replaces the prototypes of request and response, after which V8 knows their hidden
 * classes no longer: to read a property costs one to three microseconds then, also of one that is not there (`bench/README.md`).
 */
export function observe<R extends IncomingMessage>(
  client: Client,
  request: R,
  response: ServerResponse,
  routeOf: (request: R, response: ServerResponse) => string,
): void {
  if (!client.enabled) return;
  if (!claim(client, request) && !join(client, request, () => routeOf(request, response))) return;
  const started = clock.now();
  const { method = '', headers } = request;
  response.on('close', () => {
    try {
      const now = clock.now();
      const { statusCode } = response;
      client.note(
        (named.any ? (request as Observed)[ROUTE] : undefined) ??
          (innerRoute(client, request) || routeOf(request, response)),
        method,
        isComplete(response) ? statusCode : 499,
        now - started,
        now,
        headers['content-length'],
        hasBody(method, statusCode) ? bytesOut(response) : 0,
        headers.traceparent,
      );
    } catch {
      client.request('', method, response.statusCode, clock.now() - started);
    }
  });
}

/** A stream of HTTP/2 is finished also when it was reset, but nobody has ended it then. */
function isComplete(response: ServerResponse): boolean {
  return (response.writableFinished ?? true) && response.writableEnded;
}

/** Node.js keeps the size as a number, also where it wrote the header itself. Where it does not, the header is looked for. */
function bytesOut(response: ServerResponse): unknown {
  const { _contentLength: length } = response as { _contentLength?: unknown };
  return typeof length === 'number' ? length : response.getHeader('content-length');
}

/** Names the route of a request from inside the application, as a template. */
export function setRoute(request: object, route: string): void {
  named.any = true;
  (request as Observed)[ROUTE] = route;
}
