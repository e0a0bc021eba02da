/** `GET /v1/heatmap`: how many requests took how long, step by step. Columns arrive per step, rows are bounds in µs. */
import { array, column, number, object, text, times } from '@/lib/series/parse';
import type { Column } from '@/lib/series/types';
import { type Filter, getJson, type Window, withQuery } from './http';

export interface Heatmap {
  stepMs: number;
  fromMs: number;
  toMs: number;
  /** Lower bound of each row, ascending, and the upper bound of the last one. */
  rowUs: readonly number[];
  t: readonly number[];
  /** Requests by row for each step; `null` where a step holds none. */
  cells: readonly (readonly number[] | null)[];
  p50: Column;
  p99: Column;
  /** Kept events stand for all when the question cannot be answered from what was counted. */
  kept: number | null;
}

export function parseHeatmap(value: unknown): Heatmap {
  const answer = object(value, 'heatmap');
  const rowUs = array(answer.row_us, 'row_us').map((item, index) => number(item, `row_us[${index}]`));
  const t = times(answer.t, 't');
  const rows = Math.max(0, rowUs.length - 1);
  const quantiles = object(answer.quantiles_ms, 'quantiles_ms');
  const line = (name: string): Column =>
    name in quantiles ? column(quantiles[name], t.length, `quantiles_ms.${name}`) : t.map(() => null);
  return {
    stepMs: number(answer.step_ms, 'step_ms'),
    fromMs: number(answer.from_ms, 'from_ms'),
    toMs: number(answer.to_ms, 'to_ms'),
    rowUs,
    t,
    cells: array(answer.count, 'count').map((item, index) =>
      item === null ? null : column(item, rows, `count[${index}]`).map((n) => n ?? 0),
    ),
    p50: line('0.5'),
    p99: line('0.99'),
    kept:
      answer.origin !== undefined && text(answer.origin, 'origin') === 'sampled'
        ? number(answer.kept ?? answer.n ?? 0, 'kept')
        : null,
  };
}

export async function fetchHeatmap(
  filter: Filter,
  window: Window,
  stepMs: number | null,
  signal: AbortSignal,
): Promise<Heatmap> {
  const path = withQuery('/v1/heatmap', filter, {
    from: window.from,
    to: window.to,
    step: stepMs === null ? null : `${stepMs / 1000}s`,
  });
  return parseHeatmap(await getJson(path, signal));
}

/**
 * The newest steps put onto what was there, and what left the window taken off; `null` when the rows do not fit, so
 * that everything has to be asked for again.
 */
export function joinHeatmap(before: Heatmap, tail: Heatmap, fromMs: number): Heatmap | null {
  if (before.stepMs !== tail.stepMs) return null;
  const place = new Map(before.rowUs.map((us, index) => [us, index]));
  const rows = before.rowUs.length - 1;
  const moved: (readonly number[] | null)[] = [];
  for (const cells of tail.cells) {
    if (cells === null) {
      moved.push(null);
      continue;
    }
    const out = new Array<number>(rows).fill(0);
    for (let row = 0; row < cells.length; row += 1) {
      const n = cells[row] ?? 0;
      if (n === 0) continue;
      const at = place.get(tail.rowUs[row] ?? -1);
      if (at === undefined || at >= rows) return null;
      out[at] = n;
    }
    moved.push(out);
  }
  const first = tail.t[0] ?? Number.POSITIVE_INFINITY;
  const kept = before.t.map((t, index) => ({ t, index })).filter(({ t }) => t < first && t >= fromMs);
  const keep = <T>(column: readonly T[], more: readonly T[]): T[] => [
    ...kept.map(({ index }) => column[index] as T),
    ...more,
  ];
  return {
    ...before,
    fromMs,
    toMs: tail.toMs,
    t: [...kept.map(({ t }) => t), ...tail.t],
    cells: keep(before.cells, moved),
    p50: keep(before.p50, tail.p50),
    p99: keep(before.p99, tail.p99),
    kept: tail.kept ?? before.kept,
  };
}
