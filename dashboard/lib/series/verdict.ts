/**
 * What the page may claim. The server judges against what is usual (`/v1/findings`); its findings come in, sentences
 * leave. From a server that does not judge, rows of one window come in: failing then means at least 10 errors and at
 * least 1 % of requests, nothing is compared with a usual, and the page says so.
 */
import { count, latency, NBSP, rate, share, write } from '@/lib/format/number';
import type { Finding } from '@/lib/query/findings';
import type { Column, Row, Totals } from './types';

export const FAILING_ERRORS = 10;
export const FAILING_SHARE = 0.01;

export function isFailing(totals: Totals): boolean {
  return totals.errors >= FAILING_ERRORS && totals.errors >= totals.count * FAILING_SHARE;
}

/** So many times its usual is what the server calls failing. */
const TIMES_USUAL = 3;

/**
 * Whether a part of a service may be called failing: one rule with the verdict above it. Where the server judges, no part
 * fails in a service that does not, and in one that does only those far above what is usual there.
 */
export function partFails(totals: Totals, judged: boolean, finding: Finding | undefined): boolean {
  if (!isFailing(totals)) return false;
  if (!judged) return true;
  if (finding?.kind !== 'failing') return false;
  const usual = finding.unit === 'share' ? (finding.usual ?? 0) : 0;
  return totals.errors >= totals.count * usual * TIMES_USUAL;
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

export type State = 'failing' | 'silent' | 'slower' | 'recovered' | 'fine';

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

/** What a finding means for the rows that are about it. */
export function stateOfFinding(finding: Finding | undefined): State {
  if (finding === undefined) return 'fine';
  return finding.recoveredMs === null ? finding.kind : 'recovered';
}

const KIND_RANK = { failing: 0, silent: 1, slower: 2 } as const;

/** Failing, silent, slower; inside, what hurts more people per second. Recovered ones last. */
export function byWeight(a: Finding, b: Finding): number {
  return (
    Number(a.recoveredMs !== null) - Number(b.recoveredMs !== null) ||
    KIND_RANK[a.kind] - KIND_RANK[b.kind] ||
    b.perSecond - a.perSecond ||
    (a.service < b.service ? -1 : 1)
  );
}

/** A finding from rows alone, for a server that does not judge. It has no usual, no release and no place. */
export function findingOf(row: Row, stepMs: number, openT: number | null): Finding | null {
  const { state, recoveredMs } = stateOf(row, stepMs, openT);
  if (state === 'fine') return null;
  const { columns, window } = row;
  const since = failingSince(columns.t, columns.count, columns.errors);
  return {
    kind: 'failing',
    service: row.key.service ?? '',
    env: null,
    title: '',
    value: window.count === 0 ? null : window.errors / window.count,
    usual: null,
    unit: 'share',
    sinceMs: since?.kind === 'since' ? since.at : null,
    after: null,
    where: null,
    status: null,
    affected: window.errors,
    perSecond: window.count === 0 ? 0 : (window.rate * window.errors) / window.count,
    recoveredMs,
    alert: null,
  };
}

/** A value of a finding as it is written: a share in percent, a latency, a rate. */
export function writeValue(value: number | null, unit: string): string {
  if (value === null) return '–';
  if (unit === 'share') return write(share(value, 1));
  return unit === 'ms' ? write(latency(value)) : write(rate(value));
}

export interface FindingWords {
  before: string;
  /** The one number that matters; empty when the words say it all. */
  number: string;
  after: string;
}

/** `4.21 % of requests fail, usually 0.12 %`, cut around its number. */
export function findingWords(finding: Finding): FindingWords {
  const past = finding.recoveredMs !== null;
  const usual = finding.usual === null ? '' : `, usually ${writeValue(finding.usual, finding.unit)}`;
  const number = writeValue(finding.value, finding.unit);
  const affected = write(count(finding.affected));
  // What a rule saw is in its own words: it was not measured against what is usual.
  if (finding.alert?.alone) return { before: finding.title, number: '', after: '' };
  if (finding.value !== null && finding.kind === 'failing' && finding.unit === 'share')
    return { before: '', number, after: ` of requests ${past ? 'failed' : 'fail'}${usual}` };
  if (finding.value !== null && finding.kind === 'slower' && finding.unit === 'ms')
    return { before: `p99 ${past ? 'was' : 'is'} `, number, after: usual };
  // When it was over stands beside these words, and in the title of the server too: here is what it cost.
  if (past && finding.kind === 'slower' && finding.usual !== null)
    return {
      before: '',
      number: affected,
      after: ` slow requests, p99 usually ${writeValue(finding.usual, finding.unit)}`,
    };
  if (past && finding.kind === 'silent') return { before: 'no requests', number: '', after: usual };
  return { before: finding.title, number: '', after: '' };
}

/** Whether it is known only since when an alert fires, and not since when it is so. */
export function isOfAlert(finding: Finding): boolean {
  return finding.alert?.alone === true && finding.kind !== 'silent';
}

export function findingSentence(finding: Finding): string {
  const words = findingWords(finding);
  return `${words.before}${words.number}${words.after}`;
}

/** `20 s`, `5 min`: how long after a release. */
export function shortSpan(ms: number): string {
  if (ms < 100_000) return `${Math.max(0, Math.round(ms / 1000))}${NBSP}s`;
  if (ms < 6_000_000) return `${Math.round(ms / 60_000)}${NBSP}min`;
  return `${Math.round(ms / 3_600_000)}${NBSP}h`;
}

export interface Verdict {
  services: number;
  /** Findings that have not recovered, at most one a service. */
  troubled: number;
  recovered: number;
  /** Whether the server compared with what is usual. */
  judged: boolean;
  /** Services with nothing to compare with yet. */
  fresh: number;
  past: boolean;
}

/** The first line of the overview. */
export function overviewSentence({ services, troubled, recovered, judged, fresh, past }: Verdict): string {
  const noun = plural(services, 'service', 'services');
  if (services === 0) return 'No requests in this window';
  if (troubled > 0) {
    const verb = past ? plural(troubled, 'needed', 'needed') : plural(troubled, 'needs', 'need');
    return `${troubled} of ${services} ${noun} ${verb} attention`;
  }
  if (recovered > 0)
    return `${recovered} of ${services} ${noun} recovered, none ${past ? 'needed' : 'needs'} attention`;
  const is = past ? plural(services, 'was', 'were') : plural(services, 'is', 'are');
  if (!judged) return `None of ${services} ${noun} ${past ? 'was' : 'is'} failing`;
  if (fresh >= services)
    return services === 1
      ? 'The one service is new, no usual yet'
      : `All ${services} services are new, no usual yet`;
  const known = services - fresh;
  if (services === 1) return `The one service ${is} within its usual range`;
  return fresh === 0
    ? `All ${services} ${noun} ${is} within their usual range`
    : `${known} of ${services} ${noun} ${is} within their usual range, ${fresh} ${plural(fresh, 'is', 'are')} new`;
}
