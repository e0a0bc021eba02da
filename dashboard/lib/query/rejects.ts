/** What was refused or set aside, by reason: `GET /v1/rejects/summary`, or from `GET /v1/rejects` on a server without it. */
import { array, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import { getJson, RequestFailed, type Window } from './http';

export interface RejectReason {
  reason: string;
  /** Whether it was never taken, or taken and set aside later. */
  stage: 'refused' | 'dead_lettered';
  meaning: string | null;
  fix: string | null;
  count: number;
  lastSeenMs: number | null;
  key: { id: string; prefix: string } | null;
  example: unknown;
}

export interface Rejects {
  reasons: RejectReason[];
  /** What of the whole is here: dead letters only, when the server keeps no count of what ingest refused. */
  scope: 'all' | 'dead_letters' | 'newest_dead_letters';
  note: string | null;
}

const LETTERS_MAX = 200;

export async function fetchRejects(window: Window, signal: AbortSignal): Promise<Rejects> {
  const query = new URLSearchParams({ from: String(window.from), to: String(window.to) });
  try {
    return parseSummary(await getJson(`/v1/rejects/summary?${query}`, signal));
  } catch (cause) {
    if (!(cause instanceof RequestFailed) || cause.status !== 404) throw cause;
  }
  query.set('limit', String(LETTERS_MAX));
  return fromLetters(await getJson(`/v1/rejects?${query}`, signal));
}

export function parseSummary(value: unknown): Rejects {
  const answer = object(value, 'rejects');
  return {
    scope: answer.refused_available === false ? 'dead_letters' : 'all',
    note: textOrNull(answer.note, 'note'),
    reasons: array(answer.reasons, 'reasons').map((item, index) => {
      const at = `reasons[${index}]`;
      const fields = object(item, at);
      const key = fields.key === null || fields.key === undefined ? null : object(fields.key, `${at}.key`);
      return {
        reason: text(fields.reason, `${at}.reason`),
        stage: fields.stage === 'refused' ? 'refused' : 'dead_lettered',
        meaning: textOrNull(fields.meaning, `${at}.meaning`),
        fix: textOrNull(fields.fix, `${at}.fix`),
        count: number(fields.count, `${at}.count`),
        lastSeenMs: numberOrNull(fields.last_seen_ms, `${at}.last_seen_ms`),
        key: key === null ? null : { id: String(key.id), prefix: text(key.prefix, `${at}.key.prefix`) },
        example: fields.example ?? null,
      };
    }),
  };
}

/** The letters themselves, grouped. Of a server that lists them and does not add them up. */
export function fromLetters(value: unknown): Rejects {
  const answer = object(value, 'rejects');
  const reasons = new Map<string, RejectReason>();
  for (const [index, item] of array(answer.rejects, 'rejects').entries()) {
    const fields = object(item, `rejects[${index}]`);
    const reason = text(fields.reason, `rejects[${index}].reason`);
    const events = numberOrNull(fields.events, `rejects[${index}].events`) ?? 1;
    const known = reasons.get(reason);
    if (known !== undefined) {
      known.count += events;
      continue;
    }
    const preview = Array.isArray(fields.preview) ? fields.preview[0] : null;
    reasons.set(reason, {
      reason,
      stage: 'dead_lettered',
      meaning: null,
      fix: textOrNull(fields.advice, `rejects[${index}].advice`),
      count: events,
      lastSeenMs: numberOrNull(fields.recorded_ms, `rejects[${index}].recorded_ms`),
      key: null,
      example: preview ?? null,
    });
  }
  return {
    reasons: [...reasons.values()].sort((a, b) => b.count - a.count),
    scope: answer.next_cursor === null ? 'dead_letters' : 'newest_dead_letters',
    note: null,
  };
}
