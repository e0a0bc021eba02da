/** `GET /v1/suggest`: the most frequent values of a field that begin as what is typed. */
import { array, number, object, text } from '@/lib/series/parse';
import { getJson } from './http';

export interface Suggestion {
  value: string;
  count: number;
}

export async function fetchSuggestions(
  question: { field: string; prefix: string; service: string | null; env: string | null },
  signal: AbortSignal,
): Promise<Suggestion[]> {
  const query = new URLSearchParams({ field: question.field });
  if (question.prefix !== '') query.set('prefix', question.prefix);
  if (question.service !== null) query.set('service', question.service);
  if (question.env !== null) query.set('env', question.env);
  const answer = object(await getJson(`/v1/suggest?${query}`, signal), 'suggest');
  return array(answer.values, 'values').map((item, index) => {
    const fields = object(item, `values[${index}]`);
    const { value } = fields;
    return {
      value: typeof value === 'number' ? String(value) : text(value, `values[${index}].value`),
      count: number(fields.count, `values[${index}].count`),
    };
  });
}
