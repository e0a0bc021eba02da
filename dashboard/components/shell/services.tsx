'use client';

/** The services of the chosen environment, once for the whole page: its own rows when it has them, a poll when not. */
import { createContext, type ReactNode, useContext, useMemo, useRef } from 'react';
import { fetchServices } from '@/lib/query/services';
import { usePoll } from '@/lib/query/use-poll';
import type { Totals } from '@/lib/series/types';
import { byTrouble, isFailing, isOther, type State, stateOf } from '@/lib/series/verdict';
import { usePageData } from './page-data';

export interface SidebarService {
  id: string;
  service: string;
  window: Totals;
  lastSeenMs: number | null;
  state: State;
}

export interface Services {
  services: readonly SidebarService[];
  envs: readonly string[];
}

const EVERY_MS = 10_000;
const Context = createContext<Services>({ services: [], envs: [] });

export function useServices(): Services {
  return useContext(Context);
}

export function ServicesProvider({ children }: { children: ReactNode }) {
  const { view, data, mode, windowMs, asked, paused } = usePageData();
  const own = view.service === null;
  const polled = usePoll(
    own ? null : JSON.stringify([view.env, windowMs, view.frozen]),
    (signal) => fetchServices(view.env, asked, signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  const known = (own ? data : polled.data) !== null;
  const fresh = useMemo(() => {
    const rows: SidebarService[] = own
      ? (data?.rows ?? []).map((row) => ({
          id: row.id,
          service: row.key.service ?? '',
          window: row.window,
          lastSeenMs: row.lastSeenMs,
          state: stateOf(row, data?.stepMs ?? 0, data?.openT ?? null).state,
        }))
      : (polled.data?.services ?? []).map((item) => ({
          ...item,
          id: `service=${item.service}`,
          // Without columns only the whole window can be judged.
          state: isFailing(item.window) ? 'failing' : 'fine',
        }));
    return {
      services: rows
        .filter((row) => !isOther(row))
        .sort((a, b) => Number(b.state === 'failing') - Number(a.state === 'failing') || byTrouble(a, b)),
      envs: own ? (data?.envs ?? []) : (polled.data?.envs ?? []),
    };
  }, [own, data, polled.data]);
  // Between two pages the list stays: it is about the same services.
  const last = useRef({ env: view.env, value: fresh });
  if (known || last.current.env !== view.env) last.current = { env: view.env, value: fresh };
  return <Context.Provider value={last.current.value}>{children}</Context.Provider>;
}
