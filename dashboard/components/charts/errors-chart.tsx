'use client';

/** The share of requests that failed. Vermilion only when something is failing; a healthy line is grey. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { Num } from '@/components/ui/num';
import { change, count, exactCount, rate, share, write } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import { shares } from '@/lib/series/gaps';
import type { Row } from '@/lib/series/types';
import { ChartCard, timeCell } from './chart-card';
import type { ChartFrame } from './frame';
import type { Marker, PlotData, PlotSpec } from './plot';
import type { PastView } from './use-past';

function spec(color: 'bad' | 'was', fill: 'hatch' | 'soft'): PlotSpec {
  return {
    scale: 'linear',
    lines: [
      { color: 'was', width: 1.25, mark: 'line', fill: 'none', dash: [3, 3] },
      { color, width: 1.75, mark: 'line', fill },
    ],
    stacked: false,
    axisWidth: 46,
    edgeWidth: 16,
    releases: 'flags',
    most: 100,
    tick: (value) => (value === 0 ? '0' : `${Number(value.toPrecision(3))}\u00a0%`),
  };
}
const FAILING = spec('bad', 'hatch');
const HEALTHY = spec('was', 'soft');

interface Props {
  row: Row;
  frame: ChartFrame;
  past: PastView | null;
  markers: readonly Marker[];
  failing: boolean;
  stale: boolean;
  /** Height of the plot with its time axis, as a class. */
  plotClass: string;
  /** Small values in one line, as the service page has them. */
  inline?: boolean;
}

export function ErrorsChart({ row, frame, past, markers, failing, stale, plotClass, inline = false }: Props) {
  const { view, windowMs } = usePageData();
  const { columns, window } = row;
  const values = useMemo(() => shares(columns.errors, columns.count), [columns]);
  const data: PlotData = useMemo(
    () => ({
      t: frame.t,
      lines: [past?.share ?? frame.t.map(() => null), values],
      open: frame.open,
      gaps: frame.gaps.ranges,
      late: frame.late,
      stale,
      zone: view.tz,
      markers,
    }),
    [frame, values, past, stale, view.tz, markers],
  );
  const last = frame.closed - 1;
  const perSecond = window.count === 0 ? null : (window.rate * window.errors) / window.count;
  return (
    <ChartCard
      title="Errors"
      note="share of requests"
      spec={failing ? FAILING : HEALTHY}
      data={data}
      plotClass={plotClass}
      label={`Share of requests that failed: ${write(share(window.errors, window.count))} over ${span(windowMs)}, ${write(share(columns.errors[last], columns.count[last]))} in the last full step${past === null || past.meanShare === null ? '' : `, ${write(share(past.meanShare, 1))} ${past.name}`}.`}
      table={{
        head: ['Time', 'Errors', 'Requests', 'Share', ...(past === null ? [] : [past.name])],
        rows: () =>
          frame.t.map((t, index) => [
            timeCell(t, view.tz),
            columns.errors[index] === null ? '–' : exactCount(columns.errors[index] as number),
            columns.count[index] === null ? '–' : exactCount(columns.count[index] as number),
            write(share(columns.errors[index], columns.count[index])),
            ...(past === null ? [] : [percent(past.share[index])]),
          ]),
      }}
      head={(index) => {
        const part = index === null ? window.errors : columns.errors[index];
        const whole = index === null ? window.count : columns.count[index];
        const written = share(part, whole);
        const then = past === null ? null : index === null ? past.meanShare : fraction(past.share[index]);
        if (inline) {
          return (
            <dl className="flex h-6 items-center gap-3.5 overflow-hidden">
              <Pair
                swatch={failing ? 'bg-bad' : 'bg-was'}
                name={index === null ? span(windowMs) : 'errors'}
                title={of(part, whole)}
              >
                <Num written={written} className="text-12 font-name!" unitClass="font-regular text-ink2" />
              </Pair>
              {past !== null && (
                <Pair swatch="bg-was" name={past.name}>
                  <Num
                    written={share(then, then === null ? null : 1)}
                    className="text-12 font-name!"
                    unitClass="font-regular text-ink2"
                  />
                </Pair>
              )}
            </dl>
          );
        }
        return (
          <p className="flex h-[38px] items-baseline gap-3 overflow-hidden">
            <Num
              written={written}
              className="text-28 font-strong!"
              unitClass="text-15 font-number tracking-normal text-ink2"
            />
            <span
              className={`live-number truncate text-12 ${failing && index === null ? 'font-name text-bad' : 'text-ink2'}`}
            >
              {index === null
                ? against(window.count === 0 ? null : window.errors / window.count, past, perSecond)
                : of(part, whole)}
            </span>
          </p>
        );
      }}
    />
  );
}

/** `3.7× yesterday, 73 /s`: against the past when there is one, and how many that are. */
function against(now: number | null, past: PastView | null, perSecond: number | null): string {
  if (now === null || perSecond === null) return 'no requests';
  const amount = now === 0 ? '' : write(rate(perSecond));
  const than = past?.meanShare ?? null;
  if (than === null || than === 0 || now === 0) return amount;
  const changed = change(now, than, 0.02);
  if (changed.value === 'same') return `same as ${past?.name}, ${amount}`;
  return `${write(changed)}${changed.unit === '' ? '' : ' vs'} ${past?.name}, ${amount}`;
}

function Pair(props: { swatch: string; name: string; title?: string; children: React.ReactNode }) {
  return (
    <div className="flex items-center gap-1.5" title={props.title}>
      <dt className="flex items-center gap-1.5 text-12 text-ink2">
        <span className={`h-[3px] w-2.5 shrink-0 rounded-data ${props.swatch}`} />
        {props.name}
      </dt>
      <dd>{props.children}</dd>
    </div>
  );
}

function fraction(percentage: number | null | undefined): number | null {
  return percentage === null || percentage === undefined ? null : percentage / 100;
}

function percent(percentage: number | null | undefined): string {
  const part = fraction(percentage);
  return write(share(part, part === null ? null : 1));
}

function of(part: number | null | undefined, whole: number | null | undefined): string {
  if (part === null || part === undefined || whole === null || whole === undefined) return 'no requests';
  return `${write(count(part))} of ${write(count(whole))}`;
}
