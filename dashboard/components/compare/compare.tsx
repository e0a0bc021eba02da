'use client';

/** Is the new release worse, is it fixed: one sentence, the quantiles toward the tail, and the routes that make the difference. */
import Link from 'next/link';
import { useMemo, useRef } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { BlockFailed } from '@/components/shell/states';
import { Button } from '@/components/ui/button';
import { INPUT } from '@/components/ui/field';
import { Name } from '@/components/ui/name';
import { Num } from '@/components/ui/num';
import { RouteName } from '@/components/ui/route-name';
import { percent } from '@/lib/compare/plot';
import { parseSide, type Side, saySide, windowsBefore, writeSide } from '@/lib/compare/side';
import { contribution, difference, factor, JUDGED, judge, tooFew } from '@/lib/compare/words';
import { isolated } from '@/lib/format/isolate';
import { bound, change, exactCount, latency, requests, share, write } from '@/lib/format/number';
import { type Comparison, fetchComparison } from '@/lib/query/compare';
import { fetchReleases } from '@/lib/query/releases';
import { filterQuery } from '@/lib/query/requests';
import { usePoll } from '@/lib/query/use-poll';
import { termsOf } from '@/lib/requests/terms';
import { hrefOf } from '@/lib/view/url';
import { Mirror } from './mirror';
import { QuantilePlot } from './quantile-plot';
import { SidePicker } from './sides';

const EVERY_MS = 30_000;
const MINUTE_MS = 60_000;

export function Compare() {
  const page = usePageData();
  const { view, choose, asked, mode, paused, windowMs } = page;
  const { services } = useServices();

  // Windows on whole minutes: the question stays the same while the clock goes on within one.
  const nowMs = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
  const toMs = view.frozen?.toMs ?? nowMs;
  const fromMs = view.frozen?.fromMs ?? toMs - windowMs;
  const releases = usePoll(
    view.a === null || view.b === null ? JSON.stringify([view.env, view.service, asked]) : null,
    (signal) => fetchReleases(view.env, view.service, asked, signal),
    null,
  );
  const release =
    view.service === null ? undefined : releases.data?.findLast((item) => item.previous !== null);
  const chosen = { a: parseSide(view.a), b: parseSide(view.b) };
  const usual: { a: Side; b: Side } =
    release?.previous != null
      ? { a: { kind: 'version', value: release.previous }, b: { kind: 'version', value: release.version } }
      : windowsBefore(fromMs, toMs);
  const a = chosen.a ?? usual.a;
  const b = chosen.b ?? usual.b;

  const filter = useMemo(() => filterQuery(null, termsOf(view)).toString(), [view]);
  // Until it is known whether there was a release, nothing is asked that would be thrown away.
  const undecided =
    chosen.a === null && view.service !== null && releases.data === null && releases.error === null;
  // A server has nothing to say about a difference from itself.
  const same = !undecided && writeSide(a) === writeSide(b);
  const question =
    undecided || same ? null : JSON.stringify([writeSide(a), writeSide(b), view.env, filter, asked]);
  const polled = usePoll(
    question,
    (signal) =>
      fetchComparison(
        {
          a: writeSide(a),
          b: writeSide(b),
          env: view.env,
          filter: new URLSearchParams(filter),
          window: asked,
        },
        signal,
      ),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  const fresh = polled.answered === question ? polled.data : null;
  // Windows that move with the clock are the same question a minute later: the picture stays until the new one is in.
  const subject = JSON.stringify([view.a, view.b, view.service, view.env, filter, view.range, view.frozen]);
  const last = useRef<{ subject: string; data: Comparison } | null>(null);
  if (fresh !== null) last.current = { subject, data: fresh };
  const data = same ? null : (fresh ?? (last.current?.subject === subject ? last.current.data : null));
  const set = (patch: { a?: Side; b?: Side }) =>
    choose({ a: writeSide(patch.a ?? a), b: writeSide(patch.b ?? b) });
  const sides = { window: { fromMs, toMs }, service: view.service, env: view.env, zone: view.tz };

  return (
    <div className="flex flex-col gap-4">
      <header>
        {data === null ? (
          <h1 className="text-22 font-strong max-tablet:text-20">
            {same
              ? 'A and B are the same'
              : polled.error === null
                ? `${saySide(b, view.tz, nowMs)} against ${saySide(a, view.tz, nowMs)}`
                : 'Compare'}
          </h1>
        ) : (
          <Sentence comparison={data} />
        )}
      </header>
      <div className="flex flex-wrap items-center gap-x-6 gap-y-2">
        <label className="flex items-center gap-2">
          <span className="text-12 text-ink2">Service</span>
          <select
            className={`${INPUT} w-44!`}
            value={view.service ?? ''}
            onChange={(event) => choose({ service: event.target.value || null })}
          >
            <option value="">all services</option>
            {view.service !== null && !services.some((item) => item.service === view.service) && (
              <option value={view.service}>{isolated(view.service)}</option>
            )}
            {services.map((item) => (
              <option key={item.id} value={item.service}>
                {isolated(item.service)}
              </option>
            ))}
          </select>
        </label>
        <div className="min-w-72 flex-1">
          <SidePicker name="A" side={a} other={b} {...sides} onChange={(side) => set({ a: side })} />
        </div>
        <div className="min-w-72 flex-1">
          <SidePicker name="B" side={b} other={a} {...sides} onChange={(side) => set({ b: side })} />
        </div>
        <Button onClick={() => choose({ a: writeSide(b), b: writeSide(a) })}>Swap</Button>
      </div>
      {same ? (
        <p className="card px-4 py-3">Choose another window, release, host or environment for one of them.</p>
      ) : polled.error !== null && data === null ? (
        polled.error.status === 422 ? (
          <p className="card px-4 py-3">{polled.error.message}</p>
        ) : polled.error.status === 404 ? (
          <p className="card px-4 py-3">This server does not compare yet. It needs a newer peep.</p>
        ) : (
          <BlockFailed what="the comparison" error={polled.error} retry={polled.retry} />
        )
      ) : data === null ? (
        <div className="grid grid-cols-1 gap-4 desktop:grid-cols-2" aria-busy="true">
          <div className="card h-[384px]" />
          <div className="card h-[384px]" />
        </div>
      ) : (
        <Evidence comparison={data} />
      )}
    </div>
  );
}

function Sentence({ comparison }: { comparison: Comparison }) {
  const few = tooFew(comparison.a, comparison.b);
  const words = few ?? comparison.sentence;
  const at = words.indexOf('. ');
  const [first, rest] =
    at === -1 ? [words.replace(/\.$/, ''), ''] : [words.slice(0, at), words.slice(at + 2)];
  const { a, b, errorsSignificant } = comparison;
  const errors = (side: Comparison['a']) => write(share(side.errors, side.count));
  // A difference that counts is in the sentence already.
  const areTold = few === null && errorsSignificant;
  return (
    <>
      <h1 className="text-22 font-strong max-tablet:text-20">{first}</h1>
      <p className="mt-1 text-ink2">
        {rest !== '' && `${rest} `}
        {b.count > 0 && a.count > 0 && !areTold && (
          <>
            Errors <span className="text-ink">{errors(b)}</span> against {errors(a)}
            {errorsSignificant ? '' : ', no significant difference'}.{' '}
          </>
        )}
        {requests(a.count)} in A{kept(a)}, {exactCount(b.count)} in B{kept(b)}.
      </p>
    </>
  );
}

/** What a number rests on that was not counted exactly. */
function kept(side: Comparison['a']): string {
  return side.kept === null ? '' : ` (from ${exactCount(Math.round(side.kept))} kept, weighted)`;
}

function Card(props: { title: string; note?: string; children: React.ReactNode; className?: string }) {
  return (
    <section aria-label={props.title} className={`card min-w-0 overflow-hidden ${props.className ?? ''}`}>
      <div className="flex items-baseline gap-3 px-4 pt-3 pb-2">
        <h2 className="flex-1 font-name">{props.title}</h2>
        {props.note !== undefined && <p className="text-12 text-ink3">{props.note}</p>}
      </div>
      {props.children}
    </section>
  );
}

function Legend({ comparison }: { comparison: Comparison }) {
  return (
    <p className="flex flex-wrap gap-x-5 px-4 pb-1 text-12 text-ink2">
      <span className="flex items-center gap-2">
        <svg width="18" height="4" aria-hidden="true">
          <path d="M0 2h18" className="stroke-was" strokeWidth="2" strokeDasharray="4 3" />
        </svg>
        A{' '}
        <span className="text-ink">
          <Name>{comparison.a.label}</Name>
        </span>
      </span>
      <span className="flex items-center gap-2">
        <svg width="18" height="4" aria-hidden="true">
          <path d="M0 2h18" className="stroke-p99" strokeWidth="2.5" />
        </svg>
        B{' '}
        <span className="text-ink">
          <Name>{comparison.b.label}</Name>
        </span>
      </span>
    </p>
  );
}

function Evidence({ comparison }: { comparison: Comparison }) {
  const { a, b, histogram, quantiles } = comparison;
  if (a.count === 0 && b.count === 0) return null;
  const timed =
    quantiles.some((row) => row.aMs !== null || row.bMs !== null) ||
    [...(histogram?.a ?? []), ...(histogram?.b ?? [])].some((n) => n > 0);
  if (!timed)
    return (
      <p className="card px-4 py-3">
        No request of A or B carried a duration, so there are no percentiles to compare.
      </p>
    );
  return (
    <>
      <div className="grid grid-cols-1 gap-4 desktop:grid-cols-2">
        <Card title="Latency by quantile" note={`filled where significant, ${bound(comparison.errorBound)}`}>
          <Legend comparison={comparison} />
          <div className="px-4 pb-2">
            <QuantilePlot comparison={comparison} />
          </div>
        </Card>
        {histogram !== null && [...histogram.a, ...histogram.b].some((n) => n > 0) && (
          <Card title="Durations" note="share of each side">
            <Legend comparison={comparison} />
            <div className="px-4 pb-2">
              <Mirror comparison={comparison} />
            </div>
          </Card>
        )}
      </div>
      <div className="grid grid-cols-1 items-start gap-4 desktop:grid-cols-2">
        <Quantiles comparison={comparison} />
        {comparison.routes.length > 0 && <Routes comparison={comparison} />}
      </div>
    </>
  );
}

function Quantiles({ comparison }: { comparison: Comparison }) {
  return (
    <Card title="Quantiles" note="99 % confidence">
      <table className="w-full">
        <thead>
          <tr className="h-8 border-line border-b text-right text-ink2">
            <th scope="col" className="pl-4 text-left font-regular max-tablet:pl-3">
              Quantile
            </th>
            <th scope="col" className="font-regular">
              A
            </th>
            <th scope="col" className="font-regular">
              B
            </th>
            <th scope="col" className="font-regular max-tablet:hidden">
              Difference
            </th>
            <th scope="col" className="font-regular max-tablet:pr-3">
              Factor
            </th>
            <th scope="col" className="w-52 pr-4 pl-6 text-left font-regular max-tablet:hidden">
              Verdict
            </th>
          </tr>
        </thead>
        <tbody>
          {comparison.quantiles.map((row) => {
            const verdict = judge(row);
            const tone =
              verdict === 'slower'
                ? 'font-strong text-warn'
                : verdict === 'faster'
                  ? 'font-strong'
                  : 'text-ink2';
            return (
              <tr key={row.q} className="h-9 border-line border-b text-right last:border-b-0">
                <th scope="row" className="pl-4 text-left font-name max-tablet:pl-3">
                  p{percent(row.q)}
                </th>
                <td>
                  <Num written={latency(row.aMs, 4)} className={row.enough ? '' : 'text-ink3'} />
                </td>
                <td>
                  <Num written={latency(row.bMs, 4)} className={row.enough ? '' : 'text-ink3'} />
                </td>
                <td className="font-number whitespace-nowrap max-tablet:hidden">{difference(row)}</td>
                <td className="font-number whitespace-nowrap max-tablet:pr-3">
                  {factor(row, comparison.errorBound)}
                  <span className={`block whitespace-normal text-12 tablet:hidden ${tone}`}>
                    {JUDGED[verdict]}
                  </span>
                </td>
                <td className={`pr-4 pl-6 text-left whitespace-nowrap max-tablet:hidden ${tone}`}>
                  {JUDGED[verdict]}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </Card>
  );
}

function Routes({ comparison }: { comparison: Comparison }) {
  const { view } = usePageData();
  const most = Math.max(...comparison.routes.map((row) => Math.abs(row.contribution)), 1e-9);
  return (
    <Card title="Routes by contribution" note="share of the difference in time">
      <table className="w-full table-fixed">
        <thead>
          <tr className="h-8 border-line border-b text-right text-ink2">
            <th scope="col" className="pl-4 text-left font-regular max-tablet:pl-3">
              Route
            </th>
            <th scope="col" className="w-20 font-regular">
              A p99
            </th>
            <th scope="col" className="w-20 font-regular max-tablet:pr-3">
              B p99
            </th>
            <th scope="col" className="w-18 font-regular max-tablet:hidden">
              Factor
            </th>
            <th scope="col" className="w-40 pr-4 pl-6 text-left font-regular max-tablet:hidden">
              Contribution
            </th>
          </tr>
        </thead>
        <tbody>
          {comparison.routes.map((row) => (
            <tr
              key={`${row.method} ${row.route}`}
              className="h-9 border-line border-b text-right last:border-b-0"
            >
              <td className="pr-3 pl-4 text-left max-tablet:pl-3">
                <span className="flex min-w-0 items-baseline gap-2">
                  <span className="font-mono text-12 text-ink2">{row.method}</span>
                  {view.service === null ? (
                    <RouteName route={row.route} />
                  ) : (
                    <Link
                      href={hrefOf(view, {
                        page: 'service',
                        service: view.service,
                        route: [row.route],
                        method: row.method === '' ? [] : [row.method],
                      })}
                      prefetch={false}
                      className="min-w-0 hover:underline"
                    >
                      <RouteName route={row.route} />
                    </Link>
                  )}
                </span>
              </td>
              <td title={requests(row.aCount)}>
                <Num written={latency(row.aP99Ms)} />
              </td>
              <td className="max-tablet:pr-3" title={requests(row.bCount)}>
                <Num written={latency(row.bP99Ms)} />
              </td>
              <td className="font-number max-tablet:hidden">
                {row.aP99Ms === null || row.bP99Ms === null
                  ? '–'
                  : write(change(row.bP99Ms, row.aP99Ms, comparison.errorBound))}
              </td>
              <td className="pr-4 pl-6 max-tablet:hidden">
                <span className="flex items-center gap-3">
                  <span aria-hidden="true" className="h-1.5 flex-1 rounded-data bg-hover">
                    <span
                      className={`block h-full rounded-data ${row.contribution < 0 ? 'bg-was' : 'bg-p99'}`}
                      style={{ width: `${(Math.abs(row.contribution) / most) * 100}%` }}
                    />
                  </span>
                  <span className="w-14 text-right font-number whitespace-nowrap">
                    {contribution(row.contribution)}
                  </span>
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}
