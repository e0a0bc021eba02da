/** `/v1/keys`: who may send and who may look. A key's text is in one answer, once. */
import { array, number, numberOrNull, object, text, textOrNull, texts } from '@/lib/series/parse';
import { getJson, send } from './http';
import { mustManage } from './session';

export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  scope: string;
  env: string | null;
  origins: string[];
  createdMs: number;
  revokedMs: number | null;
  lastUsedMs: number | null;
  /** `null` when nobody counts them. */
  eventsToday: number | null;
  hosts: string[];
}

export interface NewKey {
  id: string;
  key: string;
  prefix: string;
}

export interface KeyWish {
  name: string;
  scope: 'ingest' | 'read';
  env: string | null;
  origins: string[];
}

const JSON_HEADERS = { 'content-type': 'application/json', accept: 'application/json' };

export async function fetchKeys(signal: AbortSignal): Promise<ApiKey[]> {
  await mustManage();
  const answer = object(await getJson('/v1/keys', signal), 'keys');
  return array(answer.keys, 'keys').map((item, index) => {
    const at = `keys[${index}]`;
    const fields = object(item, at);
    return {
      id: String(fields.id),
      name: textOrNull(fields.name, `${at}.name`) ?? '',
      prefix: text(fields.prefix, `${at}.prefix`),
      scope: text(fields.scope, `${at}.scope`),
      env: textOrNull(fields.env, `${at}.env`),
      origins:
        fields.origins === undefined || fields.origins === null ? [] : texts(fields.origins, `${at}.origins`),
      createdMs: number(fields.created_ms, `${at}.created_ms`),
      revokedMs: numberOrNull(fields.revoked_ms, `${at}.revoked_ms`),
      lastUsedMs: numberOrNull(fields.last_used_ms, `${at}.last_used_ms`),
      eventsToday: numberOrNull(fields.events_today, `${at}.events_today`),
      hosts: fields.hosts === undefined || fields.hosts === null ? [] : texts(fields.hosts, `${at}.hosts`),
    };
  });
}

export async function createKey(wish: KeyWish, signal?: AbortSignal): Promise<NewKey> {
  await mustManage();
  const init: RequestInit = { method: 'POST', headers: JSON_HEADERS, body: JSON.stringify(wish) };
  if (signal !== undefined) init.signal = signal;
  const answer = object(await send('/v1/keys', init), 'key');
  return { id: String(answer.id), key: text(answer.key, 'key'), prefix: text(answer.prefix, 'prefix') };
}

/** `leaving` when the page goes away and nobody waits for the answer. */
export async function revokeKey(id: string, leaving = false): Promise<void> {
  await send(`/v1/keys/${encodeURIComponent(id)}`, {
    method: 'DELETE',
    headers: JSON_HEADERS,
    keepalive: leaving,
  });
}
