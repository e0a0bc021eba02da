/**
 * What the page may claim. Rows of one window come in; failing rows with their evidence leave.
 *
 * Failing means at least 10 errors and at least 1 % of requests in the window. Nothing here compares with a usual:
 * the server does not answer that yet, and the page does not claim what it cannot show.
 */
import type { Column, Row, Totals } from './types';

export const FAILING_ERRORS = 10;
export const FAILING_SHARE = 0.01;

export function isFailing(totals: Totals): boolean {
  return totals.errors >= FAILING_ERRORS && totals.errors >= totals.count * FAILING_SHARE;
}

/** The group that takes what is over the server's budget of groups; it is no service and no route. */
export const OTHER = '(other)';

export function isOther(row: { id: string }): boolean {
  return row.id.endsWith(`=${OTHER}`) || row.id === OTHER;
}

/** Failing rows first, by errors per second; the rest by requests. The order of trouble. */
export function byTrouble(a: { window: Totals; id: string }, b: { window: Totals; id: string }): number {
  if (isOther(a) !== isOther(b)) return isOther(a) ? 1 : -1;
  const failingA = isFailing(a.window);
  const failingB = isFailing(b.window);
  if (failingA !== failingB) return failingA ? -1 : 1;
  if (failingA) return b.window.errors - a.window.errors || (a.id < b.id ? -1 : 1);
  return b.window.count - a.window.count || (a.id < b.id ? -1 : 1);
}

/** How the failing of a window began: at a moment, before the window, or never for long. */
export type Onset = { kind: 'since'; at: number } | { kind: 'throughout' } | { kind: 'bursts'; last: number };

/**
 * Since when: the earliest step from which at least 80 % of the steps with requests fail 1 % or more. When that is so
 * from the very beginning of the window, it may have begun before. When it is so from no step on, the failures came in
 * bursts, and all that can be said is when the last one was.
 */
export function failingSince(t: readonly number[], count: Column, errors: Column): Onset | null {
  let seen = 0;
  let bad = 0;
  let since: number | null = null;
  let last: number | null = null;
  for (let index = t.length - 1; index >= 0; index -= 1) {
    const n = count[index] ?? 0;
    if (n === 0) continue;
    seen += 1;
    if ((errors[index] ?? 0) / n < FAILING_SHARE) continue;
    bad += 1;
    last ??= t[index] as number;
    if (bad >= seen * 0.8) since = t[index] as number;
  }
  if (since === null) return last === null ? null : { kind: 'bursts', last };
  // The first step may be cut off or empty; the second is as good as the beginning.
  return since <= (t[1] ?? since) ? { kind: 'throughout' } : { kind: 'since', at: since };
}

/** How long an error share must stay low before a row may be called recovered. */
const CALM_MS = 120_000;

/**
 * When a row that failed in this window stopped: the end of the last failing step, if everything since then, two
 * minutes at least, failed less than 1 % of its requests. `null` while it is failing, or when too little came to tell.
 */
export function recoveredAt(
  t: readonly number[],
  count: Column,
  errors: Column,
  stepMs: number,
  closed: number,
): number | null {
  let requests = 0;
  let failed = 0;
  let last = closed - 1;
  for (; last >= 0; last -= 1) {
    const n = count[last] ?? 0;
    const bad = errors[last] ?? 0;
    if (n > 0 && bad > n * FAILING_SHARE) break;
    requests += n;
    failed += bad;
  }
  const newest = t[closed - 1];
  const end = t[last];
  if (newest === undefined || end === undefined) return null;
  const calmMs = newest - end;
  if (calmMs < CALM_MS || requests * FAILING_SHARE < 1 || failed >= requests * FAILING_SHARE) return null;
  return end + stepMs;
}

export type State = 'failing' | 'recovered' | 'fine';

/** What may be said of a row now, with the moment of recovery when there is one. */
export function stateOf(
  row: Row,
  stepMs: number,
  openT: number | null,
): { state: State; recoveredMs: number | null } {
  if (!isFailing(row.window)) return { state: 'fine', recoveredMs: null };
  const { t, count, errors } = row.columns;
  const closed = openT !== null && t.at(-1) === openT ? t.length - 1 : t.length;
  const recoveredMs = recoveredAt(t, count, errors, stepMs, closed);
  return { state: recoveredMs === null ? 'failing' : 'recovered', recoveredMs };
}

/** The one row that carries at least half of the errors, with its share of them. */
export function mostErrors(rows: readonly Row[], errors: number): { row: Row; share: number } | null {
  if (errors === 0) return null;
  const worst = rows.reduce<Row | null>(
    (best, row) => (best === null || row.window.errors > best.window.errors ? row : best),
    null,
  );
  if (worst === null || worst.window.errors * 2 < errors) return null;
  return { row: worst, share: Math.min(1, worst.window.errors / errors) };
}

export function plural(n: number, one: string, many: string): string {
  return n === 1 ? one : many;
}

/** The first line of the overview. `errors` is the written share of all requests; `past` when the window is history. */
export function overviewSentence(
  services: number,
  failing: number,
  recovered: number,
  errors: string,
  past = false,
): string {
  const noun = plural(services, 'service', 'services');
  if (services === 0) return 'No requests in this window';
  if (failing > 0) {
    const verb = past ? plural(failing, 'was', 'were') : plural(failing, 'is', 'are');
    return `${failing} of ${services} ${noun} ${verb} failing requests`;
  }
  if (recovered > 0) {
    return past
      ? `${recovered} of ${services} ${noun} failed requests and recovered`
      : `No service is failing now, ${recovered} of ${services} recovered`;
  }
  return `No service ${past ? 'was' : 'is'} failing: ${services} ${noun}, ${errors === '0' ? 'no' : errors} errors`;
}
