import { afterEach, describe, expect, it } from 'vitest';
import { age, clock, moment, offsetMinutes, span, tickLabel, timeTicks, zoneName } from './time';

const NOON = Date.UTC(2026, 10, 20, 12, 0, 0);
const zone = process.env.TZ;
afterEach(() => {
  process.env.TZ = zone;
});

describe('times', () => {
  it('are UTC unless local was chosen, on a 24-hour clock', () => {
    expect(clock(NOON + 3_600_000 * 2.5, 'utc')).toBe('14:30');
    expect(clock(NOON + 1000, 'utc', true)).toBe('12:00:01');
  });

  it('carry the date when it is not the date of the reference', () => {
    expect(moment(NOON, 'utc', NOON)).toBe('12:00');
    expect(moment(NOON - 86_400_000, 'utc', NOON).replaceAll('\u00a0', ' ')).toBe('19 Nov 12:00');
  });

  it('name an odd zone by its offset and shift everything by it', () => {
    process.env.TZ = 'Asia/Kathmandu';
    expect(offsetMinutes(NOON, 'local')).toBe(345);
    expect(zoneName(NOON, 'local')).toBe('UTC+05:45');
    expect(clock(NOON, 'local')).toBe('17:45');
    expect(timeTicks(NOON, NOON + 900_000, 5, 'local').map((t) => clock(t, 'local'))).toEqual([
      '17:45',
      '17:50',
      '17:55',
      '18:00',
    ]);
  });

  it('take ticks from round steps and write the date at midnight', () => {
    const midnight = Date.UTC(2026, 10, 20);
    const ticks = timeTicks(midnight - 3 * 3_600_000, midnight + 3 * 3_600_000, 6, 'utc');
    expect(ticks.map((t) => tickLabel(t, 3_600_000, 'utc').replaceAll('\u00a0', ' '))).toContain('20 Nov');
    expect(timeTicks(NOON, NOON + 900_000, 4, 'utc').map((t) => clock(t, 'utc'))).toEqual([
      '12:00',
      '12:05',
      '12:10',
      '12:15',
    ]);
  });

  it('age in seconds, then minutes, then as a time', () => {
    expect(age(NOON - 4000, NOON, 'utc').replaceAll('\u00a0', ' ')).toBe('4 s ago');
    expect(age(NOON - 180_000, NOON, 'utc').replaceAll('\u00a0', ' ')).toBe('3 min ago');
    expect(age(NOON - 7_200_000, NOON, 'utc')).toBe('10:00');
  });

  it('write lengths in one unit', () => {
    expect(
      [300_000, 900_000, 3_600_000, 86_400_000, 604_800_000].map((ms) => span(ms).replaceAll('\u00a0', ' ')),
    ).toEqual(['5 min', '15 min', '1 h', '24 h', '7 days']);
  });
});
