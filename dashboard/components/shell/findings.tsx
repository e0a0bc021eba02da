'use client';

/**
 * What needs attention, once for the whole page: overview, sidebar, title and service page say the same because they
 * read it here. The server judges; when it does not know how to, the rows of the window do, without a usual.
 */
import { createContext, type ReactNode, useContext, useMemo, useRef } from 'react';
import { type Finding, fetchFindings } from '@/lib/query/findings';
import { about, usePoll } from '@/lib/query/use-poll';
import { byWeight, findingOf, isOther } from '@/lib/series/verdict';
import { usePageData } from './page-data';

export interface Attention {
  /** Whether an answer is in, of whichever kind. */
  known: boolean;
  /** Whether the server compared with what is usual. */
  judged: boolean;
  usual: { kind: string; fromMs: number; toMs: number } | null;
  noUsual: readonly string[];
  /** By weight; recovered ones at the end. */
  findings: readonly Finding[];
  byService: ReadonlyMap<string, Finding>;
}

const EVERY_MS = 5000;
const NOTHING: Attention = {
  known: false,
  judged: false,
  usual: null,
  noUsual: [],
  findings: [],
  byService: new Map(),
};
const Context = createContext<Attention>(NOTHING);

export function useAttention(): Attention {
  return useContext(Context);
}

export function FindingsProvider({ children }: { children: ReactNode }) {
  const { view, data, mode, asked, paused } = usePageData();
  // Live, the server judges the last five minutes; in history, the window on the screen.
  const window = mode === 'history' ? asked : null;
  const subject = JSON.stringify([view.env, mode === 'history']);
  const polled = usePoll(
    `${subject}\n${JSON.stringify(window)}`,
    (signal) => fetchFindings(view.env, window, signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  const answer = about(polled, subject);
  const missing = answer === null && polled.error !== null;
  const rows = missing ? data : null;
  const value = useMemo((): Attention => {
    if (answer === null && rows === null) return missing ? { ...NOTHING, known: true } : NOTHING;
    const findings =
      answer?.findings ??
      (rows?.rows ?? [])
        .filter((row) => row.key.service !== undefined && !isOther(row))
        .map((row) => findingOf(row, rows?.stepMs ?? 0, rows?.openT ?? null))
        .filter((finding) => finding !== null);
    const sorted = [...findings].sort(byWeight);
    const byService = new Map<string, Finding>();
    for (const finding of sorted)
      if (!byService.has(finding.service)) byService.set(finding.service, finding);
    return {
      known: true,
      judged: answer !== null,
      usual: answer?.usual ?? null,
      noUsual: answer?.noUsual ?? [],
      findings: sorted,
      byService,
    };
  }, [answer, rows, missing]);
  // While another window is judged, the old verdict stays.
  const kept = useRef({ env: view.env, value });
  if (value.known || kept.current.env !== view.env) kept.current = { env: view.env, value };
  return <Context.Provider value={kept.current.value}>{children}</Context.Provider>;
}
