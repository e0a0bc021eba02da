/**
 * Where an axis ends. Linear axes start at 0 and end on a round 1-2-5 number; logarithmic ones end on 1-2-5 both ways.
 * An end grows at once and shrinks only after the smaller one has been enough for 30 s, so the axis does not breathe.
 */
export type Range = readonly [number, number];

const ROUND = [1, 1.5, 2, 3, 4, 5, 6, 8, 10];
const CALM_MS = 30_000;

/** The smallest round number that is not below `x`. */
export function roundUp(x: number): number {
  if (!(x > 0)) return 1;
  const decade = 10 ** Math.floor(Math.log10(x));
  const mantissa = ROUND.find((step) => step * decade >= x * 0.999_999) ?? 10;
  return Number((mantissa * decade).toPrecision(6));
}

function logDown(x: number): number {
  const decade = 10 ** Math.floor(Math.log10(x));
  const mantissa = [5, 2, 1].find((step) => step * decade <= x * 1.000_001) ?? 1;
  return mantissa * decade;
}

function logUp(x: number): number {
  const decade = 10 ** Math.floor(Math.log10(x));
  const mantissa = [1, 2, 5, 10].find((step) => step * decade >= x * 0.999_999) ?? 10;
  return mantissa * decade;
}

export function linearRange(max: number): Range {
  return [0, roundUp(max * 1.04)];
}

/** At least one decade, with a little air on both sides. */
export function logRange(min: number, max: number): Range {
  let low = logDown(min / 1.15);
  let high = logUp(max * 1.1);
  if (high / low < 10) {
    low = logDown(low / 2);
    high = logUp(low * 10);
  }
  return [low, high];
}

/** Remembers an axis so that it only shrinks when that has been right for a while. */
export class CalmAxis {
  private range: Range | null = null;
  private smallerSince: number | null = null;

  settle(wanted: Range, nowMs: number): Range {
    const held = this.range;
    if (held === null || wanted[0] < held[0] || wanted[1] > held[1]) {
      this.range = held === null ? wanted : [Math.min(wanted[0], held[0]), Math.max(wanted[1], held[1])];
      this.smallerSince = null;
      return this.range;
    }
    if (wanted[0] === held[0] && wanted[1] === held[1]) {
      this.smallerSince = null;
      return held;
    }
    this.smallerSince ??= nowMs;
    if (nowMs - this.smallerSince >= CALM_MS) {
      this.range = wanted;
      this.smallerSince = null;
    }
    return this.range ?? wanted;
  }

  forget(): void {
    this.range = null;
    this.smallerSince = null;
  }
}

/** Three to five lines between 0 and a round end. */
export function linearTicks(end: number): number[] {
  const decade = 10 ** Math.floor(Math.log10(end));
  const mantissa = Math.round((end / decade) * 10) / 10;
  const parts: Record<string, number> = {
    '1': 4,
    '1.5': 3,
    '2': 4,
    '3': 3,
    '4': 4,
    '5': 5,
    '6': 3,
    '8': 4,
    '10': 4,
  };
  const n = parts[String(mantissa)] ?? 4;
  return Array.from({ length: n + 1 }, (_, index) => Number(((end * index) / n).toPrecision(12)));
}

/**
 * Where a duration lies among rows, counted in rows from the first bound; between two bounds by its logarithm. The first row may begin
 * at 0, where no logarithm is: nginx says 0 for what took less than a millisecond.
 */
export function rowsTo(us: number, rowUs: readonly number[]): number {
  const last = rowUs.length - 1;
  if (last < 1 || !(us > (rowUs[0] ?? 0))) return 0;
  const at = rowUs.findLastIndex((bound) => bound <= us);
  const [from, to] = [rowUs[at] ?? 0, rowUs[at + 1]];
  if (to === undefined) return last;
  return at + (from > 0 ? Math.log(us / from) / Math.log(to / from) : us / to);
}

/** The lower bound of a row on a logarithmic axis: half of the upper one where it is 0. */
export function logBound(row: number, rowUs: readonly number[]): number {
  const bound = rowUs[row] ?? 0;
  return bound > 0 ? bound : (rowUs[row + 1] ?? 2) / 2;
}

/** Decades; with few of them in sight, 2 and 5 as well. */
export function logTicks([low, high]: Range): number[] {
  if (!(low > 0)) return [];
  const ticks = (mantissas: readonly number[]): number[] => {
    const found: number[] = [];
    for (let decade = 10 ** Math.floor(Math.log10(low)); decade <= high; decade *= 10) {
      for (const mantissa of mantissas) {
        const at = Number((mantissa * decade).toPrecision(6));
        if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
      }
    }
    return found;
  };
  const decades = ticks([1]);
  return decades.length >= 3 ? decades : ticks(high / low > 20 ? [1, 5] : [1, 2, 5]);
}
