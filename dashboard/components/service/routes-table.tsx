'use client';

/** The routes of a service. Sorted by their share of all time spent, which finds the one worth fixing; failing ones first. */
import Link from 'next/link';
import { useMemo, useState } from 'react';
import { Sparkline } from '@/components/charts/sparkline';
import { useOrder } from '@/components/overview/use-order';
import { useAttention } from '@/components/shell/findings';
import { usePageData } from '@/components/shell/page-data';
import { Glyph } from '@/components/ui/glyph';
import { Num } from '@/components/ui/num';
import { Quantile } from '@/components/ui/quantile';
import { RouteName } from '@/components/ui/route-name';
import { SortHeader, sortValue } from '@/components/ui/sort-header';
import { useNarrow } from '@/components/ui/use-narrow';
import { exactCount, rate, requests, share } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import type { Row } from '@/lib/series/types';
import { isOther, partFails, type State, stateOf } from '@/lib/series/verdict';
import { hrefOf, toHref } from '@/lib/view/url';

const FIRST_ROWS = 8;

/** Time spent: how many had a duration, times their mean. */
function timeMs(row: Row): number {
  return row.window.latencyCount * (row.window.meanMs ?? 0);
}

/** The trouble of each route: what the verdict names, and what fails by itself. */
function useRouteStates(): (row: Row) => State {
  const { view, data } = usePageData();
  const { judged, byService } = useAttention();
  const finding = byService.get(view.service ?? '');
  return (row) => {
    const state = partFails(row.window, judged, finding)
      ? stateOf(row, data?.stepMs ?? 0, data?.openT ?? null).state
      : 'fine';
    if (state !== 'fine' || finding === undefined || finding.recoveredMs !== null) return state;
    const { where } = finding;
    if (where === null || where.dimension !== 'route') return state;
    const name = `${row.key.method ?? ''} ${row.key.route ?? ''}`.trim();
    return where.value === name || where.value === row.key.route ? finding.kind : state;
  };
}

export function RoutesTable({ rows, windowMs }: { rows: readonly Row[]; windowMs: number }) {
  const { view, choose, heldSince, hold } = usePageData();
  const judge = useRouteStates();
  const isTroubled = (row: Row) => judge(row) !== 'fine' && judge(row) !== 'recovered';
  const narrow = useNarrow();
  const [all, setAll] = useState(false);
  const { sort } = view;
  const total = rows.reduce((sum, row) => sum + timeMs(row), 0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the trouble of a route changes with its row
  const sorted = useMemo(() => {
    if (sort === null) {
      return [...rows].sort(
        (a, b) =>
          Number(isOther(a)) - Number(isOther(b)) ||
          Number(isTroubled(b)) - Number(isTroubled(a)) ||
          timeMs(b) - timeMs(a) ||
          (a.id < b.id ? -1 : 1),
      );
    }
    const factor = sort.descending ? -1 : 1;
    return [...rows].sort((a, b) => {
      if (sort.column === 'route') return factor * (a.key.route ?? '').localeCompare(b.key.route ?? '');
      if (sort.column === 'time') return factor * (timeMs(a) - timeMs(b));
      return (
        factor * (sortValue(a.window, sort.column) - sortValue(b.window, sort.column)) ||
        (a.id < b.id ? -1 : 1)
      );
    });
  }, [rows, sort]);
  const ordered = useOrder(sorted, JSON.stringify(sort), heldSince !== null);
  const shown = all ? ordered : ordered.slice(0, FIRST_ROWS);
  const head = { sort, onSort: (next: typeof sort) => choose({ sort: next }) };

  return (
    <section
      aria-label="Routes"
      className="card overflow-hidden"
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
      {narrow ? (
        <ul className="divide-y divide-line">
          {shown.map((row) => (
            <NarrowRoute key={row.id} row={row} state={judge(row)} />
          ))}
        </ul>
      ) : (
        <table className="w-full">
          <caption className="sr-only">Routes, {span(windowMs)}</caption>
          <thead>
            <tr className="h-9 border-line border-b text-12">
              <th scope="col" className="w-10">
                <span className="sr-only">State</span>
              </th>
              <SortHeader column="route" align="left" {...head}>
                Route
              </SortHeader>
              <SortHeader column="rate" className="w-[72px]" {...head}>
                Requests
              </SortHeader>
              <SortHeader column="errors" className="w-[64px]" {...head}>
                Errors
              </SortHeader>
              <SortHeader column="p50" className="w-[66px]" {...head}>
                p50
              </SortHeader>
              <SortHeader column="p95" className="w-[66px]" {...head}>
                p95
              </SortHeader>
              <SortHeader column="p99" className="w-[66px]" {...head}>
                p99
              </SortHeader>
              <th
                scope="col"
                className="w-[100px] whitespace-nowrap pl-4 text-left font-regular text-ink2 max-desktop:hidden"
              >
                p99, {span(windowMs)}
              </th>
              <SortHeader column="time" isDefault className="w-[70px] pr-4" {...head}>
                Time
              </SortHeader>
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <RouteRow key={row.id} row={row} state={judge(row)} timeShare={{ part: timeMs(row), total }} />
            ))}
          </tbody>
        </table>
      )}
      {ordered.some(isOther) && (
        <p className="border-line border-t px-4 py-2 text-12 text-ink2">
          <span className="font-mono">(other)</span> holds routes over the budget, counted together.{' '}
          <Link
            href={hrefOf(view, { page: 'ledger', service: null })}
            prefetch={false}
            className="font-strong text-focus underline underline-offset-2"
          >
            Name the pattern
          </Link>
        </p>
      )}
      {ordered.length > FIRST_ROWS && (
        <button
          type="button"
          className="h-10 w-full border-line border-t text-ink2 hover:bg-hover hover:text-ink"
          onClick={() => setAll(!all)}
        >
          {all ? 'Fewer' : `${exactCount(ordered.length - FIRST_ROWS)} more`}
        </button>
      )}
    </section>
  );
}

interface RouteProps {
  row: Row;
  state: State;
}

/** The address of a route's own page, or, on it, the way back to all of them. */
function useRouteLink(row: Row): { href: string; current: boolean } {
  const { view } = usePageData();
  const route = row.key.route ?? '';
  const method = row.key.method ?? '';
  const current = view.route[0] === route && (view.method[0] ?? '') === method;
  const href = toHref({
    ...view,
    sel: null,
    route: current ? [] : [route],
    method: current || method === '' ? [] : [method],
  });
  return { href, current };
}

function RouteRow({ row, state, timeShare }: RouteProps & { timeShare: { part: number; total: number } }) {
  const { window, key } = row;
  const failing = state === 'failing';
  const { href, current } = useRouteLink(row);
  const route = key.route ?? '';
  const method = key.method ?? '';
  const p99 = useMemo(() => (row.columns.quantilesMs['0.99'] ?? []).slice(0, -1), [row]);
  return (
    <tr
      className={`relative h-10 border-line border-b last:border-b-0 hover:bg-hover ${current ? 'bg-hover' : ''}`}
    >
      <td className="pl-4">
        <Glyph state={state} />
      </td>
      <td className="max-w-0">
        <Link
          data-row
          href={href}
          prefetch={false}
          aria-current={current ? 'true' : undefined}
          className="flex min-w-0 items-center after:absolute after:inset-0 focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-offset-[-2px] focus-visible:after:outline-focus"
        >
          <span className="w-12 shrink-0 font-mono text-12 text-ink2">{method === '' ? '–' : method}</span>
          <RouteName route={route} />
        </Link>
      </td>
      <td className="text-right">
        <Num written={rate(window.rate)} title={requests(window.count)} />
      </td>
      <td className="text-right">
        <Num
          written={share(window.errors, window.count)}
          className={failing ? 'font-strong! text-bad' : window.errors === 0 ? 'text-ink3' : ''}
          unitClass={failing ? 'text-12' : 'text-12 text-ink2'}
          title={`${exactCount(window.errors)} of ${exactCount(window.count)}`}
        />
      </td>
      <td className="text-right">
        <Quantile window={window} quantile="0.5" />
      </td>
      <td className="text-right">
        <Quantile window={window} quantile="0.95" />
      </td>
      <td className="text-right">
        <Quantile
          window={window}
          quantile="0.99"
          className={state === 'slower' ? 'font-strong! text-warn' : ''}
        />
      </td>
      <td className="pl-4 max-desktop:hidden">
        <Sparkline values={p99} token="p99" />
      </td>
      <td className="pr-4 text-right">
        <Num written={share(timeShare.part, timeShare.total)} title="share of all time spent" />
      </td>
    </tr>
  );
}

function NarrowRoute({ row, state }: RouteProps) {
  const { window, key } = row;
  const failing = state === 'failing';
  const { href, current } = useRouteLink(row);
  const route = key.route ?? '';
  const method = key.method ?? '';
  return (
    <li className="relative px-3 py-2">
      <div className="flex items-center gap-2">
        <Glyph state={state} />
        <Link
          data-row
          href={href}
          prefetch={false}
          aria-current={current ? 'true' : undefined}
          className="min-w-0 flex-1 after:absolute after:inset-0"
        >
          <RouteName route={route} />
        </Link>
        <Num
          written={share(window.errors, window.count)}
          className={failing ? 'font-strong! text-bad' : window.errors === 0 ? 'text-ink3' : ''}
          unitClass="text-12"
        />
      </div>
      <div className="flex gap-3 pl-[22px] text-12 text-ink2">
        <span className="font-mono">{method}</span>
        <Num written={rate(window.rate)} className="flex-1" />
        <span>p99</span>
        <Quantile window={window} quantile="0.99" />
      </div>
    </li>
  );
}
