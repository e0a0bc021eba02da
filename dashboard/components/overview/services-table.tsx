'use client';

/** Every service in the order of trouble, or as asked. Wide: one line with shapes; narrow: two lines with the ruler. */
import Link from 'next/link';
import { memo, useMemo, useState } from 'react';
import { Ruler, type RulerAxis, rulerAxis, rulerLabel, rulerTicks, rulerX } from '@/components/charts/ruler';
import { Sparkline } from '@/components/charts/sparkline';
import { usePageData } from '@/components/shell/page-data';
import { hrefOf } from '@/components/shell/sidebar';
import { Glyph } from '@/components/ui/glyph';
import { Num } from '@/components/ui/num';
import { Quantile } from '@/components/ui/quantile';
import { SortHeader, sortValue } from '@/components/ui/sort-header';
import { useNarrow } from '@/components/ui/use-narrow';
import { exactCount, rate, share } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import { findGaps, rates, shares } from '@/lib/series/gaps';
import type { Column, Row } from '@/lib/series/types';
import { byTrouble, isOther, type State, stateOf } from '@/lib/series/verdict';
import { useOrder } from './use-order';

const RULER = 240;
const FIRST_ROWS = 100;
const RANK: Record<State, number> = { failing: 0, recovered: 1, fine: 2 };

export function ServicesTable({ rows, windowMs }: { rows: readonly Row[]; windowMs: number }) {
  const { view, choose, heldSince, hold, data } = usePageData();
  const narrow = useNarrow();
  const judge = (row: Row): State => stateOf(row, data?.stepMs ?? 0, data?.openT ?? null).state;
  const [limit, setLimit] = useState(FIRST_ROWS);
  const { sort } = view;
  const sorted = useMemo(() => {
    if (sort === null) {
      const rank = (row: Row) => RANK[stateOf(row, data?.stepMs ?? 0, data?.openT ?? null).state];
      return [...rows].sort((a, b) => rank(a) - rank(b) || byTrouble(a, b));
    }
    const factor = sort.descending ? -1 : 1;
    return [...rows].sort((a, b) =>
      sort.column === 'service'
        ? factor * (a.key.service ?? '').localeCompare(b.key.service ?? '')
        : factor * (sortValue(a.window, sort.column) - sortValue(b.window, sort.column)) ||
          (a.id < b.id ? -1 : 1),
    );
  }, [rows, sort, data]);
  const ordered = useOrder(sorted, JSON.stringify(sort), heldSince !== null);
  const { lowMs, highMs } = rulerAxis(rows);
  const axis = useMemo(() => ({ lowMs, highMs }), [lowMs, highMs]);
  const shown = ordered.slice(0, limit);
  const total = rows.reduce((sum, row) => sum + row.window.count, 0);
  const onSort = (next: typeof sort) => choose({ sort: next });
  const head = { sort, onSort };

  return (
    <section
      aria-label="Services"
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
      <div className="card overflow-hidden">
        {narrow ? (
          <ul className="divide-y divide-line">
            {shown.map((row) => (
              <NarrowRow
                key={row.id}
                row={row}
                axis={axis}
                state={judge(row)}
                href={hrefOf(view, { service: row.key.service ?? '' })}
              />
            ))}
          </ul>
        ) : (
          <table className="w-full">
            <caption className="sr-only">Services, {span(windowMs)}</caption>
            <thead>
              <tr className="h-9 border-line border-b text-12">
                <th scope="col" className="w-11">
                  <span className="sr-only">State</span>
                </th>
                <SortHeader column="service" align="left" {...head}>
                  Service
                </SortHeader>
                <SortHeader column="rate" className="w-24" {...head}>
                  Requests
                </SortHeader>
                <th scope="col" className="hidden w-[104px] desktop:table-cell">
                  <span className="sr-only">Requests over time</span>
                </th>
                <SortHeader column="errors" className="w-20" {...head}>
                  Errors
                </SortHeader>
                <th scope="col" className="hidden w-[104px] desktop:table-cell">
                  <span className="sr-only">Errors over time</span>
                </th>
                <SortHeader column="p50" className="w-[76px]" {...head}>
                  p50
                </SortHeader>
                <SortHeader column="p95" className="w-[84px]" {...head}>
                  p95
                </SortHeader>
                <SortHeader column="p99" className="w-[84px]" {...head}>
                  p99
                </SortHeader>
                <th scope="col" className="w-[292px] pl-7 max-desktop:w-[272px] max-desktop:pl-3">
                  <RulerHead axis={axis} />
                </th>
                <th scope="col" className="w-[100px] pr-4 text-left font-regular text-ink2">
                  p99, {span(windowMs)}
                </th>
              </tr>
            </thead>
            <tbody>
              {shown.map((row) => (
                <ServiceRow
                  key={row.id}
                  row={row}
                  axis={axis}
                  state={judge(row)}
                  href={hrefOf(view, { service: row.key.service ?? '' })}
                />
              ))}
            </tbody>
          </table>
        )}
      </div>
      {ordered.length > limit && (
        <button type="button" className="control mt-3" onClick={() => setLimit(limit + FIRST_ROWS)}>
          {exactCount(ordered.length - limit)} more
        </button>
      )}
      <footer className="mt-3 flex flex-wrap items-center gap-x-6 gap-y-1 text-12 text-ink2">
        <RulerLegend />
        <span className="flex-1" />
        <span>
          {sort === null ? 'Sorted by trouble' : 'Sorted as chosen'}.{' '}
          <span className="live-number">{exactCount(total)}</span> requests counted in this window.
        </span>
      </footer>
    </section>
  );
}

function useShapes(row: Row): { requests: Column; errors: Column; p99: Column } {
  return useMemo(() => {
    const { columns } = row;
    // The step still filling is left out: a half-full step would end every line with a dip.
    const closed = columns.t.length - 1;
    const gaps = findGaps(columns.count, closed);
    return {
      requests: rates(columns.count, gaps, 1000).slice(0, closed),
      errors: shares(columns.errors, columns.count).slice(0, closed),
      p99: (columns.quantilesMs['0.99'] ?? []).slice(0, closed),
    };
  }, [row]);
}

interface RowProps {
  row: Row;
  axis: RulerAxis;
  state: State;
  href: string;
}

/** Made again only when its row has changed: most ticks change a few of many. */
const ServiceRow = memo(function ServiceRow({ row, axis, state, href }: RowProps) {
  const { window, key } = row;
  const failing = state === 'failing';
  const shapes = useShapes(row);
  const service = key.service ?? '';
  return (
    <tr className="relative h-[42px] border-line border-b last:border-b-0 hover:bg-hover">
      <td className="pl-4">
        <Glyph state={state} size={16} />
      </td>
      <td className="max-w-0 truncate">
        <ServiceLink
          service={service}
          other={isOther(row)}
          href={href}
          className="font-name outline-offset-[-2px] after:absolute after:inset-0 focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-offset-[-2px] focus-visible:after:outline-focus"
        />
      </td>
      <td className="text-right">
        <Num written={rate(window.rate)} title={`${exactCount(window.count)} requests`} />
      </td>
      <td className="hidden pl-5 desktop:table-cell">
        <Sparkline values={shapes.requests} token="rate" />
      </td>
      <td className="text-right">
        <Num
          written={share(window.errors, window.count)}
          className={failing ? 'font-strong! text-bad' : window.errors === 0 ? 'text-ink3' : ''}
          unitClass={failing ? 'text-12' : 'text-12 text-ink2'}
          title={`${exactCount(window.errors)} of ${exactCount(window.count)}`}
        />
      </td>
      <td className="hidden pl-5 desktop:table-cell">
        <Sparkline values={shapes.errors} token={failing ? 'bad' : 'was'} fill={failing} />
      </td>
      <td className="text-right">
        <Quantile window={window} quantile="0.5" />
      </td>
      <td className="text-right">
        <Quantile window={window} quantile="0.95" />
      </td>
      <td className="text-right">
        <Quantile window={window} quantile="0.99" />
      </td>
      <td className="pl-7 max-desktop:pl-3">
        <Ruler window={window} axis={axis} width={RULER} height={28} />
      </td>
      <td className="pr-4">
        <Sparkline values={shapes.p99} token="p99" />
      </td>
    </tr>
  );
});

const NarrowRow = memo(function NarrowRow({ row, axis, state, href }: RowProps) {
  const { window, key } = row;
  const failing = state === 'failing';
  const service = key.service ?? '';
  return (
    <li className="relative px-3 py-2">
      <div className="flex items-center gap-2">
        <Glyph state={state} />
        <ServiceLink
          service={service}
          other={isOther(row)}
          href={href}
          className="min-w-0 flex-1 truncate font-name after:absolute after:inset-0"
        />
        <Num
          written={share(window.errors, window.count)}
          className={failing ? 'font-strong! text-bad' : window.errors === 0 ? 'text-ink3' : ''}
          unitClass="text-12"
        />
        <span className="w-18 text-right">
          <Quantile window={window} quantile="0.99" />
        </span>
      </div>
      <div className="flex items-center pl-[22px]">
        <Num written={rate(window.rate)} className="flex-1 text-12 text-ink2" />
        <Ruler window={window} axis={axis} width={132} height={20} />
      </div>
    </li>
  );
});

/** What is over the budget of groups has no page of its own. */
function ServiceLink(props: { service: string; other: boolean; href: string; className: string }) {
  if (props.other) {
    return (
      <span className="text-ink2" title="Services over the budget of groups, counted together">
        {props.service}
      </span>
    );
  }
  return (
    <Link data-row href={props.href} prefetch={false} title={props.service} className={props.className}>
      {props.service}
    </Link>
  );
}

function RulerHead({ axis }: { axis: RulerAxis }) {
  return (
    <span className="relative block h-4 text-12 font-regular text-ink2" style={{ width: RULER }}>
      <span className="sr-only">Latency from p50 to the slowest</span>
      {rulerTicks(axis).map((tick) => (
        <span
          key={tick}
          aria-hidden="true"
          className="absolute -translate-x-1/2"
          style={{ left: rulerX(axis, tick, RULER) }}
        >
          {rulerLabel(tick)}
        </span>
      ))}
    </span>
  );
}

function RulerLegend() {
  return (
    <span className="flex items-center gap-2">
      <svg width="76" height="14" viewBox="0 0 76 14" aria-hidden="true">
        <rect x="1" y="4" width="34" height="6" className="fill-p50" />
        <rect x="35" y="4" width="18" height="6" className="fill-p95" />
        <rect x="52" y="1" width="2.5" height="12" className="fill-p99" />
        <rect x="54" y="6.25" width="20" height="1.5" className="fill-p95" opacity=".55" />
        <rect x="73" y="3.5" width="1.5" height="7" className="fill-p95" opacity=".55" />
      </svg>
      p50, p95, p99, slowest
    </span>
  );
}
