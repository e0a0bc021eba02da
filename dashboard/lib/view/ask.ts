/**
 * A stretch of time as people write it: `last 3 h`, `14:20 to 14:40`, `20 Nov 14:20 to 14:40`, `since v2.14.0`. Text
 * comes in; a range, a frozen window or `null` leaves. The time picker and the palette ask here.
 */
import type { Zone } from '@/lib/format/time';
import { rangeMs } from './url';

export type Asked = { range: string } | { frozen: { fromMs: number; toMs: number } };

interface Known {
  version: string;
  firstSeenMs: number;
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const DAY_MS = 86_400_000;

export function askRange(text: string, zone: Zone, nowMs: number, releases: readonly Known[]): Asked | null {
  const words = text.trim().toLowerCase().replaceAll('\u00a0', ' ').replace(/\s+/g, ' ');
  const last = /^(?:last |-)?(\d{1,4}) ?(m|min|minutes?|h|hours?|d|days?)$/.exec(words);
  if (last !== null) {
    const range = `${last[1]}${(last[2] as string)[0]}`;
    return rangeMs(range) === null ? null : { range };
  }
  const since = /^since (.+)$/.exec(words)?.[1];
  if (since !== undefined) {
    const release = releases.find((item) => item.version.toLowerCase() === since);
    const fromMs = release?.firstSeenMs ?? parseMoment(since, zone, nowMs, nowMs);
    if (fromMs === null || fromMs >= nowMs) return null;
    const minutes = Math.max(1, Math.ceil((nowMs - fromMs) / 60_000));
    const range = minutes < 9999 ? `${minutes}m` : `${Math.ceil(minutes / 1440)}d`;
    return rangeMs(range) === null ? null : { range };
  }
  const parts = words.split(/ to | ?– ?| - /);
  if (parts.length !== 2) return null;
  const fromMs = parseMoment(parts[0] as string, zone, nowMs, nowMs);
  if (fromMs === null) return null;
  // The end may leave the day out: then it is the day of the beginning.
  const toMs = parts[1] === 'now' ? nowMs : parseMoment(parts[1] as string, zone, fromMs, null);
  if (toMs === null || toMs - fromMs < 10_000) return null;
  return { frozen: { fromMs, toMs } };
}

/**
 * One moment in the zone, or in UTC where the text says so. Without a day it is on the day of `referenceMs`, or the day before when it would then lie
 * after `notAfterMs`.
 */
export function parseMoment(
  text: string,
  chosen: Zone,
  referenceMs: number,
  notAfterMs: number | null,
): number | null {
  const found =
    /^(?:(?:(\d{4})-(\d\d)-(\d\d)[t ])|(?:(\d{1,2}) ([a-z]{3})[a-z]* ))?(\d{1,2}):(\d\d)(?::(\d\d))?( ?utc|z)?$/.exec(
      text.trim().toLowerCase().replaceAll('\u00a0', ' '),
    );
  if (found === null) return null;
  const [, year, month, day, shortDay, monthName, hour, minute, second = '0', said] = found;
  const zone = said === undefined ? chosen : 'utc';
  if (Number(hour) > 23 || Number(minute) > 59 || Number(second) > 59) return null;
  const reference = dayOf(referenceMs, zone);
  let date = reference;
  if (year !== undefined) date = [Number(year), Number(month) - 1, Number(day)];
  if (monthName !== undefined) {
    const index = MONTHS.indexOf(monthName);
    if (index === -1) return null;
    date = [reference[0], index, Number(shortDay)];
  }
  if (!exists(date)) return null;
  const at = instant(date, Number(hour), Number(minute), Number(second), zone);
  if (year === undefined && monthName === undefined && notAfterMs !== null && at > notAfterMs) {
    const before = dayOf(referenceMs - DAY_MS, zone);
    return instant(before, Number(hour), Number(minute), Number(second), zone);
  }
  return at;
}

type Day = [year: number, month: number, day: number];

/** A calendar goes on counting: the 31st of February would be the 3rd of March. */
function exists([year, month, day]: Day): boolean {
  const found = new Date(Date.UTC(year, month, day));
  return found.getUTCMonth() === month && found.getUTCDate() === day;
}

function dayOf(ms: number, zone: Zone): Day {
  const at = new Date(ms);
  return zone === 'utc'
    ? [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()]
    : [at.getFullYear(), at.getMonth(), at.getDate()];
}

function instant([year, month, day]: Day, hour: number, minute: number, second: number, zone: Zone): number {
  return zone === 'utc'
    ? Date.UTC(year, month, day, hour, minute, second)
    : new Date(year, month, day, hour, minute, second).getTime();
}

/** How a moment is written into the picker's fields: what `parseMoment` reads. */
export function writeMoment(ms: number, zone: Zone): string {
  const shift = zone === 'utc' ? 0 : -new Date(ms).getTimezoneOffset() * 60_000;
  return new Date(ms + shift).toISOString().slice(0, 19).replace('T', ' ');
}
