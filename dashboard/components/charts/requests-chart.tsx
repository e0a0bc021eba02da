'use client';

/** Requests per second of the whole page, with the compared past dashed. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { Num } from '@/components/ui/num';
import { change, exactCount, rate, requests, write } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import { rates } from '@/lib/series/gaps';
import type { Row } from '@/lib/series/types';
import { ChartCard, timeCell } from './chart-card';
import type { ChartFrame } from './frame';
import type { PlotData, PlotSpec } from './plot';
import type { PastView } from './use-past';

const SPEC: PlotSpec = {
  scale: 'linear',
  lines: [
    { color: 'was', width: 1.25, mark: 'line', fill: 'none', dash: [3, 3] },
    { color: 'rate', width: 1.5, mark: 'line', fill: 'soft' },
  ],
  stacked: false,
  axisWidth: 42,
  edgeWidth: 16,
  releases: 'none',
  tick: (value) => (value === 0 ? '0' : axisRate(value)),
};

/** A tick of a rate axis: the unit stands in the head. */
export function axisRate(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}\u00a0M`;
  if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}\u00a0k`;
  return value >= 1000 ? exactCount(value) : String(Number(value.toPrecision(3)));
}

/** Requests per second, step by step; the open step over the time that has passed of it. */
export function ratesOf(row: Row, frame: ChartFrame): (number | null)[] {
  const all = rates(row.columns.count, frame.gaps, frame.stepMs);
  if (frame.open !== -1) {
    const n = row.columns.count[frame.open] ?? null;
    all[frame.open] = n === null || frame.openMs === 0 ? null : (n * 1000) / frame.openMs;
  }
  return all;
}

interface Props {
  row: Row;
  frame: ChartFrame;
  past: PastView | null;
  stale: boolean;
  /** What the rate is of. */
  of: string;
  /** Height of the plot with its time axis, as a class. */
  plotClass: string;
}

/** No more than this is claimed about a change of counts: they are exact, the traffic is not. */
const SAME = 0.005;

export function RequestsChart({ row, frame, past, stale, of, plotClass }: Props) {
  const { view, windowMs } = usePageData();
  const values = useMemo(() => ratesOf(row, frame), [row, frame]);
  const data: PlotData = useMemo(
    () => ({
      t: frame.t,
      lines: [past?.rate ?? frame.t.map(() => null), values],
      open: frame.open,
      gaps: frame.gaps.ranges,
      late: frame.late,
      stale,
      zone: view.tz,
      markers: [],
    }),
    [frame, values, past, stale, view.tz],
  );
  const now = values[frame.closed - 1] ?? null;
  const than = past?.meanRate ?? null;
  const changed = than === null ? null : change(row.window.rate, than, SAME);
  return (
    <ChartCard
      title="Requests"
      note={`per second, ${of}`}
      spec={SPEC}
      data={data}
      plotClass={plotClass}
      label={`Requests per second: ${write(rate(row.window.rate))} over ${span(windowMs)}, ${write(rate(now))} in the last full step${changed === null ? '' : `, ${write(changed)} against ${past?.name}`}.`}
      table={{
        head: ['Time', 'Requests', 'Per second', ...(past === null ? [] : [past.name])],
        rows: () =>
          frame.t.map((t, index) => [
            timeCell(t, view.tz),
            row.columns.count[index] === null ? '–' : exactCount(row.columns.count[index] as number),
            write(rate(values[index])),
            ...(past === null ? [] : [write(rate(past.rate[index]))]),
          ]),
      }}
      head={(index) => (
        <p className="flex h-[38px] items-baseline gap-3 overflow-hidden">
          <Num
            written={rate(index === null ? row.window.rate : values[index])}
            className="text-28 font-strong!"
            unitClass="text-15 font-number tracking-normal text-ink2"
          />
          <span className="live-number truncate text-12 text-ink2">
            {index === null
              ? changed !== null &&
                `${write(changed)} ${changed.value === 'same' ? 'as' : 'vs'} ${past?.name}`
              : index === frame.open
                ? 'still filling'
                : requests(row.columns.count[index] ?? 0)}
          </span>
        </p>
      )}
    />
  );
}
