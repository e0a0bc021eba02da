/**
 * The template of a route of Express, from what the application registered: the route's own path, and those at which the routers and applications
 * around it are mounted.
 *
 * Asked at the end of a request, when Express may be out of all of them again: `request.route` is what remains. So the ways to a route are looked
 * for from the outermost application inwards, once for each route; only where one router is mounted at several paths, the address says by
 * which of them the request came. Promised: where a mount cannot be known it is `{*}`, and what may be known the next time is then looked for again. Not
 * done: a router that is mounted at one more path after it had its first request stays where it was.
 */

import type { IncomingMessage } from 'node:http';
import { templateOf } from '../template.js';
import { learnMark } from './declare.js';

type Path = string | RegExp | Path[];
interface Route {
  path: Path;
  [TEMPLATE]?: Known;
  [TEMPLATES]?: WeakMap<Application, Known>;
}
/** The template; or several ways, where they have several. */
type Known = string | Way[];
/** A layer of Express's router, of which this much is looked at. */
interface Layer {
  route?: Route;
  name?: string;
  handle?: Handle & Router & Application;
  /** Express 5: what was registered. */
  rawPath?: Path;
  match?: (path: string) => boolean | { path: string };
  path?: string;
  /** Express 4: what became of it. */
  regexp?: RegExp & { fast_slash?: boolean };
  keys?: { name: string | number }[];
  /** The router of the application that is mounted here. */
  [INSIDE]?: Router;
}
interface Router {
  stack?: Layer[];
}
export interface Application {
  router?: Router;
  _router?: Router;
  mountpath?: string | string[];
  parent?: Application;
}
export type ExpressRequest = IncomingMessage & {
  route?: Route;
  app?: Application | undefined;
  baseUrl?: string;
  originalUrl?: string;
};
type Handle = (this: unknown, ...given: unknown[]) => unknown;

/** From the outermost application to a route: the mounts, and last the route's own layer. */
interface Way {
  layers: Layer[];
  template: string;
}

/** Routes are made once and used for ever: each is looked for once. It is kept on the route, which was just in use: nothing else is looked up. */
const TEMPLATE = Symbol('peep.sdk.template');
/** The same by outermost application, once there are several: they may share a router. */
const TEMPLATES = Symbol('peep.sdk.templates');
const INSIDE = Symbol('peep.sdk.inside');
const AWAITING = Symbol('peep.sdk.awaiting');

/** Of an application whose router did not show itself: it is of another copy of Express. */
const NONE: Router = {};

const DEPTH_MAX = 16;
const WAYS_MAX = 64;

export function routeOf(request: ExpressRequest): string {
  const { route } = request;
  if (route === undefined || route === null) return '';
  const known = (areSeveral ? knownIn(request, route) : route[TEMPLATE]) ?? learnRoute(route, request);
  return typeof known === 'string' ? known : templateFor(request, route, known);
}

let first: WeakRef<Application> | undefined;
let areSeveral = false;

function knownIn({ app }: ExpressRequest, route: Route): Known | undefined {
  const outer = outermost(app);
  return outer && route[TEMPLATES]?.get(outer);
}

/** The application that the server calls; others are mounted in it. */
export function outermost(app: Application | undefined): Application | undefined {
  let outer = app;
  for (let depth = 0; outer?.parent !== undefined && depth < DEPTH_MAX; depth += 1) outer = outer.parent;
  return outer;
}

function learnRoute(route: Route, request: ExpressRequest): Known {
  learnMark(request);
  const { app } = request;
  const outer = outermost(app);
  const ways = waysFrom(outer, route);
  if (ways !== undefined) return kept(route, outer, ways);
  const { awaited, unknown } = learnApplications(outer);
  const template = templateWithin(app, route);
  // What is found in the request's own application is right, but not where it is mounted twice; that nothing is found may be because the request has left it.
  const isFinal = template === undefined ? awaited + unknown === 0 : awaited === 0;
  return isFinal
    ? kept(route, outer, [{ layers: [], template: template ?? hidden(route) }])
    : (template ?? hidden(route));
}

function kept(route: Route, app: Application | undefined, ways: Way[]): Known {
  const value = new Set(ways.map(({ template }) => template)).size === 1 ? (ways[0] as Way).template : ways;
  // A route that nothing can be added to is looked for each time.
  if (!areSeveral) Reflect.defineProperty(route, TEMPLATE, { value, configurable: true });
  else if (app !== undefined) {
    const templates = (route[TEMPLATES] ?? new WeakMap<Application, Known>()).set(app, value);
    Reflect.defineProperty(route, TEMPLATES, { value: templates, configurable: true });
  }
  return value;
}

/** A route that is reached in a way unknown here: better a hole in the name than a wrong name. */
function hidden(route: Route): string {
  return joined(['/{*}', pathTemplate(route.path)]);
}

function waysFrom(app: Application | undefined, route: Route): Way[] | undefined {
  const found: Layer[][] = [];
  findWays(route, routerOf(app)?.stack, [], found);
  if (found.length === 0) return undefined;
  return found.map((layers) => ({ layers, template: templateAlong(layers, route) }));
}

/** In the request's own application, when nothing is known of how one comes there, except where it was mounted last. */
function templateWithin(app: Application | undefined, route: Route): string | undefined {
  const outer: string[] = [];
  for (let each = app; each?.parent !== undefined && outer.length < DEPTH_MAX; each = each.parent) {
    outer.unshift(pathTemplate(each.mountpath ?? '/'));
  }
  const [way] = (outer.length > 0 ? waysFrom(app, route) : undefined) ?? [];
  return way && joined([...outer, way.template]);
}

function findWays(route: Route, stack: Layer[] | undefined, outer: Layer[], found: Layer[][]): void {
  if (!Array.isArray(stack) || outer.length > DEPTH_MAX) return;
  for (const layer of stack) {
    if (found.length === WAYS_MAX) return;
    if (layer.route === route) found.push([...outer, layer]);
    else if (layer.route === undefined) findWays(route, insideOf(layer)?.stack, [...outer, layer], found);
  }
}

/** What is mounted by a layer: a router, or an application. */
function insideOf(layer: Layer): Router | undefined {
  const { handle } = layer;
  if (handle === undefined || handle === null) return undefined;
  return layer[INSIDE] ?? (Array.isArray(handle.stack) ? handle : routerOf(handle));
}

function routerOf(app: Application | undefined): Router | undefined {
  try {
    // Express 4 has a getter `router` that throws.
    return app?._router ?? app?.router;
  } catch {
    return undefined;
  }
}

/** `app.use(path, other)` puts a function of this name around the other application, which cannot be seen from outside. */
const MOUNTED = 'mounted_app';

/** How many applications are mounted whose router will be known soon, and how many of which it never will. */
interface Mounted {
  awaited: number;
  unknown: number;
}

/**
 * Sees to it that the routers of mounted applications are known as soon as a request comes to them. Called before the first one does: of a request that
 * fails in such an application the route is all that is left, Express is back in the outermost one when it is counted.
 */
export function learnApplications(app: Application | undefined): Mounted {
  if (app !== undefined) {
    first ??= new WeakRef(app);
    areSeveral ||= first.deref() !== app;
  }
  const router = routerOf(app);
  const mounted = { awaited: 0, unknown: 0 };
  const handles = router === undefined ? undefined : handlesOf(router);
  try {
    if (handles !== undefined) awaitIn(router?.stack, handles, 0, mounted);
  } catch {
    // What takes no change stays unknown.
  }
  return mounted;
}

interface Handles {
  handle: Handle;
}

/** What routers have their `handle` from. */
function handlesOf(router: object): Handles | undefined {
  let each: object | null = Object.getPrototypeOf(router);
  while (each !== null && !Object.hasOwn(each, 'handle')) each = Object.getPrototypeOf(each);
  return (each as Handles | null) ?? undefined;
}

function awaitIn(stack: Layer[] | undefined, handles: Handles, depth: number, mounted: Mounted): void {
  if (!Array.isArray(stack) || depth > DEPTH_MAX) return;
  for (const layer of stack) {
    if (layer.route !== undefined) continue;
    const inside = insideOf(layer);
    if (inside === NONE) mounted.unknown += 1;
    else if (inside !== undefined) awaitIn(inside.stack, handles, depth + 1, mounted);
    else if (layer.name === MOUNTED) {
      mounted.awaited += 1;
      awaitRouter(layer, handles);
    }
  }
}

/** The first router that is entered while the layer is, is the one of its application. The first request is enough; nothing remains of this. */
function awaitRouter(layer: Layer, handles: Handles): void {
  const mounted = layer.handle as Handle;
  if (AWAITING in mounted) return;
  // Express counts the parameters.
  const awaiting = function (this: unknown, request: unknown, response: unknown, next: unknown) {
    layer.handle = mounted;
    const { handle } = handles;
    handles.handle = function (this: Router, ...given) {
      handles.handle = handle;
      layer[INSIDE] = this;
      forgetIn(this.stack, 0);
      awaitIn(this.stack, handles, 0, { awaited: 0, unknown: 0 });
      return handle.apply(this, given);
    } as Handle;
    try {
      return mounted.call(this, request, response, next);
    } finally {
      handles.handle = handle;
      layer[INSIDE] ??= NONE;
    }
  };
  layer.handle = Object.assign(awaiting, { [AWAITING]: true });
}

/** There is one way more to these routes, maybe not the first. */
function forgetIn(stack: Layer[] | undefined, depth: number): void {
  if (!Array.isArray(stack) || depth > DEPTH_MAX) return;
  for (const layer of stack) {
    if (layer.route !== undefined) {
      Reflect.deleteProperty(layer.route, TEMPLATE);
      Reflect.deleteProperty(layer.route, TEMPLATES);
    } else forgetIn(insideOf(layer)?.stack, depth + 1);
  }
}

/** Which way a request came. Express takes the first that fits, and so does this. */
function templateFor(request: ExpressRequest, route: Route, ways: Way[]): string {
  const path = pathOf(request.originalUrl ?? request.url ?? '');
  const base = request.baseUrl ?? '';
  // An application may have given the request another address, which then only shows in its base.
  const way =
    (path.startsWith(base) ? ways.find(({ layers }) => isRest(path, layers, true)) : undefined) ??
    ways.find(({ layers }) => isRest(base, layers.slice(0, -1), false));
  return way?.template ?? hidden(route);
}

function pathOf(target: string): string {
  return target.replace(/[?#].*$/s, '').replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, '');
}

/** Whether the layers, one behind the other, take all of `path`: the last of them as a route, or else nothing being left. */
function isRest(path: string, layers: Layer[], isRoute: boolean): boolean {
  let rest = path;
  for (const layer of layers) {
    const from = rest.startsWith('/') ? rest : `/${rest}`;
    const taken = takenBy(layer, from);
    if (taken === undefined || !from.startsWith(taken)) return false;
    rest = from.slice(taken.length);
  }
  return isRoute || rest === '' || rest === '/';
}

/** The beginning of `path` that a layer matches, as Express would. */
function takenBy(layer: Layer, path: string): string | undefined {
  const { regexp } = layer;
  if (regexp !== undefined) return regexp.fast_slash ? '' : regexp.exec(path)?.[0];
  try {
    const match = layer.match?.(path);
    // Earlier releases note on the layer what they matched, each time anew.
    return typeof match === 'object' ? match.path : match ? layer.path : undefined;
  } catch {
    return undefined;
  }
}

function templateAlong(layers: Layer[], route: Route): string {
  return joined([...layers.slice(0, -1).map(mountTemplate), pathTemplate(route.path)]);
}

function joined(templates: string[]): string {
  return templates.filter((part) => part !== '/').join('') || '/';
}

function mountTemplate(layer: Layer): string {
  if (layer.rawPath !== undefined) return pathTemplate(layer.rawPath);
  if (layer.regexp !== undefined) return mountOfExpress4(layer.regexp, layer.keys ?? []);
  return '/{*}';
}

function pathTemplate(path: Path): string {
  if (typeof path === 'string') return templateOf(path, 'colon').replace(/(?<=.)\/$/, '');
  if (Array.isArray(path)) return anyOf(path.map(pathTemplate));
  return `/{${String(path)}}`;
}

function anyOf(templates: string[]): string {
  return templates.length === 1 ? (templates[0] as string) : `/{${templates.join('|')}}`;
}

/** What Express 4 ends the pattern of a mount with. */
const END = '\\/?(?=\\/|$)';

/** `^\/users\/(?:([^\/]+?))\/?(?=\/|$)`, or `^\/users(?:\/([^/]+?))\/?(?=\/|$)`, was `/users/:id`; of several paths there is one behind the other. */
function mountOfExpress4(
  regexp: RegExp & { fast_slash?: boolean },
  keys: { name: string | number }[],
): string {
  if (regexp.fast_slash) return '/';
  const { source } = regexp;
  // A pattern of the application's own.
  if (!source.startsWith('^') || !source.endsWith(END)) return `/{${String(regexp)}}`;
  const names = keys.map(({ name }) => name);
  return anyOf(
    source
      .slice(1, -END.length)
      .split(`${END}|^`)
      .map((each) => fromExpress4(each, names)),
  );
}

/** The path that was given, from Express 4's pattern; takes the names that it needs. */
function fromExpress4(pattern: string, names: (string | number)[]): string {
  let template = '';
  for (const [part, group] of pattern.matchAll(PARTS)) {
    // More than a path.
    if (/^[()[\]|^$*+?]$/.test(part)) return '/{*}';
    template += group === undefined ? part.replace('\\', '') : parameter(group, names);
  }
  return template === '' ? '/' : template;
}

/** `(?:\/([^/]+?))` was `/:id`, `(?:\/([^/]+?)((?:[/].+?)?))` was `/:id*`. */
function parameter(group: string, names: (string | number)[]): string {
  const before = /^\(\?:\\([/.])/.exec(group)?.[1] ?? '';
  const [name, more] = names.splice(
    0,
    group.match(/\\.|\((?!\?)/g)?.filter((part) => part === '(').length ?? 0,
  );
  return `${before}{${more === undefined ? '' : '*'}${typeof name === 'string' ? name : '*'}}`;
}

/** Either a group with what is in it, five deep, where Express 4 needs four, and what says how often it is there; or a letter. */
const PARTS = new RegExp(`(${groups(5)})[?*+]?|\\\\.|[^]`, 'g');

function groups(depth: number): string {
  return `\\((?:\\\\.|[^()\\\\]${depth === 1 ? '' : `|${groups(depth - 1)}`})*\\)`;
}
