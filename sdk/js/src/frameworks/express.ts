/**
 * Express 4 and 5: `peepExpressApp(express())` for a whole application, or `app.use(peepExpress())` before everything that is to be counted.
 *
 * Either leaves the application cheaper than it was, see `declare`.
 *
 * The route is put together from what the application registered (`mounts.ts`). What no route answered (a 404, a static file, a refusal by
 * middleware) has none.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';
import { type Options, peep } from '../node.js';
import { declare } from './declare.js';
import { type Application, type ExpressRequest, learnApplications, outermost, routeOf } from './mounts.js';
import { observe } from './observe.js';

export { setRoute } from './observe.js';

type Middleware = (
  request: IncomingMessage,
  response: ServerResponse,
  next: (error?: unknown) => void,
) => void;
type Handle = (this: unknown, request: IncomingMessage, response: ServerResponse, next: unknown) => unknown;

export function peepExpress(options: Options & { client?: Client } = {}): Middleware {
  const client = options.client ?? peep(options);
  let isFirst = client.enabled;
  return function observed(request, response, next) {
    if (isFirst) {
      isFirst = false;
      const app = outermost((request as ExpressRequest).app);
      if (app !== undefined) wrapHandle(app, declare);
      learnApplications(app);
    }
    observe(client, request as ExpressRequest, response, routeOf);
    next();
  };
}

/** Counts every request of an application, and returns it. */
export function peepExpressApp<A>(app: A, options: Options & { client?: Client } = {}): A {
  const client = options.client ?? peep(options);
  if (!client.enabled) return app;
  let isFirst = true;
  const isWrapped = wrapHandle(app, (request, response) => {
    if (isFirst) {
      isFirst = false;
      learnApplications(outermost(app as Application));
    }
    declare(request, response);
    observe(client, request, response, routeOf);
  });
  if (!isWrapped)
    client.say('express', 'what peepExpressApp was given is no Express application, and is not counted');
  return app;
}

/** Does something first with each request of an application, which is a function that calls its own method `handle`. */
function wrapHandle(
  app: unknown,
  first: (request: IncomingMessage, response: ServerResponse) => void,
): boolean {
  const handle = (app as { handle?: Handle } | undefined | null)?.handle;
  if (typeof handle !== 'function') return false;
  const value: Handle = function (this: unknown, request, response, next) {
    first(request, response);
    return handle.call(this, request, response, next);
  };
  return Reflect.defineProperty(app as object, 'handle', {
    value,
    configurable: true,
    enumerable: true,
    writable: true,
  });
}
