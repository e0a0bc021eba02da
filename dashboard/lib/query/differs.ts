/** `GET /v1/differs`: what the requests of a rectangle have in common that the others have not. */
import { array, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import type { Selection } from '@/lib/view/url';
import { type Filter, getJson, type Window, withQuery } from './http';

export interface Difference {
  name: string;
  exact: boolean;
  /** `null`: no value of this dimension stands out. */
  value: string | null;
  share: number;
  restShare: number;
  distinct: number | null;
}

export interface Differs {
  count: number;
  dimensions: Difference[];
  /** Kept events that the sampled dimensions were counted from. */
  kept: number | null;
}

export function parseDiffers(value: unknown): Differs {
  const answer = object(value, 'differs');
  const dimensions = array(answer.dimensions, 'dimensions').map((item, index) => {
    const at = `dimensions[${index}]`;
    const fields = object(item, at);
    return {
      name: text(fields.name, `${at}.name`),
      exact: fields.origin === 'exact',
      value: textOrNull(
        typeof fields.value === 'number' ? String(fields.value) : fields.value,
        `${at}.value`,
      ),
      share: numberOrNull(fields.share, `${at}.share`) ?? 0,
      restShare: numberOrNull(fields.rest_share, `${at}.rest_share`) ?? 0,
      distinct: numberOrNull(fields.distinct, `${at}.distinct`),
    };
  });
  return {
    count: number(object(answer.selection, 'selection').count, 'selection.count'),
    dimensions,
    kept: numberOrNull(answer.kept, 'kept'),
  };
}

export async function fetchDiffers(
  filter: Filter,
  window: Window,
  sel: Selection,
  signal: AbortSignal,
): Promise<Differs> {
  const path = withQuery('/v1/differs', filter, {
    from: window.from,
    to: window.to,
    sel: [sel.fromMs, sel.toMs, sel.us0, sel.us1].join(),
  });
  return parseDiffers(await getJson(path, signal));
}
