'use client';

/** What needs attention: how much, since when, after which release, where. Five at most; the table has them all. */
import Link from 'next/link';
import { Sparkline } from '@/components/charts/sparkline';
import type { Token } from '@/components/charts/tokens';
import { usePageData } from '@/components/shell/page-data';
import { Glyph } from '@/components/ui/glyph';
import { Icon } from '@/components/ui/icon';
import { Name } from '@/components/ui/name';
import { useNarrow } from '@/components/ui/use-narrow';
import { isolated } from '@/lib/format/isolate';
import { count, NBSP, requestNoun, share, write } from '@/lib/format/number';
import { moment } from '@/lib/format/time';
import type { Finding, Where } from '@/lib/query/findings';
import { findGaps, rates, shares } from '@/lib/series/gaps';
import type { Column, Row } from '@/lib/series/types';
import { findingWords, isOfAlert, shortSpan, stateOfFinding } from '@/lib/series/verdict';
import { hrefOf } from '@/lib/view/url';

const MOST = 5;

export function Findings({ findings, rows }: { findings: readonly Finding[]; rows: readonly Row[] }) {
  const narrow = useNarrow();
  return (
    <ul className="card divide-y divide-line overflow-hidden" aria-label="Findings">
      {findings.slice(0, MOST).map((finding) => (
        <FindingRow
          key={`${finding.service} ${finding.kind} ${finding.env}`}
          finding={finding}
          row={narrow ? undefined : rows.find((row) => row.key.service === finding.service)}
        />
      ))}
      {findings.length > MOST && (
        <li className="flex h-9 items-center px-4 text-12 text-ink2">
          {findings.length - MOST} more, in the table below
        </li>
      )}
    </ul>
  );
}

function FindingRow({ finding, row }: { finding: Finding; row: Row | undefined }) {
  const { view } = usePageData();
  const state = stateOfFinding(finding);
  const words = findingWords(finding);
  const tone = state === 'recovered' ? 'text-ink' : state === 'slower' ? 'text-warn' : 'text-bad';
  return (
    <li>
      <Link
        href={hrefOf(view, { service: finding.service })}
        prefetch={false}
        className="grid min-h-13 items-center gap-x-4 px-4 hover:bg-hover tablet:grid-cols-[16px_minmax(90px,0.85fr)_minmax(0,2fr)_minmax(0,1.9fr)_minmax(0,1.7fr)_auto_16px] max-desktop:tablet:grid-cols-[16px_minmax(90px,0.85fr)_minmax(0,2fr)_minmax(0,1.9fr)_16px] max-tablet:min-h-14 max-tablet:grid-cols-[14px_1fr_16px] max-tablet:gap-x-2.5 max-tablet:px-3 max-tablet:py-2"
      >
        <Glyph state={state} size={16} />
        <span className="truncate font-name" title={finding.service}>
          <Name>{finding.service}</Name>
        </span>
        <span className="live-number truncate text-ink2 max-tablet:col-start-2 max-tablet:row-start-2 max-tablet:whitespace-normal">
          {words.before}
          {words.number !== '' && <span className={`font-strong ${tone}`}>{words.number}</span>}
          {words.after}
        </span>
        <span className="truncate text-ink2 max-tablet:col-start-2 max-tablet:row-start-3 max-tablet:text-12">
          <Since finding={finding} />
        </span>
        <span className="truncate text-ink2 max-desktop:hidden">
          <WhereWords where={finding.where} />
          {finding.alert !== null && (
            <span title={`The alert “${isolated(finding.alert.name)}” fires`}>
              {finding.where !== null && ', '}
              alert <Name>{finding.alert.name}</Name>
            </span>
          )}
        </span>
        <span className="max-desktop:hidden">
          {row === undefined ? <span className="block w-[108px]" /> : <Shape finding={finding} row={row} />}
        </span>
        <span className="text-ink2 max-tablet:col-start-3 max-tablet:row-span-3 max-tablet:row-start-1">
          <Icon name="chevronRight" />
        </span>
      </Link>
    </li>
  );
}

/** `since 14:21:40, 20 s after v2.14.0`, or when it recovered and what it cost. */
function Since({ finding }: { finding: Finding }) {
  const { view } = usePageData();
  const at = (ms: number) => (
    <span className="font-strong text-ink">{moment(ms, view.tz, Date.now(), true)}</span>
  );
  const { sinceMs, recoveredMs, after } = finding;
  if (recoveredMs !== null) {
    return (
      <>
        recovered at {at(recoveredMs)}
        {sinceMs !== null && ` after ${shortSpan(recoveredMs - sinceMs)}`}
        {finding.kind === 'failing' &&
          finding.affected > 0 &&
          `, ${write(count(finding.affected))} ${requestNoun(finding.affected)} failed`}
      </>
    );
  }
  if (sinceMs === null) return null;
  return (
    <>
      {isOfAlert(finding) && 'the alert fires '}since {at(sinceMs)}
      {isOfAlert(finding) ? null : after === null ? (
        ', no release near it'
      ) : (
        <>
          , {shortSpan(after.ms)} after{' '}
          <span className="font-strong text-ink">
            <Name>{after.version}</Name>
          </span>
        </>
      )}
    </>
  );
}

/** `96 % on POST /buy`, `host search-3 only`, `spread over 8 routes`. */
export function WhereWords({ where }: { where: Where | null }) {
  if (where === null) return null;
  if (where.dimension === 'spread') return `spread over ${where.routes} routes`;
  const value = (
    <span
      className={
        where.dimension === 'route' ? 'font-mono text-12 font-strong text-ink' : 'font-strong text-ink'
      }
    >
      <Name>{where.value.replace(' ', NBSP)}</Name>
    </span>
  );
  if (where.dimension === 'route')
    return (
      <>
        {where.share >= 0.995 ? 'all' : roundShare(where.share)} on {value}
      </>
    );
  return (
    <>
      {where.dimension} {value}
      {where.share >= 0.995 ? ' only' : `, ${roundShare(where.share)}`}
    </>
  );
}

/** In whole percent: where it mostly is needs no more. */
export function roundShare(part: number): string {
  return part >= 0.1 ? `${Math.min(99, Math.round(part * 100))}${NBSP}%` : write(share(part, 1));
}

const SHAPE_TOKEN: Record<ReturnType<typeof stateOfFinding>, Token> = {
  failing: 'bad',
  silent: 'bad',
  slower: 'warn',
  recovered: 'was',
  fine: 'was',
};

/** The shape of what the finding is about. */
function Shape({ finding, row }: { finding: Finding; row: Row }) {
  const { columns } = row;
  const closed = Math.max(0, columns.t.length - 1);
  const values: Column =
    finding.kind === 'slower'
      ? (columns.quantilesMs['0.99'] ?? [])
      : finding.kind === 'silent'
        ? rates(columns.count, findGaps(columns.count, closed), 1000)
        : shares(columns.errors, columns.count);
  return (
    <Sparkline
      values={values.slice(0, closed)}
      token={SHAPE_TOKEN[stateOfFinding(finding)]}
      fill
      width={108}
      height={28}
    />
  );
}
