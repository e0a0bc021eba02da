/**
 * Koa 3 (and 2): `app.use(peepKoa())` before everything that is to be counted.
 *
 * The route is what `@koa/router` matched. Another router says it with `setRoute(ctx, '/users/{id}')`.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';
import { type Options, peep } from '../node.js';
import { templateOf } from '../template.js';
import { observe, setRoute as setRawRoute } from './observe.js';

interface KoaContext {
  req: IncomingMessage;
  res: ServerResponse;
}

export function peepKoa(
  options: Options & { client?: Client } = {},
): (ctx: KoaContext, next: () => Promise<unknown>) => Promise<unknown> {
  const client = options.client ?? peep(options);
  return function observed(ctx, next) {
    observe(client, ctx.req, ctx.res, () => {
      const matched = (ctx as { _matchedRoute?: unknown })._matchedRoute;
      if (typeof matched === 'string') return templateOf(matched, 'colon');
      return matched instanceof RegExp ? `/{${String(matched)}}` : '';
    });
    return next();
  };
}

/** Names the route of a request from inside the application, as a template. */
export function setRoute(ctx: { req: object }, route: string): void {
  setRawRoute(ctx.req, route);
}
