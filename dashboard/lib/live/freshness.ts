/**
 * What the badge may say about how fresh the screen is. Facts come in, one state leaves; shape, word and colour of
 * every state differ, so this is the only place that decides.
 */

import { NBSP } from '@/lib/format/number';
import { clock, span, type Zone } from '@/lib/format/time';
import type { LinkState } from './source';

export interface Facts {
  mode: 'live' | 'polled' | 'history';
  nowMs: number;
  link: LinkState | null;
  /** Local time since anything arrived. */
  silenceMs: number | null;
  /** Median age of the newest event over the frames of the last 10 s. */
  lagMs: number | null;
  /** How often the server speaks lately, by its own clock. */
  paceMs: number | null;
  pausedAtMs: number | null;
  heldSinceMs: number | null;
  pollEveryMs: number | null;
  /** Newest moment on the screen, server time. */
  newestMs: number | null;
  zone: Zone;
}

export type Kind = 'live' | 'behind' | 'lost' | 'paused' | 'held' | 'history' | 'connecting';

export interface Freshness {
  kind: Kind;
  word: string;
  detail: string;
  /** What a press does, where the words offer one. */
  action: 'resume' | 'reconnect' | null;
}

const seconds = (ms: number): string => `${Math.max(0, Math.round(ms / 1000))}${NBSP}s`;

export const BEHIND_MS = 2000;
export const LOST_MS = 10_000;
/** The server speaks every second when it can; a pace like this one is no hiccup any more. */
const SLOW_MS = 2500;

export function freshness(facts: Facts): Freshness {
  const { nowMs, link, silenceMs, lagMs, paceMs } = facts;
  // What is fixed does not move anyway; a pause that waits there is told when there is something to resume.
  if (facts.mode === 'history') return { kind: 'history', word: 'History', detail: '', action: null };
  if (facts.pausedAtMs !== null) {
    return {
      kind: 'paused',
      word: 'Paused',
      detail: `at ${clock(facts.pausedAtMs, facts.zone, true)}, ${seconds(nowMs - facts.pausedAtMs)} behind.`,
      action: 'resume',
    };
  }
  if (facts.mode === 'polled') {
    return {
      kind: 'history',
      word: facts.pollEveryMs === null ? 'History' : `Every ${span(facts.pollEveryMs)}`,
      detail: '',
      action: null,
    };
  }
  if (silenceMs === null) {
    return link?.kind === 'waiting'
      ? lost('No answer.', link, nowMs)
      : { kind: 'connecting', word: 'Connecting', detail: '', action: null };
  }
  if (silenceMs > LOST_MS) {
    return lost(`No data for ${seconds(silenceMs)}.`, link, nowMs);
  }
  if (paceMs !== null && paceMs >= SLOW_MS) {
    const word = `Every ${seconds(paceMs)}:`;
    return { kind: 'behind', word, detail: 'the server is busy', action: null };
  }
  if (silenceMs > BEHIND_MS)
    return { kind: 'behind', word: 'Behind', detail: seconds(silenceMs), action: null };
  if (facts.heldSinceMs !== null) {
    return { kind: 'held', word: 'Holding,', detail: seconds(nowMs - facts.heldSinceMs), action: null };
  }
  if (lagMs === null) return { kind: 'live', word: 'Live,', detail: 'no traffic', action: null };
  if (lagMs > BEHIND_MS) {
    return {
      kind: lagMs > LOST_MS ? 'lost' : 'behind',
      word: 'Behind',
      detail: seconds(lagMs),
      action: null,
    };
  }
  return { kind: 'live', word: 'Live', detail: `${(lagMs / 1000).toFixed(1)}${NBSP}s`, action: null };
}

function lost(words: string, link: LinkState | null, nowMs: number): Freshness {
  return link?.kind === 'waiting'
    ? {
        kind: 'lost',
        word: words,
        detail: `Reconnecting in ${seconds(link.retryAtMs - nowMs)}.`,
        action: 'reconnect',
      }
    : { kind: 'lost', word: words, detail: 'Reconnecting.', action: null };
}
