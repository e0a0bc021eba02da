/** `GET /v1/summary`: exact totals of one window, for the whole filter or by the named dimensions. */
import { array, key, number, object, totals } from '@/lib/series/parse';
import { type Key, keyId, type Totals } from '@/lib/series/types';
import { type Filter, getJson, type Window, withQuery } from './http';

export interface SummaryRow {
  id: string;
  key: Key;
  window: Totals;
}

export interface Summary {
  errorBound: number;
  rows: SummaryRow[];
}

export async function fetchSummary(
  filter: Filter,
  window: Window,
  groupBy: readonly string[],
  signal: AbortSignal,
): Promise<Summary> {
  const path = withQuery('/v1/summary', filter, {
    from: window.from,
    to: window.to,
    // Empty asks for one row of everything; leaving it out would ask for services.
    group_by: groupBy.join(','),
    quantiles: '0.5,0.95,0.99',
  });
  const answer = object(await getJson(path, signal), 'summary');
  return {
    errorBound: number(answer.error_bound, 'error_bound'),
    rows: array(answer.rows, 'rows').map((item, index) => {
      const fields = object(item, `rows[${index}]`);
      const named = key(Object.fromEntries(groupBy.map((name) => [name, fields[name]])), `rows[${index}]`);
      return { id: keyId(named), key: named, window: totals(fields, `rows[${index}]`) };
    }),
  };
}
