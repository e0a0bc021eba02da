'use client';

/** Requests per second stacked by status class, failures at the bottom where they share one baseline. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { exactCount, NBSP, rate, write } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import { rates } from '@/lib/series/gaps';
import type { Column, Row, StatusClass } from '@/lib/series/types';
import { ChartCard, timeCell } from './chart-card';
import type { ChartFrame } from './frame';
import type { Marker, PlotData, PlotSpec } from './plot';
import { axisRate, RequestsChart } from './requests-chart';

const SPEC: PlotSpec = {
  scale: 'linear',
  lines: [
    { color: 's2', width: 1.25, mark: 'line', fill: 'plain' },
    { color: 's3', width: 1, mark: 'line', fill: 'plain' },
    { color: 's4', width: 1, mark: 'line', fill: 'dots' },
    { color: 's5', width: 1.25, mark: 'line', fill: 'hatch' },
  ],
  stacked: true,
  axisWidth: 42,
  edgeWidth: 16,
  releases: 'flags',
  tick: (value) => (value === 0 ? '0' : axisRate(value)),
};

/** Bottom up. What is neither 3xx, 4xx nor 5xx counts with 2xx in the picture; the table keeps all apart. */
const CLASSES = [
  { name: '2xx', swatch: 'bg-s2', classes: ['2xx', '1xx', 'unknown'] },
  { name: '3xx', swatch: 'bg-s3', classes: ['3xx'] },
  { name: '4xx', swatch: 'swatch-s4', classes: ['4xx'] },
  { name: '5xx', swatch: 'swatch-s5', classes: ['5xx'] },
] as const satisfies readonly { name: string; swatch: string; classes: readonly StatusClass[] }[];

/** Without its unit, which is written beside it or once for all classes. */
function perSecond(value: number | null | undefined): string {
  if (value === null || value === undefined) return '–';
  if (value === 0) return '0';
  if (value < 0.01) return '< 0.01';
  if (value < 9.995) return value.toFixed(2);
  return value < 99.95 ? value.toFixed(1) : exactCount(value);
}

interface Props {
  row: Row;
  frame: ChartFrame;
  markers: readonly Marker[];
  stale: boolean;
  /** Height of the plot with its time axis, as a class. */
  plotClass: string;
}

export function StatusChart(props: Props) {
  const { view } = usePageData();
  if (isTold(props.row)) return <ByStatus {...props} />;
  const of = view.version.length > 0 ? 'this version, not by status' : 'not by status';
  return <RequestsChart {...props} past={null} of={of} />;
}

/** Versions and hosts are counted without their statuses; requests without any are not requests that all went well. */
function isTold(row: Row): boolean {
  return row.window.count === 0 || Object.values(row.columns.status).some((column) => column.some(Boolean));
}

function ByStatus({ row, frame, markers, stale, plotClass }: Props) {
  const { view, windowMs } = usePageData();
  const { columns } = row;
  /** Per class, in the order of CLASSES, as rates. */
  const single: Column[] = useMemo(() => {
    const total = rates(columns.count, frame.gaps, frame.stepMs);
    return CLASSES.map((item) =>
      total.map((known, index) => {
        if (known === null || (index === frame.open && frame.openMs === 0)) return null;
        const n = item.classes.reduce((sum, name) => sum + (columns.status[name][index] ?? 0), 0);
        return (n * 1000) / (index === frame.open ? frame.openMs : frame.stepMs);
      }),
    );
  }, [columns, frame]);
  const data: PlotData = useMemo(() => {
    const stacked = single.map((_, from) =>
      (single[from] as Column).map((value, index) =>
        value === null ? null : single.slice(from).reduce((sum, column) => sum + (column[index] ?? 0), 0),
      ),
    );
    return {
      t: frame.t,
      lines: stacked,
      open: frame.open,
      gaps: frame.gaps.ranges,
      late: frame.late,
      stale,
      zone: view.tz,
      markers,
    };
  }, [single, frame, stale, view.tz, markers]);

  const windowRate = (name: StatusClass): number => {
    const n = columns.status[name].reduce<number>((sum, value) => sum + (value ?? 0), 0);
    return (n * 1000) / windowMs;
  };
  const shown = CLASSES.filter(
    (item, index) => index === 0 || item.classes.some((name) => windowRate(name) > 0),
  );

  // Four classes with their units would not fit beside one another.
  const inUnits = shown.length < 4;

  return (
    <ChartCard
      title="Requests"
      note={inUnits ? span(windowMs) : `per second, ${span(windowMs)}`}
      {...(inUnits ? {} : { cursorNote: 'per second' })}
      spec={SPEC}
      data={data}
      plotClass={plotClass}
      label={`Requests per second by status over ${span(windowMs)}: ${write(rate(row.window.rate))} in all, ${write(rate(windowRate('5xx')))} answered 5xx.`}
      table={{
        head: ['Time', '2xx', '3xx', '4xx', '5xx', 'other'],
        rows: () =>
          frame.t.map((t, index) => [
            timeCell(t, view.tz),
            ...(['2xx', '3xx', '4xx', '5xx'] as const).map((name) =>
              String(columns.status[name][index] ?? '–'),
            ),
            columns.count[index] === null
              ? '–'
              : String((columns.status['1xx'][index] ?? 0) + (columns.status.unknown[index] ?? 0)),
          ]),
      }}
      head={(index) => (
        <dl className="flex h-6 items-center gap-3.5 overflow-hidden">
          {shown.map((item) => {
            const value =
              index === null
                ? item.classes.reduce((sum, name) => sum + windowRate(name), 0)
                : single[CLASSES.indexOf(item)]?.[index];
            return (
              <div key={item.name} className="flex items-center gap-1">
                <dt className="flex items-center gap-1 text-12 text-ink2">
                  <span className={`size-2.5 shrink-0 rounded-data ${item.swatch}`} />
                  {item.name}
                </dt>
                <dd>
                  <span className="live-number whitespace-nowrap text-12 font-name">
                    {perSecond(value)}
                    {inUnits && <span className="font-regular text-ink2">{`${NBSP}/s`}</span>}
                  </span>
                </dd>
              </div>
            );
          })}
        </dl>
      )}
    />
  );
}
