/** What this server can, by its own description: what came later is not asked of a server that would refuse it. */
import { object } from '@/lib/series/parse';
import { getJson } from './http';

let described: Promise<ReadonlySet<string>> | null = null;

/** Whether the server lists a path such as `/v1/releases`. Asked once; a server without a description can none of it. */
export async function canAsk(path: string, signal: AbortSignal): Promise<boolean> {
  described ??= getJson('/v1/openapi.json', signal)
    .then((answer) => new Set(Object.keys(object(object(answer, 'openapi').paths, 'paths'))))
    .catch((cause) => {
      described = null;
      throw cause;
    });
  return (await described).has(path);
}
