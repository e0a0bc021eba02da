/** What a comparison may say about one quantile and about too few requests. */
import { isolated } from '@/lib/format/isolate';
import { change, latency, NBSP, write } from '@/lib/format/number';
import type { Comparison, QuantileRow } from '@/lib/query/compare';
import { percent } from './plot';

/** What a side must have for its tail to mean anything. */
export const ENOUGH = 200;

export type Judgement = 'slower' | 'faster' | 'same' | 'few';

export function judge(row: QuantileRow): Judgement {
  if (!row.enough || row.aMs === null || row.bMs === null) return 'few';
  if (!row.significant) return 'same';
  return row.bMs > row.aMs ? 'slower' : 'faster';
}

export const JUDGED: Readonly<Record<Judgement, string>> = {
  slower: 'slower, significant',
  faster: 'faster, significant',
  same: 'no significant difference',
  few: 'not enough requests',
};

/** The sentence for a side that is too small, or `null` when both will do. */
export function tooFew(a: { count: number }, b: { count: number }): string | null {
  const small = [
    { name: 'A', count: a.count },
    { name: 'B', count: b.count },
  ].filter((side) => side.count < ENOUGH);
  const first = small[0];
  if (first === undefined) return null;
  const requests = (n: number) => `${n} ${n === 1 ? 'request' : 'requests'}`;
  const counts =
    small.length === 2
      ? `Only ${requests(a.count)} in A and ${b.count} in B`
      : `Only ${requests(first.count)} in ${first.name}`;
  if (small.some((side) => side.count === 0)) {
    const empty = small.filter((side) => side.count === 0).map((side) => side.name);
    return `No requests in ${empty.join(' and ')}. Widen the window or choose another side.`;
  }
  return `${counts}; p99 needs more. Widen the window.`;
}

/** `+1.44 s`, `−12 ms`, `same`. */
export function difference(row: QuantileRow): string {
  if (row.aMs === null || row.bMs === null) return '–';
  const ms = row.differenceMs ?? row.bMs - row.aMs;
  if (ms === 0) return 'same';
  return `${ms > 0 ? '+' : '\u2212'}${write(latency(Math.abs(ms), 3))}`;
}

export function factor(row: QuantileRow, errorBound: number): string {
  if (row.aMs === null || row.bMs === null) return '–';
  return write(change(row.bMs, row.aMs, errorBound));
}

/** The share of a difference that one route explains, with its sign; what is small never reads as nothing. */
export function contribution(part: number): string {
  const percent = Math.abs(part) * 100;
  if (percent === 0) return '0';
  const sign = part < 0 ? '\u2212' : '';
  if (percent < 0.1) return `${part < 0 ? '> \u2212' : '< '}0.1${NBSP}%`;
  return `${sign}${percent.toFixed(percent < 9.95 ? 1 : 0)}${NBSP}%`;
}

/** The plot in one sentence, for those who do not see it. */
export function plotLabel(comparison: Comparison): string {
  const said = comparison.quantiles
    .filter((row) => row.aMs !== null && row.bMs !== null)
    .map(
      (row) =>
        `p${percent(row.q)}${NBSP}${write(latency(row.aMs))} against ${write(latency(row.bMs))}, ${JUDGED[judge(row)]}`,
    );
  return `Latency by quantile, ${isolated(comparison.a.label)} against ${isolated(comparison.b.label)}: ${said.join('; ')}.`;
}
