/**
 * How numbers are written, in one place. A number comes in; a value and its unit leave apart, because the page sets
 * the unit one size down. `write` joins them for titles, labels and plain text.
 *
 * Three significant digits: their rounding (at most 0.5 %) claims less than the stated bound of the data knows.
 * Nothing known is an en dash, and something small never reads as nothing.
 */
export interface Written {
  value: string;
  /** Empty when the value needs none. */
  unit: string;
}

export const NBSP = '\u00a0';
export const UNKNOWN: Written = { value: '–', unit: '' };

export function write(written: Written): string {
  return written.unit === '' ? written.value : `${written.value}${NBSP}${written.unit}`;
}

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** `digits` significant digits, without an exponent; 999.96 becomes 1000 and is the caller's to carry. */
function significant(x: number, digits: number): string {
  if (x === 0) return '0';
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(x)));
  const fixed = x.toFixed(Math.min(places, 20));
  // 9.996 with three digits rounds to 10.00: one place too many.
  return places > 0 && Math.log10(Number(fixed)) >= digits - places ? x.toFixed(places - 1) : fixed;
}

/** Whether `x` still prints below `limit` with `digits` significant digits. */
function below(x: number, limit: number, digits: number): boolean {
  return x < limit && Number(significant(x, digits)) < limit;
}

/** Below 1 ms: µs, below 1 s: ms, below 120 s: s, then minutes and seconds. `digits` is 4 at the cursor. */
export function latency(ms: number | null | undefined, digits = 3): Written {
  if (ms === null || ms === undefined || !Number.isFinite(ms) || ms < 0) return UNKNOWN;
  if (ms === 0) return { value: '0', unit: 'µs' };
  const us = ms * 1000;
  if (us < 1) return { value: '< 1', unit: 'µs' };
  // A microsecond is the finest thing kept, so no digit is written below it.
  if (below(us, 1000, digits)) return { value: String(Math.round(us)), unit: 'µs' };
  if (below(ms, 1000, digits)) return { value: significant(ms, digits), unit: 'ms' };
  if (ms < 119_950) return { value: significant(ms / 1000, digits), unit: 's' };
  const seconds = Math.round(ms / 1000);
  return { value: `${Math.floor(seconds / 60)}${NBSP}min${NBSP}${seconds % 60}`, unit: 's' };
}

/** Beside an axis: as few digits as the tick has, and seconds to the end, since minutes with seconds need two units. */
export function axisLatency(ms: number): string {
  const { value, unit } = ms < 119_950 ? latency(ms) : { value: '', unit: 's' };
  if (value === '') return `${exactCount(Math.round(ms / 1000))}${NBSP}s`;
  const digits = Number(value);
  return write({ value: Number.isNaN(digits) ? value : String(digits), unit });
}

/** Events per second in, `12 /min`, `7.2 /s`, `1,284 /s`, `12.8 k/s` out. */
export function rate(perSecond: number | null | undefined): Written {
  if (perSecond === null || perSecond === undefined || !Number.isFinite(perSecond)) return UNKNOWN;
  if (perSecond === 0) return { value: '0', unit: '/s' };
  if (perSecond < 0.95) {
    const perMinute = perSecond * 60;
    if (perMinute < 0.1) return { value: '< 0.1', unit: '/min' };
    return { value: perMinute < 9.95 ? perMinute.toFixed(1) : String(Math.round(perMinute)), unit: '/min' };
  }
  if (perSecond < 99.95) return { value: perSecond.toFixed(1), unit: '/s' };
  if (perSecond < 9_999.5) return { value: grouped.format(perSecond), unit: '/s' };
  if (below(perSecond / 1e3, 1000, 3)) return { value: significant(perSecond / 1e3, 3), unit: 'k/s' };
  return { value: significant(perSecond / 1e6, 3), unit: 'M/s' };
}

/** Exact and grouped below a million, then three digits. */
export function count(n: number | null | undefined): Written {
  if (n === null || n === undefined || !Number.isFinite(n)) return UNKNOWN;
  if (n < 1_000_000) return { value: grouped.format(n), unit: '' };
  if (below(n / 1e6, 1000, 3)) return { value: significant(n / 1e6, 3), unit: 'M' };
  return { value: significant(n / 1e9, 3), unit: 'G' };
}

/** Every digit, for hover texts. */
export function exactCount(n: number): string {
  return grouped.format(n);
}

/** `1 request`, `11,524 requests`. */
export function requests(n: number): string {
  return `${exactCount(n)} ${requestNoun(n)}`;
}

export function requestNoun(n: number): string {
  return n === 1 ? 'request' : 'requests';
}

/** `part` of `whole`. Never 0 unless there is none, never 100 % unless it is all. */
export function share(part: number | null | undefined, whole: number | null | undefined): Written {
  if (part === null || part === undefined || whole === null || whole === undefined || whole <= 0)
    return UNKNOWN;
  if (part <= 0) return { value: '0', unit: '' };
  if (part >= whole) return { value: '100', unit: '%' };
  const percent = (part / whole) * 100;
  if (percent < 0.01) return { value: '< 0.01', unit: '%' };
  if (percent > 99.99) return { value: '> 99.99', unit: '%' };
  if (percent < 9.995 || percent >= 99.9) return { value: percent.toFixed(2), unit: '%' };
  return { value: percent.toFixed(1), unit: '%' };
}

/** A factor from 1.5×, else percent with a sign; "same" inside the bound both numbers carry. */
export function change(now: number, before: number, bound: number): Written {
  if (!Number.isFinite(now) || !Number.isFinite(before) || before <= 0) return UNKNOWN;
  const factor = now / before;
  if (factor >= 1.5) return { value: `${significant(factor, 2)}×`, unit: '' };
  if (Math.abs(factor - 1) <= 2 * bound) return { value: 'same', unit: '' };
  const percent = (factor - 1) * 100;
  return { value: `${percent > 0 ? '+' : '\u2212'}${significant(Math.abs(percent), 2)}`, unit: '%' };
}

export function bytes(n: number | null | undefined): Written {
  if (n === null || n === undefined || !Number.isFinite(n)) return UNKNOWN;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = n;
  let unit = 0;
  while (unit < units.length - 1 && !below(value, 1024, 4)) {
    value /= 1024;
    unit += 1;
  }
  return {
    value: unit === 0 ? String(Math.round(value)) : significant(value, 3),
    unit: units[unit] as string,
  };
}

/** The stated error of percentiles: 0.001 is `±0.1 %`. */
export function bound(errorBound: number): string {
  return `±${Number((errorBound * 100).toPrecision(2))}${NBSP}%`;
}
