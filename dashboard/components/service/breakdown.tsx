'use client';

/** Versions or hosts of this service: share of its requests, p99, errors. Left out where the server cannot say. */
import { useState } from 'react';
import { useAttention } from '@/components/shell/findings';
import { usePageData } from '@/components/shell/page-data';
import { Name } from '@/components/ui/name';
import { Num } from '@/components/ui/num';
import { Quantile } from '@/components/ui/quantile';
import { exactCount, share, write } from '@/lib/format/number';
import { canAsk } from '@/lib/query/capabilities';
import { fetchSummary, type SummaryRow } from '@/lib/query/summary';
import { about, usePoll } from '@/lib/query/use-poll';
import { partFails } from '@/lib/series/verdict';

const EVERY_MS = 10_000;
const MOST = 6;

export type Dimension = 'version' | 'host';

/** The rows of one dimension, by share; `null` until they are there or when they never will be. */
export function useBreakdown(dimension: Dimension): SummaryRow[] | null {
  const { view, mode, paused, asked, windowMs } = usePageData();
  const subject = JSON.stringify([dimension, view.env, view.service]);
  const polled = usePoll(
    view.service === null ? null : `${subject}\n${JSON.stringify([windowMs, view.frozen])}`,
    async (signal) => {
      // Versions and hosts are counted by servers that know releases.
      if (!(await canAsk('/v1/releases', signal))) return [];
      const answer = await fetchSummary({ env: view.env, service: view.service }, asked, [dimension], signal);
      return answer.rows.sort((a, b) => b.window.count - a.window.count);
    },
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  return about(polled, subject);
}

interface Props {
  title: string;
  dimension: Dimension;
  rows: readonly SummaryRow[] | null;
}

export function Breakdown({ title, dimension, rows }: Props) {
  const { view, choose } = usePageData();
  const { judged, byService } = useAttention();
  const [all, setAll] = useState(false);
  if (rows === null || rows.length === 0 || (rows.length === 1 && rows[0]?.key[dimension] === ''))
    return null;
  const total = rows.reduce((sum, row) => sum + row.window.count, 0);
  const chosen = view[dimension];
  const newest = rows.reduce((late, row) => Math.max(late, row.firstSeenMs ?? 0), 0);
  return (
    <section aria-label={title} className="card px-4 pt-3 pb-3">
      <div className="flex items-center">
        <h2 className="flex-1 font-name">{title}</h2>
        <p className="text-12 text-ink3">p99, errors</p>
      </div>
      <ul className="mt-2">
        {rows.slice(0, all ? rows.length : MOST).map((row) => {
          const value = row.key[dimension] ?? '';
          const failing = partFails(row.window, judged, byService.get(view.service ?? ''));
          const isNewest = dimension === 'version' && row.firstSeenMs === newest && newest > 0;
          const on = chosen.includes(value);
          return (
            <li key={row.id}>
              <button
                type="button"
                aria-pressed={on}
                disabled={value === ''}
                title={`${write(share(row.window.count, total))} of requests, ${exactCount(row.window.count)}`}
                onClick={() => choose({ [dimension]: on ? [] : [value], sel: null })}
                className={`-mx-2 flex h-7 w-[calc(100%+16px)] items-center gap-2 rounded-control px-2 max-tablet:h-11 enabled:hover:bg-hover ${on ? 'bg-hover' : ''}`}
              >
                <span className="w-21 shrink-0 truncate text-left">
                  <Name>{value === '' ? 'none sent' : value}</Name>
                </span>
                <span className="h-1.5 min-w-8 flex-1 overflow-hidden rounded-data bg-hover">
                  <span
                    className={`block h-full rounded-data ${isNewest ? 'bg-rate' : 'bg-was'}`}
                    style={{ width: `${total === 0 ? 0 : Math.max(1, (row.window.count / total) * 100)}%` }}
                  />
                </span>
                <span className="w-17 text-right">
                  <Quantile window={row.window} quantile="0.99" />
                </span>
                <span className="w-14 text-right">
                  <Num
                    written={share(row.window.errors, row.window.count)}
                    className={failing ? 'font-strong! text-bad' : 'text-ink2'}
                    unitClass="text-12"
                  />
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {rows.length > MOST && (
        <button
          type="button"
          className="mt-1 min-h-6 text-12 text-ink2 hover:text-ink"
          onClick={() => setAll(!all)}
        >
          {all ? 'Fewer' : `${exactCount(rows.length - MOST)} more`}
        </button>
      )}
    </section>
  );
}
