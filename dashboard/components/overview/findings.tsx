'use client';

/** The services that are failing: how much, since when, where. Five at most; the table has them all. */
import Link from 'next/link';
import { Sparkline } from '@/components/charts/sparkline';
import { usePageData } from '@/components/shell/page-data';
import { hrefOf } from '@/components/shell/sidebar';
import { Glyph } from '@/components/ui/glyph';
import { Icon } from '@/components/ui/icon';
import { count, NBSP, share, write } from '@/lib/format/number';
import { moment, span } from '@/lib/format/time';
import { fetchSummary } from '@/lib/query/summary';
import { usePoll } from '@/lib/query/use-poll';
import { shares } from '@/lib/series/gaps';
import type { Row } from '@/lib/series/types';
import { byTrouble, failingSince } from '@/lib/series/verdict';

const MOST = 5;
const WHERE_EVERY_MS = 15_000;

interface Item {
  row: Row;
  recoveredMs: number | null;
}

export function Findings({ items }: { items: readonly Item[] }) {
  const sorted = [...items].sort(
    (a, b) => Number(a.recoveredMs !== null) - Number(b.recoveredMs !== null) || byTrouble(a.row, b.row),
  );
  return (
    <ul className="card divide-y divide-line overflow-hidden" aria-label="Findings">
      {sorted.slice(0, MOST).map((item) => (
        <Finding key={item.row.id} row={item.row} recoveredMs={item.recoveredMs} />
      ))}
      {sorted.length > MOST && (
        <li className="flex h-9 items-center px-4 text-12 text-ink2">
          {sorted.length - MOST} more, in the table below
        </li>
      )}
    </ul>
  );
}

function Finding({ row, recoveredMs }: Item) {
  const { view, windowMs } = usePageData();
  const service = row.key.service ?? '';
  const { columns, window } = row;
  const since = failingSince(columns.t, columns.count, columns.errors);
  const where = useWhere(service, window.errors);
  return (
    <li>
      <Link
        href={hrefOf(view, { service })}
        prefetch={false}
        className="grid min-h-13 items-center gap-x-4 px-4 hover:bg-hover tablet:grid-cols-[20px_minmax(110px,1fr)_minmax(0,2.1fr)_minmax(0,1.6fr)_minmax(0,2.2fr)_auto_16px] max-tablet:grid-cols-[14px_1fr_16px] max-tablet:gap-x-2 max-tablet:px-3 max-tablet:py-2"
      >
        <Glyph state={recoveredMs === null ? 'failing' : 'recovered'} size={15} />
        <span className="truncate font-name" title={service}>
          {service}
        </span>
        <span className="live-number truncate text-ink2 max-tablet:col-start-2 max-tablet:row-start-2">
          <span className={`font-strong ${recoveredMs === null ? 'text-bad' : 'text-ink'}`}>
            {write(share(window.errors, window.count))}
          </span>{' '}
          of requests {recoveredMs === null ? 'fail' : 'failed'}, {write(count(window.errors))}
          {' in '}
          {span(windowMs)}
        </span>
        <span className="truncate text-ink2 max-tablet:hidden">
          {recoveredMs !== null ? (
            <>
              recovered at{' '}
              <span className="font-strong text-ink">{moment(recoveredMs, view.tz, Date.now(), true)}</span>
            </>
          ) : since?.kind === 'throughout' ? (
            `for ${span(windowMs)} or longer`
          ) : (
            since !== null && (
              <>
                {since.kind === 'since' ? 'since' : 'in bursts, last at'}{' '}
                <span className="font-strong text-ink">
                  {moment(since.kind === 'since' ? since.at : since.last, view.tz, Date.now(), true)}
                </span>
              </>
            )
          )}
        </span>
        <span className="truncate text-ink2 max-tablet:hidden">{where}</span>
        <span className="max-tablet:hidden">
          <Sparkline
            values={shares(columns.errors, columns.count)}
            token={recoveredMs === null ? 'bad' : 'was'}
            fill
            width={108}
            height={28}
          />
        </span>
        <span className="text-ink2 max-tablet:row-span-2 max-tablet:row-start-1 max-tablet:col-start-3">
          <Icon name="chevronRight" />
        </span>
      </Link>
    </li>
  );
}

/** The route that carries at least half of the errors, asked from the server for just this service. */
function useWhere(service: string, errors: number): React.ReactNode {
  const { view, windowMs, asked, mode, paused } = usePageData();
  const polled = usePoll(
    JSON.stringify([service, view.env, windowMs, view.frozen]),
    (signal) => fetchSummary({ env: view.env, service }, asked, ['route', 'method'], signal),
    mode === 'history' || paused !== null ? null : WHERE_EVERY_MS,
  );
  const rows = polled.data?.rows ?? null;
  if (rows === null || errors === 0) return null;
  const all = rows.reduce((sum, row) => sum + row.window.errors, 0);
  const failing = rows.filter((row) => row.window.errors > 0);
  const worst = failing.reduce<(typeof rows)[number] | null>(
    (best, row) => (best === null || row.window.errors > best.window.errors ? row : best),
    null,
  );
  if (worst === null) return null;
  if (worst.window.errors * 2 < all) return `spread over ${failing.length} routes`;
  return (
    <>
      {write(share(worst.window.errors, all))} on{' '}
      <span className="font-mono text-12 font-strong text-ink">
        {worst.key.method}
        {worst.key.method ? NBSP : ''}
        {worst.key.route}
      </span>
    </>
  );
}
