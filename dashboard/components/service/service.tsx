'use client';

/** Which route, since when, who is affected, what changed: one service, or one of its routes, over one window. */
import Link from 'next/link';
import { useMemo } from 'react';
import { ErrorsChart } from '@/components/charts/errors-chart';
import { chartFrame } from '@/components/charts/frame';
import { LatencyChart } from '@/components/charts/latency-chart';
import { StatusChart } from '@/components/charts/status-chart';
import { useMarkers } from '@/components/charts/use-markers';
import { usePast } from '@/components/charts/use-past';
import { roundShare } from '@/components/overview/findings';
import { useFreshness } from '@/components/shell/badge';
import { useAttention } from '@/components/shell/findings';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { BlockFailed, LoadingBlocks, Refused } from '@/components/shell/states';
import { Announce } from '@/components/ui/announce';
import { Glyph } from '@/components/ui/glyph';
import { Name } from '@/components/ui/name';
import { useNarrow } from '@/components/ui/use-narrow';
import { isolated } from '@/lib/format/isolate';
import { count, exactCount, NBSP, requestNoun, share, write } from '@/lib/format/number';
import { moment, span, zoneName } from '@/lib/format/time';
import type { Finding } from '@/lib/query/findings';
import type { SummaryRow } from '@/lib/query/summary';
import type { View } from '@/lib/series/types';
import {
  findingSentence,
  isOfAlert,
  partFails,
  type State,
  shortSpan,
  stateOf,
  stateOfFinding,
} from '@/lib/series/verdict';
import { FILTERS, hrefOf, toHref, type ViewState } from '@/lib/view/url';
import { Breakdown, useBreakdown } from './breakdown';
import { ExportMenu } from './export-menu';
import { Filters } from './filters';
import { Heat } from './heat';
import { Routes } from './routes';
import { StatusCodes } from './status-codes';

/** 176 px of plot, room for flags, and the time axis; less on a phone. */
const PLOT = 'h-[212px] max-tablet:h-[186px]';

export function Service() {
  const { data, error, retry, view, windowMs, link } = usePageData();
  const freshness = useFreshness();
  const attention = useAttention();
  const { services, lastSeen } = useServices();
  const narrow = useNarrow();
  const frame = useMemo(() => (data === null ? null : chartFrame(data, data.total)), [data]);
  const past = usePast(frame);
  const markers = useMarkers();
  const versions = useBreakdown('version');
  const hosts = useBreakdown('host');

  if (view.service === null) return <NoService />;
  const filters = <Filters versions={versions} hosts={hosts} />;
  // Whatever cannot be answered, the way back is to change what was asked.
  if (link?.kind === 'refused' || (data === null && error !== null)) {
    return (
      <div className="flex flex-col gap-4">
        {link?.kind === 'refused' ? (
          <Refused message={link.message} />
        ) : (
          error !== null && <BlockFailed inSteps what={view.service} error={error} retry={retry} />
        )}
        {filters}
      </div>
    );
  }
  if (data === null || frame === null || !attention.known)
    return <LoadingBlocks heads={3} windowMs={windowMs} />;
  const total = data.total.window;
  const narrowed = FILTERS.some((name) => view[name].length > 0);
  const finding = attention.byService.get(view.service) ?? null;
  const verdict = verdictOf(data, view, finding, attention.judged, attention.noUsual);
  const stale = freshness.kind === 'lost';
  if (total.count === 0) {
    const seen =
      services.find((item) => item.service === view.service)?.lastSeenMs ??
      lastSeen.get(view.service) ??
      null;
    return (
      <div className="flex flex-col gap-4">
        <Nothing view={data} lastSeenMs={seen} />
        {filters}
      </div>
    );
  }
  const failing = verdict.state === 'failing';
  return (
    <div className="flex flex-col gap-4 max-tablet:gap-3">
      <header className="flex items-start gap-4 max-tablet:flex-col max-tablet:gap-2">
        <div className="min-w-0 flex-1">
          <h1 className="flex items-center gap-3 text-22 font-strong max-tablet:text-20">
            {verdict.state !== 'fine' && <Glyph state={verdict.state} size={18} />}
            <span
              title={verdict.isRoute ? verdict.sentence : undefined}
              className={`min-w-0 [overflow-wrap:anywhere] ${verdict.isRoute ? 'line-clamp-2' : ''} ${verdict.isRoute ? 'font-mono text-18 tracking-normal!' : ''}`}
            >
              {verdict.sentence}
            </span>
          </h1>
          <Announce text={verdict.sentence} />
          <Evidence view={data} finding={finding} narrowed={narrowed} hosts={hosts} />
          {data.kept !== null && (
            <p className="text-12 text-ink3">From {exactCount(data.kept)} kept requests, weighted.</p>
          )}
        </div>
        <div className="flex shrink-0 items-center gap-2">
          <CompareLink versions={versions} />
          <ExportMenu />
        </div>
      </header>
      {filters}
      {error !== null && <BlockFailed inSteps what="the newest numbers" error={error} retry={retry} />}
      <div className="grid grid-cols-1 gap-4 tablet:grid-cols-2 desktop:grid-cols-[1fr_1fr_1.24fr] max-tablet:gap-3">
        <div className="grid min-w-0 max-tablet:order-3">
          <StatusChart row={data.total} frame={frame} markers={markers} stale={stale} plotClass={PLOT} />
        </div>
        <div className="grid min-w-0 max-tablet:order-1">
          <ErrorsChart
            row={data.total}
            frame={frame}
            past={past}
            markers={markers}
            failing={failing}
            stale={stale}
            plotClass={PLOT}
            inline
          />
        </div>
        <div className="grid min-w-0 max-tablet:order-2 max-desktop:tablet:col-span-2">
          <LatencyChart
            row={data.total}
            frame={frame}
            errorBound={data.errorBound}
            markers={markers}
            releases="flags"
            stale={stale}
            plotClass={PLOT}
            inline
          />
        </div>
      </div>
      <Heat markers={markers} stale={stale} />
      <div className="grid grid-cols-1 items-start gap-4 desktop:grid-cols-[minmax(0,1fr)_324px] wide:grid-cols-[minmax(0,1fr)_396px] max-tablet:gap-3">
        <Routes />
        <Folded narrow={narrow} name="Status codes, versions, hosts">
          <StatusCodes />
          <Breakdown title="Versions" dimension="version" rows={versions} />
          <Breakdown title="Hosts" dimension="host" rows={hosts} />
        </Folded>
      </div>
    </div>
  );
}

/** On a phone what is asked for least is folded. */
function Folded({ narrow, name, children }: { narrow: boolean; name: string; children: React.ReactNode }) {
  if (!narrow) return <div className="grid min-w-0 gap-4">{children}</div>;
  return (
    <details>
      <summary className="card flex h-11 cursor-pointer items-center px-4 font-name">{name}</summary>
      <div className="mt-3 grid gap-3">{children}</div>
    </details>
  );
}

function NoService() {
  const { view } = usePageData();
  const { services } = useServices();
  return (
    <div>
      <h1 className="text-22 font-strong">No service is named in the address</h1>
      <p className="mt-1 text-ink2">
        {services.length === 0 ? 'There is none in this window either' : 'Choose one: '}
        {services.slice(0, 12).map((item, index) => (
          <span key={item.id}>
            {index > 0 && ', '}
            <Link
              href={hrefOf(view, { service: item.service })}
              prefetch={false}
              className="text-focus underline underline-offset-2"
            >
              <Name>{item.service}</Name>
            </Link>
          </span>
        ))}
        .
      </p>
    </div>
  );
}

interface ServiceVerdict {
  sentence: string;
  state: State;
  /** The sentence is a route's name. */
  isRoute: boolean;
}

function verdictOf(
  data: View,
  view: ViewState,
  ofService: Finding | null,
  judged: boolean,
  noUsual: readonly string[],
): ServiceVerdict {
  const narrowed = FILTERS.some((name) => view[name].length > 0);
  const finding = narrowed ? null : ofService;
  const route = view.route.length === 1 && !view.route[0]?.startsWith('!') ? view.route[0] : undefined;
  const own = stateOf(data.total, data.stepMs, data.openT);
  const state = partFails(data.total.window, judged, ofService ?? undefined) ? own.state : 'fine';
  if (route !== undefined) {
    return { sentence: `${view.method[0] ?? ''} ${isolated(route)}`.trim(), state, isRoute: true };
  }
  const past = view.frozen !== null;
  const is = past ? 'was' : 'is';
  const service = view.service ?? '';
  const name = isolated(service);
  if (finding !== null) {
    const found = stateOfFinding(finding);
    if (finding.recoveredMs === null)
      return { sentence: findingSentence(finding), state: found, isRoute: false };
    const after =
      finding.sinceMs === null ? '' : ` after ${shortSpan(finding.recoveredMs - finding.sinceMs)}`;
    const cost =
      finding.affected === 0
        ? ''
        : `, ${write(count(finding.affected))} ${requestNoun(finding.affected)} ${finding.kind === 'failing' ? 'failed' : 'affected'}`;
    return {
      sentence: `${name} recovered at ${moment(finding.recoveredMs, view.tz, Date.now(), true)}${after}${cost}`,
      state: found,
      isRoute: false,
    };
  }
  const { errors, count: requests } = data.total.window;
  const part = write(share(errors, requests));
  // How many fail is a fact; that it is trouble is a judgement.
  if (own.state === 'failing' && (!judged || narrowed))
    return { sentence: `${part} of requests ${past ? 'failed' : 'fail'}`, state, isRoute: false };
  if (!judged || narrowed) {
    return {
      sentence: `${name} ${is} not failing: ${errors === 0 ? 'no errors' : `${part} errors`}`,
      state,
      isRoute: false,
    };
  }
  if (noUsual.includes(service))
    return { sentence: `${name} is new, no usual yet`, state: 'fine', isRoute: false };
  return { sentence: `${name} ${is} within its usual range`, state: 'fine', isRoute: false };
}

interface EvidenceProps {
  view: View;
  finding: Finding | null;
  narrowed: boolean;
  hosts: readonly SummaryRow[] | null;
}

/** Since when, after what, where, how many: the sentence under the verdict. */
function Evidence({ view: data, finding, narrowed, hosts }: EvidenceProps) {
  const { view, windowMs } = usePageData();
  const { window } = data.total;
  const failed = `${write(count(window.errors))} of ${write(count(window.count))} ${requestNoun(window.count)} failed in ${span(windowMs)}.`;
  if (finding === null || narrowed || finding.recoveredMs !== null)
    return <p className="live-number mt-0.5 text-ink2">{failed}</p>;
  const { sinceMs, after, where, status, affected } = finding;
  const machines = hosts?.filter((row) => row.key.host !== '').length ?? 0;
  const what = finding.kind === 'failing' ? 'failures' : 'slow requests';
  return (
    <p className="live-number mt-0.5 text-ink2">
      {sinceMs !== null && (
        <>
          {isOfAlert(finding) ? 'The alert fires since' : 'Since'}{' '}
          {moment(sinceMs, view.tz, Date.now(), true)}
          {view.tz === 'utc' ? '' : ` ${zoneName(sinceMs, view.tz)}`}
          {isOfAlert(finding) ? (
            '. '
          ) : after === null ? (
            ', no release near it. '
          ) : (
            <>
              , {shortSpan(after.ms)} after <Name>{after.version}</Name> reached the first
              {machines > 1 ? ` of ${machines} hosts. ` : ' host. '}
            </>
          )}
        </>
      )}
      {where !== null &&
        (where.dimension === 'spread' ? (
          `The ${what} are spread over ${where.routes} routes${status === null ? '' : `, mostly status ${status}`}. `
        ) : (
          <>
            {where.share >= 0.995 ? 'All' : roundShare(where.share)} of the {what}{' '}
            {where.dimension === 'route' ? 'are ' : `are on ${where.dimension} `}
            <span className={where.dimension === 'route' ? 'font-mono text-12 text-ink' : 'text-ink'}>
              <Name>{where.value.replace(' ', NBSP)}</Name>
            </span>
            {status === null ? '' : `, status ${status}`}.{' '}
          </>
        ))}
      {affected > 0 && `${write(count(affected))} ${requestNoun(affected)} so far.`}
      {sinceMs === null && where === null && affected === 0 && failed}
    </p>
  );
}

/** The newest version against the one before it. */
function CompareLink({ versions }: { versions: readonly SummaryRow[] | null }) {
  const { view } = usePageData();
  const { releases } = useServices();
  const release = releases.findLast((item) => item.service === view.service && item.previous !== null);
  const seen = (versions ?? [])
    .filter((row) => row.key.version !== '' && row.firstSeenMs !== null)
    .sort((a, b) => (b.firstSeenMs ?? 0) - (a.firstSeenMs ?? 0))
    .map((row) => row.key.version as string);
  const [b, a] = release !== undefined ? [release.version, release.previous] : [seen[0], seen[1]];
  if (a === undefined || a === null || b === undefined) return null;
  return (
    <Link
      href={toHref({ ...view, page: 'compare', sel: null, a: `version:${a}`, b: `version:${b}` })}
      prefetch={false}
      className="control max-w-72 text-ink max-tablet:h-11"
    >
      <span className="truncate">
        Compare <Name>{a}</Name> with <Name>{b}</Name>
      </span>
    </Link>
  );
}

function Nothing({ view: data, lastSeenMs }: { view: View; lastSeenMs: number | null }) {
  const { view, windowMs, choose } = usePageData();
  const filters = FILTERS.flatMap((name) =>
    view[name].map((value) => ({
      name: value.startsWith('!') ? `not ${name} ${isolated(value.slice(1))}` : `${name} ${isolated(value)}`,
      patch: { [name]: view[name].filter((item) => item !== value) },
    })),
  );
  const last = filters.at(-1);
  const zone = zoneName(data.toMs, view.tz);
  return (
    <header>
      <h1 className="text-22 font-strong max-tablet:text-20">
        {last !== undefined
          ? `No request matches ${filters.map((item) => item.name).join(' and ')}`
          : view.frozen === null
            ? `No requests to ${isolated(view.service ?? '')} in the last ${span(windowMs)}`
            : `No requests to ${isolated(view.service ?? '')} between ${moment(data.fromMs, view.tz, Date.now())} and ${moment(data.toMs, view.tz, Date.now())} ${zone}`}
      </h1>
      <p className="mt-0.5 text-ink2">
        {last !== undefined ? (
          <button
            type="button"
            className="font-strong text-focus underline underline-offset-2"
            onClick={() => choose(last.patch)}
          >
            Remove {last.name}
          </button>
        ) : (
          lastSeenMs !== null &&
          lastSeenMs > 0 && (
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
