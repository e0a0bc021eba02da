'use client';

/** The services of the chosen environment for the sidebar: the page's own rows when it has them, a poll when not. */
import { useMemo } from 'react';
import { fetchServices } from '@/lib/query/services';
import { usePoll } from '@/lib/query/use-poll';
import type { Totals } from '@/lib/series/types';
import { byTrouble, isOther } from '@/lib/series/verdict';
import { usePageData } from './page-data';

export interface SidebarService {
  id: string;
  service: string;
  window: Totals;
  lastSeenMs: number | null;
}

const EVERY_MS = 10_000;

export function useServices(): { services: SidebarService[]; envs: readonly string[] } {
  const { view, data, mode, windowMs, asked, paused } = usePageData();
  const own = view.service === null;
  const polled = usePoll(
    own ? null : JSON.stringify([view.env, windowMs, view.frozen]),
    (signal) => fetchServices(view.env, asked, signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  return useMemo(() => {
    const rows: SidebarService[] = own
      ? (data?.rows ?? []).map((row) => ({
          id: row.id,
          service: row.key.service ?? '',
          window: row.window,
          lastSeenMs: row.lastSeenMs,
        }))
      : (polled.data?.services ?? []).map((item) => ({ id: `service=${item.service}`, ...item }));
    return {
      services: rows.filter((row) => !isOther(row)).sort(byTrouble),
      envs: own ? (data?.envs ?? []) : (polled.data?.envs ?? []),
    };
  }, [own, data, polled.data]);
}
