'use client';

/** Percentiles over time on a logarithmic axis: one hue, deeper into the tail is stronger; the slowest as dots. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { Num } from '@/components/ui/num';
import { axisLatency, bound, exactCount, latency, write } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import type { Row } from '@/lib/series/types';
import { ChartCard, timeCell } from './chart-card';
import type { ChartFrame } from './frame';
import type { LineSpec, Marker, PlotData, PlotSpec } from './plot';

/** All lines there are, tail first, so that deeper lines lie on top. */
const LINES: Record<string, LineSpec & { name: string; swatch: string; needs: number }> = {
  max: {
    name: 'max',
    swatch: 'bg-pmax',
    needs: 1,
    color: 'pmax',
    width: 1,
    mark: 'dots',
    fill: 'none',
    edge: 'max',
  },
  '0.5': {
    name: 'p50',
    swatch: 'bg-p50',
    needs: 2,
    color: 'p50',
    width: 1.75,
    mark: 'line',
    fill: 'none',
    edge: 'p50',
  },
  '0.9': {
    name: 'p90',
    swatch: 'bg-p90',
    needs: 10,
    color: 'p90',
    width: 1.5,
    mark: 'line',
    fill: 'none',
    edge: 'p90',
  },
  '0.95': {
    name: 'p95',
    swatch: 'bg-p95',
    needs: 20,
    color: 'p95',
    width: 1.5,
    mark: 'line',
    fill: 'none',
    edge: 'p95',
  },
  '0.99': {
    name: 'p99',
    swatch: 'bg-p99',
    needs: 100,
    color: 'p99',
    width: 2,
    mark: 'line',
    fill: 'none',
    edge: 'p99',
  },
  '0.999': {
    name: 'p99.9',
    swatch: 'bg-p999',
    needs: 1000,
    color: 'p999',
    width: 1.25,
    mark: 'line',
    fill: 'none',
    edge: 'p99.9',
  },
};

/** So many values stand in a head at their full size: the usual percentiles and the slowest. */
const USUAL = 4;

/** What is drawn, from the slowest downwards; made once per choice, because a new description is a new chart. */
function specFor(
  quantiles: readonly string[],
  scale: 'log' | 'lin',
  releases: PlotSpec['releases'],
): PlotSpec {
  return {
    scale: scale === 'log' ? 'log' : 'linear',
    lines: ['max', ...quantiles].map((name) => LINES[name] as LineSpec),
    stacked: false,
    axisWidth: 52,
    edgeWidth: quantiles.includes('0.999') ? 44 : 38,
    releases,
    tick: (ms) => (ms === 0 ? '0' : axisLatency(ms)),
  };
}

interface Props {
  row: Row;
  frame: ChartFrame;
  errorBound: number;
  markers: readonly Marker[];
  /** Whether releases are named above the plot or are hairlines only. */
  releases: 'flags' | 'lines';
  stale: boolean;
  /** Height of the plot with its time axis, as a class. */
  plotClass: string;
  /** Values beside their names in one line, as the service page has them. */
  inline: boolean;
}

export function LatencyChart({ row, frame, errorBound, markers, releases, stale, plotClass, inline }: Props) {
  const { view, windowMs } = usePageData();
  const chosen = view.q.join();
  const names = useMemo(() => [...chosen.split(',').filter(Boolean), 'max'], [chosen]);
  const spec = useMemo(
    () => specFor(names.slice(0, -1), view.scale, releases),
    [names, view.scale, releases],
  );
  const { columns, window } = row;
  const data: PlotData = useMemo(() => {
    const none = new Array<null>(frame.t.length).fill(null);
    return {
      t: frame.t,
      lines: [columns.maxMs, ...names.slice(0, -1).map((name) => columns.quantilesMs[name] ?? none)],
      open: frame.open,
      gaps: frame.gaps.ranges,
      late: frame.late,
      stale,
      zone: view.tz,
      markers,
    };
  }, [frame, columns, names, stale, view.tz, markers]);

  const at = (name: string, index: number | null): number | null => {
    if (index === null) return name === 'max' ? window.maxMs : (window.quantilesMs[name] ?? null);
    return (name === 'max' ? columns.maxMs[index] : columns.quantilesMs[name]?.[index]) ?? null;
  };
  const samples = (index: number | null): number =>
    index === null ? window.latencyCount : (columns.latencyCount[index] ?? 0);
  /** Whether a value is only one of the slowest of a handful. */
  const isFew = (name: string, index: number | null): boolean =>
    at(name, index) !== null && samples(index) < (LINES[name]?.needs ?? 1);

  /** In one line there is no room beside the digits for how many there were; then it stands beside the time. */
  const isTight = inline || names.length > USUAL;
  const fewOf = (index: number | null): string | null =>
    isTight && names.some((name) => isFew(name, index)) ? `of ${samples(index)}` : null;

  return (
    <ChartCard
      title="Latency"
      note={fewOf(null) ?? `bound ${bound(errorBound)}`}
      cursorNote={(index) => fewOf(index) ?? bound(errorBound)}
      spec={spec}
      data={data}
      plotClass={plotClass}
      label={`Latency over ${span(windowMs)}: ${names.map((name) => `${LINES[name]?.name} ${write(latency(at(name, null)))}`).join(', ')}.`}
      table={{
        head: ['Time', ...names.map((name) => LINES[name]?.name ?? name), 'of'],
        rows: () =>
          frame.t.map((t, index) => [
            timeCell(t, view.tz),
            ...names.map((name) => write(latency(at(name, index), 4))),
            exactCount(samples(index)),
          ]),
      }}
      head={(index) => {
        const n = samples(index);
        return (
          <dl
            className={
              names.length > USUAL
                ? inline
                  ? 'grid h-12 grid-cols-3 items-center gap-x-2'
                  : 'grid h-[38px] auto-cols-fr grid-flow-col items-start gap-x-1 overflow-hidden'
                : inline
                  ? 'flex h-6 items-center gap-3 overflow-hidden max-tablet:h-[38px] max-tablet:justify-between'
                  : 'flex h-[38px] items-start gap-5 overflow-hidden'
            }
          >
            {names.map((name) => {
              const item = LINES[name] as (typeof LINES)[string];
              const value = at(name, index);
              const few = isFew(name, index);
              return (
                <div
                  key={item.name}
                  className={
                    inline
                      ? `flex items-center gap-1 ${names.length > USUAL ? 'min-w-0' : 'max-tablet:flex-col max-tablet:items-start max-tablet:gap-0'}`
                      : `flex flex-col ${names.length > USUAL ? 'min-w-0' : 'min-w-13'}`
                  }
                  title={few ? `the slowest of ${n}` : undefined}
                >
                  <dt className="flex items-center gap-1 whitespace-nowrap text-12 leading-[14px] text-ink2">
                    <span className={`h-[3px] w-2.5 shrink-0 rounded-data ${item.swatch}`} />
                    {item.name}
                    {few && !isTight && <span className="text-ink3">of {n}</span>}
                  </dt>
                  <dd className="leading-5">
                    <Num
                      written={latency(value, index === null ? 3 : 4)}
                      className={`${inline ? 'text-12 font-name!' : names.length > USUAL ? 'text-12 font-strong!' : 'text-15 leading-5! font-strong!'} ${few ? 'text-ink3' : ''}`}
                      unitClass="font-regular text-12 text-ink2"
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
