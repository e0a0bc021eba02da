import { describe, expect, it } from 'vitest';
import type { QuantileRow } from '@/lib/query/compare';
import { decades, logScale, occupied, percent, significantRuns, spread, tight } from './plot';
import { parseSide, saySide, windowsBefore, writeSide } from './side';
import { contribution, difference, factor, judge, tooFew } from './words';

const row = (patch: Partial<QuantileRow>): QuantileRow => ({
  q: 0.99,
  aMs: 402,
  bMs: 1840,
  differenceMs: 1438,
  factor: 4.577,
  significant: true,
  enough: true,
  aLowMs: null,
  aHighMs: null,
  bLowMs: null,
  bHighMs: null,
  ...patch,
});
const plain = (text: string) => text.replaceAll('\u00a0', ' ');

describe('a side', () => {
  it('comes back as it was written', () => {
    for (const text of [
      'window:1763647200000,1763648100000',
      'version:v2.14.0',
      'host:web-3',
      'env:staging',
    ]) {
      const side = parseSide(text);
      expect(side === null ? null : writeSide(side)).toBe(text);
    }
  });
  it.each(['', 'version:', 'colour:red', 'window:1,2', 'window:1763648100000,1763647200000', null])(
    'is none for %j',
    (text) => {
      expect(parseSide(text)).toBeNull();
    },
  );
  it('of a window is named in the chosen zone', () => {
    const from = Date.UTC(2026, 10, 20, 14);
    const side = parseSide(`window:${from},${from + 900_000}`);
    expect(side === null ? '' : plain(saySide(side, 'utc', from))).toBe('14:00:00 to 14:15:00 UTC');
  });
  it('is by default the window before against this one, equally long', () => {
    const { a, b } = windowsBefore(1000, 1600);
    expect([a, b]).toEqual([
      { kind: 'window', fromMs: 400, toMs: 1000 },
      { kind: 'window', fromMs: 1000, toMs: 1600 },
    ]);
  });
});

describe('the spread of quantiles', () => {
  it('puts 90, 99, 99.9 and 99.99 equally far apart', () => {
    const at = [0.9, 0.99, 0.999, 0.9999].map(spread);
    for (const [index, x] of at.entries()) expect(x).toBeCloseTo(index + 1, 9);
  });
  it('names them without rounding', () => {
    expect([0.5, 0.75, 0.999, 0.9999].map(percent)).toEqual(['50', '75', '99.9', '99.99']);
  });
});

describe('axes', () => {
  it('end on whole decades around the values', () => {
    expect(decades([3, 180])).toEqual([1, 1000]);
    expect(decades([10, 100])).toEqual([10, 100]);
    expect(decades([])).toEqual([1, 10]);
  });
  it('stay tight around lines that are close to each other', () => {
    const [low, high] = tight([38, 1840]);
    expect([low, high]).toEqual([20, 2000]);
    expect(tight([50, 52])[1] / tight([50, 52])[0]).toBeGreaterThanOrEqual(4);
  });
  it('map the ends to the ends', () => {
    const y = logScale(1, 100, 200, 0);
    expect([y(1), y(10), y(100)]).toEqual([200, 100, 0]);
  });
  it('know where anything is', () => {
    expect(occupied([0, 0, 1, 0, 0, 0], [0, 0, 0, 2, 0, 0])).toEqual([1, 5]);
    expect(occupied([0, 0], [0, 0])).toEqual([0, 2]);
  });
  it('fill only stretches that are significant', () => {
    expect(significantRuns([false, true, true, false, true])).toEqual([
      [1, 2],
      [4, 4],
    ]);
  });
});

describe('words', () => {
  it('judge a quantile', () => {
    expect(judge(row({}))).toBe('slower');
    expect(judge(row({ bMs: 200 }))).toBe('faster');
    expect(judge(row({ significant: false }))).toBe('same');
    expect(judge(row({ enough: false }))).toBe('few');
    expect(judge(row({ aMs: null }))).toBe('few');
  });
  it('give difference and factor', () => {
    expect(plain(difference(row({})))).toBe('+1.44 s');
    expect(plain(difference(row({ bMs: 390, differenceMs: -12 })))).toBe('−12.0 ms');
    expect(factor(row({}), 0.001)).toBe('4.6×');
    expect(factor(row({ bMs: 402.1 }), 0.001)).toBe('same');
    expect(difference(row({ aMs: null }))).toBe('–');
  });
  it('never call a small contribution nothing', () => {
    expect([0, 0.0004, -0.0004, 0.012, -0.5].map((part) => plain(contribution(part)))).toEqual([
      '0',
      '< 0.1 %',
      '> \u22120.1 %',
      '1.2 %',
      '\u221250 %',
    ]);
  });
  it('say when a side is too small for its tail', () => {
    expect(tooFew({ count: 900 }, { count: 86 })).toBe(
      'Only 86 requests in B; p99 needs more. Widen the window.',
    );
    expect(tooFew({ count: 1 }, { count: 86 })).toBe(
      'Only 1 request in A and 86 in B; p99 needs more. Widen the window.',
    );
    expect(tooFew({ count: 900 }, { count: 0 })).toBe(
      'No requests in B. Widen the window or choose another side.',
    );
    expect(tooFew({ count: 900 }, { count: 200 })).toBeNull();
  });
});
