/**
 * A window of the past as the same `View` the live store makes, so the pages draw both alike. Three questions are
 * asked together: totals by group, columns for the whole filter, columns by group.
 */
import {
  type Column,
  type Columns,
  EMPTY_TOTALS,
  keyId,
  type Row,
  STATUS_CLASSES,
  type StatusClass,
  type View,
} from '@/lib/series/types';
import { DEFAULT_QUANTILES } from '@/lib/view/url';
import { type Filter, RequestFailed, type Window } from './http';
import { fetchSeries } from './series';
import { fetchServices, type Services } from './services';
import { fetchSummary, type Summary } from './summary';

/** What the newest events need to be counted. */
const SETTLE_MS = 1500;
/** What older times are kept in. */
const KEPT_STEPS_MS = [60_000, 3_600_000];

export interface HistoryQuestion {
  filter: Filter;
  groupBy: readonly string[];
  stepMs: number;
  quantiles?: readonly string[];
  /** A fixed window, or the last so many milliseconds under the name the server knows. */
  window: { fromMs: number; toMs: number } | { lastMs: number; name: string };
}

/** In steps as fine as asked for, or as fine as the server still keeps of that time. */
export async function fetchHistory(
  question: HistoryQuestion,
  now: number,
  signal: AbortSignal,
): Promise<View> {
  const coarser = KEPT_STEPS_MS.find((stepMs) => stepMs > question.stepMs);
  try {
    return await fetchInSteps(question, now, signal);
  } catch (cause) {
    const tooFine = cause instanceof RequestFailed && cause.code === 'step_too_fine';
    if (!tooFine || coarser === undefined) throw cause;
    return fetchHistory({ ...question, stepMs: coarser }, now, signal);
  }
}

async function fetchInSteps(question: HistoryQuestion, now: number, signal: AbortSignal): Promise<View> {
  const { filter, groupBy, stepMs, quantiles = DEFAULT_QUANTILES } = question;
  const moving = 'lastMs' in question.window;
  const openT = Math.floor(now / stepMs) * stepMs;
  const window =
    'lastMs' in question.window
      ? { from: `-${question.window.name}`, to: 'now' }
      : { from: question.window.fromMs, to: question.window.toMs };
  const [firstT, lastT] =
    'lastMs' in question.window
      ? [openT - question.window.lastMs + stepMs, openT]
      : [
          Math.floor(question.window.fromMs / stepMs) * stepMs,
          Math.floor((question.window.toMs - 1) / stepMs) * stepMs,
        ];
  // A frozen window may end in the present; its last step is then as unfinished as a live one.
  const filling = lastT + stepMs > now - SETTLE_MS;
  const byService = groupBy.length === 1 && groupBy[0] === 'service';

  const [total, groups, line, lines] = await Promise.all([
    fetchSummary(filter, window, [], signal, quantiles),
    unlessInexact<Services | Summary>(
      byService && !filter.service
        ? fetchServices(filter.env, window, signal)
        : fetchSummary(filter, window, groupBy, signal, quantiles),
    ),
    fetchSeries(filter, window, stepMs, [], signal, quantiles),
    unlessInexact(fetchSeries(filter, window, stepMs, groupBy, signal, quantiles)),
  ]);

  const grid = (columns: Columns | undefined) => regrid(columns, firstT, lastT, stepMs, quantiles);
  const byId = new Map((lines?.groups ?? []).map((group) => [group.id, group.columns]));
  const rows =
    groups === null
      ? []
      : 'services' in groups
        ? groups.services.map((item) => {
            const key = { service: item.service };
            return { id: keyId(key), key, window: item.window, lastSeenMs: item.lastSeenMs };
          })
        : groups.rows.map((row) => ({ ...row, lastSeenMs: null }));
  return {
    stepMs,
    fromMs: firstT,
    toMs: moving ? now : lastT + stepMs,
    lastT,
    openT: filling ? lastT : null,
    openElapsedMs: filling ? Math.max(0, now - lastT) : 0,
    errorBound: total.errorBound,
    kept: total.kept,
    newestEventMs: null,
    late: [],
    envs: groups !== null && 'services' in groups ? groups.envs : [],
    total: {
      id: '',
      key: {},
      lastSeenMs: null,
      window: total.rows[0]?.window ?? EMPTY_TOTALS,
      columns: grid(line.groups[0]?.columns),
    },
    rows: rows.map((row) => ({ ...row, columns: grid(byId.get(row.id)) })),
  };
}

/** A version crossed with routes is not counted; the sum of a version is. What cannot be told apart is left out. */
async function unlessInexact<T>(asked: Promise<T>): Promise<T | null> {
  try {
    return await asked;
  } catch (cause) {
    if (cause instanceof RequestFailed && cause.code === 'not_exact') return null;
    throw cause;
  }
}

/** Only the rows: totals and columns by group, for a table beside a view that shows something narrower. */
export async function fetchRows(
  filter: Filter,
  groupBy: readonly string[],
  window: Window,
  stepMs: number,
  signal: AbortSignal,
): Promise<Row[]> {
  const [totals, lines] = await Promise.all([
    fetchSummary(filter, window, groupBy, signal),
    fetchSeries(filter, window, stepMs, groupBy, signal),
  ]);
  const byId = new Map(lines.groups.map((group) => [group.id, group.columns]));
  const lastT = Math.floor((lines.toMs - 1) / stepMs) * stepMs;
  return totals.rows.map((row) => ({
    ...row,
    lastSeenMs: null,
    columns: regrid(byId.get(row.id), lines.fromMs, lastT, stepMs, DEFAULT_QUANTILES),
  }));
}

/** Columns for every step of `[fromT, toT]`, whatever subset the answer carried. */
function regrid(
  columns: Columns | undefined,
  fromT: number,
  toT: number,
  stepMs: number,
  quantiles: readonly string[],
): Columns {
  const t: number[] = [];
  const from: number[] = [];
  const at = new Map(columns?.t.map((time, index) => [time, index]) ?? []);
  for (let time = fromT; time <= toT; time += stepMs) {
    t.push(time);
    from.push(at.get(time) ?? -1);
  }
  const take = (column: Column | undefined): Column => from.map((index) => column?.[index] ?? null);
  return {
    t,
    count: take(columns?.count),
    errors: take(columns?.errors),
    latencyCount: take(columns?.latencyCount),
    meanMs: take(columns?.meanMs),
    maxMs: take(columns?.maxMs),
    status: Object.fromEntries(STATUS_CLASSES.map((name) => [name, take(columns?.status[name])])) as Record<
      StatusClass,
      Column
    >,
    quantilesMs: Object.fromEntries(quantiles.map((name) => [name, take(columns?.quantilesMs[name])])),
  };
}
