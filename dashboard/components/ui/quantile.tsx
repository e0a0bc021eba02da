/** A percentile in a table. One that rests on too few requests says so: it is the slowest of them, no more. */
import { latency, requests } from '@/lib/format/number';
import type { Totals } from '@/lib/series/types';
import { Num } from './num';

export function Quantile({
  window,
  quantile,
  className = '',
}: {
  window: Totals;
  quantile: '0.5' | '0.95' | '0.99';
  className?: string;
}) {
  const needs = quantile === '0.5' ? 2 : quantile === '0.95' ? 20 : 100;
  const value = window.quantilesMs[quantile];
  const few = value !== null && value !== undefined && window.latencyCount < needs;
  return (
    <Num
      written={latency(value)}
      className={`${few ? 'text-ink3' : ''} ${className}`}
      title={
        few
          ? `The slowest of ${requests(window.latencyCount)}.`
          : value === null || value === undefined
            ? 'No request of this window carried a duration.'
            : undefined
      }
    />
  );
}
