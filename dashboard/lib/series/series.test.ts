import { describe, expect, it } from 'vitest';
import type { Finding } from '@/lib/query/findings';
import { CalmAxis, linearRange, linearTicks, logBound, logRange, logTicks, roundUp, rowsTo } from './axis';
import { findGaps, rates, shares } from './gaps';
import { heat, RAMP, ramp } from './heat';
import { EMPTY_TOTALS, type Totals } from './types';
import {
  byTrouble,
  byWeight,
  failingSince,
  findingSentence,
  isFailing,
  isOfAlert,
  overviewSentence,
  partFails,
  recoveredAt,
} from './verdict';

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

  it('is judged for a part by the rule of the verdict above it', () => {
    const usual = (share: number) => ({ kind: 'failing', unit: 'share', usual: share }) as Finding;
    const part = totals(1000, 40);
    expect(partFails(part, false, undefined)).toBe(true);
    expect(partFails(part, true, undefined)).toBe(false);
    expect(partFails(part, true, usual(0.002))).toBe(true);
    expect(partFails(part, true, usual(0.03))).toBe(false);
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
    const calm = { services: 9, troubled: 0, recovered: 0, judged: true, fresh: 0, past: false };
    expect(overviewSentence({ ...calm, troubled: 2 })).toBe('2 of 9 services need attention');
    expect(overviewSentence({ ...calm, troubled: 1, recovered: 3 })).toBe('1 of 9 services needs attention');
    expect(overviewSentence({ ...calm, troubled: 2, past: true })).toBe('2 of 9 services needed attention');
    expect(overviewSentence(calm)).toBe('All 9 services are within their usual range');
    expect(overviewSentence({ ...calm, past: true })).toBe('All 9 services were within their usual range');
    expect(overviewSentence({ ...calm, recovered: 1 })).toBe(
      '1 of 9 services recovered, none needs attention',
    );
    expect(overviewSentence({ ...calm, fresh: 9 })).toBe('All 9 services are new, no usual yet');
    expect(overviewSentence({ ...calm, fresh: 2 })).toBe(
      '7 of 9 services are within their usual range, 2 are new',
    );
    expect(overviewSentence({ ...calm, judged: false })).toBe('None of 9 services is failing');
    expect(overviewSentence({ ...calm, services: 0 })).toBe('No requests in this window');
  });
});

describe('findings', () => {
  const finding: Finding = {
    kind: 'failing',
    service: 'checkout',
    env: null,
    title: '4.21 % of requests fail, usually 0.12 %',
    value: 0.0421,
    usual: 0.0012,
    unit: 'share',
    sinceMs: null,
    after: null,
    where: null,
    status: null,
    affected: 0,
    perSecond: 54.7,
    recoveredMs: null,
    alert: null,
  };
  const plain = (item: Finding) => findingSentence(item).replaceAll('\u00a0', ' ');

  it('of an alert alone are in its words, and begin when it fired', () => {
    const seen = {
      ...finding,
      title: '2.1 % of requests failed over 1 h, 99.9 % should succeed',
      alert: { id: '1', name: 'budget', alone: true },
    };
    expect([plain(seen), isOfAlert(seen)]).toEqual([seen.title, true]);
    expect(isOfAlert({ ...seen, kind: 'silent' })).toBe(false);
    const covered = { ...seen, alert: { ...seen.alert, alone: false } };
    expect([plain(covered), isOfAlert(covered)]).toEqual(['4.21 % of requests fail, usually 0.12 %', false]);
  });

  it('are written with our own numbers, and in the past once recovered', () => {
    expect(plain(finding)).toBe('4.21 % of requests fail, usually 0.12 %');
    expect(plain({ ...finding, recoveredMs: 1 })).toBe('4.21 % of requests failed, usually 0.12 %');
    expect(plain({ ...finding, usual: null })).toBe('4.21 % of requests fail');
    const over = { ...finding, title: 'recovered at 14:19', value: null, recoveredMs: 1, affected: 1204 };
    expect(plain({ ...over, kind: 'slower', usual: 596, unit: 'ms' })).toBe(
      '1,204 slow requests, p99 usually 596 ms',
    );
    expect(plain({ ...over, kind: 'silent', usual: 100, unit: 'per_second' })).toBe(
      'no requests, usually 100 /s',
    );
    expect(plain({ ...finding, kind: 'slower', value: 1430, usual: 596, unit: 'ms' })).toBe(
      'p99 is 1.43 s, usually 596 ms',
    );
    expect(plain({ ...finding, kind: 'silent', title: 'No requests for 90 s, usually 12 /s' })).toBe(
      'No requests for 90 s, usually 12 /s',
    );
  });

  it('come in the order of weight: failing, silent, slower, and what recovered last', () => {
    const items: Finding[] = [
      { ...finding, service: 'a', kind: 'slower', perSecond: 900 },
      { ...finding, service: 'b', perSecond: 1 },
      { ...finding, service: 'c', kind: 'silent' },
      { ...finding, service: 'd', perSecond: 99, recoveredMs: 5 },
      { ...finding, service: 'e', perSecond: 7 },
    ];
    expect(items.sort(byWeight).map((item) => item.service)).toEqual(['e', 'b', 'c', 'a', 'd']);
  });
});

describe('the colours of the heatmap', () => {
  it('keep one request visible and reach the end at the maximum', () => {
    expect(heat(0, 1000)).toBeNull();
    expect(heat(1, 1000)).toBeCloseTo(0.14);
    expect(heat(1000, 1000)).toBe(1);
    expect(heat(1, 1)).toBe(1);
  });

  it.each([
    ['dark', [0.198, 0.007, 262], 1.5],
    ['light', [1, 0, 0], 1.4],
  ] as const)('give a single request contrast on the %s ground', (theme, ground, least) => {
    const colours = ramp(theme);
    const at = Math.round((heat(1, 1604) ?? 0) * (RAMP - 1)) * 3;
    const one = [colours[at], colours[at + 1], colours[at + 2]] as number[];
    const grey = Math.round(255 * (ground[0] === 1 ? 1 : 0.085));
    expect(contrast(one, [grey, grey, grey])).toBeGreaterThan(least);
  });

  it('go one way in lightness, so that they read in grey', () => {
    for (const theme of ['dark', 'light'] as const) {
      const colours = ramp(theme);
      const light = Array.from({ length: RAMP }, (_, index) =>
        luminance([...colours.slice(index * 3, index * 3 + 3)]),
      );
      const up = light.every((value, index) => index === 0 || value >= (light[index - 1] as number) - 1e-3);
      const down = light.every((value, index) => index === 0 || value <= (light[index - 1] as number) + 1e-3);
      expect(theme === 'dark' ? up : down).toBe(true);
    }
  });
});

function luminance(rgb: number[]): number {
  const [r = 0, g = 0, b = 0] = rgb.map((byte) => {
    const x = byte / 255;
    return x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: number[], b: number[]): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

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

  it('begin above 0 where the rows begin there, as those of nginx do', () => {
    const rowUs = [0, 1, 2, 3, 10, 100];
    expect([0, 1, 4].map((row) => logBound(row, rowUs))).toEqual([0.5, 1, 10]);
    expect(
      [0, 0.5, 1, 2, 10, 31.6227766, 100, 1000].map((us) => Number(rowsTo(us, rowUs).toFixed(3))),
    ).toEqual([0, 0.5, 1, 2, 4, 4.5, 5, 5]);
    expect(logTicks([0, 100])).toEqual([]);
    expect([rowsTo(5, []), rowsTo(5, [0])]).toEqual([0, 0]);
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
