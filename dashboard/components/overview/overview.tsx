'use client';

/** Is anything wrong, and in which service? One sentence, its evidence, then every service. */
import { useMemo } from 'react';
import { chartFrame } from '@/components/charts/frame';
import { ErrorsChart } from '@/components/charts/errors-chart';
import { LatencyChart } from '@/components/charts/latency-chart';
import { RequestsChart } from '@/components/charts/requests-chart';
import { useFreshness } from '@/components/shell/badge';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed, FirstEvent, LoadingBlocks } from '@/components/shell/states';
import { share, write } from '@/lib/format/number';
import { moment, span, zoneName } from '@/lib/format/time';
import { isFailing, overviewSentence } from '@/lib/series/verdict';
import { Findings } from './findings';
import { ServicesTable } from './services-table';

const PLOT = 136;

export function Overview() {
  const { data, error, retry, view, windowMs } = usePageData();
  const freshness = useFreshness();
  const frame = useMemo(() => (data === null ? null : chartFrame(data, data.total)), [data]);

  if (data === null || frame === null) {
    if (error !== null) return <BlockFailed what="the overview" error={error} retry={retry} />;
    return <LoadingBlocks heads={3} windowMs={windowMs} />;
  }
  if (data.rows.length === 0 && data.total.window.count === 0) {
    return data.newestEventMs === null && data.envs.length === 0 && view.frozen === null ? <FirstEvent /> : <NothingHere />;
  }

  const failing = data.rows.filter((row) => isFailing(row.window));
  const total = data.total.window;
  const stale = freshness.kind === 'lost';
  return (
    <div className="flex flex-col gap-4">
      <header>
        <h1 className="text-22 font-strong max-tablet:text-20" aria-live="polite">
          {overviewSentence(data.rows.length, failing.length, write(share(total.errors, total.count)))}
        </h1>
        <p className="mt-0.5 text-ink2">
          {failing.length > 0 && failing.length < data.rows.length
            ? `The other ${data.rows.length - failing.length} fail less than 1 % of their requests`
            : failing.length > 0
              ? 'Each fails at least 1 % of its requests'
              : 'Every service fails less than 1 % of its requests'}
          , measured from {moment(data.fromMs, view.tz, Date.now())} to{' '}
          {moment(data.toMs, view.tz, Date.now())} {zoneName(data.toMs, view.tz)}.
        </p>
      </header>
      {failing.length > 0 && <Findings rows={failing} />}
      {error !== null && <BlockFailed what="the newest numbers" error={error} retry={retry} />}
      <div className="grid grid-cols-1 gap-4 tablet:grid-cols-3 max-tablet:gap-3">
        <RequestsChart row={data.total} frame={frame} stale={stale} plotHeight={PLOT + 22} />
        <ErrorsChart
          row={data.total}
          frame={frame}
          failing={failing.length > 0}
          stale={stale}
          plotHeight={PLOT + 22}
        />
        <LatencyChart
          row={data.total}
          frame={frame}
          errorBound={data.errorBound}
          stale={stale}
          plotHeight={PLOT + 22}
          inline={false}
        />
      </div>
      <ServicesTable rows={data.rows} windowMs={windowMs} />
    </div>
  );
}

function NothingHere() {
  const { data, view, windowMs } = usePageData();
  const newest = data?.newestEventMs ?? null;
  return (
    <header>
      <h1 className="text-22 font-strong">
        {view.frozen === null
          ? `No requests in the last ${span(windowMs)}`
          : `No requests between ${moment(view.frozen.fromMs, view.tz, Date.now())} and ${moment(view.frozen.toMs, view.tz, Date.now())} ${zoneName(view.frozen.toMs, view.tz)}`}
      </h1>
      {newest !== null && (
        <p className="mt-0.5 text-ink2">
          The last one was at {moment(newest, view.tz, Date.now(), true)} {zoneName(newest, view.tz)}.
        </p>
      )}
    </header>
  );
}
