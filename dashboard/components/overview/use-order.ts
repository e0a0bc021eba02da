'use client';

/** Rows keep their places: they re-sort at most every 10 s, and never while someone is pointing at one. */
import { useRef } from 'react';

const SETTLE_MS = 10_000;

/** `rule` names the order asked for; another rule sorts at once. `sorted` is the order that is right now. */
export function useOrder<T extends { id: string }>(sorted: readonly T[], rule: string, held: boolean): T[] {
  const kept = useRef<{ rule: string; ids: string[]; atMs: number }>({ rule: '', ids: [], atMs: 0 });
  const now = Date.now();
  const due = !held && now - kept.current.atMs >= SETTLE_MS;
  if (kept.current.rule !== rule || kept.current.ids.length === 0 || due) {
    kept.current = { rule, ids: sorted.map((row) => row.id), atMs: now };
    return [...sorted];
  }
  const place = new Map(kept.current.ids.map((id, index) => [id, index]));
  const newcomer = kept.current.ids.length;
  return [...sorted].sort((a, b) => (place.get(a.id) ?? newcomer) - (place.get(b.id) ?? newcomer));
}
