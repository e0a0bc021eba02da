'use client';

/** The share of requests that failed. Vermilion only when something is failing; a healthy line is grey. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { Num } from '@/components/ui/num';
import { count, exactCount, share, write } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import { shares } from '@/lib/series/gaps';
import type { Row } from '@/lib/series/types';
import { ChartCard, timeCell } from './chart-card';
import type { ChartFrame } from './frame';
import type { PlotData, PlotSpec } from './plot';

function spec(color: 'bad' | 'was', fill: 'hatch' | 'soft'): PlotSpec {
  return {
    scale: 'linear',
    lines: [{ color, width: 1.75, mark: 'line', fill }],
    stacked: false,
    axisWidth: 46,
    edgeWidth: 16,
    tick: (value) => (value === 0 ? '0' : `${Number(value.toPrecision(3))}\u00a0%`),
  };
}
const FAILING = spec('bad', 'hatch');
const HEALTHY = spec('was', 'soft');

interface Props {
  row: Row;
  frame: ChartFrame;
  failing: boolean;
  stale: boolean;
  /** Height of the plot with its time axis, as a class. */
  plotClass: string;
  /** Small values in one line, as the service page has them. */
  inline?: boolean;
}

export function ErrorsChart({ row, frame, failing, stale, plotClass, inline = false }: Props) {
  const { view, windowMs } = usePageData();
  const { columns, window } = row;
  const values = useMemo(() => shares(columns.errors, columns.count), [columns]);
  const data: PlotData = useMemo(
    () => ({ t: frame.t, lines: [values], open: frame.open, gaps: frame.gaps.ranges, stale, zone: view.tz }),
    [frame, values, stale, view.tz],
  );
  const last = frame.closed - 1;
  return (
    <ChartCard
      title="Errors"
      note={`share of requests, ${span(windowMs)}`}
      spec={failing ? FAILING : HEALTHY}
      data={data}
      plotClass={plotClass}
      label={`Share of requests that failed: ${write(share(window.errors, window.count))} over ${span(windowMs)}, ${write(share(columns.errors[last], columns.count[last]))} in the last full step.`}
      table={{
        head: ['Time', 'Errors', 'Requests', 'Share'],
        rows: () =>
          frame.t.map((t, index) => [
            timeCell(t, view.tz),
            columns.errors[index] === null ? '–' : exactCount(columns.errors[index] as number),
            columns.count[index] === null ? '–' : exactCount(columns.count[index] as number),
            write(share(columns.errors[index], columns.count[index])),
          ]),
      }}
      head={(index) => {
        const part = index === null ? window.errors : columns.errors[index];
        const whole = index === null ? window.count : columns.count[index];
        const written = share(part, whole);
        if (inline) {
          return (
            <p className="flex h-6 items-center gap-2 overflow-hidden">
              <span className={`h-[3px] w-2.5 shrink-0 rounded-data ${failing ? 'bg-bad' : 'bg-was'}`} />
              <Num written={written} className="text-12 font-name!" unitClass="font-regular text-ink2" />
              <span className="live-number truncate text-12 text-ink2">{of(part, whole)}</span>
            </p>
          );
        }
        return (
          <p className="flex h-[34px] items-baseline gap-3 overflow-hidden">
            <Num
              written={written}
              className="text-28 font-strong!"
              unitClass="text-15 font-number tracking-normal text-ink2"
            />
            <span
              className={`live-number truncate text-12 ${failing && index === null ? 'font-name text-bad' : 'text-ink2'}`}
            >
              {of(part, whole)}
            </span>
          </p>
        );
      }}
    />
  );
}

function of(part: number | null | undefined, whole: number | null | undefined): string {
  if (part === null || part === undefined || whole === null || whole === undefined) return 'no requests';
  return `${write(count(part))} of ${write(count(whole))}`;
}
