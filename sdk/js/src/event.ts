/**
 * An event, from the caller's words to one line of JSON.
 *
 * Arrives: what a framework or the application says about a finished operation. Leaves: one line of NDJSON that
 * ingest accepts. Promised: whatever is handed in, the line is valid; a value that the contract has no room for is cut
 * or left out, never guessed. Not done: reading requests; deciding what a route is (`template.ts`).
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
  /** When it ended, in Unix milliseconds. Absent: now. */
  endedMs?: number;
  /** Makes the event an error. Write nothing personal into it. */
  error?: string;
  bytesIn?: number;
  bytesOut?: number;
  /** 32 hexadecimal digits. */
  traceId?: string;
  /** 16 hexadecimal digits. */
  spanId?: string;
  /** Kept for search, at most 32. */
  attrs?: Record<string, string | number | boolean>;
}

/** What all events of a process have in common. */
export interface Origin {
  service: string;
  env?: string | undefined;
  host?: string | undefined;
  version?: string | undefined;
}

const DURATION_MS_MAX = 3_600_000;
const ROUTE_BYTES_MAX = 512;
const ERROR_BYTES_MAX = 8 * 1024;
const ATTRS_MAX = 32;
const ATTR_KEY_BYTES_MAX = 128;
const ATTR_VALUE_BYTES_MAX = 4 * 1024;

/** Distinct combinations of route and method that are kept written out: an application has tens to hundreds. */
const FRAGMENTS_MAX = 2048;

/** Writes the lines of one process. */
export class Encoder {
  readonly #head: string;
  readonly #fragments = new Map<string, Map<string, string>>();
  #fragmentCount = 0;
  /** The time of the last request, written out: many end in the same millisecond. */
  #writtenMs = -1;
  #written = '';

  constructor(origin: Origin) {
    const fields = [`"service":${quoted(origin.service, 128)}`];
    if (origin.env) fields.push(`"env":${quoted(origin.env, 64)}`);
    if (origin.host) fields.push(`"host":${quoted(origin.host, 255)}`);
    if (origin.version) fields.push(`"version":${quoted(origin.version, 255)}`);
    fields.push('"source":"sdk"');
    this.#head = `{${fields.join(',')}`;
  }

  /** A request as frameworks report it: no object on the way. `traceId` and sizes belong to the detail. */
  request(
    route: string,
    method: string,
    status: number,
    durationMs: number,
    endedMs: number,
    bytesIn: number,
    bytesOut: number,
    traceId: string | undefined,
  ): string {
    let line = this.#head + this.#fragment(route, method);
    if (isWhole(status) && status >= 100 && status <= 599) line += `,"status":${status}`;
    if (typeof durationMs === 'number' && durationMs >= 0 && durationMs <= DURATION_MS_MAX)
      line += `,"duration_ms":${milliseconds(durationMs)}`;
    if (endedMs !== this.#writtenMs) {
      this.#writtenMs = endedMs;
      this.#written = `,"ts":${endedMs}`;
    }
    line += this.#written;
    if (isWhole(bytesIn)) line += `,"bytes_in":${bytesIn}`;
    if (isWhole(bytesOut)) line += `,"bytes_out":${bytesOut}`;
    if (traceId !== undefined) line += `,"trace_id":"${traceId}"`;
    return `${line}}\n`;
  }

  /** Anything else. */
  event(event: Event, nowMs: number, detail: boolean): string {
    let line = this.#head + this.#fragment(event.route ?? '', event.method ?? '');
    const { status, durationMs } = event;
    if (isWhole(status) && status >= 100 && status <= 599) line += `,"status":${status}`;
    if (typeof durationMs === 'number' && durationMs >= 0 && durationMs <= DURATION_MS_MAX) {
      line += `,"duration_ms":${milliseconds(durationMs)}`;
    }
    const ended = event.endedMs;
    line += `,"ts":${typeof ended === 'number' && ended >= 0 && Number.isFinite(ended) ? Math.floor(ended) : nowMs}`;
    if (event.error) line += `,"error":${quoted(String(event.error), ERROR_BYTES_MAX, true)}`;
    if (!detail) return `${line}}\n`;
    if (isWhole(event.bytesIn)) line += `,"bytes_in":${event.bytesIn}`;
    if (isWhole(event.bytesOut)) line += `,"bytes_out":${event.bytesOut}`;
    if (isId(event.traceId, 32)) line += `,"trace_id":"${event.traceId}"`;
    if (isId(event.spanId, 16)) line += `,"span_id":"${event.spanId}"`;
    return `${line}${attributes(event.attrs)}}\n`;
  }

  #fragment(route: string, method: string): string {
    const known = this.#fragments.get(route)?.get(method);
    return known ?? this.#newFragment(route, method);
  }

  #newFragment(route: string, method: string): string {
    let fragment = '';
    if (route) fragment += `,"route":${quoted(String(route), ROUTE_BYTES_MAX)}`;
    if (method) fragment += `,"method":${quoted(String(method), 32)}`;
    // Routes are not meant to be many; should they be, forgetting all is cheaper than deciding which.
    if (this.#fragmentCount >= FRAGMENTS_MAX) {
      this.#fragments.clear();
      this.#fragmentCount = 0;
    }
    let methods = this.#fragments.get(route);
    if (methods === undefined) {
      methods = new Map();
      this.#fragments.set(route, methods);
    }
    methods.set(method, fragment);
    this.#fragmentCount += 1;
    return fragment;
  }
}

/** `service` and `env` have an alphabet of their own; anything else becomes `_`, as it does with OTLP. */
export function nameOf(text: string, bytesMax: number): string {
  return text.replace(/[^A-Za-z0-9._/-]/g, '_').slice(0, bytesMax);
}

function attributes(attrs: Event['attrs']): string {
  if (attrs === undefined || attrs === null || typeof attrs !== 'object') return '';
  const pairs: string[] = [];
  for (const [key, value] of Object.entries(attrs)) {
    if (pairs.length === ATTRS_MAX) break;
    const name = quoted(key, ATTR_KEY_BYTES_MAX);
    if (name === '""') continue;
    if (typeof value === 'string') pairs.push(`${name}:${quoted(value, ATTR_VALUE_BYTES_MAX, true)}`);
    else if (typeof value === 'boolean' || Number.isFinite(value)) pairs.push(`${name}:${value}`);
  }
  return pairs.length === 0 ? '' : `,"attrs":{${pairs.join(',')}}`;
}

/** `.001`, `.5`, and nothing for 0. */
const THOUSANDTHS = Array.from({ length: 1000 }, (_, thousandths) =>
  thousandths === 0 ? '' : `.${String(thousandths).padStart(3, '0').replace(/0+$/, '')}`,
);

/** To 1 µs, which is what peep keeps. Two whole numbers are written in half the time of a fraction. */
function milliseconds(value: number): string {
  const micros = Math.round(value * 1000);
  const whole = Math.floor(micros / 1000);
  return whole + (THOUSANDTHS[micros - whole * 1000] as string);
}

function isWhole(value: number | undefined): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
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
    const code = character.codePointAt(0) as number;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes > bytesMax) break;
    end += character.length;
  }
  return text.slice(0, end);
}
