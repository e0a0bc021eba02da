'use client';

/** What the reader must know about the window itself: history, offline, ignored values, a connection that came back. */
import { useEffect, useRef, useState } from 'react';
import { NBSP } from '@/lib/format/number';
import { clock, moment, zoneName } from '@/lib/format/time';
import { usePageData } from './page-data';

const TOAST_MS = 4000;

export function Notices() {
  const { view, mode, store, choose } = usePageData();
  const offline = useOffline();
  return (
    <>
      {offline && (
        <p role="status" className="border-line border-b bg-warn-soft px-6 py-2 text-ink max-tablet:px-3">
          You are offline.
          {mode === 'live' && store !== null && store.silenceMs() !== null && (
            <>
              {' '}
              Showing {clock(store.serverNow() - (store.silenceMs() ?? 0), view.tz, true)}
              {NBSP}
              {zoneName(Date.now(), view.tz)}; it resumes by itself.
            </>
          )}
        </p>
      )}
      {view.frozen !== null && (
        <p role="status" className="border-focus border-t-2 bg-focus-soft px-6 py-2 text-ink max-tablet:px-3">
          History, {moment(view.frozen.fromMs, view.tz, Date.now(), true)} to{' '}
          {moment(view.frozen.toMs, view.tz, Date.now(), true)} {zoneName(view.frozen.toMs, view.tz)}.{' '}
          <button
            type="button"
            className="font-strong text-focus underline underline-offset-2"
            onClick={() => choose({ frozen: null })}
          >
            Go live
          </button>
        </p>
      )}
      <Toast />
    </>
  );
}

function Toast() {
  const { ignored, resumed, windowMs } = usePageData();
  const [words, setWords] = useState<string | null>(null);
  const timer = useRef<number | null>(null);
  const show = useRef((text: string) => {
    setWords(text);
    if (timer.current !== null) window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setWords(null), TOAST_MS);
  });

  const ignoredText = ignored.join(' ');
  useEffect(() => {
    if (ignoredText !== '') show.current(ignoredText);
  }, [ignoredText]);
  useEffect(() => {
    if (resumed === null) return;
    const away = Math.round(resumed.awayMs / 1000);
    show.current(
      resumed.awayMs <= windowMs
        ? `Back. ${away}${NBSP}s filled in, nothing missing.`
        : 'Back. What happened before this window is in the longer ranges.',
    );
  }, [resumed, windowMs]);

  return (
    <div
      role="status"
      className="pointer-events-none fixed inset-x-0 bottom-20 z-30 flex justify-center tablet:bottom-6"
    >
      {words !== null && (
        <p className="rounded-card border border-line bg-raised px-4 py-2 shadow-popover">{words}</p>
      )}
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
