/**
 * What an empty step means. A step without events is either nothing happening (a quiet service) or something missing
 * (a busy one that fell silent). The two are told apart by what was to be expected: when a step of the usual size
 * would hold five events or more, finding none by chance is less likely than 1 in 100, so it is a gap; a gap is never
 * bridged and is hatched. Otherwise the count of zero is simply true. Steps before the first event are neither.
 */
import type { Column } from './types';

const EXPECTED_AT_LEAST = 5;

export interface Gaps {
  /** Inclusive index ranges of missing steps, ascending. */
  ranges: readonly (readonly [number, number])[];
  /** Index of the first step with events, or -1 when there is none. */
  first: number;
}

/** `closed` is how many leading steps are complete; the step still filling is no evidence. */
export function findGaps(count: Column, closed: number): Gaps {
  let first = -1;
  let events = 0;
  let filled = 0;
  for (let index = 0; index < closed; index += 1) {
    const n = count[index] ?? 0;
    if (n > 0) {
      if (first === -1) first = index;
      events += n;
      filled += 1;
    }
  }
  if (first === -1 || events / filled < EXPECTED_AT_LEAST) return { ranges: [], first };
  const ranges: [number, number][] = [];
  for (let index = first; index < closed; index += 1) {
    if ((count[index] ?? 0) > 0) continue;
    const last = ranges.at(-1);
    if (last !== undefined && last[1] === index - 1) last[1] = index;
    else ranges.push([index, index]);
  }
  return { ranges, first };
}

/** `count` as a rate per second: 0 where nothing happened, `null` in gaps and before the first event. */
export function rates(count: Column, gaps: Gaps, stepMs: number): Column {
  const out: Column = count.map((n, index) =>
    n !== null ? (n * 1000) / stepMs : index >= gaps.first && gaps.first !== -1 ? 0 : null,
  );
  for (const [from, to] of gaps.ranges) for (let index = from; index <= to; index += 1) out[index] = null;
  return out;
}

/** Errors as percent of requests; unknown without requests. */
export function shares(errors: Column, count: Column): Column {
  return count.map((n, index) => (n === null || n === 0 ? null : ((errors[index] ?? 0) / n) * 100));
}
