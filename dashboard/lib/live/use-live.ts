'use client';

/** One live subscription for as long as a component wants it: connects, pauses, and rests while the tab is hidden. */
import { useEffect, useState, useSyncExternalStore } from 'react';
import type { View } from '@/lib/series/types';
import { browserPlatform } from './platform';
import { type LinkState, LiveSource } from './source';
import { LiveStore } from './store';

const HIDDEN_CLOSES_MS = 300_000;

export interface Live {
  path: string;
  store: LiveStore;
  link: LinkState;
  /** How long the connection was away before the last snapshot, with the moment it returned. */
  resumed: { atMs: number; awayMs: number } | null;
  view: View | null;
  reconnect: () => void;
}

interface Connection {
  path: string;
  store: LiveStore;
  source: LiveSource;
}

export function useLive(path: string | null, paused: boolean, held: boolean): Live | null {
  const [connection, setConnection] = useState<Connection | null>(null);
  const [link, setLink] = useState<LinkState>({ kind: 'connecting' });
  const [resumed, setResumed] = useState<Live['resumed']>(null);

  useEffect(() => {
    if (path === null) {
      setConnection(null);
      return;
    }
    const store = new LiveStore({
      now: () => Date.now(),
      schedule: (run) => {
        window.requestAnimationFrame(run);
      },
    });
    let lostAt: number | null = null;
    const source = new LiveSource(
      browserPlatform,
      path,
      (message) => store.receive(message),
      (state) => {
        if (state.kind === 'waiting' && lostAt === null) lostAt = Date.now() - (store.silenceMs() ?? 0);
        if (state.kind === 'open' && lostAt !== null) {
          if (store.getView() !== null) setResumed({ atMs: Date.now(), awayMs: Date.now() - lostAt });
          lostAt = null;
        }
        setLink(state);
      },
    );
    source.start();
    setConnection({ path, store, source });

    const slide = window.setInterval(() => {
      if (!document.hidden) store.tick();
    }, 1000);
    let rest: number | null = null;
    const onVisibility = () => {
      if (rest !== null) window.clearTimeout(rest);
      rest = null;
      if (document.hidden) rest = window.setTimeout(() => source.stop(), HIDDEN_CLOSES_MS);
      else {
        source.start();
        source.retryNow();
        store.tick();
      }
    };
    const onOnline = () => source.retryNow();
    document.addEventListener('visibilitychange', onVisibility);
    window.addEventListener('online', onOnline);
    return () => {
      window.clearInterval(slide);
      if (rest !== null) window.clearTimeout(rest);
      document.removeEventListener('visibilitychange', onVisibility);
      window.removeEventListener('online', onOnline);
      source.stop();
    };
  }, [path]);

  useEffect(() => connection?.store.setPaused(paused), [connection, paused]);
  useEffect(() => connection?.store.setHeld(held), [connection, held]);

  const view = useSyncExternalStore(
    connection?.store.subscribe ?? silent,
    connection?.store.getView ?? nothing,
    nothing,
  );
  if (connection === null || path === null) return null;
  return {
    path: connection.path,
    store: connection.store,
    link,
    resumed,
    view,
    reconnect: () => connection.source.retryNow(),
  };
}

const silent = () => () => undefined;
const nothing = () => null;
