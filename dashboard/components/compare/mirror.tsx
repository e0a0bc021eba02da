'use client';

/** Both histograms on one logarithmic axis, B above and A below it. Each as shares of its own side, so sizes do not matter. */
import { useWidth } from '@/components/ui/use-width';
import { logScale, occupied } from '@/lib/compare/plot';
import { isolated } from '@/lib/format/isolate';
import { axisLatency, exactCount, latency, share, write } from '@/lib/format/number';
import type { Comparison } from '@/lib/query/compare';
import { logBound, logTicks } from '@/lib/series/axis';

const HEIGHT = 300;
const BOTTOM = 30;
const TOP = 12;

export function Mirror({ comparison }: { comparison: Comparison }) {
  const { ref, width } = useWidth(480);
  const { histogram, a, b } = comparison;
  if (histogram === null) return null;
  const [first, end] = occupied(histogram.a, histogram.b);
  const us = (row: number) => histogram.rowUs[row] ?? histogram.rowUs.at(-1) ?? 1;
  const sum = (list: readonly number[]) =>
    Math.max(
      1,
      list.reduce((all, n) => all + n, 0),
    );
  const totals = { a: sum(histogram.a), b: sum(histogram.b) };
  const shares = (list: readonly number[], total: number) => list.slice(first, end).map((n) => n / total);
  const [sharesA, sharesB] = [shares(histogram.a, totals.a), shares(histogram.b, totals.b)];
  const most = Math.max(...sharesA, ...sharesB, 1e-9);
  const middle = Math.round((HEIGHT - BOTTOM + TOP) / 2);
  const half = middle - TOP - 4;
  const ends = [logBound(first, histogram.rowUs) / 1000, us(end) / 1000] as const;
  const x = logScale(...ends, 0, width);
  // Something is never drawn as nothing, and nothing never as something.
  const bar = (part: number) => (part === 0 ? 0 : Math.max(1.5, (part / most) * half));
  const place = (row: number) => {
    const [from, to] = [x(us(row) / 1000), x(us(row + 1) / 1000)];
    return { x: from, width: Math.max(1, to - from - 0.75) };
  };
  const peak = (list: readonly number[]) =>
    list.reduce((best, n, index) => (n > (list[best] ?? 0) ? index : best), 0) + first;
  const [nameA, nameB] = [isolated(a.label), isolated(b.label)];
  const label = `Durations, ${nameB} above and ${nameA} below: ${nameA} mostly at ${write(latency(us(peak(sharesA)) / 1000))}, ${nameB} mostly at ${write(latency(us(peak(sharesB)) / 1000))}.`;
  return (
    <div ref={ref} className="min-w-0">
      <svg width={width} height={HEIGHT} role="img" aria-label={label} className="block text-11">
        {logTicks(ends).map((ms) => (
          <g key={ms}>
            <path d={`M${Math.round(x(ms)) + 0.5} ${TOP}V${HEIGHT - BOTTOM}`} className="stroke-(--grid)" />
            {x(ms) > 14 && x(ms) < width - 18 && (
              <text x={x(ms)} y={HEIGHT - BOTTOM + 17} textAnchor="middle" className="fill-ink2">
                {axisLatency(ms)}
              </text>
            )}
          </g>
        ))}
        {sharesB.map((part, index) => (
          <rect
            key={us(first + index)}
            {...place(first + index)}
            y={middle - 1 - bar(part)}
            height={bar(part)}
            className="fill-p99"
          >
            <title>{tip(first + index, histogram.b, totals.b)}</title>
          </rect>
        ))}
        {sharesA.map((part, index) => (
          <rect
            key={us(first + index)}
            {...place(first + index)}
            y={middle + 1}
            height={bar(part)}
            className="fill-was"
          >
            <title>{tip(first + index, histogram.a, totals.a)}</title>
          </rect>
        ))}
        <path d={`M0 ${middle + 0.5}H${width}`} className="stroke-(--line)" />
        <text x="0" y={TOP + 10} className="fill-ink2">
          B
        </text>
        <text x="0" y={HEIGHT - BOTTOM - 4} className="fill-ink2">
          A
        </text>
      </svg>
    </div>
  );

  function tip(row: number, list: readonly number[], total: number): string {
    const n = list[row] ?? 0;
    return `${write(latency(us(row) / 1000))} to ${write(latency(us(row + 1) / 1000))}: ${exactCount(n)}, ${write(share(n, total))}`;
  }
}
