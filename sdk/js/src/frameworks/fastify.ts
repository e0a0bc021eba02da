/**
 * Fastify 5 (and 4): `app.register(peepFastify())`, before the routes.
 *
 * The hooks reach every route of the server, not only those of a plugin's own scope.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';
import { type Options, peep } from '../node.js';
import { templateOf } from '../template.js';
import { observe, setRoute as setRawRoute } from './observe.js';

interface FastifyRequest {
  raw: IncomingMessage;
  routeOptions?: { url?: string | undefined };
}
interface FastifyReply {
  raw: ServerResponse;
}
/** As much of Fastify's instance as is used; the real one fits. */
interface FastifyInstance {
  addHook(
    name: 'onRequest',
    hook: (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void,
  ): unknown;
  server?: {
    on?(name: 'request', listener: (request: IncomingMessage, response: ServerResponse) => void): unknown;
  };
}
// biome-ignore lint/suspicious/noExplicitAny: Fastify's own type has a dozen parameters, and this package no dependency
type Plugin = (instance: any, options: unknown, done: (error?: Error) => void) => void;

export function peepFastify(options: Options & { client?: Client } = {}): Plugin {
  const client = options.client ?? peep(options);
  const plugin: Plugin = (instance: FastifyInstance, _, done) => {
    instance.addHook('onRequest', (request, reply, next) => {
      // The route is known before the first hook; a 404 has no URL.
      observe(client, request.raw, reply.raw, () => {
        const url = request.routeOptions?.url;
        return url === undefined ? '' : templateOf(url, 'colon');
      });
      next();
    });
    // What Fastify's router cannot decode is answered before any hook. The listener is called when that has happened.
    instance.server?.on?.('request', (request, response) => {
      if (!isDecodable(request.url)) observe(client, request, response, () => '');
    });
    done();
  };
  return Object.assign(plugin, {
    [Symbol.for('skip-override')]: true,
    [Symbol.for('fastify.display-name')]: 'peep',
  });
}

/** Whether the path is one, with everything in it that is encoded. */
function isDecodable(url = ''): boolean {
  if (!url.includes('%')) return true;
  try {
    decodeURI(url.replace(/[?#].*$/s, ''));
    return true;
  } catch {
    return false;
  }
}

/** Names the route of a request from inside the application, as a template. */
export function setRoute(request: { raw: object }, route: string): void {
  setRawRoute(request.raw, route);
}
