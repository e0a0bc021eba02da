'use client';

/** What the reader must know about the window itself: history, offline, a restart, ignored values, a connection that came back. */
import { useEffect, useState, useSyncExternalStore } from 'react';
import { NBSP } from '@/lib/format/number';
import { clock, moment, zoneName } from '@/lib/format/time';
import { currentToasts, onToasts, toast } from '@/lib/view/toast';
import { usePageData } from './page-data';
import { goLive } from './use-keys';

const BAR = 'border-line border-b px-6 py-2 text-ink max-tablet:px-3';

export function Notices() {
  const page = usePageData();
  const { view, mode, store, link } = page;
  const offline = useOffline();
  const silence = store?.silenceMs() ?? null;
  const lastMs = store === null || silence === null ? null : store.serverNow() - silence;
  const last = lastMs === null ? '' : `${clock(lastMs, view.tz, true)}${NBSP}${zoneName(lastMs, view.tz)}`;
  const restarting = mode === 'live' && link?.kind === 'waiting' && link.restarting;
  return (
    <>
      {offline ? (
        <p role="status" className={`${BAR} bg-warn-soft`}>
          You are offline.{mode === 'live' && last !== '' && ` Showing ${last}; it resumes by itself.`}
        </p>
      ) : (
        restarting && (
          <p role="status" className={`${BAR} bg-warn-soft`}>
            peep is restarting.{last !== '' && ` Last data ${last}.`} Nothing sent to ingest is lost.
          </p>
        )
      )}
      {view.frozen !== null && (
        <p role="status" className={`${BAR} border-focus border-t-2 bg-focus-soft`}>
          History, {moment(view.frozen.fromMs, view.tz, Date.now(), true)} to{' '}
          {moment(view.frozen.toMs, view.tz, Date.now(), true)} {zoneName(view.frozen.toMs, view.tz)}.{' '}
          <button
            type="button"
            className="font-strong text-focus underline underline-offset-2"
            onClick={() => goLive(page)}
          >
            Go live
          </button>
        </p>
      )}
      <Toasts />
    </>
  );
}

const none: readonly never[] = [];

function Toasts() {
  const { ignored, resumed, windowMs, view } = usePageData();
  const shown = useSyncExternalStore(onToasts, currentToasts, () => none);

  const ignoredText = ignored.join(' ');
  useEffect(() => toast(ignoredText), [ignoredText]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: said once, whatever is on the screen by then
  useEffect(() => {
    if (resumed === null) return;
    const away = Math.max(1, Math.round(resumed.awayMs / 1000));
    const from = clock(resumed.atMs - resumed.awayMs, view.tz, true);
    toast(
      resumed.awayMs <= windowMs
        ? `Back. ${away}${NBSP}s filled in, nothing missing.`
        : `Back. ${from} to ${clock(resumed.atMs, view.tz, true)} could not be replayed; loaded from history.`,
    );
  }, [resumed]);

  return (
    <div
      role="status"
      className="pointer-events-none fixed inset-x-0 bottom-20 z-30 flex flex-col items-center gap-2 tablet:bottom-6"
    >
      {shown.map((item) => (
        <p
          key={item.id}
          className="appear max-w-[90vw] rounded-card border border-line bg-raised px-4 py-2 shadow-popover"
        >
          {item.words}
        </p>
      ))}
    </div>
  );
}

function useOffline(): boolean {
  const [offline, setOffline] = useState(false);
  useEffect(() => {
    const read = () => setOffline(!navigator.onLine);
    read();
    window.addEventListener('online', read);
    window.addEventListener('offline', read);
    return () => {
      window.removeEventListener('online', read);
      window.removeEventListener('offline', read);
    };
  }, []);
  return offline;
}
