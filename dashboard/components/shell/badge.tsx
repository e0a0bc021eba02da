'use client';

/** How fresh the screen is, told by shape, word and colour, once a second. */
import { useEffect, useState } from 'react';
import { Icon, PauseIcon } from '@/components/ui/icon';
import { exactCount, NBSP } from '@/lib/format/number';
import { clock, zoneName } from '@/lib/format/time';
import { type Freshness, freshness, type Kind } from '@/lib/live/freshness';
import { LAGS_KEPT_MS } from '@/lib/live/store';
import { usePageData } from './page-data';

const TONE: Record<Kind, string> = {
  live: 'bg-ok-soft text-ok border-transparent',
  behind: 'bg-warn-soft text-ink border-transparent',
  lost: 'bg-bad-soft text-bad border-transparent',
  paused: 'bg-surface text-ink border-control',
  held: 'bg-surface text-ink border-control',
  history: 'bg-focus-soft text-focus border-transparent',
  connecting: 'bg-surface text-ink2 border-line',
};

/** Re-renders once a second while the page is visible. */
export function useSecond(): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = window.setInterval(() => {
      if (!document.hidden) setNow(Date.now());
    }, 1000);
    return () => window.clearInterval(timer);
  }, []);
  return now;
}

export function useFreshness(): Freshness {
  useSecond();
  const page = usePageData();
  return freshness({
    mode: page.mode,
    nowMs: Date.now(),
    link: page.link,
    silenceMs: page.store?.silenceMs() ?? null,
    lagMs: page.store?.lagMs() ?? null,
    paceMs: page.store?.paceMs() ?? null,
    pausedAtMs: page.paused?.atMs ?? null,
    heldSinceMs: page.heldSince,
    pollEveryMs: page.pollEveryMs,
    newestMs: page.store?.newestMs() ?? null,
    zone: page.view.tz,
  });
}

export function Badge({ compact = false }: { compact?: boolean }) {
  const page = usePageData();
  const state = useFreshness();
  const newest = page.store?.newestMs() ?? null;
  const transport =
    page.link?.kind === 'open' ? (page.link.transport === 'sse' ? 'SSE' : 'WebSocket') : 'not connected';
  const over = (q: number) => {
    const lag = page.store?.lagQuantile(q, LAGS_KEPT_MS) ?? null;
    return lag === null ? '–' : `${(lag / 1000).toFixed(1)}${NBSP}s`;
  };
  const skipped = page.store?.skippedFrames() ?? 0;
  const frames = `${skipped === 0 ? 'No frame' : skipped === 1 ? '1 frame' : `${exactCount(skipped)} frames`} skipped.`;
  const title =
    page.mode === 'live'
      ? `Age of the newest window when shown, median of 10 s. Over 5 min: p50 ${over(0.5)}, p99 ${over(0.99)}. ${transport}. ${frames}${
          newest === null
            ? ''
            : ` Newest event ${clock(newest, page.view.tz, true)} ${zoneName(newest, page.view.tz)}.`
        }`
      : undefined;
  const isTold = state.detail !== '' && !(compact && state.kind !== 'live');
  const action =
    state.action === 'resume'
      ? { label: 'Resume', run: () => page.setPaused(false) }
      : state.action === 'reconnect'
        ? { label: 'Now', run: page.reconnect }
        : null;
  return (
    <div
      title={title}
      className={`live-badge inline-flex h-[30px] items-center gap-2 max-tablet:h-9 max-[360px]:gap-1 max-[360px]:px-1.5 whitespace-nowrap rounded-control border px-2.5 ${TONE[state.kind]}`}
      data-kind={state.kind}
    >
      <Mark kind={state.kind} />
      {/* Alone, a word needs no comma. */}
      <span className="font-name">{isTold ? state.word : state.word.replace(/[,:]$/, '')}</span>
      {isTold && <span className="font-number">{state.detail}</span>}
      {action !== null && (
        <button
          type="button"
          onClick={action.run}
          className="-mr-1 rounded-kbd px-1 font-strong underline underline-offset-2"
        >
          {action.label}
        </button>
      )}
    </div>
  );
}

function Mark({ kind }: { kind: Kind }) {
  switch (kind) {
    case 'live':
      return <span className="live-dot size-2 rounded-full bg-current" />;
    case 'behind':
      return <span className="size-2 rounded-full bg-warn" />;
    case 'lost':
      return <span className="size-2 rounded-full border-[1.5px] border-current" />;
    case 'paused':
    case 'held':
      return <PauseIcon paused={false} />;
    case 'history':
      return <Icon name="clock" size={14} />;
    case 'connecting':
      return <span className="size-2 rounded-full border-[1.5px] border-current" />;
  }
}
