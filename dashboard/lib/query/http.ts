/** One GET of our own API: the session cookie goes along, the answer is JSON or a `RequestFailed` that says what the server said. */
import { object, text } from '@/lib/series/parse';

export class RequestFailed extends Error {
  constructor(
    /** 0 when no answer came at all. */
    readonly status: number,
    readonly code: string,
    message: string,
    readonly requestId: string | null,
  ) {
    super(message);
    this.name = 'RequestFailed';
  }
}

export async function getJson(path: string, signal: AbortSignal): Promise<unknown> {
  return send(path, { signal, headers: { accept: 'application/json' }, cache: 'no-store' });
}

export async function send(path: string, init: RequestInit): Promise<unknown> {
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, credentials: 'same-origin' });
  } catch (cause) {
    if (init.signal?.aborted) throw cause;
    throw new RequestFailed(0, 'unreachable', 'peep does not answer.', null);
  }
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  throw await failure(answer);
}

async function failure(answer: Response): Promise<RequestFailed> {
  try {
    const error = object(object(await answer.json(), 'answer').error, 'error');
    const requestId = typeof error.request_id === 'string' ? error.request_id : null;
    return new RequestFailed(
      answer.status,
      text(error.code, 'code'),
      text(error.message, 'message'),
      requestId,
    );
  } catch {
    return new RequestFailed(
      answer.status,
      `http_${answer.status}`,
      `The server answered ${answer.status}.`,
      null,
    );
  }
}

/** One value, or several of which any may match; a leading `!` in a value means none of these. */
export type FilterValue = string | readonly string[] | null;

export interface Filter {
  env: string | null;
  service?: FilterValue;
  route?: FilterValue;
  method?: FilterValue;
  status?: FilterValue;
  host?: FilterValue;
  version?: FilterValue;
}

/** A path with the parameters that have a value; an empty text is a value. */
export function withQuery(
  path: string,
  filter: Filter,
  rest: Record<string, FilterValue | number | undefined>,
): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...filter, ...rest })) {
    if (value === null || value === undefined) continue;
    if (typeof value === 'object') for (const item of value) query.append(name, item);
    else query.set(name, String(value));
  }
  return `${path}?${query}`;
}

/**
 * As the server reads it: milliseconds for a frozen window, `-15m` and `now` for one that moves. A moving window must
 * be asked for by its distance, because only then the server counts the same steps as the live view does.
 */
export interface Window {
  from: string | number;
  to: string | number;
}
