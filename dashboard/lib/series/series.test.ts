import { describe, expect, it } from 'vitest';
import { CalmAxis, linearRange, linearTicks, logRange, logTicks, roundUp } from './axis';
import { findGaps, rates, shares } from './gaps';
import { EMPTY_TOTALS, type Totals } from './types';
import { byTrouble, failingSince, isFailing, overviewSentence, recoveredAt } from './verdict';

const totals = (count: number, errors: number): Totals => ({ ...EMPTY_TOTALS, count, errors });

describe('gaps', () => {
  it('are empty steps of a busy series, and are neither bridged nor zero', () => {
    const count = [100, 110, null, null, 90, 100];
    const gaps = findGaps(count, 6);
    expect(gaps.ranges).toEqual([[2, 3]]);
    expect(rates(count, gaps, 10_000)).toEqual([10, 11, null, null, 9, 10]);
  });

  it('are not what a quiet series has: there an empty step is a true zero', () => {
    const count = [1, null, 2, null, null, 1];
    const gaps = findGaps(count, 6);
    expect(gaps.ranges).toEqual([]);
    expect(rates(count, gaps, 1000)).toEqual([1, 0, 2, 0, 0, 1]);
  });

  it('do not include the time before the first event, nor the step still filling', () => {
    const count = [null, null, 50, 60, null];
    const gaps = findGaps(count, 4);
    expect(gaps).toEqual({ ranges: [], first: 2 });
    expect(rates(count, gaps, 1000).slice(0, 2)).toEqual([null, null]);
  });

  it('leave the share unknown without requests', () => {
    expect(shares([1, null, 0], [100, null, 50])).toEqual([1, null, 0]);
  });
});

describe('the verdict', () => {
  it('needs ten errors and one percent', () => {
    expect(isFailing(totals(100, 9))).toBe(false);
    expect(isFailing(totals(1000, 10))).toBe(true);
    expect(isFailing(totals(1001, 10))).toBe(false);
  });

  it('puts failing rows first, then busy ones, and what is over the budget last', () => {
    const rows = [
      { id: 'service=(other)', window: totals(9000, 900) },
      { id: 'service=a', window: totals(10, 0) },
      { id: 'service=b', window: totals(5000, 1) },
      { id: 'service=c', window: totals(100, 20) },
    ];
    expect(rows.sort(byTrouble).map((row) => row.id.at(-1))).toEqual(['c', 'b', 'a', ')']);
  });

  it('finds since when from the earliest step after which most steps fail', () => {
    const t = [0, 10, 20, 30, 40, 50];
    expect(failingSince(t, [100, 100, 100, 100, 100, 100], [0, 0, 5, 6, 5, 7])).toEqual({
      kind: 'since',
      at: 20,
    });
    expect(failingSince(t, [100, 100, 100, 100, 100, 100], [5, 5, 5, 6, 5, 7])).toEqual({
      kind: 'throughout',
    });
    expect(failingSince(t, [null, null, null, 100, 100, 100], [null, null, null, 6, 5, 7])).toEqual({
      kind: 'since',
      at: 30,
    });
    expect(failingSince(t, [100, null, 100, 100, null, 100], [0, null, 0, 6, null, 7])).toEqual({
      kind: 'since',
      at: 30,
    });
    expect(failingSince(t, [100, 100, 100, 100, 100, 100], [9, 0, 0, 9, 0, 0])).toEqual({
      kind: 'bursts',
      last: 30,
    });
    expect(failingSince(t, [100, 100], [0, 0])).toBeNull();
  });

  it('calls a row recovered only after two calm minutes with requests in them', () => {
    const t = Array.from({ length: 20 }, (_, index) => index * 10_000);
    const count = t.map(() => 100);
    const errors = t.map((_, index) => (index < 6 ? 10 : 0));
    expect(recoveredAt(t, count, errors, 10_000, 20)).toBe(60_000);
    expect(recoveredAt(t, count, errors, 10_000, 17)).toBeNull();
    const silent = t.map((_, index) => (index < 6 ? 100 : null));
    expect(recoveredAt(t, silent, errors, 10_000, 20)).toBeNull();
  });

  it('speaks in whole sentences', () => {
    expect(overviewSentence(9, 2, 0, '0.57 %')).toBe('2 of 9 services are failing requests');
    expect(overviewSentence(9, 1, 3, '0.57 %')).toBe('1 of 9 services is failing requests');
    expect(overviewSentence(9, 0, 0, '0.57 %')).toBe('No service is failing: 9 services, 0.57 % errors');
    expect(overviewSentence(9, 0, 1, '0.57 %')).toBe('No service is failing now, 1 of 9 recovered');
    expect(overviewSentence(9, 2, 0, '0.57 %', true)).toBe('2 of 9 services were failing requests');
    expect(overviewSentence(1, 0, 0, '0')).toBe('No service is failing: 1 service, no errors');
  });
});

describe('axes', () => {
  it('end on round numbers and start at zero', () => {
    expect(roundUp(0)).toBe(1);
    expect(roundUp(1284)).toBe(1500);
    expect(linearRange(12.4)).toEqual([0, 15]);
    expect(linearTicks(1500)).toEqual([0, 500, 1000, 1500]);
  });

  it('hold at least a decade of latency, with ticks to read it by', () => {
    const [low, high] = logRange(38, 52);
    expect(high / low).toBeGreaterThanOrEqual(10);
    expect(logTicks([1, 10_000])).toEqual([1, 10, 100, 1000, 10_000]);
    expect(logTicks([5, 100]).length).toBeGreaterThanOrEqual(3);
  });

  it('grow at once and shrink only after half a minute of calm', () => {
    const axis = new CalmAxis();
    expect(axis.settle([0, 10], 0)).toEqual([0, 10]);
    expect(axis.settle([0, 50], 1000)).toEqual([0, 50]);
    expect(axis.settle([0, 10], 2000)).toEqual([0, 50]);
    expect(axis.settle([0, 10], 31_000)).toEqual([0, 50]);
    expect(axis.settle([0, 10], 32_001)).toEqual([0, 10]);
  });
});
