/** The two numbers of the navigation: how many alerts fire, and whether every accepted event is accounted for. */
import { array, number, object } from '@/lib/series/parse';
import { getJson, type Window, withQuery } from './http';

export async function fetchFiring(signal: AbortSignal): Promise<number> {
  const answer = object(await getJson('/v1/alerts', signal), 'alerts');
  if (answer.firing !== undefined) return number(answer.firing, 'firing');
  return array(answer.rules, 'rules').filter((rule) => object(rule, 'rule').state === 'firing').length;
}

export interface Books {
  fromMs: number;
  toMs: number;
  accepted: number;
  balanced: boolean;
  /** Accepted less everything that became of it; 0 when the sums agree. */
  unaccounted: number;
}

export async function fetchBooks(window: Window | null, signal: AbortSignal): Promise<Books> {
  const range = window === null ? {} : { from: window.from, to: window.to };
  const answer = object(await getJson(withQuery('/v1/reconcile', { env: null }, range), signal), 'reconcile');
  const accepted = number(answer.accepted, 'accepted');
  const dead = object(answer.dead_lettered, 'dead_lettered');
  return {
    fromMs: number(answer.from_ms, 'from_ms'),
    toMs: number(answer.to_ms, 'to_ms'),
    accepted,
    balanced: answer.balanced === true,
    unaccounted:
      accepted -
      number(answer.rolled_up, 'rolled_up') -
      number(dead.total, 'dead_lettered.total') -
      number(answer.duplicate, 'duplicate'),
  };
}
