/** `GET /v1/events` as the page of single requests asks it: any filter, a count of what matches, and all fields of a row. */
import type { Term } from '@/lib/requests/terms';
import { array, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import { getJson, type Window } from './http';

export interface OneRequest {
  tsMs: number;
  service: string;
  env: string;
  route: string;
  method: string;
  status: number | null;
  durationMs: number | null;
  error: string | null;
  host: string | null;
  version: string | null;
  traceId: string | null;
  receipt: string | null;
  /** How many requests this one stands for, where not all were kept. */
  weight: number;
  /** Everything the server sent about it, for the drawer and for copying. */
  raw: Readonly<Record<string, unknown>>;
}

export interface DurationHistogram {
  /** Lower bounds in microseconds, ascending; one more than there are counts. */
  rowUs: number[];
  count: number[];
}

export interface Requests {
  rows: OneRequest[];
  next: string | null;
  sampled: boolean;
  /** Of the whole window, by weight; `null` from a server that does not count. */
  matched: number | null;
  total: number | null;
  durations: DurationHistogram | null;
}

/** The parameters of the API for a filter. */
export function filterQuery(env: string | null, terms: readonly Term[]): URLSearchParams {
  const query = new URLSearchParams();
  if (env !== null) query.append('env', env);
  for (const term of terms) {
    if (term.kind === 'text') query.set('text', term.text);
    else if (term.kind === 'min') query.set('min_duration_ms', String(term.ms));
    else if (term.kind === 'max') query.set('max_duration_ms', String(term.ms));
    else if (term.field === 'trace') query.set('trace_id', term.value);
    else query.append(term.field, `${term.negated ? '!' : ''}${term.value}`);
  }
  return query;
}

export async function fetchRequests(
  question: { env: string | null; terms: readonly Term[]; window: Window; limit: number; cursor?: string },
  signal: AbortSignal,
): Promise<Requests> {
  const query = filterQuery(question.env, question.terms);
  query.set('from', String(question.window.from));
  query.set('to', String(question.window.to));
  query.set('limit', String(question.limit));
  if (question.cursor !== undefined) query.set('cursor', question.cursor);
  return parseRequests(await getJson(`/v1/events?${query}`, signal));
}

/**
 * The first rows with their counts, the total being that of the chosen environment: the server's is of the whole project.
 */
export async function fetchCounted(
  question: { env: string | null; terms: readonly Term[]; window: Window; limit: number },
  signal: AbortSignal,
): Promise<Requests> {
  if (question.env === null) return fetchRequests(question, signal);
  if (question.terms.length === 0) {
    const answer = await fetchRequests(question, signal);
    return { ...answer, total: answer.matched };
  }
  const [answer, all] = await Promise.all([
    fetchRequests(question, signal),
    fetchRequests({ ...question, terms: [], limit: 1 }, signal),
  ]);
  // Two moments of a live window: a part is never told to be more than its whole.
  const total = all.matched === null ? null : Math.max(all.matched, answer.matched ?? 0);
  return { ...answer, total };
}

export function parseRequests(value: unknown): Requests {
  const answer = object(value, 'events');
  return {
    rows: array(answer.events, 'events').map((item, index) => oneRequest(item, `events[${index}]`)),
    next: textOrNull(answer.next_cursor, 'next_cursor'),
    sampled: answer.sampled === true,
    matched: numberOrNull(answer.matched, 'matched'),
    total: numberOrNull(answer.total, 'total'),
    durations: histogram(answer.duration_histogram),
  };
}

export function oneRequest(value: unknown, at: string): OneRequest {
  const fields = object(value, at);
  return {
    tsMs: number(fields.ts_ms, `${at}.ts_ms`),
    service: text(fields.service, `${at}.service`),
    env: textOrNull(fields.env, `${at}.env`) ?? '',
    route: textOrNull(fields.route, `${at}.route`) ?? '',
    method: textOrNull(fields.method, `${at}.method`) ?? '',
    status: numberOrNull(fields.status, `${at}.status`),
    durationMs: numberOrNull(fields.duration_ms, `${at}.duration_ms`),
    error: textOrNull(fields.error, `${at}.error`),
    host: textOrNull(fields.host, `${at}.host`),
    version: textOrNull(fields.version, `${at}.version`),
    traceId: textOrNull(fields.trace_id, `${at}.trace_id`),
    receipt: textOrNull(fields.receipt, `${at}.receipt`),
    weight: numberOrNull(fields.weight, `${at}.weight`) ?? 1,
    raw: fields,
  };
}

function histogram(value: unknown): DurationHistogram | null {
  if (value === null || value === undefined) return null;
  const fields = object(value, 'duration_histogram');
  const numbers = (name: 'row_us' | 'count') =>
    array(fields[name], `duration_histogram.${name}`).map((item, index) =>
      number(item, `duration_histogram.${name}[${index}]`),
    );
  const rowUs = numbers('row_us');
  const count = numbers('count');
  // The last row needs an end to be drawn: without one it is as wide as the row before it.
  if (rowUs.length === count.length && rowUs.length > 1) {
    const [before, last] = rowUs.slice(-2) as [number, number];
    rowUs.push(before > 0 ? (last * last) / before : last * 2);
  }
  return rowUs.length === count.length + 1 ? { rowUs, count } : null;
}
