/**
 * How times are written: 24-hour clock, UTC unless the reader chose local time, the same zone everywhere on the page.
 */
import { NBSP } from './number';

export type Zone = 'utc' | 'local';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** Minutes east of UTC at that instant: it differs across a daylight-saving change. */
export function offsetMinutes(ms: number, zone: Zone): number {
  return zone === 'utc' ? 0 : -new Date(ms).getTimezoneOffset();
}

/** A date whose UTC fields read as wall time in the zone. */
function wall(ms: number, zone: Zone): Date {
  return new Date(ms + offsetMinutes(ms, zone) * MINUTE);
}

const two = (n: number): string => String(n).padStart(2, '0');

/** `14:26`, or `14:26:40` with seconds. */
export function clock(ms: number, zone: Zone, seconds = false): string {
  const at = wall(ms, zone);
  const base = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
  return seconds ? `${base}:${two(at.getUTCSeconds())}` : base;
}

/** The `418` of `14:26:40.418`: the same in every zone. */
export function milliseconds(ms: number): string {
  return String(((ms % SECOND) + SECOND) % SECOND).padStart(3, '0');
}

/** `20 Nov`. */
export function day(ms: number, zone: Zone): string {
  const at = wall(ms, zone);
  return `${at.getUTCDate()}${NBSP}${MONTHS[at.getUTCMonth()]}`;
}

/** The time, with the date when it is not the date of `reference`. */
export function moment(ms: number, zone: Zone, reference: number, seconds = false): string {
  const time = clock(ms, zone, seconds);
  return day(ms, zone) === day(reference, zone) ? time : `${day(ms, zone)}${NBSP}${time}`;
}

/** `UTC`, or the offset: `UTC+2`, `UTC+05:45`. */
export function zoneName(ms: number, zone: Zone): string {
  const minutes = offsetMinutes(ms, zone);
  if (minutes === 0) return 'UTC';
  const size = Math.abs(minutes);
  const hours = Math.floor(size / 60);
  const rest = size % 60;
  return `UTC${minutes < 0 ? '\u2212' : '+'}${rest === 0 ? hours : `${two(hours)}:${two(rest)}`}`;
}

/** `4 s ago`, `3 min ago`, then the time. */
export function age(ms: number, nowMs: number, zone: Zone): string {
  const passed = Math.max(0, nowMs - ms);
  if (passed < MINUTE) return `${Math.floor(passed / SECOND)}${NBSP}s ago`;
  if (passed < HOUR) return `${Math.floor(passed / MINUTE)}${NBSP}min ago`;
  return moment(ms, zone, nowMs);
}

/** A length of time in one unit: `15 min`, `1 h`, `7 days`. */
export function span(ms: number): string {
  if (ms >= 2 * DAY && ms % DAY === 0) return `${ms / DAY}${NBSP}days`;
  if (ms >= HOUR && ms % HOUR === 0) return `${ms / HOUR}${NBSP}h`;
  if (ms >= MINUTE) return `${Math.round(ms / MINUTE)}${NBSP}min`;
  return `${Math.round(ms / SECOND)}${NBSP}s`;
}

const TICKS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800,
].map((seconds) => seconds * SECOND);

/** Round times in the zone between two instants, at most `most` of them. */
export function timeTicks(fromMs: number, toMs: number, most: number, zone: Zone): number[] {
  const step = TICKS.find((size) => (toMs - fromMs) / size <= most) ?? (TICKS.at(-1) as number);
  const shift = offsetMinutes(fromMs, zone) * MINUTE;
  const ticks: number[] = [];
  for (let at = Math.ceil((fromMs + shift) / step) * step - shift; at <= toMs; at += step) ticks.push(at);
  return ticks;
}

/** A tick's label: the date at midnight, seconds only where ticks are closer than a minute. */
export function tickLabel(ms: number, stepMs: number, zone: Zone): string {
  const at = wall(ms, zone);
  if (at.getUTCHours() === 0 && at.getUTCMinutes() === 0 && at.getUTCSeconds() === 0) return day(ms, zone);
  return clock(ms, zone, stepMs < MINUTE);
}
