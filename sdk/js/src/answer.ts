/**
 * What an answer of ingest means for the batch.
 *
 * In: status and body. Out: counted, try again, or final with a sentence on cause and remedy. Vectors:
 * `sdk/fixtures/answers.json`. Trying again is safe, because a batch keeps its identity.
 */

export interface Counted {
  kind: 'counted';
  accepted: number;
  rejected: number;
  example: string | undefined;
}

export type Verdict = Counted | { kind: 'retry'; reason: string } | { kind: 'final'; reason: string };

export interface Reply {
  status: number;
  retryAfter: string | undefined;
  body: string;
}

/** More of an answer is not read: 1000 rejections are some 200 KiB. */
export const ANSWER_BYTES_MAX = 512 * 1024;

const REMEDIES: Record<number, string> = {
  401: 'the key is missing, unknown or revoked; check PEEP_INGEST_KEY',
  403: 'the key may not do this: it needs the scope ingest, and PEEP_ENV must be its environment if it is bound to one',
  404: 'there is no ingest service under this address; PEEP_INGEST_URL takes its origin, such as http://127.0.0.1:4318',
  405: 'there is no ingest service under this address; PEEP_INGEST_URL takes its origin, such as http://127.0.0.1:4318',
  413: 'the batch is larger than ingest takes; lower batchBytes',
};

export function judge(reply: Reply, events: number): Verdict {
  const { status } = reply;
  const body = parsed(reply.body);
  if (status >= 200 && status <= 299) return counted(body, events);
  const said = saidBy(body);
  if (status === 422) {
    const rejected = rejections(body);
    if (rejected === undefined) return { kind: 'final', reason: `ingest answered 422${said}` };
    return { kind: 'counted', accepted: 0, rejected: events, example: exampleOf(rejected) };
  }
  if (status === 408 || status === 425 || status === 429 || (status >= 500 && status <= 599)) {
    return { kind: 'retry', reason: `ingest answered ${status}${said}` };
  }
  const remedy =
    REMEDIES[status] ??
    (status >= 300 && status <= 399
      ? 'redirects are not followed, so that the key goes nowhere else; give the final address'
      : 'the request was refused for good');
  return { kind: 'final', reason: `ingest answered ${status}${said}: ${remedy}` };
}

function counted(body: Record<string, unknown> | undefined, events: number): Verdict {
  const accepted = body?.accepted;
  const rejected = rejections(body);
  if (typeof accepted !== 'number' || rejected === undefined || accepted + rejected.length !== events) {
    return {
      kind: 'final',
      reason: 'the answer does not account for the batch; is PEEP_INGEST_URL an ingest service?',
    };
  }
  return { kind: 'counted', accepted, rejected: rejected.length, example: exampleOf(rejected) };
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Of a 202 at the top, of a 422 at the top or inside the error. */
function rejections(body: Record<string, unknown> | undefined): unknown[] | undefined {
  if (Array.isArray(body?.rejected)) return body.rejected;
  const error = body?.error as { rejected?: unknown } | undefined;
  return Array.isArray(error?.rejected) ? error.rejected : undefined;
}

function exampleOf(rejected: unknown[]): string | undefined {
  const first = rejected[0] as { code?: unknown; message?: unknown } | undefined;
  return first === undefined ? undefined : printable(`${first.code}: ${first.message}`);
}

function saidBy(body: Record<string, unknown> | undefined): string {
  const error = body?.error as { code?: unknown; message?: unknown } | undefined;
  if (typeof error?.code !== 'string') return '';
  return ` (${printable(typeof error.message === 'string' ? `${error.code}: ${error.message}` : error.code)})`;
}

/** A server may say anything; a log gets only what can be printed. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, ' ').slice(0, 300);
}
