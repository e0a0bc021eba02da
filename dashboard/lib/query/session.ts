/**
 * The session: opened with a one-time token or a read key, asked for once at the start, ended by the reader. What it may
 * not do is not asked of the server, which would only refuse.
 */
import { object } from '@/lib/series/parse';
import { getJson, RequestFailed, send } from './http';

const JSON_HEADERS = { 'content-type': 'application/json', accept: 'application/json' };

/** Whether this session may change keys and rules; a server that does not say so refuses what it must. */
let manages: Promise<boolean> | null = null;

export const ONLY_READS = 'This session only reads. To change something, open a link from peep login-link.';

export async function openSession(secret: { token: string } | { key: string }): Promise<void> {
  await send('/v1/session', { method: 'POST', headers: JSON_HEADERS, body: JSON.stringify(secret) });
}

export async function checkSession(signal: AbortSignal): Promise<void> {
  const asked = getJson('/v1/session', signal);
  manages = asked.then(
    (answer) => object(answer, 'session').may_manage !== false,
    () => {
      manages = null;
      return true;
    },
  );
  await asked;
}

export async function mayManage(): Promise<boolean> {
  return (await manages) ?? true;
}

/** Fails as the server would, without asking it. */
export async function mustManage(): Promise<void> {
  if (!(await mayManage())) throw new RequestFailed(403, 'forbidden', ONLY_READS, null);
}

export async function endSession(): Promise<void> {
  await send('/v1/session', { method: 'DELETE', headers: JSON_HEADERS });
}
