'use client';

/**
 * What the page shows, from one place: decides whether the address asks for live data or history, runs the one
 * subscription or the polls, and knows what went wrong. Pages, sidebar and top bar read it.
 */
import {
  createContext,
  type ReactNode,
  useCallback,
  useContext,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from 'react';
import { CursorStore } from '@/components/charts/cursor';
import type { LinkState } from '@/lib/live/source';
import type { LiveStore } from '@/lib/live/store';
import { type Live, useLive } from '@/lib/live/use-live';
import { fetchHistory } from '@/lib/query/history';
import { type Filter, type RequestFailed, type Window, withQuery } from '@/lib/query/http';
import { usePoll } from '@/lib/query/use-poll';
import type { View } from '@/lib/series/types';
import { DEFAULT_QUANTILES, QUANTILES, rangeOf, stepFor, type ViewState } from '@/lib/view/url';
import { useView, type ViewControl } from '@/lib/view/use-view';

export type Mode = 'live' | 'polled' | 'history';

export interface PageData extends ViewControl {
  mode: Mode;
  /** The window's length as asked for. */
  windowMs: number;
  /** The steps asked for; those of `data` may be coarser. */
  stepMs: number;
  data: View | null;
  filter: Filter;
  link: LinkState | null;
  store: LiveStore | null;
  resumed: Live['resumed'];
  polledAtMs: number | null;
  pollEveryMs: number | null;
  error: RequestFailed | null;
  sessionEnded: boolean;
  retry: () => void;
  reconnect: () => void;
  paused: { atMs: number } | null;
  setPaused: (paused: boolean) => void;
  heldSince: number | null;
  hold: (held: boolean) => void;
  cursor: CursorStore;
  /** The window for questions asked beside the main one. */
  asked: Window;
}

const Context = createContext<PageData | null>(null);

export function usePageData(): PageData {
  const data = useContext(Context);
  if (data === null) throw new Error('usePageData outside of PageDataProvider');
  return data;
}

const RELEASE_MS = 1500;
const HOUR_MS = 3_600_000;

/** How often a window too long to be live, or narrowed by what no live frame carries, is asked for again. */
function pollEvery(windowMs: number): number {
  if (windowMs <= HOUR_MS) return 5_000;
  return windowMs <= 6 * HOUR_MS ? 30_000 : windowMs <= 24 * HOUR_MS ? 60_000 : 300_000;
}

export function PageDataProvider({ children }: { children: ReactNode }) {
  const control = useView();
  const { view } = control;
  const [paused, setPausedState] = useState<{ atMs: number } | null>(null);
  const [heldSince, setHeldSince] = useState<number | null>(null);
  const [cursor] = useState(() => new CursorStore());
  const release = useRef<number | null>(null);

  const range = rangeOf(view.range);
  // Hosts and versions are counted apart from routes; live frames do not carry them.
  const inFrames = view.page !== 'service' || (view.host.length === 0 && view.version.length === 0);
  const mode: Mode = view.frozen !== null ? 'history' : range.live && inFrames ? 'live' : 'polled';
  const windowMs = view.frozen === null ? range.ms : view.frozen.toMs - view.frozen.fromMs;
  const groupBy = view.page === 'service' && view.service !== null ? ROUTE : SERVICE;
  // Other pages show their own subject; beside it the services go on.
  const subjectId =
    view.page === 'service' ? JSON.stringify(filterOf(view)) : JSON.stringify({ env: view.env });
  const filter = useMemo(() => JSON.parse(subjectId) as Filter, [subjectId]);
  const quantilesId = QUANTILES.filter(
    (name) => DEFAULT_QUANTILES.includes(name) || view.q.includes(name),
  ).join();

  const livePath =
    mode === 'live'
      ? withQuery('/v1/live', filter, {
          group_by: groupBy.join(','),
          window: range.name,
          step: `${range.stepMs / 1000}s`,
          quantiles: quantilesId,
        })
      : null;
  const live = useLive(livePath, paused !== null, heldSince !== null);

  const stepMs = Math.max(view.step ?? 0, mode === 'polled' ? range.stepMs : stepFor(windowMs));
  const question =
    mode === 'live'
      ? null
      : JSON.stringify([filter, groupBy, quantilesId, stepMs, mode === 'polled' ? range.name : view.frozen]);
  const pollEveryMs = mode === 'polled' && paused === null ? pollEvery(range.ms) : null;
  const history = usePoll(
    question,
    (signal) =>
      fetchHistory(
        {
          filter,
          groupBy,
          stepMs,
          quantiles: quantilesId.split(','),
          window: view.frozen ?? { lastMs: range.ms, name: range.name },
        },
        Date.now(),
        signal,
      ),
    pollEveryMs,
  );

  const fresh =
    mode === 'live'
      ? live?.path === livePath
        ? live.view
        : null
      : history.answered === question
        ? history.data
        : null;
  // While another window of the same thing loads, the old picture stays.
  const last = useRef<{ subject: string; view: View } | null>(null);
  if (fresh !== null) last.current = { subject: subjectId, view: fresh };
  const data = fresh ?? (last.current?.subject === subjectId ? last.current.view : null);

  const setPaused = useCallback((next: boolean) => setPausedState(next ? { atMs: Date.now() } : null), []);
  const hold = useCallback((held: boolean) => {
    if (release.current !== null) window.clearTimeout(release.current);
    release.current = null;
    if (held) setHeldSince((since) => since ?? Date.now());
    else release.current = window.setTimeout(() => setHeldSince(null), RELEASE_MS);
  }, []);

  // Another view is another moment: what was held belonged to the old one. A pause lasts until Resume: the new view is
  // loaded once and stays as it was when it was opened.
  // biome-ignore lint/correctness/useExhaustiveDependencies: runs when the question changes
  useLayoutEffect(() => {
    setPausedState((before) => (before === null ? null : { atMs: Date.now() }));
    setHeldSince(null);
    cursor.set(null);
  }, [livePath, question, cursor]);

  const value: PageData = {
    ...control,
    mode,
    windowMs,
    stepMs,
    data,
    filter,
    link: live?.link ?? null,
    store: live?.store ?? null,
    resumed: live?.resumed ?? null,
    polledAtMs: history.atMs,
    pollEveryMs,
    error: mode === 'live' ? null : history.error,
    sessionEnded: live?.link.kind === 'unauthorized' || (mode !== 'live' && history.error?.status === 401),
    retry: history.retry,
    reconnect: live?.reconnect ?? history.retry,
    paused,
    setPaused,
    heldSince,
    hold,
    cursor,
    asked:
      view.frozen === null
        ? { from: `-${range.name}`, to: 'now' }
        : { from: view.frozen.fromMs, to: view.frozen.toMs },
  };
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

const SERVICE: readonly string[] = ['service'];
const ROUTE: readonly string[] = ['route', 'method'];

export function filterOf(view: ViewState): Filter {
  return {
    env: view.env,
    service: view.service,
    route: view.route,
    method: view.method,
    status: view.status,
    host: view.host,
    version: view.version,
  };
}
