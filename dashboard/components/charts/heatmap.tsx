'use client';

/** Every request by duration: the card around the heatmap, its legend, its table, and what the pointer rests on. */
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { count, exactCount, latency, requestNoun, write } from '@/lib/format/number';
import { clock, span } from '@/lib/format/time';
import type { Heatmap } from '@/lib/query/heatmap';
import type { Selection } from '@/lib/view/url';
import { DataTable, TableButton, timeCell } from './chart-card';
import { type CellText, type HeatData, HeatPlot } from './heat-plot';
import type { Marker } from './plot';

interface Props {
  heatmap: Heatmap;
  /** Names the question: the colours only ever reach further within one. */
  subject: string;
  markers: readonly Marker[];
  stale: boolean;
  onSelect: (selection: Selection) => void;
}

export default function HeatmapCard({ heatmap, subject, markers, stale, onSelect }: Props) {
  const { view, data, hold, cursor, choose, visit, windowMs } = usePageData();
  const base = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null);
  const overlay = useRef<HTMLDivElement>(null);
  const root = useRef<HTMLDivElement>(null);
  const plot = useRef<HeatPlot | null>(null);
  const [asTable, setAsTable] = useState(false);
  const [cell, setCell] = useState<CellText | null>(null);
  const [maximum, setMaximum] = useState(0);
  const latest = useRef({ onSelect, visit });
  latest.current = { onSelect, visit };

  const fromMs = data?.fromMs ?? heatmap.fromMs;
  // Only complete steps: one that is still filling would be a pale column at the edge.
  const endMs = data === null ? heatmap.toMs : (data.openT ?? data.lastT + data.stepMs);
  const drawn: HeatData = useMemo(
    () => ({ heatmap, fromMs, endMs, zone: view.tz, markers, stale }),
    [heatmap, fromMs, endMs, view.tz, markers, stale],
  );
  const first = useRef(drawn);
  first.current = drawn;

  // biome-ignore lint/correctness/useExhaustiveDependencies: made anew when the table gives way to the chart
  useEffect(() => {
    const [below, above, flags, element] = [base.current, over.current, overlay.current, root.current];
    if (below === null || above === null || flags === null || element === null) return;
    const made = new HeatPlot(below, above, flags, first.current, {
      cursor: (t) => cursor.set(t),
      cell: setCell,
      select: (selection) => latest.current.onSelect(selection),
      visit: (href) => latest.current.visit(href),
    });
    plot.current = made;
    const observer = new ResizeObserver(() => made.resize(element.clientWidth, element.clientHeight));
    observer.observe(element);
    made.resize(element.clientWidth, element.clientHeight);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [cursor, asTable]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: a chart that comes back starts empty
  useEffect(() => {
    plot.current?.update(drawn, subject);
    setMaximum(plot.current?.maximum ?? 0);
  }, [drawn, subject, asTable]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => {
    plot.current?.setSelection(view.sel);
  }, [view.sel, asTable]);
  const at = useSyncExternalStore(cursor.subscribe, cursor.get, () => null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  useEffect(() => {
    plot.current?.setCursor(at);
  }, [at, asTable]);

  return (
    <section
      className="group card flex min-w-0 flex-col px-4 pt-3 pb-2"
      aria-label="Every request by duration"
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
      <div className="flex items-center gap-2">
        <h2 className="truncate font-name">Every request by duration</h2>
        <div className="flex-1" />
        <TableButton asTable={asTable} onToggle={() => setAsTable(!asTable)} />
        {cell !== null && !asTable ? (
          <p className="live-number truncate text-12 text-ink2">
            {clock(cell.t, view.tz, true)}, {write(latency(cell.us0 / 1000))} to{' '}
            {write(latency(cell.us1 / 1000))}:{' '}
            <span className="font-strong text-ink">{exactCount(cell.count)}</span> {requestNoun(cell.count)}
          </p>
        ) : (
          <Legend maximum={maximum} />
        )}
      </div>
      {asTable ? (
        <DataTable
          title="Every request by duration"
          className="mt-2 h-[396px] max-tablet:h-[304px]"
          table={{
            head: ['Time', 'Requests', 'p50', 'p99'],
            rows: () =>
              heatmap.t.map((t, index) => [
                timeCell(t, view.tz),
                heatmap.cells[index] == null
                  ? '–'
                  : exactCount((heatmap.cells[index] as number[]).reduce((sum, n) => sum + n, 0)),
                write(latency(heatmap.p50[index], 4)),
                write(latency(heatmap.p99[index], 4)),
              ]),
          }}
        />
      ) : (
        <div ref={root} className="relative h-[396px] max-tablet:h-[304px]">
          <div
            role="img"
            aria-label={label(heatmap, windowMs)}
            // biome-ignore lint/a11y/noNoninteractiveTabindex: cells must be reachable without a mouse
            tabIndex={0}
            className="absolute inset-0 rounded-data outline-offset-0"
            onKeyDown={(event) => {
              const moves: Record<string, [number, number]> = {
                ArrowLeft: [-1, 0],
                ArrowRight: [1, 0],
                ArrowUp: [0, 1],
                ArrowDown: [0, -1],
              };
              const by = moves[event.key];
              if (by !== undefined) plot.current?.move(by[0], by[1], event.shiftKey);
              else if (event.key === 'Enter') plot.current?.enter();
              else if (event.key === 'Escape') {
                if (plot.current?.leave() !== true && view.sel !== null) choose({ sel: null });
                event.stopPropagation();
              } else return;
              event.preventDefault();
            }}
            onBlur={() => plot.current?.leave()}
          >
            <canvas ref={base} className="absolute inset-0 size-full" />
            <canvas ref={over} className="absolute inset-0 size-full touch-pan-y" />
          </div>
          <div ref={overlay} className="pointer-events-none absolute inset-x-0 top-0 h-5" />
        </div>
      )}
      {heatmap.kept !== null && (
        <p className="mt-1 text-12 text-ink3">From {exactCount(heatmap.kept)} kept requests, weighted.</p>
      )}
    </section>
  );
}

function Legend({ maximum }: { maximum: number }) {
  return (
    <p className="flex items-center gap-2 whitespace-nowrap text-12 text-ink3">
      1
      <span className="heat-scale h-2 w-24 rounded-data max-tablet:w-12" />
      <span className="live-number">
        {write(count(maximum))} <span className="max-tablet:hidden">{requestNoun(maximum)} per cell</span>
      </span>
    </p>
  );
}

function label(heatmap: Heatmap, windowMs: number): string {
  const p50 = heatmap.p50.findLast((value) => value !== null);
  const p99 = heatmap.p99.findLast((value) => value !== null);
  return `Requests by duration over ${span(windowMs)}, lately p50 ${write(latency(p50))} and p99 ${write(latency(p99))}. Arrows move, with Shift they select, Enter explains the selection.`;
}
