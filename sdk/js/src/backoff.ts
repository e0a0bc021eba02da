/**
 * How long to wait before the next try.
 *
 * In: the number of failures so far, what the server asked for, a random number. Out: milliseconds. Exponential with
 * full jitter (anything between nothing and the ceiling), so that many processes that lost the same server do not
 * return in step; a `Retry-After` is a floor, because the server knows better. Vectors: `sdk/fixtures/backoff.json`.
 */

export interface Backoff {
  /** The ceiling of the first pause; doubles with each failure. */
  firstMs: number;
  /** The ceiling of every pause that the server did not ask for. */
  maxMs: number;
}

/** A server that asks for more than this is asked again after it. */
const RETRY_AFTER_MS_MAX = 120_000;

/** The jitter on top of what the server asked for. */
const SPREAD_MS_MAX = 1000;

/** `failures` counts from 1; `random` is in [0, 1). */
export function pauseMs(
  backoff: Backoff,
  failures: number,
  retryAfterMs: number | undefined,
  random: number,
): number {
  const ceiling = Math.min(backoff.firstMs * 2 ** Math.min(failures - 1, 30), backoff.maxMs);
  const jittered = Math.floor(random * (ceiling + 1));
  if (retryAfterMs === undefined) return jittered;
  return Math.min(retryAfterMs, RETRY_AFTER_MS_MAX) + Math.min(jittered, SPREAD_MS_MAX);
}

/** `Retry-After`: seconds, or a date of HTTP. Anything else is as if it were absent. */
export function retryAfterMs(header: string | undefined | null, nowMs: number): number | undefined {
  const text = header?.trim();
  if (!text) return undefined;
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000;
  // Every form of HTTP's dates begins with the name of a day; `Date.parse` alone would take much more.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) return undefined;
  const until = Date.parse(text);
  return Number.isNaN(until) ? undefined : Math.max(0, until - nowMs);
}
