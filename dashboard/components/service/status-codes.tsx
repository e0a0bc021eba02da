'use client';

/** Which status codes were answered, how often. Exact counts of the window, asked beside the live data. */
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Num } from '@/components/ui/num';
import { count, exactCount, share } from '@/lib/format/number';
import { span } from '@/lib/format/time';
import { fetchSummary } from '@/lib/query/summary';
import { about, usePoll } from '@/lib/query/use-poll';

const EVERY_MS = 5000;
const MOST = 10;

function swatch(status: string): string {
  switch (status[0]) {
    case '3':
      return 'bg-s3';
    case '4':
      return 'swatch-s4';
    case '5':
      return 'swatch-s5';
    default:
      return 'bg-s2';
  }
}

export function StatusCodes() {
  const { filter, windowMs, view, mode, paused, asked, choose } = usePageData();
  const subject = JSON.stringify(filter);
  const polled = usePoll(
    `${subject}\n${JSON.stringify([windowMs, view.frozen])}`,
    (signal) => fetchSummary(filter, asked, ['status'], signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  const answer = about(polled, subject);
  const rows = answer === null ? null : [...answer.rows].sort((a, b) => b.window.count - a.window.count);
  const total = rows?.reduce((sum, row) => sum + row.window.count, 0) ?? 0;
  const most = rows?.[0]?.window.count ?? 0;
  if (rows === null && polled.error !== null) {
    return <BlockFailed block what="the status codes" error={polled.error} retry={polled.retry} />;
  }
  return (
    <section aria-label="Status codes" className="card px-4 pt-3 pb-3">
      <div className="flex items-center">
        <h2 className="flex-1 font-name">Status codes</h2>
        <p className="text-12 text-ink3">{span(windowMs)}</p>
      </div>
      <ul className="mt-2">
        {(rows ?? []).slice(0, MOST).map((row) => {
          const raw = row.key.status ?? '';
          const status = raw === '' || raw === '0' ? 'unknown' : raw;
          return (
            <li key={row.id}>
              <button
                type="button"
                disabled={status === 'unknown'}
                aria-pressed={view.status.includes(status)}
                onClick={() => choose({ status: view.status.includes(status) ? [] : [status], sel: null })}
                className="-mx-2 flex h-7 w-[calc(100%+16px)] items-center gap-2 rounded-control px-2 max-tablet:h-11 enabled:hover:bg-hover"
              >
                <span className={`size-2.5 shrink-0 rounded-data ${swatch(status)}`} />
                <span className="w-14 text-left font-mono text-12">
                  <span className="sr-only">Status </span>
                  {status}
                </span>
                <span className="h-1.5 min-w-8 flex-1 overflow-hidden rounded-data bg-hover">
                  <span
                    className={`block h-full ${swatch(status)}`}
                    style={{ width: `${Math.max(1.5, (row.window.count / most) * 100)}%` }}
                  />
                </span>
                <span className="w-16 text-right">
                  <Num written={count(row.window.count)} title={exactCount(row.window.count)} />
                </span>
                <span className="w-14 text-right">
                  <Num written={share(row.window.count, total)} className="text-ink2" unitClass="text-12" />
                </span>
              </button>
            </li>
          );
        })}
        {rows === null && <li className="h-28" />}
      </ul>
    </section>
  );
}
