/** `GET /v1/compare`: two sides of the same thing, quantile by quantile, with what is significant and what is not. */
import { array, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import { getJson, type Window } from './http';

export interface Side {
  label: string;
  count: number;
  errors: number;
  errorRate: number | null;
  /** Of a side answered from kept requests: how many equally weighted ones would tell as much. */
  kept: number | null;
}

export interface QuantileRow {
  q: number;
  aMs: number | null;
  bMs: number | null;
  differenceMs: number | null;
  factor: number | null;
  significant: boolean;
  enough: boolean;
  aLowMs: number | null;
  aHighMs: number | null;
  bLowMs: number | null;
  bHighMs: number | null;
}

export interface RouteRow {
  method: string;
  route: string;
  aCount: number;
  bCount: number;
  aP99Ms: number | null;
  bP99Ms: number | null;
  /** Share of the difference that this route explains; negative where it works against it. */
  contribution: number;
}

export interface Comparison {
  a: Side;
  b: Side;
  errorBound: number;
  quantiles: QuantileRow[];
  histogram: { rowUs: number[]; a: number[]; b: number[] } | null;
  sentence: string;
  routes: RouteRow[];
  errorsSignificant: boolean;
}

export async function fetchComparison(
  question: { a: string; b: string; env: string | null; filter: URLSearchParams; window: Window },
  signal: AbortSignal,
): Promise<Comparison> {
  const query = new URLSearchParams(question.filter);
  query.set('a', question.a);
  query.set('b', question.b);
  if (question.env !== null) query.set('env', question.env);
  query.set('from', String(question.window.from));
  query.set('to', String(question.window.to));
  return parseComparison(await getJson(`/v1/compare?${query}`, signal));
}

export function parseComparison(value: unknown): Comparison {
  const answer = object(value, 'compare');
  const numbers = (list: unknown, at: string) =>
    array(list, at).map((item, index) => number(item, `${at}[${index}]`));
  const histogram =
    answer.histogram === null || answer.histogram === undefined
      ? null
      : object(answer.histogram, 'histogram');
  return {
    a: side(answer.a, 'a'),
    b: side(answer.b, 'b'),
    errorBound: numberOrNull(answer.error_bound, 'error_bound') ?? 0,
    sentence: text(answer.sentence, 'sentence'),
    errorsSignificant: answer.errors_significant === true,
    quantiles: array(answer.quantiles, 'quantiles').map((item, index) => {
      const at = `quantiles[${index}]`;
      const fields = object(item, at);
      const ms = (name: string) => numberOrNull(fields[name], `${at}.${name}`);
      return {
        q: number(fields.q, `${at}.q`),
        aMs: ms('a_ms'),
        bMs: ms('b_ms'),
        differenceMs: ms('difference_ms'),
        factor: ms('factor'),
        significant: fields.significant === true,
        enough: fields.enough !== false,
        aLowMs: ms('a_low_ms'),
        aHighMs: ms('a_high_ms'),
        bLowMs: ms('b_low_ms'),
        bHighMs: ms('b_high_ms'),
      };
    }),
    histogram:
      histogram === null
        ? null
        : {
            rowUs: numbers(histogram.row_us, 'histogram.row_us'),
            a: numbers(histogram.a, 'histogram.a'),
            b: numbers(histogram.b, 'histogram.b'),
          },
    routes: array(answer.routes ?? [], 'routes').map((item, index) => {
      const at = `routes[${index}]`;
      const fields = object(item, at);
      return {
        method: textOrNull(fields.method, `${at}.method`) ?? '',
        route: textOrNull(fields.route, `${at}.route`) ?? '',
        aCount: number(fields.a_count, `${at}.a_count`),
        bCount: number(fields.b_count, `${at}.b_count`),
        aP99Ms: numberOrNull(fields.a_p99_ms, `${at}.a_p99_ms`),
        bP99Ms: numberOrNull(fields.b_p99_ms, `${at}.b_p99_ms`),
        contribution: number(fields.contribution, `${at}.contribution`),
      };
    }),
  };
}

function side(value: unknown, at: string): Side {
  const fields = object(value, at);
  return {
    label: text(fields.label, `${at}.label`),
    count: number(fields.count, `${at}.count`),
    errors: numberOrNull(fields.errors, `${at}.errors`) ?? 0,
    errorRate: numberOrNull(fields.error_rate, `${at}.error_rate`),
    kept: fields.origin === 'sampled' ? (numberOrNull(fields.kept, `${at}.kept`) ?? 0) : null,
  };
}
