'use client';

/** Is anything wrong, and in which service? One sentence, its evidence, then every service. */
import { useMemo } from 'react';
import { ErrorsChart } from '@/components/charts/errors-chart';
import { chartFrame } from '@/components/charts/frame';
import { LatencyChart } from '@/components/charts/latency-chart';
import { RequestsChart } from '@/components/charts/requests-chart';
import { useFreshness } from '@/components/shell/badge';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed, FirstEvent, LoadingBlocks, Refused } from '@/components/shell/states';
import { Announce } from '@/components/ui/announce';
import { useNarrow } from '@/components/ui/use-narrow';
import { share, write } from '@/lib/format/number';
import { moment, span, zoneName } from '@/lib/format/time';
import { fetchServices } from '@/lib/query/services';
import { usePoll } from '@/lib/query/use-poll';
import { isOther, overviewSentence, stateOf } from '@/lib/series/verdict';
import { Findings } from './findings';
import { ServicesTable } from './services-table';
import { Tiles } from './tiles';

/** 136 px of plot and the time axis. */
const PLOT = 'h-[158px]';

export function Overview() {
  const { data, error, retry, view, windowMs, link } = usePageData();
  const freshness = useFreshness();
  const narrow = useNarrow();
  const frame = useMemo(() => (data === null ? null : chartFrame(data, data.total)), [data]);

  if (link?.kind === 'refused') return <Refused message={link.message} />;
  if (data === null || frame === null) {
    if (error !== null) return <BlockFailed what="the overview" error={error} retry={retry} />;
    return <LoadingBlocks heads={3} windowMs={windowMs} />;
  }
  if (data.rows.length === 0 && data.total.window.count === 0) return <NothingHere />;

  const services = data.rows.filter((row) => !isOther(row));
  const judged = services.map((row) => ({ row, ...stateOf(row, data.stepMs, data.openT) }));
  const failing = judged.filter((item) => item.state === 'failing');
  const recovered = judged.filter((item) => item.state === 'recovered');
  const total = data.total.window;
  const sentence = overviewSentence(
    services.length,
    failing.length,
    recovered.length,
    write(share(total.errors, total.count)),
    view.frozen !== null,
  );
  const stale = freshness.kind === 'lost';
  return (
    <div className="flex flex-col gap-4 max-tablet:gap-3">
      <header>
        <h1 className="text-22 font-strong max-tablet:text-20">{sentence}</h1>
        <Announce text={sentence} />
        <p className="mt-0.5 text-ink2">
          {rule(failing.length + recovered.length, services.length)}, measured from{' '}
          {moment(data.fromMs, view.tz, Date.now())} to {moment(data.toMs, view.tz, Date.now())}{' '}
          {zoneName(data.toMs, view.tz)}.
        </p>
      </header>
      {failing.length + recovered.length > 0 && <Findings items={[...failing, ...recovered]} />}
      {error !== null && <BlockFailed what="the newest numbers" error={error} retry={retry} />}
      {narrow ? (
        <Tiles row={data.total} frame={frame} failing={failing.length > 0} />
      ) : (
        <div className="grid grid-cols-2 gap-4 desktop:grid-cols-3">
          <RequestsChart row={data.total} frame={frame} stale={stale} plotClass={PLOT} />
          <ErrorsChart
            row={data.total}
            frame={frame}
            failing={failing.length > 0}
            stale={stale}
            plotClass={PLOT}
          />
          <div className="grid max-desktop:col-span-2">
            <LatencyChart
              row={data.total}
              frame={frame}
              errorBound={data.errorBound}
              stale={stale}
              plotClass={PLOT}
              inline={false}
            />
          </div>
        </div>
      )}
      <ServicesTable rows={data.rows} windowMs={windowMs} />
    </div>
  );
}

/** What counts as failing, said of those that are not. */
function rule(failing: number, services: number): string {
  if (failing === 0) {
    return services === 1
      ? 'It fails less than 1 % of its requests'
      : 'Each fails less than 1 % of its requests, or fewer than 10';
  }
  if (failing === services) return 'At least 10 requests and 1 % failed';
  const others = services - failing;
  return others === 1
    ? 'The other one fails less than 1 % of its requests, or fewer than 10'
    : `The other ${others} fail less than 1 % of their requests, or fewer than 10`;
}

const LONG_AGO = { from: '-30d', to: 'now' };

/** An empty window: because it is quiet, or because no event ever came? The last 30 days tell the two apart. */
function NothingHere() {
  const { view, windowMs, choose } = usePageData();
  const ever = usePoll(
    JSON.stringify(['ever', view.env]),
    (signal) => fetchServices(view.env, LONG_AGO, signal),
    null,
  );
  if (ever.error !== null)
    return <BlockFailed what="the last 30 days" error={ever.error} retry={ever.retry} />;
  if (ever.data === null) return <LoadingBlocks heads={3} windowMs={windowMs} />;
  if (ever.data.services.length === 0 && view.frozen === null) return <FirstEvent />;
  const newest = Math.max(...ever.data.services.map((item) => item.lastSeenMs ?? 0));
  return (
    <header>
      <h1 className="text-22 font-strong max-tablet:text-20">
        {view.frozen === null
          ? `No requests in the last ${span(windowMs)}`
          : `No requests between ${moment(view.frozen.fromMs, view.tz, Date.now())} and ${moment(view.frozen.toMs, view.tz, Date.now())} ${zoneName(view.frozen.toMs, view.tz)}`}
      </h1>
      {newest > 0 && (
        <p className="mt-0.5 text-ink2">
          The last one was at {moment(newest, view.tz, Date.now(), true)} {zoneName(newest, view.tz)}.{' '}
          <button
            type="button"
            className="font-strong text-focus underline underline-offset-2"
            onClick={() => choose({ frozen: { fromMs: newest - 600_000, toMs: newest + 300_000 } })}
          >
            Go there
          </button>
        </p>
      )}
    </header>
  );
}
