import { describe, expect, it } from 'vitest';
import { against } from './overview';

const HOUR = 3_600_000;
const USUAL = { kind: 'hour_before', fromMs: 0, toMs: HOUR } as const;

describe('what the overview is measured against', () => {
  const words = (services: number, listed: number, fresh: number) =>
    against(services, listed, fresh, USUAL, 'utc')
      .replaceAll('\u00a0', ' ')
      .split(',')[0]
      ?.split(' the hour')[0];

  it('counts only services with a usual among those within it', () => {
    expect(words(10, 3, 2)).toBe('The other 5 are within their usual range');
    expect(against(10, 3, 2, USUAL, 'utc')).toContain(' 2 are new, without a usual yet.');
    expect(words(5, 3, 1)).toBe('The other one is within its usual range');
  });

  it('claims nothing where nothing can be compared', () => {
    expect(words(4, 0, 4)).toBe('There is no usual to compare with yet.');
    expect(words(4, 0, 0)).toBe('Measured against');
  });
});
