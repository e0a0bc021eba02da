/** `GET /v1/series`: columns over time for the whole filter, or one set of columns a group. */
import { array, columns, key, number, object, times } from '@/lib/series/parse';
import { type Columns, type Key, keyId } from '@/lib/series/types';
import { DEFAULT_QUANTILES } from '@/lib/view/url';
import { type Filter, getJson, type Window, withQuery } from './http';

export interface Series {
  stepMs: number;
  fromMs: number;
  toMs: number;
  errorBound: number;
  groups: { id: string; key: Key; columns: Columns }[];
}

export async function fetchSeries(
  filter: Filter,
  window: Window,
  stepMs: number,
  groupBy: readonly string[],
  signal: AbortSignal,
  quantiles: readonly string[] = DEFAULT_QUANTILES,
): Promise<Series> {
  const path = withQuery('/v1/series', filter, {
    from: window.from,
    to: window.to,
    step: `${stepMs / 1000}s`,
    // Without the parameter the answer is one set of columns; with an empty one it would be one group.
    group_by: groupBy.length === 0 ? null : groupBy.join(','),
    quantiles: quantiles.join(','),
  });
  const answer = object(await getJson(path, signal), 'series');
  const t = times(answer.t, 't');
  return {
    stepMs: number(answer.step_ms, 'step_ms'),
    fromMs: number(answer.from_ms, 'from_ms'),
    toMs: number(answer.to_ms, 'to_ms'),
    errorBound: number(answer.error_bound, 'error_bound'),
    groups:
      groupBy.length === 0
        ? [{ id: '', key: {}, columns: columns(answer, t, 'series') }]
        : array(answer.groups, 'groups').map((item, index) => {
            const fields = object(item, `groups[${index}]`);
            const named = key(fields.key, `groups[${index}].key`);
            return { id: keyId(named), key: named, columns: columns(fields, t, `groups[${index}]`) };
          }),
  };
}
