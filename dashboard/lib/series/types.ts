/**
 * The shapes every picture is drawn from. They stay columnar from the wire to the canvas: one array a column,
 * `null` where a step holds nothing, never an object per point.
 */

export type Column = (number | null)[];

export const STATUS_CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx', 'unknown'] as const;
export type StatusClass = (typeof STATUS_CLASSES)[number];

/** What a row is about: `{ service: 'checkout' }`, `{ route: '/buy', method: 'POST' }`, or `{}` for the total. */
export type Key = Readonly<Record<string, string>>;

/** Exact values over one window. Quantiles come from merged histograms, never from averages. */
export interface Totals {
  count: number;
  errors: number;
  rate: number;
  errorRate: number;
  latencyCount: number;
  meanMs: number | null;
  maxMs: number | null;
  quantilesMs: Readonly<Record<string, number | null>>;
}

/** One value a step; every array has the length of `t`. */
export interface Columns {
  t: number[];
  count: Column;
  errors: Column;
  latencyCount: Column;
  meanMs: Column;
  maxMs: Column;
  status: Record<StatusClass, Column>;
  quantilesMs: Record<string, Column>;
}

export interface Row {
  id: string;
  key: Key;
  lastSeenMs: number | null;
  window: Totals;
  columns: Columns;
}

/** Events that came after their step was over. */
export interface Late {
  t: number;
  count: number;
}

/** Everything one page shows about one window, live or not. */
export interface View {
  stepMs: number;
  /** Start of the first step. */
  fromMs: number;
  /** Where the window ends: now, or the end of a frozen one. */
  toMs: number;
  /** Start of the last step. */
  lastT: number;
  /** Start of the step that is still filling, or `null` in history. Its values are partial. */
  openT: number | null;
  /** How much of the open step has passed when the view was made, in ms. */
  openElapsedMs: number;
  errorBound: number;
  /** From how many kept events this was estimated; `null` when everything was counted. */
  kept: number | null;
  newestEventMs: number | null;
  /** Steps that were over and shown when more of their events came, oldest first. */
  late: readonly Late[];
  envs: readonly string[];
  total: Row;
  rows: readonly Row[];
}

/** A stable identity for a key, whatever the order its fields arrived in. */
export function keyId(key: Key): string {
  return Object.keys(key)
    .sort()
    .map((name) => `${name}=${key[name]}`)
    .join('\u0000');
}

export const EMPTY_TOTALS: Totals = {
  count: 0,
  errors: 0,
  rate: 0,
  errorRate: 0,
  latencyCount: 0,
  meanMs: null,
  maxMs: null,
  quantilesMs: {},
};
