import { describe, expect, it } from 'vitest';
import { safeNext } from '@/components/login';
import {
  DEFAULT_VIEW,
  hrefOf,
  neighbourRange,
  parseView,
  rangeOf,
  stepFor,
  toHref,
  toSearch,
  zoomedOut,
} from './url';

describe('the address', () => {
  it('is empty for the default view and comes back as it went', () => {
    expect(toSearch(DEFAULT_VIEW)).toBe('');
    const search =
      '?env=production&service=checkout&route=%2Fbuy&method=POST&status=5xx&status=%21502&host=web-3&version=v2.14.0&from=-1h&q=0.5%2C0.999&vs=week&scale=lin&tz=local&sort=-p99&sel=1000%2C2000%2C5%2C70&text=x&min=500';
    const { view, ignored } = parseView(search, 'service');
    expect(ignored).toEqual([]);
    expect(toSearch(view)).toBe(search);
    expect(toHref(view)).toBe(`/service/${search}`);
    expect(view.status).toEqual(['5xx', '!502']);
    expect(view.sel).toEqual({ fromMs: 1000, toMs: 2000, us0: 5, us1: 70 });
  });

  it('freezes a window by its two ends', () => {
    const { view } = parseView('?from=2026-11-20T14:00:00Z&to=1763648100000');
    expect(view.frozen).toBeNull();
    const good = parseView('?from=2026-11-20T14:00:00Z&to=2026-11-20T14:15:00Z').view;
    expect(good.frozen).toEqual({ fromMs: Date.UTC(2026, 10, 20, 14), toMs: Date.UTC(2026, 10, 20, 14, 15) });
    expect(parseView(toSearch(good)).view).toEqual(good);
  });

  it('is live without an end, from however far back', () => {
    expect(parseView('?from=-3h').view).toMatchObject({ range: '3h', frozen: null });
    expect(rangeOf('3h')).toMatchObject({ ms: 10_800_000, live: false });
    expect(rangeOf('30d').stepMs).toBe(21_600_000);
    const since = new Date(Date.now() - 29.5 * 60_000).toISOString();
    expect(parseView(`?from=${since}`).view).toMatchObject({ range: '30m', frozen: null });
  });

  it('says what it ignored and why', () => {
    expect(parseView('?from=yesteday').ignored).toEqual(['Ignored from=yesteday: not a time.']);
    expect(parseView('?to=yesterday').ignored).toEqual(['Ignored to=yesterday: not a time.']);
    expect(parseView('?to=-5m').ignored).toEqual(['Ignored to=-5m: it needs a from.']);
    const bad = '?status=999&method=FETCH&tz=mars&q=0.42&scale=cubic&sel=1,2&sort=-beauty&min=-1&vs=%20';
    expect(parseView(bad).ignored.length).toBe(9);
    expect(toSearch(parseView(bad).view)).toBe('');
  });

  it('keeps coarser steps that were chosen, if the server keeps them', () => {
    for (const search of ['?from=-24h&step=1h', '?from=-6h&step=5m']) {
      expect(toSearch(parseView(search).view)).toBe(search);
    }
    expect(parseView('?step=60m').view.step).toBe(3_600_000);
    expect(parseView('?step=7m').ignored).toEqual(['Ignored step=7m: not a step that is kept.']);
  });

  it('asks for at most about 360 steps', () => {
    for (const hours of [0.25, 1, 6, 24, 168, 720]) {
      expect((hours * 3_600_000) / stepFor(hours * 3_600_000)).toBeLessThanOrEqual(361);
    }
  });

  it('leads from one page to another with the window and without the filters', () => {
    const { view } = parseView('?service=checkout&route=%2Fbuy&from=-1h&env=staging', 'service');
    expect(hrefOf(view, { page: 'requests', service: null })).toBe('/requests/?env=staging&from=-1h');
    expect(hrefOf(view, { service: 'search' })).toBe('/service/?env=staging&service=search&from=-1h');
    expect(hrefOf(view, { service: null })).toBe('/?env=staging&from=-1h');
  });

  it('zooms out around the middle, never past the present', () => {
    expect(zoomedOut(100, 200, 1000)).toEqual({ fromMs: 50, toMs: 250 });
    expect(zoomedOut(900, 1000, 1000)).toEqual({ fromMs: 800, toMs: 1000 });
    expect(neighbourRange('15m', 1)).toBe('1h');
    expect(neighbourRange('7d', 1)).toBe('30d');
    expect(neighbourRange('5m', -1)).toBe('5m');
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
