/**
 * The messages of `/v1/live`, parsed. Text comes in (one WebSocket message or the data of one SSE event); a typed
 * message leaves, or a `ParseError`. The store trusts what this module lets through.
 */
import {
  array,
  columns,
  type Json,
  key,
  number,
  numberOrNull,
  object,
  ParseError,
  text,
  texts,
  times,
  totals,
} from '@/lib/series/parse';
import { type Columns, type Key, keyId, type Totals } from '@/lib/series/types';

export interface LiveRow {
  id: string;
  key: Key;
  lastSeenMs: number | null;
  window: Totals;
  /** Only the steps that carry values, ascending. */
  columns: Columns;
}

export interface LiveData {
  type: 'snapshot' | 'frame';
  id: string;
  atMs: number;
  stepMs: number;
  windowMs: number;
  errorBound: number;
  newestEventMs: number | null;
  /** Age of peep's own probe event when this was sent: how late everything on the page is. `null` without a probe. */
  probeMs: number | null;
  epoch: string;
  quantiles: readonly string[];
  envs: readonly string[];
  /** Absent in a frame when only single rows changed. */
  total: LiveRow | null;
  rows: readonly LiveRow[];
  /** Identities of rows whose window is empty now. */
  gone: readonly string[];
  /** A snapshot limited to what may have changed while the connection was away. */
  resumed: boolean;
}

export interface Heartbeat {
  type: 'heartbeat';
  id: string;
  atMs: number;
  newestEventMs: number | null;
  probeMs: number | null;
}

export type LiveMessage = LiveData | Heartbeat;

function row(value: unknown, path: string): LiveRow {
  const fields = object(value, path);
  const parsedKey = key(fields.key, `${path}.key`);
  return {
    id: keyId(parsedKey),
    key: parsedKey,
    lastSeenMs: numberOrNull(fields.last_seen_ms, `${path}.last_seen_ms`),
    window: totals(fields.window, `${path}.window`),
    columns: columns(fields, times(fields.t, `${path}.t`), path),
  };
}

function data(fields: Json, type: 'snapshot' | 'frame'): LiveData {
  return {
    type,
    id: text(fields.id, 'id'),
    atMs: number(fields.at_ms, 'at_ms'),
    stepMs: positive(fields.step_ms, 'step_ms'),
    windowMs: positive(fields.window_ms, 'window_ms'),
    errorBound: number(fields.error_bound, 'error_bound'),
    newestEventMs: numberOrNull(fields.newest_event_ms, 'newest_event_ms'),
    probeMs: numberOrNull(fields.probe_ms, 'probe_ms'),
    epoch: typeof fields.epoch === 'number' ? String(fields.epoch) : text(fields.epoch, 'epoch'),
    quantiles: texts(fields.quantiles, 'quantiles'),
    envs: texts(fields.envs, 'envs'),
    total: fields.total === null || fields.total === undefined ? null : row(fields.total, 'total'),
    rows: array(fields.rows, 'rows').map((item, index) => row(item, `rows[${index}]`)),
    gone:
      fields.gone === undefined
        ? []
        : array(fields.gone, 'gone').map((item, index) => keyId(key(item, `gone[${index}]`))),
    resumed: fields.resumed === true,
  };
}

function positive(value: unknown, path: string): number {
  const parsed = number(value, path);
  if (parsed <= 0) throw new ParseError(path, 'a positive number');
  return parsed;
}

/** `null` for a type this build does not know: a newer server may say more than we understand. */
export function parseMessage(payload: string): LiveMessage | null {
  let json: unknown;
  try {
    json = JSON.parse(payload);
  } catch {
    throw new ParseError('message', 'JSON');
  }
  const fields = object(json, 'message');
  switch (fields.type) {
    case 'snapshot':
    case 'frame':
      return data(fields, fields.type);
    case 'heartbeat':
      return {
        type: 'heartbeat',
        id: text(fields.id, 'id'),
        atMs: number(fields.at_ms, 'at_ms'),
        newestEventMs: numberOrNull(fields.newest_event_ms, 'newest_event_ms'),
        probeMs: numberOrNull(fields.probe_ms, 'probe_ms'),
      };
    default:
      return null;
  }
}
