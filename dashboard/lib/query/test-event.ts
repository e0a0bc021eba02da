/** `POST /v1/test-event`: one event over the way that every event takes, sent by peep itself. */
import { object, textOrNull } from '@/lib/series/parse';
import { send } from './http';

/** The receipt, when the server gives one. */
export async function sendTestEvent(service: string, env: string): Promise<string | null> {
  const answer = await send('/v1/test-event', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ service, env }),
  });
  return answer === null ? null : textOrNull(object(answer, 'test event').receipt, 'receipt');
}
