/**
 * Plain `node:http`: `createServer(peepHttp(listener))`.
 *
 * There is no router to ask. The application names routes with `setRoute(request, '/users/{id}')` or the option `route`;
 * requests it does not name have none. `route: guessRoute` takes a template from the path by peep's shared rules.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';
import { type Options, peep } from '../node.js';
import { guessRoute } from '../route.js';
import { observe } from './observe.js';

export { setRoute } from './observe.js';

type Listener = (request: IncomingMessage, response: ServerResponse) => unknown;

export interface HttpOptions extends Options {
  client?: Client;
  /** The template of a request's route, when the application has not set one; `guess` reads it off the path. */
  route?: 'guess' | ((request: IncomingMessage) => string | undefined);
}

export function peepHttp<L extends Listener>(listener: L, options: HttpOptions = {}): L {
  const client = options.client ?? peep(options);
  const { route } = options;
  const routeOf = (request: IncomingMessage) =>
    route === 'guess' ? guessRoute(request.url ?? '') : (route?.(request) ?? '');
  return function observed(this: unknown, request: IncomingMessage, response: ServerResponse) {
    observe(client, request, response, routeOf);
    return listener.call(this, request, response);
  } as L;
}
