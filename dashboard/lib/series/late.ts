/** What is said of steps that late events revised: `+214 late events`. */
import { exactCount } from '@/lib/format/number';
import { clock, type Zone } from '@/lib/format/time';
import type { Late } from './types';

const words = (count: number): string => `+${exactCount(count)} late event${count === 1 ? '' : 's'}`;

/** Of the step under the cursor; `null` when all of its events came in time. */
export function lateAt(late: readonly Late[], t: number): string | null {
  const found = late.find((step) => step.t === t);
  return found === undefined ? null : words(found.count);
}

/** For whoever hears the chart instead of seeing it. */
export function lateIn(late: readonly Late[], zone: Zone): string {
  return late.map(({ t, count }) => ` ${words(count)}, ${clock(t, zone, true)}.`).join('');
}
