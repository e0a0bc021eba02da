/** `POST /v1/test-event`: one event over the way that every event takes, sent by peep itself. */
import { object, textOrNull } from '@/lib/series/parse';
import { getJson, send } from './http';

/** Whether this server can; it says so in its own description. */
export async function canSendTestEvent(signal: AbortSignal): Promise<boolean> {
  const description = object(await getJson('/v1/openapi.json', signal), 'openapi');
  return '/v1/test-event' in object(description.paths, 'paths');
}

/** The receipt, when the server gives one. */
export async function sendTestEvent(service: string, env: string): Promise<string | null> {
  const answer = await send('/v1/test-event', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ service, env }),
  });
  return answer === null ? null : textOrNull(object(answer, 'test event').receipt, 'receipt');
}
