'use client';

/** Is anything wrong, and in which service? One sentence, its evidence, then every service. */
import { useMemo } from 'react';
import { ChartSubject } from '@/components/charts/chart-card';
import { ErrorsChart } from '@/components/charts/errors-chart';
import { chartFrame } from '@/components/charts/frame';
import { LatencyChart } from '@/components/charts/latency-chart';
import type { Marker } from '@/components/charts/plot';
import { RequestsChart } from '@/components/charts/requests-chart';
import { useMarkers } from '@/components/charts/use-markers';
import { type PastView, usePast } from '@/components/charts/use-past';
import { useFreshness } from '@/components/shell/badge';
import { type Attention, useAttention } from '@/components/shell/findings';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed, FirstEvent, LoadingBlocks, Refused } from '@/components/shell/states';
import { Announce } from '@/components/ui/announce';
import { useNarrow } from '@/components/ui/use-narrow';
import { isolated } from '@/lib/format/isolate';
import { moment, span, type Zone, zoneName } from '@/lib/format/time';
import { fetchServices } from '@/lib/query/services';
import { usePoll } from '@/lib/query/use-poll';
import type { Row } from '@/lib/series/types';
import { isOther, overviewSentence } from '@/lib/series/verdict';
import { Findings } from './findings';
import { ServicesTable } from './services-table';
import { Tiles } from './tiles';

/** 136 px of plot, room for flags, and the time axis. */
const PLOT = 'h-[148px]';
/** Below this many services their own charts say more than their sum. */
const TOTALS_FROM = 3;

export function Overview() {
  const { data, error, retry, view, windowMs, link } = usePageData();
  const freshness = useFreshness();
  const narrow = useNarrow();
  const attention = useAttention();
  const frame = useMemo(() => (data === null ? null : chartFrame(data, data.total)), [data]);
  const past = usePast(frame);
  const markers = useMarkers();

  if (link?.kind === 'refused') return <Refused message={link.message} />;
  if (data === null || frame === null || !attention.known) {
    if (data === null && error !== null)
      return <BlockFailed inSteps what="the overview" error={error} retry={retry} />;
    return <LoadingBlocks heads={3} windowMs={windowMs} />;
  }
  const { findings } = attention;
  if (data.rows.length === 0 && data.total.window.count === 0 && findings.length === 0)
    return <NothingHere />;

  const services = new Set(data.rows.filter((row) => !isOther(row)).map((row) => row.key.service));
  for (const finding of findings) services.add(finding.service);
  const troubled = new Set(findings.filter((item) => item.recoveredMs === null).map((item) => item.service))
    .size;
  const listed = new Set(findings.map((item) => item.service));
  const recovered = listed.size - troubled;
  const fresh = attention.noUsual.filter((name) => services.has(name) && !listed.has(name)).length;
  const sentence = overviewSentence({
    services: services.size,
    troubled,
    recovered,
    judged: attention.judged,
    fresh,
    past: view.frozen !== null,
  });
  const failing = findings.some((item) => item.kind === 'failing' && item.recoveredMs === null);
  const stale = freshness.kind === 'lost';
  const single = services.size < TOTALS_FROM && services.size > 0;
  const subjects = single ? data.rows.filter((row) => !isOther(row)) : [data.total];
  return (
    <div className="flex flex-col gap-4 max-tablet:gap-3">
      <header>
        <h1 className="text-22 font-strong max-tablet:text-20">{sentence}</h1>
        <Announce text={sentence} />
        <p className="mt-0.5 text-ink2">
          {attention.judged
            ? against(services.size, troubled + recovered, fresh, attention.usual, view.tz)
            : 'Failing means 1 % of requests and 10 at least. This server does not compare with a usual yet.'}
        </p>
      </header>
      {findings.length > 0 && <Findings findings={findings} rows={data.rows} />}
      {error !== null && <BlockFailed inSteps what="the newest numbers" error={error} retry={retry} />}
      {narrow ? (
        <Tiles row={data.total} frame={frame} failing={failing} />
      ) : (
        subjects.map((row) => (
          <Charts
            key={row.id}
            row={row}
            past={subjects.length > 1 ? null : past}
            markers={
              single
                ? markers.filter((marker) => marker.label.startsWith(`${isolated(row.key.service ?? '')} `))
                : markers
            }
            failing={
              single ? attention.byService.get(row.key.service ?? '')?.kind === 'failing' && failing : failing
            }
            of={single ? isolated(row.key.service ?? '') : 'all services'}
            several={subjects.length > 1}
            stale={stale}
          />
        ))
      )}
      <ServicesTable rows={data.rows} windowMs={windowMs} />
    </div>
  );
}

interface ChartsProps {
  row: Row;
  past: PastView | null;
  markers: readonly Marker[];
  failing: boolean;
  of: string;
  /** Whether another service has the same charts beside. */
  several: boolean;
  stale: boolean;
}

function Charts({ row, past, markers, failing, of, several, stale }: ChartsProps) {
  const { data } = usePageData();
  const frame = useMemo(() => (data === null ? null : chartFrame(data, row)), [data, row]);
  if (data === null || frame === null) return null;
  const charts = (
    <div className="grid grid-cols-2 gap-4 desktop:grid-cols-3">
      <RequestsChart row={row} frame={frame} past={past} stale={stale} of={of} plotClass={PLOT} />
      <ErrorsChart
        row={row}
        frame={frame}
        past={past}
        markers={markers}
        failing={failing}
        stale={stale}
        plotClass={PLOT}
      />
      <div className="grid max-desktop:col-span-2">
        <LatencyChart
          row={row}
          frame={frame}
          errorBound={data.errorBound}
          markers={markers}
          releases="lines"
          stale={stale}
          plotClass={PLOT}
          inline={false}
        />
      </div>
    </div>
  );
  return several ? <ChartSubject value={of}>{charts}</ChartSubject> : charts;
}

/** What the verdict is measured against, said of those that are fine; those without a usual get no verdict. */
export function against(
  services: number,
  listed: number,
  fresh: number,
  usual: Attention['usual'],
  zone: Zone,
): string {
  const others = services - listed - fresh;
  if (others <= 0 && listed === 0) return 'There is no usual to compare with yet.';
  const unjudged =
    fresh === 0
      ? ''
      : fresh === 1
        ? ' One is new, without a usual yet.'
        : ` ${fresh} are new, without a usual yet.`;
  const range =
    others <= 0
      ? 'Measured against'
      : listed + fresh === 0
        ? 'Measured against'
        : others === 1
          ? 'The other one is within its usual range, measured against'
          : `The other ${others} are within their usual range, measured against`;
  if (usual === null)
    return `${range.replace(', measured against', '')}${listed + fresh === 0 || others <= 0 ? ' nothing yet: there is no usual to compare with.' : '.'}${unjudged}`;
  const span = `${moment(usual.fromMs, zone, usual.fromMs)} to ${moment(usual.toMs, zone, usual.fromMs)} ${zoneName(usual.toMs, zone)}`;
  return `${range} ${usual.kind === 'yesterday' ? 'yesterday' : 'the hour before,'} ${span}.${unjudged}`;
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
