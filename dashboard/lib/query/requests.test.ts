import { afterEach, expect, test, vi } from 'vitest';
import { fetchCounted } from './requests';

afterEach(() => vi.unstubAllGlobals());

test('a filter is counted against its environment, not against the whole project', async () => {
  vi.stubGlobal('fetch', async (path: string) => {
    const isFiltered = new URLSearchParams(path.split('?')[1]).has('status');
    return Response.json({ events: [], sampled: false, matched: isFiltered ? 76 : 806, total: 56_349 });
  });
  const ask = (env: string | null, terms: Parameters<typeof fetchCounted>[0]['terms']) =>
    fetchCounted(
      { env, terms, window: { from: '-15m', to: 'now' }, limit: 100 },
      new AbortController().signal,
    );
  const failed = { kind: 'field', field: 'status', value: '5xx', negated: false } as const;
  expect(await ask('prod', [failed])).toMatchObject({ matched: 76, total: 806 });
  expect(await ask('prod', [])).toMatchObject({ matched: 806, total: 806 });
  expect(await ask(null, [failed])).toMatchObject({ matched: 76, total: 56_349 });
});
