/**
 * The geometry of the two comparisons. Quantiles are spread toward the tail: 50, 90, 99, 99.9 and 99.99 lie equally far
 * apart, because that is where two releases differ. Durations are logarithmic.
 */

/** Where a quantile lies: 0.5 is 0.301, 0.9 is 1, 0.99 is 2. */
export function spread(q: number): number {
  return -Math.log10(1 - q);
}

export const SPREAD_TICKS = [0.5, 0.9, 0.99, 0.999, 0.9999] as const;

/** `50`, `99`, `99.99`: a quantile in percent, without rounding it to something it is not. */
export function percent(q: number): string {
  return String(Number((q * 100).toPrecision(6)));
}

/** Maps positive values to pixels, logarithmically. */
export function logScale(low: number, high: number, from: number, to: number): (value: number) => number {
  const span = Math.log(high / low);
  return (value) => from + (Math.log(Math.max(value, low) / low) / span) * (to - from);
}

/** Whole decades around values, at least one. */
export function decades(values: readonly number[]): [number, number] {
  const positive = values.filter((value) => value > 0);
  if (positive.length === 0) return [1, 10];
  const low = 10 ** Math.floor(Math.log10(Math.min(...positive)) + 1e-9);
  const high = 10 ** Math.ceil(Math.log10(Math.max(...positive)) - 1e-9);
  return [low, Math.max(high, low * 10)];
}

/** A tight axis on 1-2-5, so that two lines close to each other do not drown in a decade of nothing. */
export function tight(values: readonly number[]): [number, number] {
  const positive = values.filter((value) => value > 0);
  if (positive.length === 0) return [1, 10];
  const [min, max] = [Math.min(...positive), Math.max(...positive)];
  const steps = (x: number) => [1, 2, 5, 10].map((step) => step * 10 ** Math.floor(Math.log10(x)));
  const low = steps(min / 1.05).findLast((step) => step <= min / 1.05) ?? min;
  const high = steps(max * 1.05).find((step) => step >= max * 1.05) ?? max;
  return high / low >= 4 ? [low, high] : [low / 2, high * 2];
}

/** Stretches of neighbouring points that are all significant, as index ranges. */
export function significantRuns(significant: readonly boolean[]): [number, number][] {
  const runs: [number, number][] = [];
  significant.forEach((yes, index) => {
    if (!yes) return;
    const last = runs.at(-1);
    if (last !== undefined && last[1] === index - 1) last[1] = index;
    else runs.push([index, index]);
  });
  return runs;
}

/** Rows of a histogram that hold anything on either side, as `[first, end)`; with a row of air on both sides. */
export function occupied(a: readonly number[], b: readonly number[]): [number, number] {
  const length = Math.min(a.length, b.length);
  let first = 0;
  let end = length;
  while (first < end && !a[first] && !b[first]) first += 1;
  while (end > first && !a[end - 1] && !b[end - 1]) end -= 1;
  return first === end ? [0, length] : [Math.max(0, first - 1), Math.min(length, end + 1)];
}
