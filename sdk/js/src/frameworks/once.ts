/**
 * A request is counted once by each client, however often the SDK was installed on its way.
 *
 * An application and the router in it, the application that another one mounts, `peepHttp` around Express: each of them sees the same request. The
 * outermost measures it; the ones further in only add what they know of the route, which is more than what is known outside.
 */

import type { Client } from '../client.js';

/** Says the route of a request at its end; '' when it has none. */
type RouteOf = () => string;

/** An observer that came after another one. */
interface Inner {
  client: Client;
  routeOf: RouteOf;
  outer: Mark;
}
type Mark = Client | Inner;

/** On the request: whoever came first, mostly the only one. Of the process, also when the package is loaded twice. */
export const OBSERVED = Symbol.for('peep.sdk.observed');
export interface Observed {
  [OBSERVED]?: Mark | undefined;
}

/** Of the process, too: whether there is any request with more than one. Nothing is looked up at the end of a request while there is not. */
const NESTED = Symbol.for('peep.sdk.nested');
const place = globalThis as { [NESTED]?: { any: boolean } };
place[NESTED] ??= { any: false };
const nested = place[NESTED];

/** Whether nobody had this request before; then `client` has it now. */
export function claim(client: Client, request: object): boolean {
  try {
    if ((request as Observed)[OBSERVED] !== undefined) return false;
    (request as Observed)[OBSERVED] = client;
  } catch {
    // A request that takes no properties: better counted twice than not at all.
  }
  return true;
}

/** Whether `client` has this request for the first time all the same. In any case it asks `routeOf` before those further out. */
export function join(client: Client, request: object, routeOf: RouteOf): boolean {
  const before = (request as Observed)[OBSERVED];
  if (before === undefined) return true;
  nested.any = true;
  (request as Observed)[OBSERVED] = { client, routeOf, outer: before };
  return !has(client, before);
}

function has(client: Client, mark: Mark): boolean {
  let each = mark;
  for (; isInner(each); each = each.outer) if (each.client === client) return true;
  return each === client;
}

function isInner(mark: Mark): mark is Inner {
  return 'outer' in mark;
}

/** The route as the innermost that knows one has it; '' when only the first one may. */
export function innerRoute(client: Client, request: object): string {
  if (!nested.any) return '';
  let each = (request as Observed)[OBSERVED];
  for (; each !== undefined && isInner(each); each = each.outer) {
    const route = each.client === client ? each.routeOf() : '';
    if (route !== '') return route;
  }
  return '';
}

/** A `Request` of the web may be handed in again; one of `node:http` may not. */
export function forget(client: Client, request: object): void {
  let first = (request as Observed)[OBSERVED];
  while (first !== undefined && isInner(first)) first = first.outer;
  if (first === client) (request as Observed)[OBSERVED] = undefined;
}
