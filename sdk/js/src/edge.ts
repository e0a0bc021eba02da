/**
 * The SDK where there is `fetch` and little else: edge functions, workers, Deno, Bun.
 *
 * The same client and the same promises. Such runtimes may stop as soon as a response is out: hand the `waitUntil` of the platform to
 * the wrapper, or call `flush()` yourself.
 */

import { ANSWER_BYTES_MAX, type Reply } from './answer.js';
import { Client, type Platform, type Request } from './client.js';
import type { Options } from './options.js';
import { endShared, shared } from './shared.js';

export type { Client, Stats } from './client.js';
export type { Event } from './event.js';
export type { Options } from './options.js';
export { guessRoute } from './route.js';

export function createClient(options: Options = {}): Client {
  return new Client(options, fetchPlatform());
}

/** The client of this process or isolate; made when it is first asked for, with the options of that call. */
export function edge(options?: Options): Client {
  return shared(() => createClient(options));
}

export { edge as peep };

export async function shutdown(timeoutMs?: number): Promise<void> {
  await endShared(timeoutMs);
}

export function fetchPlatform(more: RequestInit = {}): Platform {
  return {
    environment: typeof process === 'object' && process.env ? process.env : {},
    hostName: () => undefined,
    random,
    post: (request, timeoutMs) => post(request, timeoutMs, more),
    gzip: typeof CompressionStream === 'function' ? gzip : undefined,
    after: timer,
    deadline: timer,
  };
}

/** Node 18 has no `crypto` of its own for everybody; what is needed is to be different, not to be secret. */
function random(bytes: Uint8Array<ArrayBuffer>): void {
  if (typeof crypto === 'object') crypto.getRandomValues(bytes);
  else
    bytes.forEach((_, index) => {
      bytes[index] = Math.floor(Math.random() * 256);
    });
}

function timer(ms: number, call: () => void): { cancel: () => void } {
  const handle = setTimeout(call, ms);
  return { cancel: () => clearTimeout(handle) };
}

async function gzip(bytes: Uint8Array): Promise<Uint8Array> {
  const packed = new Blob([bytes as BlobPart]).stream().pipeThrough(new CompressionStream('gzip'));
  return new Uint8Array(await new Response(packed).arrayBuffer());
}

async function post(request: Request, timeoutMs: number, more: RequestInit): Promise<Reply> {
  const abort = new AbortController();
  const limit = setTimeout(() => abort.abort(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    const response = await fetch(request.url, {
      method: 'POST',
      headers: request.headers,
      body: request.body as BodyInit,
      redirect: 'manual',
      signal: abort.signal,
      ...more,
    });
    const retryAfter = response.headers.get('retry-after') ?? undefined;
    return { status: response.status, retryAfter, body: await beginningOf(response) };
  } finally {
    clearTimeout(limit);
  }
}

/** As much of the answer as an ingest could mean. */
async function beginningOf(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return '';
  const decoder = new TextDecoder();
  let text = '';
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    bytes += part.value.length;
    if (bytes > ANSWER_BYTES_MAX) {
      await reader.cancel();
      return '';
    }
    text += decoder.decode(part.value, { stream: true });
  }
  return text + decoder.decode();
}
