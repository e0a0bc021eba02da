/**
 * Whether the server around counts already what a wrapper of this process would count: `register()` of `next.ts` sees every request.
 *
 * Said by a property of the global object, which no child of the process inherits. Edge functions that Next.js hosts itself have a global object of
 * their own, and of their server nothing but its environment: for them alone there is a variable.
 */

const REGISTERED = Symbol.for('peep.sdk.next');
const place = globalThis as { [REGISTERED]?: boolean };

/** Whether this is the first call. Next.js loads instrumentation more than once in development. */
export function claimNext(): boolean {
  if (place[REGISTERED]) return false;
  place[REGISTERED] = true;
  process.env.PEEP_NEXT_REGISTERED = '1';
  return true;
}

export function isCountedByNext(): boolean {
  if (place[REGISTERED]) return true;
  const environment = typeof process === 'object' ? process.env : undefined;
  return environment?.NEXT_RUNTIME === 'edge' && environment.PEEP_NEXT_REGISTERED === '1';
}
