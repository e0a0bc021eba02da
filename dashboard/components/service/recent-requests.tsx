'use client';

/** The newest single requests of this view. They wait while someone points at them. */
import { useRef } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Num } from '@/components/ui/num';
import { latency } from '@/lib/format/number';
import { clock, milliseconds, zoneName } from '@/lib/format/time';
import { type Events, fetchEvents } from '@/lib/query/events';
import { usePoll } from '@/lib/query/use-poll';
import { RouteName } from './routes-table';

const EVERY_MS = 5000;
const ROWS = 12;

export function RecentRequests() {
  const { filter, view, mode, paused, heldSince, hold, asked, windowMs } = usePageData();
  const question = JSON.stringify([filter, windowMs, view.frozen]);
  const polled = usePoll(
    question,
    (signal) => fetchEvents(filter, asked, ROWS, signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  // Rows are not pushed away from under a pointer: while held, the answer that was there stays.
  const shown = useRef<{ question: string; events: Events } | null>(null);
  const keeps =
    heldSince !== null && shown.current?.question === question && shown.current.events.events.length > 0;
  if (polled.data !== null && !keeps) {
    shown.current = { question, events: polled.data };
  }
  if (polled.data === null && polled.error !== null) {
    return <BlockFailed what="the recent requests" error={polled.error} retry={polled.retry} />;
  }
  const events = shown.current?.events ?? null;
  if (events !== null && events.events.length === 0) return null;
  return (
    <section
      aria-label="Recent requests"
      className="card overflow-hidden"
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
    >
      <div className="flex items-center px-4 pt-3 pb-1">
        <h2 className="flex-1 font-name">Recent requests</h2>
        <p className="text-12 text-ink3">newest first, {zoneName(Date.now(), view.tz)}</p>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls sideways on narrow screens */}
      <section className="overflow-x-auto" tabIndex={0} aria-label="Recent requests, table">
        <table className="w-full table-fixed">
          <thead>
            <tr className="h-8 border-line border-b text-left text-12 text-ink2">
              <th scope="col" className="w-[118px] pl-4 font-regular max-tablet:w-20 max-tablet:pl-3">
                Time
              </th>
              <th scope="col" className="w-14 font-regular max-tablet:w-12">
                Status
              </th>
              <th scope="col" className="font-regular">
                Route
              </th>
              <th scope="col" className="w-24 pr-6 text-right font-regular max-tablet:w-20 max-tablet:pr-3">
                Duration
              </th>
              <th scope="col" className="w-36 font-regular max-tablet:hidden">
                Host
              </th>
              <th scope="col" className="w-28 font-regular max-tablet:hidden">
                Version
              </th>
              <th scope="col" className="w-52 pr-4 font-regular max-desktop:hidden">
                Error
              </th>
            </tr>
          </thead>
          <tbody>
            {(events?.events ?? []).map((event, index) => {
              const failed = event.error !== null || (event.status ?? 0) >= 500;
              return (
                // biome-ignore lint/suspicious/noArrayIndexKey: rows have no id, and a place is what a row is here
                <tr key={index} className="h-[34px] border-line border-b last:border-b-0">
                  <td className="pl-4 font-number whitespace-nowrap text-ink2 max-tablet:pl-3">
                    {clock(event.tsMs, view.tz, true)}
                    <span className="text-ink3 max-tablet:hidden">.{milliseconds(event.tsMs)}</span>
                  </td>
                  <td className={`font-mono text-12 ${failed ? 'font-strong text-bad' : ''}`}>
                    {event.status ?? '–'}
                  </td>
                  <td className="truncate">
                    <span className="flex min-w-0 items-center">
                      <span className="w-14 shrink-0 max-tablet:hidden font-mono text-12 text-ink2">
                        {event.method || '–'}
                      </span>
                      <RouteName route={event.route} />
                    </span>
                  </td>
                  <td className="pr-6 text-right max-tablet:pr-3">
                    <Num written={latency(event.durationMs, 4)} />
                  </td>
                  <td className="truncate text-ink2 max-tablet:hidden">{event.host ?? '–'}</td>
                  <td className="truncate text-ink2 max-tablet:hidden">{event.version ?? '–'}</td>
                  <td className="truncate pr-4 text-ink2 max-desktop:hidden" title={event.error ?? undefined}>
                    {event.error ?? ''}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </section>
      {events?.sampled && (
        <p className="border-line border-t px-4 py-2 text-12 text-ink2">
          Not every request is kept. Counts and percentiles are complete.
        </p>
      )}
    </section>
  );
}
