import { describe, expect, it } from 'vitest';
import { safeNext } from '@/components/login';
import { DEFAULT_VIEW, parseView, stepFor, toHref, toSearch } from './url';

describe('the address', () => {
  it('is empty for the default view and comes back as it went', () => {
    expect(toSearch(DEFAULT_VIEW)).toBe('');
    const search =
      '?env=production&service=checkout&route=%2Fbuy&method=POST&status=5xx&from=-1h&tz=local&sort=-p99&text=x';
    const { view, ignored } = parseView(search);
    expect(ignored).toEqual([]);
    expect(toSearch(view)).toBe(search);
    expect(toHref(view)).toBe(`/service/${search}`);
  });

  it('freezes a window by its two ends', () => {
    const { view } = parseView('?from=2026-11-20T14:00:00Z&to=1763648100000');
    expect(view.frozen).toBeNull();
    const good = parseView('?from=2026-11-20T14:00:00Z&to=2026-11-20T14:15:00Z').view;
    expect(good.frozen).toEqual({ fromMs: Date.UTC(2026, 10, 20, 14), toMs: Date.UTC(2026, 10, 20, 14, 15) });
    expect(parseView(toSearch(good)).view).toEqual(good);
  });

  it('says what it ignored and why', () => {
    expect(parseView('?from=yesteday').ignored).toEqual(['Ignored from=yesteday: not a time.']);
    expect(parseView('?status=999&method=FETCH&tz=mars').ignored.length).toBe(3);
  });

  it('asks for at most about 360 steps', () => {
    for (const hours of [0.25, 1, 6, 24, 168, 720]) {
      expect((hours * 3_600_000) / stepFor(hours * 3_600_000)).toBeLessThanOrEqual(361);
    }
  });
});

describe('the way back after login', () => {
  it('never leaves this origin', () => {
    expect(safeNext('?next=%2Fservice%2F%3Fservice%3Dcheckout')).toBe('/service/?service=checkout');
    for (const bad of [
      'https://evil.example',
      '//evil.example',
      '/\\evil.example',
      'javascript:alert(1)',
      '/%5Cevil',
    ])
      expect(safeNext(`?next=${encodeURIComponent(bad)}`)).toBe(bad === '/%5Cevil' ? '/%5Cevil' : '/');
  });
});
