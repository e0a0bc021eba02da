/** `GET /v1/freshness`: how long an event takes to a screen, measured by peep with events of its own. */

import { column, numberOrNull, object, times } from '@/lib/series/parse';
import type { Column } from '@/lib/series/types';
import { getJson, type Window } from './http';

export interface FreshnessHistory {
  p50Ms: number | null;
  p99Ms: number | null;
  ageMs: number | null;
  t: number[];
  p50: Column;
  p99: Column;
}

export async function fetchFreshness(window: Window, signal: AbortSignal): Promise<FreshnessHistory> {
  const query = new URLSearchParams({ from: String(window.from), to: String(window.to) });
  return parseFreshness(await getJson(`/v1/freshness?${query}`, signal));
}

export function parseFreshness(value: unknown): FreshnessHistory {
  const answer = object(value, 'freshness');
  const probe = answer.probe === null || answer.probe === undefined ? {} : object(answer.probe, 'probe');
  const t = times(answer.t, 't');
  return {
    ageMs: numberOrNull(probe.age_ms, 'probe.age_ms'),
    p50Ms: numberOrNull(probe.p50_ms, 'probe.p50_ms'),
    p99Ms: numberOrNull(probe.p99_ms, 'probe.p99_ms'),
    t,
    p50: column(answer.p50_ms, t.length, 'p50_ms'),
    p99: column(answer.p99_ms, t.length, 'p99_ms'),
  };
}
