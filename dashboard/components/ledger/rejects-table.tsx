'use client';

/** What was refused or set aside: the code, what it means, how much, of which key, one example, and the fix. */
import { useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Ticked } from '@/components/ui/ticked';
import { exactCount } from '@/lib/format/number';
import { age } from '@/lib/format/time';
import { fetchRejects, type RejectReason } from '@/lib/query/rejects';
import { usePoll } from '@/lib/query/use-poll';

const EVERY_MS = 10_000;

export function RejectsTable() {
  const { asked, mode, paused } = usePageData();
  const polled = usePoll(
    JSON.stringify(asked),
    (signal) => fetchRejects(asked, signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  if (polled.data === null) {
    if (polled.error === null) return <div className="card h-32" aria-busy="true" />;
    if (polled.error.status === 404 || polled.error.status === 403) return null;
    return <BlockFailed what="the rejects" error={polled.error} retry={polled.retry} />;
  }
  const { reasons, scope, note } = polled.data;
  const total = reasons.reduce((sum, item) => sum + item.count, 0);
  return (
    <section aria-label="Rejects" className="card overflow-hidden">
      <div className="flex flex-wrap items-baseline gap-x-3 px-4 pt-3 pb-2 max-tablet:px-3">
        <h2 className="font-name">Rejects</h2>
        <p className="text-12 text-ink2">
          {reasons.length === 0
            ? `Nothing was ${scope === 'all' ? 'refused or set aside' : 'set aside'} in this window.`
            : `${exactCount(total)} ${total === 1 ? 'event' : 'events'} ${scope === 'all' ? 'refused or set aside' : 'set aside'}${
                scope === 'newest_dead_letters' ? ', of the newest letters' : ''
              }.`}
          {scope !== 'all' && ' What ingest refuses at the door is not counted by this server.'}
          {note !== null && ` ${note}`}
        </p>
      </div>
      {reasons.length > 0 && (
        <ul className="divide-y divide-line border-line border-t">
          {reasons.map((item) => (
            <Reason key={`${item.stage}/${item.reason}/${item.key?.id ?? ''}`} item={item} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Reason({ item }: { item: RejectReason }) {
  const { view } = usePageData();
  const [open, setOpen] = useState(false);
  return (
    <li className="grid grid-cols-[1fr_auto] gap-x-6 gap-y-1 px-4 py-3 max-tablet:px-3 desktop:grid-cols-[180px_1fr_90px_100px_150px_92px]">
      <p className="font-mono text-12 leading-5">{item.reason}</p>
      <p className="live-number text-right font-name desktop:order-3">{exactCount(item.count)}</p>
      <div className="col-span-2 min-w-0 desktop:order-2 desktop:col-span-1">
        {item.meaning !== null && (
          <p>
            <Ticked words={item.meaning} />
          </p>
        )}
        {item.fix !== null && (
          <p className="text-ink2">
            <span className="font-name text-ink">Fix:</span> <Ticked words={item.fix} />
          </p>
        )}
      </div>
      <p className="text-12 leading-5 text-ink2 desktop:order-4 desktop:text-right">
        {item.lastSeenMs === null ? '–' : age(item.lastSeenMs, Date.now(), view.tz)}
      </p>
      <p className="truncate text-right font-mono text-12 leading-5 text-ink2 desktop:order-5 desktop:text-left">
        {item.key?.prefix ?? ''}
      </p>
      <div className="col-span-2 desktop:order-6 desktop:col-span-1 desktop:text-right">
        {item.example !== null && (
          <button
            type="button"
            aria-expanded={open}
            className="min-h-6 text-focus underline-offset-2 hover:underline max-tablet:min-h-11"
            onClick={() => setOpen(!open)}
          >
            {open ? 'Hide it' : 'Example'}
          </button>
        )}
      </div>
      {open && (
        <pre
          className="order-7 col-span-full mt-1 overflow-x-auto rounded-control border border-line bg-bg px-3 py-2 font-mono text-12"
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it may scroll sideways and must be reachable
          tabIndex={0}
        >
          {JSON.stringify(item.example, null, 2)}
        </pre>
      )}
    </li>
  );
}
