/** `GET /v1/summary`: exact totals of one window, for the whole filter or by the named dimensions. */
import { array, key, number, numberOrNull, object, totals } from '@/lib/series/parse';
import { type Key, keyId, type Totals } from '@/lib/series/types';
import { DEFAULT_QUANTILES } from '@/lib/view/url';
import { type Filter, getJson, type Window, withQuery } from './http';

export interface SummaryRow {
  id: string;
  key: Key;
  window: Totals;
  /** Of hosts and versions: when the first and the last event came. */
  firstSeenMs: number | null;
  lastSeenMs: number | null;
}

export interface Summary {
  errorBound: number;
  /** Kept events that stand for all, weighted, when the question cannot be answered from what was counted. */
  kept: number | null;
  rows: SummaryRow[];
}

export async function fetchSummary(
  filter: Filter,
  window: Window,
  groupBy: readonly string[],
  signal: AbortSignal,
  quantiles: readonly string[] = DEFAULT_QUANTILES,
): Promise<Summary> {
  const path = withQuery('/v1/summary', filter, {
    from: window.from,
    to: window.to,
    // Empty asks for one row of everything; leaving it out would ask for services.
    group_by: groupBy.join(','),
    quantiles: quantiles.join(','),
  });
  const answer = object(await getJson(path, signal), 'summary');
  return {
    errorBound: number(answer.error_bound, 'error_bound'),
    kept: answer.origin === 'sampled' ? numberOrNull(answer.kept, 'kept') : null,
    rows: array(answer.rows, 'rows').map((item, index) => {
      const fields = object(item, `rows[${index}]`);
      const named = key(Object.fromEntries(groupBy.map((name) => [name, fields[name]])), `rows[${index}]`);
      return {
        id: keyId(named),
        key: named,
        window: totals(fields, `rows[${index}]`),
        firstSeenMs: numberOrNull(fields.first_seen_ms, `rows[${index}].first_seen_ms`),
        lastSeenMs: numberOrNull(fields.last_seen_ms, `rows[${index}].last_seen_ms`),
      };
    }),
  };
}
