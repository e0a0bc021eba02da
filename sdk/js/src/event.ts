/**
 * An event, from the caller's words to one line of JSON.
 *
 * Arrives: what a framework or the application says about a finished operation. Leaves: one line of NDJSON that
 * ingest accepts. Promised: whatever is handed in, the line is valid; a value that the contract has no room for is cut
 * or left out, never guessed. Requests, of which there are thousands a second, become bytes without being text in
 * between: what a series has in common is written once, and then copied; the rest is digits. Not done: reading requests;
 * deciding what a route is (`template.ts`).
 */

/** One finished operation. Everything but the route is optional. */
export interface Event {
  /** The route's template (`/orders/{id}`) or the operation's name; never a raw path. */
  route?: string;
  method?: string;
  /** 100 to 599; 500 and above is an error. */
  status?: number;
  /** Milliseconds, with fractions. Absent: counted, but in no percentile. */
  durationMs?: number;
  /** When it ended, in Unix milliseconds. Absent, or before 2000 or after 2100: now. */
  endedMs?: number;
  /** Makes the event an error. Write nothing personal into it. */
  error?: string;
  bytesIn?: number;
  bytesOut?: number;
  /** 32 hexadecimal digits. */
  traceId?: string;
  /** 16 hexadecimal digits. */
  spanId?: string;
  /** Kept for search, at most 32, of names up to 128 bytes and values up to 4 KiB; what no longer fits into the event's 64 KiB is left out. */
  attrs?: Record<string, string | number | boolean>;
}

/** What all events of a process have in common. */
export interface Origin {
  service: string;
  env?: string | undefined;
  host?: string | undefined;
  version?: string | undefined;
}

/** A line of this length is the longest that ingest takes. */
const LINE_BYTES_MAX = 64 * 1024;
/** Zero, seconds, microseconds and the like are no time at which anything ended. */
const ENDED_MS_MIN = Date.UTC(2000, 0);
const ENDED_MS_MAX = Date.UTC(2100, 0);
const DURATION_MS_MAX = 3_600_000;
const ROUTE_BYTES_MAX = 512;
const ERROR_BYTES_MAX = 8 * 1024;
const ATTRS_MAX = 32;
const ATTR_KEY_BYTES_MAX = 128;
const ATTR_VALUE_BYTES_MAX = 4 * 1024;

/** Distinct combinations of route, method and status that are kept written out: an application has tens to hundreds. */
const PREFIXES_MAX = 2048;

/** The most that a request's line has behind its prefix: names, digits of five numbers, a trace id. */
export const TAIL_BYTES_MAX = 256;

/** Writes the lines of one process. */
export class Encoder {
  readonly #head: string;
  readonly #utf8 = new TextEncoder();
  readonly #prefixes = new Map<string, Map<string, Map<number, Uint8Array>>>();
  #prefixCount = 0;

  constructor(origin: Origin) {
    const fields = [`"service":${quoted(origin.service, 128)}`];
    if (origin.env) fields.push(`"env":${quoted(origin.env, 64)}`);
    if (origin.host) fields.push(`"host":${quoted(origin.host, 255)}`);
    if (origin.version) fields.push(`"version":${quoted(origin.version, 255)}`);
    fields.push('"source":"sdk"');
    this.#head = `{${fields.join(',')}`;
  }

  /** What the lines of a series begin with. */
  prefix(route: string, method: string, status: number): Uint8Array {
    const known = this.#prefixes.get(route)?.get(method)?.get(status);
    return known ?? this.#newPrefix(route, method, status);
  }

  /**
   * A request as frameworks report it, written into `chunk` from `at`: no object and no text on the way. There must be room for
   * the prefix and `TAIL_BYTES_MAX`. Returns where the line ends. `traceId` and sizes belong to the detail.
   */
  request(
    chunk: Uint8Array,
    at: number,
    prefix: Uint8Array,
    durationMs: number,
    endedMs: number,
    bytesIn: number,
    bytesOut: number,
    traceId: string | undefined,
  ): number {
    chunk.set(prefix, at);
    let end = at + prefix.length;
    if (typeof durationMs === 'number' && durationMs >= 0 && durationMs <= DURATION_MS_MAX) {
      end = writeMilliseconds(chunk, writeAscii(chunk, end, ',"duration_ms":'), durationMs);
    }
    end = writeWhole(chunk, writeAscii(chunk, end, ',"ts":'), endedMs);
    if (isWhole(bytesIn)) end = writeWhole(chunk, writeAscii(chunk, end, ',"bytes_in":'), bytesIn);
    if (isWhole(bytesOut)) end = writeWhole(chunk, writeAscii(chunk, end, ',"bytes_out":'), bytesOut);
    if (traceId !== undefined) {
      end = writeAscii(chunk, writeAscii(chunk, end, ',"trace_id":"'), traceId);
      chunk[end++] = QUOTE;
    }
    chunk[end++] = CLOSING_BRACE;
    chunk[end++] = LINE_FEED;
    return end;
  }

  /** Anything else. */
  event(event: Event, nowMs: number, detail: boolean): string {
    const { status, durationMs } = event;
    let line = this.#head + series(event.route ?? '', event.method ?? '', status);
    if (typeof durationMs === 'number' && durationMs >= 0 && durationMs <= DURATION_MS_MAX) {
      line += `,"duration_ms":${Math.round(durationMs * 1000) / 1000}`;
    }
    const ended = event.endedMs;
    line += `,"ts":${isTime(ended) ? Math.floor(ended) : nowMs}`;
    if (event.error) line += `,"error":${quoted(String(event.error), ERROR_BYTES_MAX, true)}`;
    if (!detail) return `${line}}\n`;
    if (isWhole(event.bytesIn)) line += `,"bytes_in":${event.bytesIn}`;
    if (isWhole(event.bytesOut)) line += `,"bytes_out":${event.bytesOut}`;
    if (isId(event.traceId, 32)) line += `,"trace_id":"${event.traceId}"`;
    if (isId(event.spanId, 16)) line += `,"span_id":"${event.spanId}"`;
    return `${line}${attributes(event.attrs, line)}}\n`;
  }

  #newPrefix(route: string, method: string, status: number): Uint8Array {
    const prefix = this.#utf8.encode(this.#head + series(route, method, status));
    // Routes are not meant to be many; should they be, forgetting all is cheaper than deciding which.
    if (this.#prefixCount >= PREFIXES_MAX) {
      this.#prefixes.clear();
      this.#prefixCount = 0;
    }
    const methods = this.#prefixes.get(route) ?? new Map<string, Map<number, Uint8Array>>();
    const statuses = methods.get(method) ?? new Map<number, Uint8Array>();
    this.#prefixes.set(route, methods.set(method, statuses.set(status, prefix)));
    this.#prefixCount += 1;
    return prefix;
  }
}

function series(route: string, method: string, status: number | undefined): string {
  let text = '';
  if (route) text += `,"route":${quoted(String(route), ROUTE_BYTES_MAX)}`;
  if (method) text += `,"method":${quoted(String(method), 32)}`;
  if (isWhole(status) && status >= 100 && status <= 599) text += `,"status":${status}`;
  return text;
}

/** `service` and `env` have an alphabet of their own; anything else becomes `_`, as it does with OTLP. */
export function nameOf(text: string, bytesMax: number): string {
  return text.replace(/[^A-Za-z0-9._/-]/g, '_').slice(0, bytesMax);
}

/** As many as there may be, and fit behind what the line has already. */
function attributes(attrs: Event['attrs'], line: string): string {
  if (attrs === undefined || attrs === null || typeof attrs !== 'object') return '';
  const pairs: string[] = [];
  let free = LINE_BYTES_MAX - utf8Length(line) - ',"attrs":{}}'.length;
  for (const [key, value] of Object.entries(attrs)) {
    if (pairs.length === ATTRS_MAX) break;
    const pair = attribute(key, value);
    // With its comma. A shorter one may still fit.
    const bytes = pair === undefined ? 0 : utf8Length(pair) + 1;
    if (pair === undefined || bytes > free) continue;
    free -= bytes;
    pairs.push(pair);
  }
  return pairs.length === 0 ? '' : `,"attrs":{${pairs.join(',')}}`;
}

function attribute(key: string, value: unknown): string | undefined {
  const name = quoted(key, ATTR_KEY_BYTES_MAX);
  if (name === '""') return undefined;
  if (typeof value === 'string') return `${name}:${quoted(value, ATTR_VALUE_BYTES_MAX, true)}`;
  return typeof value === 'boolean' || Number.isFinite(value) ? `${name}:${value}` : undefined;
}

const QUOTE = 34;
const POINT = 46;
const ZERO = 48;
const CLOSING_BRACE = 125;
const LINE_FEED = 10;

/** A loop, because a call to the encoder costs more than a few letters. */
function writeAscii(chunk: Uint8Array, at: number, text: string): number {
  for (let index = 0; index < text.length; index += 1) chunk[at + index] = text.charCodeAt(index);
  return at + text.length;
}

/** Digits of a whole number, at most 2^53, in parts that fit 32 bits. */
function writeWhole(chunk: Uint8Array, at: number, value: number): number {
  if (value < 1e9) return writeDigits(chunk, at, value, digitsOf(value));
  const upper = Math.floor(value / 1e9);
  return writeDigits(chunk, writeDigits(chunk, at, upper, digitsOf(upper)), value - upper * 1e9, 9);
}

function digitsOf(value: number): number {
  let digits = 1;
  for (let limit = 10; value >= limit; limit *= 10) digits += 1;
  return digits;
}

function writeDigits(chunk: Uint8Array, at: number, value: number, digits: number): number {
  let rest = value | 0;
  for (let index = at + digits - 1; index >= at; index -= 1) {
    const tenth = (rest / 10) | 0;
    chunk[index] = ZERO + rest - tenth * 10;
    rest = tenth;
  }
  return at + digits;
}

/** To 1 µs, which is what peep keeps, without zeros at the end. */
function writeMilliseconds(chunk: Uint8Array, at: number, value: number): number {
  const micros = Math.round(value * 1000);
  const whole = Math.floor(micros / 1000);
  let end = writeWhole(chunk, at, whole);
  let thousandths = micros - whole * 1000;
  if (thousandths === 0) return end;
  chunk[end++] = POINT;
  for (let unit = 100; thousandths > 0; unit /= 10) {
    const digit = (thousandths / unit) | 0;
    chunk[end++] = ZERO + digit;
    thousandths -= digit * unit;
  }
  return end;
}

/** What a `Content-Length` says: below zero when nothing, or no size. */
export function sizeOf(header: unknown): number {
  if (typeof header !== 'string' && typeof header !== 'number') return -1;
  const size = Number(header);
  return Number.isSafeInteger(size) && size >= 0 ? size : -1;
}

/** Whether a response has a body. One that has none may have the length all the same that it would have. */
export function hasBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304;
}

function isWhole(value: number | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isTime(value: number | undefined): value is number {
  return typeof value === 'number' && value >= ENDED_MS_MIN && value <= ENDED_MS_MAX;
}

function isId(text: string | undefined, digits: number): boolean {
  return (
    typeof text === 'string' && text.length === digits && /^[0-9a-f]+$/i.test(text) && !/^0+$/.test(text)
  );
}

/** A JSON string of at most so many bytes. Control characters become spaces, unless `prose` may keep them escaped. */
function quoted(text: string, bytesMax: number, prose = false): string {
  let plain = text.replace(/\p{Surrogate}/gu, '\ufffd');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (!prose) plain = plain.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
  return JSON.stringify(cut(plain, bytesMax));
}

/** The longest beginning of `text` that has at most `bytesMax` bytes of UTF-8 and ends between two characters. */
function cut(text: string, bytesMax: number): string {
  if (text.length * 3 <= bytesMax) return text;
  let bytes = 0;
  let end = 0;
  for (const character of text) {
    bytes += utf8LengthOf(character);
    if (bytes > bytesMax) break;
    end += character.length;
  }
  return text.slice(0, end);
}

/** Bytes of text without lone surrogates. */
function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) bytes += utf8LengthOf(character);
  return bytes;
}

function utf8LengthOf(character: string): number {
  const code = character.codePointAt(0) as number;
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}
