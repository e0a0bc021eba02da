/**
 * Express 4 and 5: `peepExpressApp(express())` for a whole application, or `app.use(peepExpress())` before everything that is to be counted.
 *
 * Either leaves the application cheaper than it was, see `declare`.
 *
 * The route is put together from what the application registered: the route's own path, and the paths at which its
 * routers and applications are mounted. `req.baseUrl` is not used, because it has values in it (`/users/4711`). What
 * no route answered (a 404, a static file, a refusal by middleware) has none.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Client } from '../client.js';
import { type Options, peep } from '../node.js';
import { templateOf } from '../template.js';
import { declare, learnMark } from './declare.js';
import { observe } from './observe.js';

export { setRoute } from './observe.js';

type Path = string | RegExp | Path[];
interface Route {
  path: Path;
  [TEMPLATE]?: string;
}
/** A layer of Express's router, of which this much is looked at. */
interface Layer {
  route?: Route;
  handle?: { stack?: Layer[] };
  /** Express 5: what was registered. */
  rawPath?: Path;
  /** Express 4: what became of it. */
  regexp?: RegExp & { fast_slash?: boolean };
  keys?: { name: string | number }[];
}
interface Router {
  stack?: Layer[];
}
interface Application {
  router?: Router;
  _router?: Router;
  mountpath?: string | string[];
  parent?: Application;
}
type ExpressRequest = IncomingMessage & { route?: Route; app?: Application | undefined };
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
    }
    observe(client, request as ExpressRequest, response, routeOf);
    next();
  };
}

/** Counts every request of an application, and returns it. */
export function peepExpressApp<A>(app: A, options: Options & { client?: Client } = {}): A {
  const client = options.client ?? peep(options);
  if (!client.enabled) return app;
  const isWrapped = wrapHandle(app, (request, response) => {
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

/** The application that the server calls; others are mounted in it. */
function outermost(app: Application | undefined): Application | undefined {
  let outer = app;
  for (let depth = 0; outer?.parent !== undefined && depth < DEPTH_MAX; depth += 1) outer = outer.parent;
  return outer;
}

/** Routes are made once and used for ever: each is looked for once. It is kept on the route, which was just in use: nothing else is looked up. */
const TEMPLATE = Symbol('peep.sdk.template');

function routeOf(request: ExpressRequest): string {
  const { route } = request;
  if (route === undefined || route === null) return '';
  return route[TEMPLATE] ?? newTemplate(route, request);
}

function newTemplate(route: Route, request: ExpressRequest): string {
  learnMark(request);
  const value = fullTemplate(route, request.app);
  // A route that nothing can be added to is looked for each time.
  Reflect.defineProperty(route, TEMPLATE, { value });
  return value;
}

function fullTemplate(route: Route, app: Application | undefined): string {
  // Express 4 has a getter `router` that throws.
  const router = app?._router ?? (app === undefined ? undefined : appRouter(app));
  const mounts = router === undefined ? undefined : findRoute(route, router.stack ?? [], 0);
  // A router that is reached in a way unknown here: better a hole in the name than a wrong name.
  const inner = mounts === undefined ? ['/{*}'] : mounts;
  const outer: string[] = [];
  for (let each = app; each?.parent !== undefined && outer.length < DEPTH_MAX; each = each.parent) {
    outer.unshift(pathTemplate(each.mountpath ?? '/'));
  }
  const parts = [...outer, ...inner, pathTemplate(route.path)].filter((part) => part !== '/');
  return parts.length === 0 ? '/' : parts.join('');
}

function appRouter(app: Application): Router | undefined {
  try {
    return app.router;
  } catch {
    return undefined;
  }
}

const DEPTH_MAX = 16;

/** The templates of the mounts on the way to `route`. */
function findRoute(route: Route, stack: Layer[], depth: number): string[] | undefined {
  if (depth > DEPTH_MAX) return undefined;
  for (const layer of stack) {
    if (layer.route === route) return [];
    const inside = layer.handle?.stack;
    const below = inside === undefined ? undefined : findRoute(route, inside, depth + 1);
    if (below !== undefined) return [mountTemplate(layer), ...below];
  }
  return undefined;
}

function mountTemplate(layer: Layer): string {
  if (layer.rawPath !== undefined) return pathTemplate(layer.rawPath);
  if (layer.regexp !== undefined) return mountOfExpress4(layer.regexp, layer.keys ?? []);
  return '/{*}';
}

function pathTemplate(path: Path): string {
  if (typeof path === 'string') return templateOf(path, 'colon').replace(/(?<=.)\/$/, '');
  if (Array.isArray(path))
    return path.length === 1 ? pathTemplate(path[0] as Path) : `/{${path.map(pathTemplate).join('|')}}`;
  return `/{${String(path)}}`;
}

/** `^\/users\/(?:([^\/]+?))\/?(?=\/|$)`, or `^\/users(?:\/([^/]+?))\/?(?=\/|$)`, was `/users/:id`. */
function mountOfExpress4(
  regexp: RegExp & { fast_slash?: boolean },
  keys: { name: string | number }[],
): string {
  if (regexp.fast_slash) return '/';
  let key = 0;
  const pattern = regexp.source
    .replace(/^\^/, '')
    .replace(/\\\/\?\(\?=\\\/\|\$\)$/, '')
    .replace(
      /\(\?:(\\\/)?\(\[\^\\?\/\]\+\?\)\)/g,
      (_, slash?: string) => `${slash ? '/' : ''}:${keys[key++]?.name ?? '*'}`,
    )
    .replace(/\\([/.-])/g, '$1');
  // Anything else is a pattern of the application's own.
  return /^[\w/:.~-]*$/.test(pattern) ? templateOf(pattern, 'colon') : `/{${String(regexp)}}`;
}
