'use client';

/**
 * The services of the chosen environment, once for the whole page. Their numbers are the page's own rows when it has
 * them; what no frame carries (versions, hosts, when last seen) is asked beside them, slowly.
 */
import { createContext, type ReactNode, useContext, useMemo, useRef } from 'react';
import type { Finding } from '@/lib/query/findings';
import { fetchReleases, type Release } from '@/lib/query/releases';
import { fetchServices } from '@/lib/query/services';
import { usePoll } from '@/lib/query/use-poll';
import { EMPTY_TOTALS, type Totals } from '@/lib/series/types';
import { byTrouble, isOther, type State, stateOfFinding } from '@/lib/series/verdict';
import { useAttention } from './findings';
import { usePageData } from './page-data';

export interface SidebarService {
  id: string;
  service: string;
  window: Totals;
  lastSeenMs: number | null;
  state: State;
  finding: Finding | null;
  version: string | null;
}

export interface Services {
  /** In the order of trouble. */
  services: readonly SidebarService[];
  envs: readonly string[];
  /** First events of versions in the window, oldest first. */
  releases: readonly Release[];
  /** What the server says about when each service was last heard of, by name. */
  lastSeen: ReadonlyMap<string, number>;
}

const NUMBERS_EVERY_MS = 10_000;
const VERSIONS_EVERY_MS = 60_000;
const RELEASES_EVERY_MS = 15_000;
const EMPTY: Services = { services: [], envs: [], releases: [], lastSeen: new Map() };
const Context = createContext<Services>(EMPTY);

export function useServices(): Services {
  return useContext(Context);
}

export function ServicesProvider({ children }: { children: ReactNode }) {
  const { view, data, mode, windowMs, asked, paused } = usePageData();
  const { byService } = useAttention();
  const own = view.page !== 'service' || view.service === null;
  const still = mode === 'history' || paused !== null;
  const polled = usePoll(
    JSON.stringify([view.env, windowMs, view.frozen]),
    (signal) => fetchServices(view.env, asked, signal),
    still ? null : own ? VERSIONS_EVERY_MS : NUMBERS_EVERY_MS,
  );
  const released = usePoll(
    JSON.stringify([view.env, windowMs, view.frozen]),
    (signal) => fetchReleases(view.env, null, asked, signal),
    still ? null : RELEASES_EVERY_MS,
  );
  const known = (own ? data : polled.data) !== null;
  const fresh = useMemo((): Services => {
    const named = new Map((polled.data?.services ?? []).map((item) => [item.service, item]));
    const base = own
      ? (data?.rows ?? []).map((row) => ({
          id: row.id,
          service: row.key.service ?? '',
          window: row.window,
          lastSeenMs: row.lastSeenMs,
        }))
      : (polled.data?.services ?? []).map((item) => ({
          id: `service=${item.service}`,
          service: item.service,
          window: item.window,
          lastSeenMs: item.lastSeenMs,
        }));
    // A service that fell silent is in no row; its finding keeps it in the list.
    for (const [service, item] of named) {
      if (own && byService.has(service) && !base.some((row) => row.service === service)) {
        base.push({ id: `service=${service}`, service, window: item.window, lastSeenMs: item.lastSeenMs });
      }
    }
    // Silent for longer than the window, it is in no answer about the window either.
    for (const service of byService.keys()) {
      if (!base.some((row) => row.service === service))
        base.push({ id: `service=${service}`, service, window: EMPTY_TOTALS, lastSeenMs: null });
    }
    const place = new Map([...byService.keys()].map((service, index) => [service, index]));
    const last = place.size;
    return {
      services: base
        .filter((row) => !isOther(row))
        .map((row) => {
          const finding = byService.get(row.service) ?? null;
          return {
            ...row,
            finding,
            state: stateOfFinding(finding ?? undefined),
            version: named.get(row.service)?.version ?? null,
          };
        })
        .sort((a, b) => (place.get(a.service) ?? last) - (place.get(b.service) ?? last) || byTrouble(a, b)),
      envs: own && (data?.envs.length ?? 0) > 0 ? (data?.envs ?? []) : (polled.data?.envs ?? []),
      releases: [...(released.data ?? [])].sort((a, b) => a.firstSeenMs - b.firstSeenMs),
      lastSeen: new Map([...named].map(([service, item]) => [service, item.lastSeenMs ?? 0])),
    };
  }, [own, data, polled.data, released.data, byService]);
  // Between two pages the list stays: it is about the same services.
  const kept = useRef({ env: view.env, value: fresh });
  if (known || kept.current.env !== view.env) kept.current = { env: view.env, value: fresh };
  return <Context.Provider value={kept.current.value}>{children}</Context.Provider>;
}
