'use client';

/** Every service in the order of trouble, or as asked. Wide: one line with shapes; narrow: two lines with the ruler. */
import Link from 'next/link';
import { memo, useMemo, useRef } from 'react';
import { Ruler, type RulerAxis, rulerAxis, rulerLabel, rulerLabels, rulerX } from '@/components/charts/ruler';
import { Sparkline } from '@/components/charts/sparkline';
import { useAttention } from '@/components/shell/findings';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { Glyph } from '@/components/ui/glyph';
import { Name } from '@/components/ui/name';
import { Num } from '@/components/ui/num';
import { Quantile } from '@/components/ui/quantile';
import { SortHeader, sortValue } from '@/components/ui/sort-header';
import { useNarrow } from '@/components/ui/use-narrow';
import { useVirtual } from '@/components/ui/use-virtual';
import { exactCount, latency, rate, requestNoun, requests, share, write } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import { fetchBooks } from '@/lib/query/books';
import type { Finding } from '@/lib/query/findings';
import { shiftOf } from '@/lib/query/past';
import { fetchServices } from '@/lib/query/services';
import { usePoll } from '@/lib/query/use-poll';
import { findGaps, rates, shares } from '@/lib/series/gaps';
import type { Column, Row } from '@/lib/series/types';
import { byTrouble, isOther, stateOfFinding } from '@/lib/series/verdict';
import { downloadCsv, fileName, micros } from '@/lib/view/export';
import { hrefOf, type ViewState } from '@/lib/view/url';
import { useOrder } from './use-order';

const RULER = 214;
const ROW_HEIGHT = 42;
/** Longer tables make only the rows near the window. */
const VIRTUAL_FROM = 100;

export function ServicesTable({ rows, windowMs }: { rows: readonly Row[]; windowMs: number }) {
  const { view, choose, heldSince, hold, data } = usePageData();
  const { byService, noUsual } = useAttention();
  const { services } = useServices();
  const narrow = useNarrow();
  const usual = useUsualP99();
  const { sort } = view;
  const troubled = view.status.includes('5xx');
  const versions = useMemo(() => new Map(services.map((item) => [item.service, item.version])), [services]);
  const sorted = useMemo(() => {
    const listed = troubled ? rows.filter((row) => row.window.errors > 0) : rows;
    if (sort === null) {
      const place = new Map([...byService.keys()].map((service, index) => [service, index]));
      const last = place.size;
      const rank = (row: Row) => place.get(row.key.service ?? '') ?? last;
      return [...listed].sort((a, b) => rank(a) - rank(b) || byTrouble(a, b));
    }
    const factor = sort.descending ? -1 : 1;
    return [...listed].sort(
      (a, b) =>
        Number(isOther(a)) - Number(isOther(b)) ||
        (sort.column === 'service'
          ? factor * (a.key.service ?? '').localeCompare(b.key.service ?? '')
          : factor * (sortValue(a.window, sort.column) - sortValue(b.window, sort.column)) ||
            (a.id < b.id ? -1 : 1)),
    );
  }, [rows, sort, byService, troubled]);
  const ordered = useOrder(sorted, JSON.stringify([sort, troubled]), heldSince !== null);
  const { lowMs, highMs } = rulerAxis(rows);
  const axis = useMemo(() => ({ lowMs, highMs }), [lowMs, highMs]);
  const body = useRef<HTMLTableSectionElement>(null);
  const list = useRef<HTMLUListElement>(null);
  const slice = useVirtual(narrow ? list : body, ordered.length, narrow ? 61 : ROW_HEIGHT, VIRTUAL_FROM);
  const shown = ordered.slice(slice.from, slice.to);
  const head = { sort, onSort: (next: typeof sort) => choose({ sort: next }) };
  const hrefs = useHrefs(view);
  const props = (row: Row) => {
    const service = row.key.service ?? '';
    return {
      row,
      axis,
      finding: byService.get(service),
      isNew: noUsual.includes(service),
      usualP99: usual.get(service) ?? null,
      version: versions.get(service) ?? null,
      href: hrefs(service),
    };
  };

  const toFile = () =>
    downloadCsv(
      fileName('services', data?.fromMs ?? Date.now(), 'csv'),
      ['service', 'version', 'requests', 'errors', 'p50_us', 'p95_us', 'p99_us', 'max_us', 'from', 'to'],
      ordered.map(({ key, window }) => [
        key.service ?? '',
        versions.get(key.service ?? '') ?? null,
        window.count,
        window.errors,
        ...['0.5', '0.95', '0.99'].map((name) => micros(window.quantilesMs[name])),
        micros(window.maxMs),
        new Date(data?.fromMs ?? 0).toISOString(),
        new Date(data?.toMs ?? 0).toISOString(),
      ]),
    );

  return (
    <section
      aria-label="Services"
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
      {troubled && (
        <p className="mb-2 text-ink2">
          Only services with errors are listed.{' '}
          <button
            type="button"
            className="font-strong text-focus underline underline-offset-2"
            onClick={() => choose({ status: [] })}
          >
            Show all
          </button>
        </p>
      )}
      <div className="card overflow-hidden">
        {narrow ? (
          <ul
            ref={list}
            className="divide-y divide-line"
            style={{ paddingTop: slice.from * 61, paddingBottom: (ordered.length - slice.to) * 61 }}
          >
            {shown.map((row) => (
              <NarrowRow key={row.id} {...props(row)} />
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
                <SortHeader column="rate" className="w-21" {...head}>
                  Requests
                </SortHeader>
                <th scope="col" className="hidden w-[104px] wide:table-cell">
                  <span className="sr-only">Requests over time</span>
                </th>
                <SortHeader column="errors" className="w-[76px]" {...head}>
                  Errors
                </SortHeader>
                <th scope="col" className="hidden w-[104px] wide:table-cell">
                  <span className="sr-only">Errors over time</span>
                </th>
                <SortHeader column="p50" className="w-[70px]" {...head}>
                  p50
                </SortHeader>
                <SortHeader column="p95" className="w-[76px]" {...head}>
                  p95
                </SortHeader>
                <SortHeader
                  column="p99"
                  className="w-[76px] max-[860px]:w-[92px] max-[860px]:pr-4!"
                  {...head}
                >
                  p99
                </SortHeader>
                <th scope="col" className="w-[250px] pl-9 max-[860px]:hidden">
                  <RulerHead axis={axis} />
                </th>
                <th
                  scope="col"
                  className="hidden w-[112px] whitespace-nowrap pl-7 text-left font-regular text-ink2 wide:table-cell"
                >
                  p99, {span(windowMs)}
                </th>
                <th
                  scope="col"
                  className="hidden w-[88px] pr-4 text-right font-regular text-ink2 desktop:table-cell"
                >
                  Version
                </th>
              </tr>
            </thead>
            <tbody ref={body}>
              {slice.from > 0 && (
                <tr>
                  <td colSpan={12} style={{ height: slice.from * ROW_HEIGHT, padding: 0 }} />
                </tr>
              )}
              {shown.map((row) => (
                <ServiceRow key={row.id} {...props(row)} />
              ))}
              {slice.to < ordered.length && (
                <tr>
                  <td colSpan={12} style={{ height: (ordered.length - slice.to) * ROW_HEIGHT, padding: 0 }} />
                </tr>
              )}
            </tbody>
          </table>
        )}
      </div>
      <footer className="mt-3 flex flex-wrap items-center gap-x-6 gap-y-1 text-12 text-ink2">
        <RulerLegend />
        <button
          type="button"
          data-opens="export"
          className="min-h-6 hover:text-ink max-tablet:min-h-11"
          onClick={toFile}
        >
          Export CSV
        </button>
        <span className="flex-1" />
        <span>
          {sort === null ? 'Sorted by trouble' : 'Sorted as chosen'}. <Accounted rows={rows} />
        </span>
      </footer>
    </section>
  );
}

/** Whether every accepted request of this window is in these numbers, as the books say. */
function Accounted({ rows }: { rows: readonly Row[] }) {
  const { asked, mode, paused, windowMs, view } = usePageData();
  const books = usePoll(
    JSON.stringify(['books', windowMs, view.frozen]),
    (signal) => fetchBooks(asked, signal),
    mode === 'history' || paused !== null ? null : BOOKS_EVERY_MS,
  );
  const counted = rows.reduce((sum, row) => sum + row.window.count, 0);
  if (books.data === null) {
    return (
      <>
        <span className="live-number">{exactCount(counted)}</span> {requestNoun(counted)} counted in this
        window.
      </>
    );
  }
  const { accepted, balanced, unaccounted } = books.data;
  // The books are kept for the project, whichever environment is looked at.
  const where = view.env === null ? '' : ' in all environments';
  return (
    <>
      <span className="live-number">{exactCount(accepted)}</span> {requestNoun(accepted)} accepted in this
      window{where},{' '}
      {balanced ? (
        'all accounted for.'
      ) : (
        <Link
          href={hrefOf(view, { page: 'ledger', service: null })}
          prefetch={false}
          className="font-strong text-bad"
        >
          {unaccounted === 0
            ? 'the books do not balance.'
            : `${exactCount(Math.abs(unaccounted))} unaccounted.`}
        </Link>
      )}
    </>
  );
}

const BOOKS_EVERY_MS = 30_000;
const DAY_MS = 86_400_000;

/** p99 of each service in the compared window, once a window length: the triangles of the rulers. */
function useUsualP99(): ReadonlyMap<string, number> {
  const { view, data, windowMs } = usePageData();
  const shift = shiftOf(view.vs);
  const block = data === null ? 0 : Math.floor(data.toMs / windowMs);
  const polled = usePoll(
    shift === null || data === null ? null : JSON.stringify([view.env, shift, windowMs, block]),
    (signal) => {
      const toMs = Math.floor((data?.toMs ?? Date.now()) / 10_000) * 10_000 - (shift ?? DAY_MS);
      return fetchServices(view.env, { from: toMs - windowMs, to: toMs }, signal);
    },
    null,
  );
  const answer = shift === null ? null : polled.data;
  return useMemo(
    () =>
      new Map(
        (answer?.services ?? [])
          .filter((item) => item.window.latencyCount >= 100)
          .map((item) => [item.service, item.window.quantilesMs['0.99'] ?? 0]),
      ),
    [answer],
  );
}

/** One address per service, made once per view: rows that did not change must not be made again. */
function useHrefs(view: ViewState): (service: string) => string {
  return useMemo(() => {
    const known = new Map<string, string>();
    return (service) => {
      const href = known.get(service) ?? hrefOf(view, { service });
      known.set(service, href);
      return href;
    };
  }, [view]);
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
  finding: Finding | undefined;
  isNew: boolean;
  usualP99: number | null;
  version: string | null;
  href: string;
}

/** The share of errors of a row; of one that is failing now, what the verdict says, which is about now. */
function ErrorShare({ row, finding }: { row: Row; finding: Finding | undefined }) {
  const { window } = row;
  const exact = `${exactCount(window.errors)} of ${exactCount(window.count)}`;
  if (finding?.kind === 'failing' && finding.recoveredMs === null && finding.value !== null) {
    const written = share(finding.value, 1);
    return (
      <Num
        written={written}
        className="font-strong! text-bad"
        unitClass="text-12"
        title={`${write(written)} now; ${exact} in this window`}
      />
    );
  }
  return (
    <Num
      written={share(window.errors, window.count)}
      className={window.errors === 0 ? 'text-ink3' : ''}
      unitClass={window.errors === 0 ? 'text-12' : 'text-12 text-ink2'}
      title={exact}
    />
  );
}

function P99({ row, finding }: { row: Row; finding: Finding | undefined }) {
  if (finding?.kind === 'slower' && finding.recoveredMs === null && finding.value !== null) {
    return (
      <Num
        written={latency(finding.value)}
        className="font-strong! text-warn"
        unitClass="text-12"
        title={`now; ${write(latency(row.window.quantilesMs['0.99']))} in this window`}
      />
    );
  }
  return <Quantile window={row.window} quantile="0.99" />;
}

/** Made again only when its row has changed: most ticks change a few of many. */
const ServiceRow = memo(function ServiceRow({
  row,
  axis,
  finding,
  isNew,
  usualP99,
  version,
  href,
}: RowProps) {
  const { window, key } = row;
  const state = stateOfFinding(finding);
  const failing = state === 'failing';
  const shapes = useShapes(row);
  const service = key.service ?? '';
  return (
    <tr className="relative h-[42px] border-line border-b last:border-b-0 hover:bg-hover">
      <td className="pl-4">
        <Glyph state={state} size={16} />
      </td>
      <td className="max-w-0">
        <span className="flex min-w-0 items-baseline gap-2">
          <ServiceLink
            service={service}
            other={isOther(row)}
            href={href}
            className="min-w-0 truncate font-name outline-offset-[-2px] after:absolute after:inset-0 focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-offset-[-2px] focus-visible:after:outline-focus"
          />
          {isNew && (
            <span className="shrink-0 text-12 text-ink2" title="New, no usual yet">
              new
            </span>
          )}
        </span>
      </td>
      <td className="text-right">
        <Num written={rate(window.rate)} title={requests(window.count)} />
      </td>
      <td className="hidden pl-5 wide:table-cell">
        <Sparkline values={shapes.requests} token="rate" />
      </td>
      <td className="text-right">
        <ErrorShare row={row} finding={finding} />
      </td>
      <td className="hidden pl-5 wide:table-cell">
        <Sparkline values={shapes.errors} token={failing ? 'bad' : 'was'} fill={failing} />
      </td>
      <td className="text-right">
        <Quantile window={window} quantile="0.5" />
      </td>
      <td className="text-right">
        <Quantile window={window} quantile="0.95" />
      </td>
      <td className="text-right max-[860px]:pr-4">
        <P99 row={row} finding={finding} />
      </td>
      <td className="pl-9 max-[860px]:hidden">
        <Ruler window={window} axis={axis} width={RULER} usualP99={usualP99} height={32} />
      </td>
      <td className="hidden pl-7 wide:table-cell">
        <Sparkline values={shapes.p99} token="p99" />
      </td>
      <td
        className="hidden max-w-0 truncate pr-4 text-right text-ink2 desktop:table-cell"
        title={version ?? 'no version was sent'}
      >
        {version ?? '–'}
      </td>
    </tr>
  );
});

const NarrowRow = memo(function NarrowRow({ row, axis, finding, usualP99, href }: RowProps) {
  const { window, key } = row;
  const service = key.service ?? '';
  return (
    <li className="relative min-h-[60px] px-3 py-2">
      <div className="flex items-center gap-2">
        <Glyph state={stateOfFinding(finding)} />
        <ServiceLink
          service={service}
          other={isOther(row)}
          href={href}
          className="min-w-0 flex-1 truncate font-name after:absolute after:inset-0"
        />
        <ErrorShare row={row} finding={finding} />
        <span className="w-18 text-right">
          <P99 row={row} finding={finding} />
        </span>
      </div>
      <div className="flex items-center pl-[22px]">
        <Num written={rate(window.rate)} className="flex-1 text-12 text-ink2" />
        <Ruler window={window} axis={axis} width={132} usualP99={usualP99} height={24} />
      </div>
    </li>
  );
});

/** What is over the budget of groups has no page of its own; the books say whose fault it is. */
function ServiceLink(props: { service: string; other: boolean; href: string; className: string }) {
  if (props.other) {
    return (
      <span
        className="text-ink2"
        title="Services over the budget of groups, counted together. Name routes by their pattern."
      >
        <Name>{props.service}</Name>
      </span>
    );
  }
  return (
    <Link data-row href={props.href} prefetch={false} title={props.service} className={props.className}>
      <Name>{props.service}</Name>
    </Link>
  );
}

function RulerHead({ axis }: { axis: RulerAxis }) {
  return (
    <span className="relative block h-4 text-12 font-regular text-ink2" style={{ width: RULER }}>
      <span className="sr-only">Latency from p50 to the slowest</span>
      {rulerLabels(axis).map((tick) => (
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
      <svg width="9" height="8" viewBox="0 0 9 8" aria-hidden="true" className="ml-3">
        <path d="M4.5 0.5 8.5 7.5h-8Z" className="fill-ink2" />
      </svg>
      usual p99
    </span>
  );
}
