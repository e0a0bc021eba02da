'use client';

/** Percentiles over time on a logarithmic axis: one hue, deeper into the tail is stronger; the slowest as dots. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { Num } from '@/components/ui/num';
import { bound, exactCount, latency, write } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import type { Row } from '@/lib/series/types';
import { ChartCard, timeCell } from './chart-card';
import type { ChartFrame } from './frame';
import type { PlotData, PlotSpec } from './plot';

const SPEC: PlotSpec = {
  scale: 'log',
  lines: [
    { color: 'pmax', width: 1, mark: 'dots', fill: 'none', edge: 'max' },
    { color: 'p50', width: 1.75, mark: 'line', fill: 'none', edge: 'p50' },
    { color: 'p95', width: 1.5, mark: 'line', fill: 'none', edge: 'p95' },
    { color: 'p99', width: 2, mark: 'line', fill: 'none', edge: 'p99' },
  ],
  stacked: false,
  axisWidth: 52,
  edgeWidth: 38,
  tick: (ms) => {
    const { value, unit } = latency(ms);
    return `${Number(value)}\u00a0${unit}`;
  },
};

const NAMES = [
  { name: 'p50', quantile: '0.5', swatch: 'bg-p50', needs: 2 },
  { name: 'p95', quantile: '0.95', swatch: 'bg-p95', needs: 20 },
  { name: 'p99', quantile: '0.99', swatch: 'bg-p99', needs: 100 },
  { name: 'max', quantile: null, swatch: 'bg-pmax', needs: 1 },
] as const;

interface Props {
  row: Row;
  frame: ChartFrame;
  errorBound: number;
  stale: boolean;
  /** Height of the plot with its time axis, as a class. */
  plotClass: string;
  /** Values beside their names in one line, as the service page has them. */
  inline: boolean;
}

export function LatencyChart({ row, frame, errorBound, stale, plotClass, inline }: Props) {
  const { view, windowMs } = usePageData();
  const { columns, window } = row;
  const data: PlotData = useMemo(() => {
    const none = new Array<null>(frame.t.length).fill(null);
    return {
      t: frame.t,
      lines: [
        columns.maxMs,
        columns.quantilesMs['0.5'] ?? none,
        columns.quantilesMs['0.95'] ?? none,
        columns.quantilesMs['0.99'] ?? none,
      ],
      open: frame.open,
      gaps: frame.gaps.ranges,
      stale,
      zone: view.tz,
    };
  }, [frame, columns, stale, view.tz]);

  const at = (quantile: string | null, index: number | null): number | null => {
    if (index === null) return quantile === null ? window.maxMs : (window.quantilesMs[quantile] ?? null);
    return (quantile === null ? columns.maxMs[index] : columns.quantilesMs[quantile]?.[index]) ?? null;
  };
  const samples = (index: number | null): number =>
    index === null ? window.latencyCount : (columns.latencyCount[index] ?? 0);

  return (
    <ChartCard
      title="Latency"
      note={`bound ${bound(errorBound)}`}
      cursorNote={bound(errorBound)}
      spec={SPEC}
      data={data}
      plotClass={plotClass}
      label={`Latency over ${span(windowMs)}: ${NAMES.map((item) => `${item.name} ${write(latency(at(item.quantile, null)))}`).join(', ')}.`}
      table={{
        head: ['Time', 'p50', 'p95', 'p99', 'max', 'of'],
        rows: () =>
          frame.t.map((t, index) => [
            timeCell(t, view.tz),
            ...NAMES.map((item) => write(latency(at(item.quantile, index), 4))),
            exactCount(samples(index)),
          ]),
      }}
      head={(index) => {
        const n = samples(index);
        return (
          <dl
            className={
              inline
                ? 'flex h-6 items-center gap-3 overflow-hidden max-tablet:h-[34px] max-tablet:justify-between'
                : 'flex h-[34px] items-start gap-5 overflow-hidden'
            }
          >
            {NAMES.map((item) => {
              const value = at(item.quantile, index);
              const few = value !== null && n < item.needs;
              return (
                <div
                  key={item.name}
                  className={
                    inline
                      ? 'flex items-center gap-1 max-tablet:flex-col max-tablet:items-start max-tablet:gap-0'
                      : 'flex min-w-13 flex-col'
                  }
                  title={few ? `the slowest of ${n}` : undefined}
                >
                  <dt className="flex items-center gap-1 text-12 leading-[14px] text-ink2">
                    <span className={`h-[3px] w-2.5 shrink-0 rounded-data ${item.swatch}`} />
                    {item.name}
                    {few && !inline && <span className="text-ink3">of {n}</span>}
                  </dt>
                  <dd className="leading-5">
                    <Num
                      written={latency(value, index === null ? 3 : 4)}
                      className={`${inline ? 'text-12 font-name!' : 'text-15 leading-5! font-strong!'} ${few ? 'text-ink3' : ''}`}
                      unitClass={`font-regular ${inline ? 'text-12' : 'text-12'} text-ink2`}
                    />
                  </dd>
                </div>
              );
            })}
          </dl>
        );
      }}
    />
  );
}
