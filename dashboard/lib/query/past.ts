/**
 * The past that is drawn beside the present: the same filter a day or a week ago, or another version in the same
 * window. One question is good for a whole window length ahead, so a live page asks rarely.
 */
import type { Column } from '@/lib/series/types';
import { type Filter, RequestFailed } from './http';
import { fetchSeries, type Series } from './series';

const DAY_MS = 86_400_000;
const COARSER_MS = [60_000, 3_600_000];
/** From this age on a server keeps, unless told otherwise, nothing finer than minutes, and then hours. */
const KEPT: readonly { ageMs: number; stepMs: number }[] = [
  { ageMs: 3 * DAY_MS, stepMs: 60_000 },
  { ageMs: 35 * DAY_MS, stepMs: 3_600_000 },
];

/** How far back `vs` looks, or `null` when it names a version, which is compared in the same window. */
export function shiftOf(vs: string): number | null {
  if (vs === 'yesterday') return DAY_MS;
  return vs === 'week' ? 7 * DAY_MS : null;
}

export interface Past {
  shiftMs: number;
  stepMs: number;
  /** Place of each step in the columns, by its own time. */
  place: ReadonlyMap<number, number>;
  count: Column;
  errors: Column;
  quantilesMs: Readonly<Record<string, Column>>;
}

export async function fetchPast(
  filter: Filter,
  vs: string,
  fromMs: number,
  toMs: number,
  stepMs: number,
  nowMs: number,
  signal: AbortSignal,
): Promise<Past> {
  const shift = shiftOf(vs);
  const shiftMs = shift ?? 0;
  const window = { from: fromMs - shiftMs, to: Math.min(toMs - shiftMs, nowMs) };
  const asked = shift === null ? { ...filter, version: [vs] } : filter;
  let series: Series | null = null;
  const finest = Math.max(
    stepMs,
    ...KEPT.filter(({ ageMs }) => nowMs - window.from >= ageMs).map((kept) => kept.stepMs),
  );
  for (const step of [finest, ...COARSER_MS.filter((size) => size > finest)]) {
    try {
      series = await fetchSeries(asked, window, step, [], signal);
      break;
    } catch (cause) {
      // Older times are kept in wider steps only.
      if (!(cause instanceof RequestFailed) || cause.code !== 'step_too_fine') throw cause;
    }
  }
  const columns = series?.groups[0]?.columns;
  if (series === null || columns === undefined)
    return { shiftMs, stepMs, place: new Map(), count: [], errors: [], quantilesMs: {} };
  return {
    shiftMs,
    stepMs: series.stepMs,
    place: new Map(columns.t.map((t, index) => [t, index])),
    count: columns.count,
    errors: columns.errors,
    quantilesMs: columns.quantilesMs,
  };
}

/** The past on the grid of the present. */
export interface AlignedPast {
  /** Per second. */
  rate: Column;
  /** Errors in percent of requests. */
  share: Column;
  p99: Column;
  /** Over the complete steps that have a past: requests a second, and the share that failed, 0 to 1. */
  meanRate: number | null;
  meanShare: number | null;
}

export function alignPast(past: Past, t: readonly number[], closed: number): AlignedPast {
  const at = t.map((time) => {
    const then = time - past.shiftMs;
    return past.place.get(Math.floor(then / past.stepMs) * past.stepMs) ?? -1;
  });
  const seconds = past.stepMs / 1000;
  const take = (column: Column | undefined, index: number): number | null => column?.[index] ?? null;
  let requests = 0;
  let errors = 0;
  let steps = 0;
  for (let index = 0; index < closed; index += 1) {
    const place = at[index] ?? -1;
    if (place === -1) continue;
    requests += take(past.count, place) ?? 0;
    errors += take(past.errors, place) ?? 0;
    steps += 1;
  }
  return {
    rate: at.map((place) => {
      const n = take(past.count, place);
      return n === null ? null : n / seconds;
    }),
    share: at.map((place) => {
      const n = take(past.count, place);
      return n === null || n === 0 ? null : ((take(past.errors, place) ?? 0) / n) * 100;
    }),
    p99: at.map((place) => take(past.quantilesMs['0.99'], place)),
    meanRate: steps === 0 || requests === 0 ? null : requests / (steps * seconds),
    meanShare: requests === 0 ? null : errors / requests,
  };
}
