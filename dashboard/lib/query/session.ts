/** The session: opened with a one-time token or a read key, asked for once at the start, ended by the reader. */
import { getJson, send } from './http';

const JSON_HEADERS = { 'content-type': 'application/json', accept: 'application/json' };

export async function openSession(secret: { token: string } | { key: string }): Promise<void> {
  await send('/v1/session', { method: 'POST', headers: JSON_HEADERS, body: JSON.stringify(secret) });
}

export async function checkSession(signal: AbortSignal): Promise<void> {
  await getJson('/v1/session', signal);
}

export async function endSession(): Promise<void> {
  await send('/v1/session', { method: 'DELETE', headers: JSON_HEADERS });
}
