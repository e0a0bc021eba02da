/**
 * What counting saves Express: the hidden classes of its requests.
 *
 * Express replaces the prototypes of request and response. When such an object then gets one property more, V8 up to that of Node.js 22 makes a hidden class for
 * this object alone, and from there on searches for every property that anybody reads or writes: a third to a half of what an Express application does for a
 * small request. With the properties there before, all requests share their classes. This saves far more than counting costs (`bench/README.md`); V8 of Node.js
 * 24 needs it no longer, and takes no harm.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { OBSERVED, type Observed } from './once.js';

/** What every request has once Express had it. */
interface Declared extends IncomingMessage, Observed {
  next?: unknown;
  baseUrl?: unknown;
  originalUrl?: unknown;
  params?: unknown;
  route?: unknown;
  res?: unknown;
  _parsedUrl?: unknown;
}

/** Gives request and response the properties that Express is about to give them, with no value that they do not have. */
export function declare(
  request: IncomingMessage & Declared,
  response: ServerResponse & { locals?: unknown },
): void {
  try {
    // Not `query`, which Express 5 has in its prototype, and not what only some middleware adds: somebody may ask whether it is there.
    request.next ??= undefined;
    request.baseUrl ??= undefined;
    request.originalUrl ??= undefined;
    request.params ??= undefined;
    request.route ??= undefined;
    request.res ??= undefined;
    request._parsedUrl ??= undefined;
    // The SDK's own, for where its middleware comes after Express.
    request[OBSERVED] ??= undefined;
    if (routerMark !== undefined) (request as unknown as Record<symbol, unknown>)[routerMark] ??= undefined;
    response.locals ??= undefined;
    // The prototype has these two until the head is written.
    response.statusMessage ??= undefined as unknown as string;
    const { statusCode } = response;
    response.statusCode = statusCode;
  } catch {
    // An object that takes no properties is Express's problem, and was so before.
  }
}

/** Express's router notes a match on the request, under a symbol that it shares with nobody; known once a request went through it. */
let routerMark: symbol | undefined;

/** Told of a request that was routed. */
export function learnMark(request: object): void {
  routerMark ??= Object.getOwnPropertySymbols(request).find(
    ({ description }) => description === 'router.tracing.matchedRoute',
  );
}
