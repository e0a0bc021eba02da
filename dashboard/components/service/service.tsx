'use client';

/** Which route, since when, how slow: one service, or one of its routes, over one window. */
import { useMemo } from 'react';
import { ErrorsChart } from '@/components/charts/errors-chart';
import { chartFrame } from '@/components/charts/frame';
import { LatencyChart } from '@/components/charts/latency-chart';
import { StatusChart } from '@/components/charts/status-chart';
import { useFreshness } from '@/components/shell/badge';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { BlockFailed, LoadingBlocks, Refused } from '@/components/shell/states';
import { Announce } from '@/components/ui/announce';
import { Glyph } from '@/components/ui/glyph';
import { count, NBSP, share, write } from '@/lib/format/number';
import { moment, span, zoneName } from '@/lib/format/time';
import type { Row, View } from '@/lib/series/types';
import {
  byTrouble,
  failingSince,
  isOther,
  mostErrors,
  type Onset,
  plural,
  stateOf,
} from '@/lib/series/verdict';
import type { ViewState } from '@/lib/view/url';
import { Filters } from './filters';
import { RecentRequests } from './recent-requests';
import { Routes } from './routes';
import { StatusCodes } from './status-codes';

/** 176 px of plot and the time axis; less on a phone. */
const PLOT = 'h-[198px] max-tablet:h-[172px]';

export function Service() {
  const { data, error, retry, view, windowMs, link } = usePageData();
  const freshness = useFreshness();
  const { services } = useServices();
  const frame = useMemo(() => (data === null ? null : chartFrame(data, data.total)), [data]);

  if (view.service === null) {
    return (
      <h1 className="text-22 font-strong">No service is named in the address. Choose one at the left.</h1>
    );
  }
  if (link?.kind === 'refused') return <Refused message={link.message} />;
  if (data === null || frame === null) {
    if (error !== null) return <BlockFailed what={view.service} error={error} retry={retry} />;
    return <LoadingBlocks heads={3} windowMs={windowMs} />;
  }
  const total = data.total.window;
  const { state, recoveredMs } = stateOf(data.total, data.stepMs, data.openT);
  const failing = state === 'failing';
  const sentence = titleOf(data, failing, recoveredMs, view);
  const stale = freshness.kind === 'lost';
  if (total.count === 0) {
    const lastSeen = services.find((item) => item.service === view.service)?.lastSeenMs ?? null;
    return (
      <div className="flex flex-col gap-4">
        <Nothing view={data} lastSeenMs={lastSeen} />
        <Filters />
      </div>
    );
  }
  return (
    <div className="flex flex-col gap-4">
      <header>
        <h1 className="flex items-center gap-2.5 text-22 font-strong max-tablet:text-20">
          {state !== 'fine' && <Glyph state={state} size={20} />}
          <span className="min-w-0 [overflow-wrap:anywhere]">{sentence}</span>
        </h1>
        <Evidence view={data} failing={failing} />
        <Announce text={sentence} />
      </header>
      <Filters />
      {error !== null && <BlockFailed what="the newest numbers" error={error} retry={retry} />}
      <div className="grid grid-cols-1 gap-4 tablet:grid-cols-2 desktop:grid-cols-[1fr_1fr_1.24fr] max-tablet:gap-3">
        <div className="grid max-tablet:order-3">
          <StatusChart row={data.total} frame={frame} stale={stale} plotClass={PLOT} />
        </div>
        <div className="grid max-tablet:order-1">
          <ErrorsChart
            row={data.total}
            frame={frame}
            failing={failing}
            stale={stale}
            plotClass={PLOT}
            inline
          />
        </div>
        <div className="grid max-tablet:order-2 max-desktop:tablet:col-span-2">
          <LatencyChart
            row={data.total}
            frame={frame}
            errorBound={data.errorBound}
            stale={stale}
            plotClass={PLOT}
            inline
          />
        </div>
      </div>
      <div className="grid grid-cols-1 items-start gap-4 desktop:grid-cols-[minmax(0,1fr)_320px]">
        <Routes />
        <StatusCodes />
      </div>
      <RecentRequests />
    </div>
  );
}

/** The routes that fail while the service as a whole does not. */
function failingRoutes(data: View): readonly Row[] {
  return data.rows.filter(
    (row) => !isOther(row) && stateOf(row, data.stepMs, data.openT).state === 'failing',
  );
}

function titleOf(data: View, failing: boolean, recoveredMs: number | null, view: ViewState): string {
  const { errors, count: requests } = data.total.window;
  const part = write(share(errors, requests));
  const past = view.frozen !== null;
  if (failing) return `${part} of requests ${past ? 'failed' : 'fail'}`;
  const subject = view.route === null ? view.service : `${view.method ?? ''} ${view.route}`.trim();
  if (recoveredMs !== null)
    return `${subject} recovered at ${moment(recoveredMs, view.tz, Date.now(), true)}`;
  const routes = failingRoutes(data).length;
  if (routes > 0 && view.route === null) {
    return `${routes} of ${data.rows.length} routes ${past ? plural(routes, 'was', 'were') : plural(routes, 'is', 'are')} failing requests`;
  }
  return `${subject} ${past ? 'was' : 'is'} not failing: ${errors === 0 ? 'no errors' : `${part} errors`}`;
}

function onset(since: Onset, windowMs: number, view: ViewState): string {
  if (since.kind === 'throughout') return `For ${span(windowMs)} or longer. `;
  const at = since.kind === 'since' ? since.at : since.last;
  const words = since.kind === 'since' ? 'Since' : 'In bursts, the last at';
  return `${words} ${moment(at, view.tz, Date.now(), true)} ${zoneName(at, view.tz)}. `;
}

function Evidence({ view: data, failing }: { view: View; failing: boolean }) {
  const { view, windowMs } = usePageData();
  const { window, columns } = data.total;
  const since = failing ? failingSince(columns.t, columns.count, columns.errors) : null;
  const worst = failingRoutes(data).toSorted(byTrouble)[0];
  const where = failing && view.route === null ? mostErrors(data.rows, window.errors) : null;
  return (
    <p className="live-number mt-0.5 text-ink2">
      {since !== null && onset(since, windowMs, view)}
      {write(count(window.errors))} of {write(count(window.count))} requests failed in this window.
      {!failing && worst !== undefined && view.route === null && (
        <>
          {' '}
          <span className="font-mono text-12 text-ink">
            {worst.key.method}
            {worst.key.method ? NBSP : ''}
            {worst.key.route}
          </span>{' '}
          fails {write(share(worst.window.errors, worst.window.count))} of its own.
        </>
      )}
      {where !== null && (
        <>
          {' '}
          {write(share(where.row.window.errors, window.errors))} of the failures are{' '}
          <span className="font-mono text-12 text-ink">
            {where.row.key.method}
            {where.row.key.method ? NBSP : ''}
            {where.row.key.route}
          </span>
          .
        </>
      )}
    </p>
  );
}

function Nothing({ view: data, lastSeenMs }: { view: View; lastSeenMs: number | null }) {
  const { view, windowMs, choose } = usePageData();
  const filters = [
    view.status !== null && { name: `status ${view.status}`, patch: { status: null } },
    view.method !== null && { name: `method ${view.method}`, patch: { method: null } },
    view.route !== null && { name: `route ${view.route}`, patch: { route: null, method: null } },
  ].filter((item) => item !== false);
  const first = filters[0];
  const zone = zoneName(data.toMs, view.tz);
  return (
    <header>
      <h1 className="text-22 font-strong">
        {first !== undefined
          ? `No request matches ${filters.map((item) => item.name).join(' and ')}.`
          : view.frozen === null
            ? `No requests to ${view.service} in the last ${span(windowMs)}.`
            : `No requests to ${view.service} between ${moment(data.fromMs, view.tz, Date.now())} and ${moment(data.toMs, view.tz, Date.now())} ${zone}.`}
      </h1>
      <p className="mt-0.5 text-ink2">
        {first !== undefined ? (
          <button
            type="button"
            className="font-strong text-focus underline underline-offset-2"
            onClick={() => choose(first.patch)}
          >
            Remove {first.name}
          </button>
        ) : (
          lastSeenMs !== null && (
            <>
              The last one was at {moment(lastSeenMs, view.tz, Date.now(), true)} {zone}.{' '}
              <button
                type="button"
                className="font-strong text-focus underline underline-offset-2"
                onClick={() =>
                  choose({ frozen: { fromMs: lastSeenMs - 600_000, toMs: lastSeenMs + 300_000 } })
                }
              >
                Go there
              </button>
            </>
          )
        )}
      </p>
    </header>
  );
}
