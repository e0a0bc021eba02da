/** `GET /v1/receipts/{receipt}`: what became of one acknowledged batch, station by station. */
import { array, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import { getJson } from './http';

export const STATIONS = ['accepted', 'log', 'counted', 'live'] as const;
export type StationName = (typeof STATIONS)[number];

export interface Station {
  name: StationName;
  atMs: number | null;
  note: string | null;
}

export interface Passport {
  status: 'pending' | 'applied' | 'duplicate' | 'dead_lettered' | 'lost';
  receipt: string;
  partition: number | null;
  offset: number | null;
  settledMs: number | null;
  recordsAhead: number | null;
  blocked: string | null;
  /** What of the batch was not counted, and why. */
  letters: { index: number; reason: string }[];
  counted: string | null;
  /** `null` from a server that keeps no times per station. */
  stations: Station[] | null;
}

const STATUSES = ['pending', 'applied', 'duplicate', 'dead_lettered', 'lost'] as const;

export async function fetchPassport(receiptOrTrace: string, signal: AbortSignal): Promise<Passport> {
  return parsePassport(await getJson(`/v1/receipts/${encodeURIComponent(receiptOrTrace)}`, signal));
}

export function parsePassport(value: unknown): Passport {
  const answer = object(value, 'receipt');
  const word = text(answer.status, 'status');
  const status = STATUSES.find((name) => name === word);
  if (status === undefined) throw new Error(`status: ${word} is not known to this page`);
  return {
    status,
    receipt: text(answer.receipt, 'receipt'),
    partition: numberOrNull(answer.partition, 'partition'),
    offset: numberOrNull(answer.offset, 'offset'),
    settledMs: numberOrNull(answer.settled_ms, 'settled_ms'),
    recordsAhead: numberOrNull(answer.records_ahead, 'records_ahead'),
    blocked: textOrNull(answer.blocked, 'blocked'),
    letters: Array.isArray(answer.dead_lettered)
      ? answer.dead_lettered.map((item, index) => {
          const fields = object(item, `dead_lettered[${index}]`);
          return {
            index: number(fields.index, `dead_lettered[${index}].index`),
            reason: text(fields.reason, `dead_lettered[${index}].reason`),
          };
        })
      : [],
    counted: textOrNull(answer.counted, 'counted'),
    stations: Array.isArray(answer.stations) ? stations(answer.stations) : null,
  };
}

function stations(items: readonly unknown[]): Station[] {
  const known = new Map<string, Station>();
  array(items, 'stations').forEach((item, index) => {
    const fields = object(item, `stations[${index}]`);
    const name = STATIONS.find((one) => one === fields.name);
    if (name === undefined) return;
    known.set(name, {
      name,
      atMs: numberOrNull(fields.at_ms, `stations[${index}].at_ms`),
      note: textOrNull(fields.note, `stations[${index}].note`),
    });
  });
  return STATIONS.map((name) => known.get(name) ?? { name, atMs: null, note: null });
}
