import { afterEach, expect, test, vi } from 'vitest';
import { createKey, fetchKeys } from './keys';
import { checkSession } from './session';

afterEach(() => vi.unstubAllGlobals());

test('what a session may not do is not asked of the server', async () => {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (path: string) => {
    asked.push(path);
    return Response.json({ project: 'dev', expires_ms: 1, may_manage: false });
  });
  const { signal } = new AbortController();
  await checkSession(signal);
  await expect(fetchKeys(signal)).rejects.toMatchObject({ status: 403 });
  const wish = { name: 'web', scope: 'ingest', env: null, origins: [] } as const;
  await expect(createKey({ ...wish, origins: [] })).rejects.toMatchObject({ status: 403 });
  expect(asked).toEqual(['/v1/session']);
});
