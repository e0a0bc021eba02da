'use client';

/**
 * How long the matching requests took: thin bars on a logarithmic axis. A drag narrows the filter to those durations; the
 * filter bar does the same by keyboard.
 */
import { useRef, useState } from 'react';
import { occupied } from '@/lib/compare/plot';
import { axisLatency, exactCount, latency, requests, write } from '@/lib/format/number';
import type { DurationHistogram as Histogram } from '@/lib/query/requests';
import { rowsTo } from '@/lib/series/axis';

const HEIGHT = 40;

interface Props {
  histogram: Histogram;
  onSelect: (fromMs: number, toMs: number) => void;
}

export function DurationHistogram({ histogram, onSelect }: Props) {
  const { rowUs, count } = histogram;
  const [first, end] = occupied(count, count);
  const plot = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<{ from: number; to: number } | null>(null);
  const [at, setAt] = useState<number | null>(null);
  const rows = end - first;
  const most = Math.max(1, ...count.slice(first, end));
  const total = count.reduce((sum, n) => sum + n, 0);
  const us = (row: number) => rowUs[row] ?? 0;

  const rowAt = (clientX: number): number => {
    const box = plot.current?.getBoundingClientRect();
    if (box === undefined || box.width === 0) return first;
    const part = (clientX - box.left) / box.width;
    return Math.min(end - 1, Math.max(first, first + Math.floor(part * rows)));
  };
  const span =
    drag === null ? null : ([Math.min(drag.from, drag.to), Math.max(drag.from, drag.to) + 1] as const);
  // Narrowed by the drag, the bars are others than those that were pointed at.
  const pointed = at === null || drag !== null || at < first || at >= end ? null : at;
  const say = (row: number) =>
    `${write(latency(us(row) / 1000))} to ${write(latency(us(row + 1) / 1000))}: ${exactCount(count[row] ?? 0)}`;

  return (
    <figure className="select-none">
      <div className="flex h-4 items-center justify-between text-11 text-ink3">
        <figcaption>Duration</figcaption>
        <span aria-hidden="true">
          {span !== null
            ? `${write(latency(us(span[0]) / 1000))} to ${write(latency(us(span[1]) / 1000))}`
            : pointed !== null
              ? say(pointed)
              : 'drag to narrow'}
        </span>
      </div>
      <div
        ref={plot}
        role="img"
        aria-label={sentence(rowUs, count, total)}
        className="relative mt-1 flex cursor-crosshair touch-pan-y items-end border-line border-b"
        style={{ height: HEIGHT }}
        onPointerDown={(event) => {
          if (event.button !== 0 || event.pointerType === 'touch') return;
          event.currentTarget.setPointerCapture(event.pointerId);
          const row = rowAt(event.clientX);
          setDrag({ from: row, to: row });
        }}
        onPointerMove={(event) => {
          const row = rowAt(event.clientX);
          setAt(row);
          if (drag !== null) setDrag({ ...drag, to: row });
        }}
        onPointerLeave={() => setAt(null)}
        onPointerCancel={() => setDrag(null)}
        onPointerUp={() => {
          if (span !== null) onSelect(us(span[0]) / 1000, us(span[1]) / 1000);
          setDrag(null);
          setAt(null);
        }}
      >
        {Array.from({ length: rows }, (_, index) => {
          const row = first + index;
          const n = count[row] ?? 0;
          const inside = span === null || (row >= span[0] && row < span[1]);
          return (
            <span
              key={us(row)}
              aria-hidden="true"
              className={`flex-1 ${row === pointed ? 'bg-p99' : 'bg-p95'} ${inside ? '' : 'opacity-30'}`}
              // Something is never drawn as nothing.
              style={{ height: n === 0 ? 0 : Math.max(2, (n / most) * HEIGHT) }}
            />
          );
        })}
      </div>
      <div className="relative mt-1 h-3.5 text-11 text-ink3" aria-hidden="true">
        {ticks(rowUs, first, end).map(({ us, part }) => (
          <span
            key={us}
            className="absolute -translate-x-1/2 whitespace-nowrap"
            style={{ left: `${part * 100}%` }}
          >
            {axisLatency(us / 1000)}
          </span>
        ))}
      </div>
    </figure>
  );
}

/** Whole decades, not at the very edge where a label would be cut. Rows are equally wide. */
function ticks(rowUs: readonly number[], first: number, end: number): { us: number; part: number }[] {
  const found: { us: number; part: number }[] = [];
  for (
    let us = 10 ** Math.ceil(Math.log10(Math.max(1, rowUs[first] ?? 1)));
    us <= (rowUs[end] ?? 0);
    us *= 10
  ) {
    const part = (rowsTo(us, rowUs) - first) / (end - first);
    if (part > 0.02 && part < 0.98) found.push({ us, part });
  }
  return found;
}

function sentence(rowUs: readonly number[], count: readonly number[], total: number): string {
  if (total === 0) return 'No request of this filter carried a duration.';
  const peak = count.reduce((best, n, row) => (n > (count[best] ?? 0) ? row : best), 0);
  let passed = 0;
  const p99 = count.findIndex((n) => {
    passed += n;
    return passed >= total * 0.99;
  });
  const ms = (row: number) => write(latency((rowUs[row] ?? 0) / 1000));
  return `Durations of ${requests(total)}: most between ${ms(peak)} and ${ms(peak + 1)}, 99 in 100 below ${ms(p99 + 1)}.`;
}
