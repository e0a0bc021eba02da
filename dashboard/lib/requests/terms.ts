/**
 * The language of the filter bar: `status:5xx route:/buy !host:web-3 >500ms "timed out"`. What was typed comes in; terms
 * and sentences about what was not understood leave. Terms go into the address and come back from it unchanged.
 *
 * A field may be named more than once: any of its values, and none of those with `!`. There is one service, one trace, one
 * shortest and one longest duration, and one text.
 */
import { isolated } from '@/lib/format/isolate';
import { NBSP } from '@/lib/format/number';

export const FIELDS = ['service', 'route', 'method', 'status', 'host', 'version', 'env', 'trace'] as const;
export type Field = (typeof FIELDS)[number];

export type Term =
  | { kind: 'field'; field: Field; value: string; negated: boolean }
  | { kind: 'min'; ms: number }
  | { kind: 'max'; ms: number }
  | { kind: 'text'; text: string };

export interface Understood {
  terms: Term[];
  /** One sentence for everything that is no term. */
  problems: string[];
}

/** Fields that hold one value. */
const SINGLE: ReadonlySet<Field> = new Set(['service', 'env', 'trace']);
const STATUS = /^([1-5]xx|[1-5]\d\d|unknown)$/i;
const METHOD = /^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT|_OTHER)$/i;
const TRACE = /^[0-9a-f]{32}$/i;
const LONGEST_MS = 3_600_000;

/** Words as people write them: quotes hold blanks together, anywhere in a word. */
export function words(input: string): string[] {
  return input.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? [];
}

export function parseTerms(input: string): Understood {
  const terms: Term[] = [];
  const problems: string[] = [];
  const free: string[] = [];
  for (const word of words(input)) {
    const read = parseWord(word);
    if (typeof read === 'string') problems.push(read);
    else if (read.kind === 'text') free.push(read.text);
    else terms.push(read);
  }
  const text = free.join(' ').trim();
  if (text !== '') terms.push({ kind: 'text', text });
  return { terms, problems };
}

/** One word, or the sentence why it is no term. */
function parseWord(word: string): Term | string {
  const plain = word.replaceAll('"', '');
  if (word.startsWith('"')) return { kind: 'text', text: plain };
  const duration = /^([<>])=?(.+)$/.exec(word);
  if (duration !== null) {
    const ms = parseDuration(duration[2] as string);
    if (ms === null) return `“${plain}” is no duration. Write >500ms, >1.5s or <2min.`;
    return { kind: duration[1] === '>' ? 'min' : 'max', ms };
  }
  const named = /^(!?)([a-z_.]+):(!?)(.*)$/is.exec(word);
  if (named === null) return { kind: 'text', text: plain };
  const field = FIELDS.find((name) => name === named[2]?.toLowerCase());
  // Addresses and times have colons too: what cannot be a field is text.
  if (field === undefined)
    return /^\/\//.test(named[4] ?? '')
      ? { kind: 'text', text: plain }
      : `There is no field “${named[2]}”. Fields are ${FIELDS.join(', ')}; text with a colon goes in quotes.`;
  const value = (named[4] ?? '').replaceAll('"', '');
  const negated = named[1] === '!' || named[3] === '!';
  if (value === '') return `${field}: needs a value.`;
  return fieldTerm(field, value, negated);
}

export function fieldTerm(field: Field, value: string, negated = false): Term | string {
  if (field === 'status') {
    if (!STATUS.test(value)) return `“${value}” is no status. Write 502, 5xx or unknown.`;
    return { kind: 'field', field, value: value.toLowerCase(), negated };
  }
  if (field === 'method') {
    if (!METHOD.test(value)) return `“${value}” is no method.`;
    return { kind: 'field', field, value: value.toUpperCase(), negated };
  }
  if (field === 'trace') {
    if (!TRACE.test(value)) return 'A trace id has 32 hexadecimal digits.';
    if (negated) return 'A trace can only be asked for, not left out.';
    return { kind: 'field', field, value: value.toLowerCase(), negated };
  }
  if (negated && SINGLE.has(field))
    return `A${field === 'env' ? 'n' : ''} ${field} can only be asked for, not left out.`;
  return { kind: 'field', field, value, negated };
}

const UNITS: Readonly<Record<string, number>> = {
  us: 0.001,
  µs: 0.001,
  μs: 0.001,
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
};

/** `500ms`, `1.5s`, `840us`, `2min`; a bare number is milliseconds. */
export function parseDuration(text: string): number | null {
  const read = /^(\d+(?:\.\d+)?)\s*([a-zµμ]*)$/i.exec(text.trim());
  if (read === null) return null;
  const unit = read[2] === '' ? 1 : UNITS[(read[2] as string).toLowerCase()];
  if (unit === undefined) return null;
  const ms = Number((Number(read[1]) * unit).toPrecision(12));
  return ms <= LONGEST_MS ? ms : null;
}

/** The shortest way to write a duration that is read back as the same. */
export function writeDuration(ms: number): string {
  const tidy = (x: number) => String(Number(x.toPrecision(12)));
  if (ms !== 0 && ms < 1) return `${tidy(ms * 1000)}us`;
  if (ms >= 60_000 && ms % 60_000 === 0) return `${ms / 60_000}min`;
  return ms >= 1000 ? `${tidy(ms / 1000)}s` : `${tidy(ms)}ms`;
}

/** As it would be typed. */
export function writeTerm(term: Term): string {
  switch (term.kind) {
    case 'min':
      return `>${writeDuration(term.ms)}`;
    case 'max':
      return `<${writeDuration(term.ms)}`;
    case 'text':
      return `"${term.text}"`;
    case 'field': {
      const value = /[\s"]/.test(term.value) ? `"${term.value}"` : term.value;
      return `${term.negated ? '!' : ''}${term.field}:${value}`;
    }
  }
}

/** In a sentence: `status 5xx`, `not host web-9`, `at least 500 ms`, `text “timeout”`. */
export function sayTerm(term: Term): string {
  switch (term.kind) {
    case 'min':
    case 'max': {
      const [, value, unit] = /^([\d.]+)(.*)$/.exec(writeDuration(term.ms)) as unknown as [
        string,
        string,
        string,
      ];
      return `${term.kind === 'min' ? 'at least' : 'less than'} ${value}${NBSP}${unit.replace('us', 'µs')}`;
    }
    case 'text':
      return `text “${isolated(term.text)}”`;
    case 'field':
      return `${term.negated ? 'not ' : ''}${term.field}${NBSP}${isolated(term.value)}`;
  }
}

/** The terms with one more. A bound, a text, a service or a trace replaces the one before it; so does the same value with `!`. */
export function addTerm(terms: readonly Term[], added: Term): Term[] {
  const kept = terms.filter((term) => {
    if (added.kind !== 'field') return term.kind !== added.kind;
    if (term.kind !== 'field' || term.field !== added.field) return true;
    return !SINGLE.has(added.field) && term.value !== added.value;
  });
  return [...kept, added];
}

/** What the address says of a filter. The environment is chosen for the whole page and has a place of its own. */
export interface FilterView {
  service: string | null;
  route: readonly string[];
  method: readonly string[];
  status: readonly string[];
  host: readonly string[];
  version: readonly string[];
  trace: string | null;
  min: number | null;
  max: number | null;
  text: string;
}

const REPEATED = ['route', 'method', 'status', 'host', 'version'] as const;

export function termsOf(view: FilterView): Term[] {
  const terms: Term[] = [];
  const one = (field: Field, raw: string) => {
    const negated = raw.startsWith('!');
    terms.push({ kind: 'field', field, value: negated ? raw.slice(1) : raw, negated });
  };
  if (view.service !== null) one('service', view.service);
  for (const field of REPEATED) for (const raw of view[field]) one(field, raw);
  if (view.trace !== null) one('trace', view.trace);
  if (view.min !== null) terms.push({ kind: 'min', ms: view.min });
  if (view.max !== null) terms.push({ kind: 'max', ms: view.max });
  if (view.text !== '') terms.push({ kind: 'text', text: view.text });
  return terms;
}

/** The way back, complete: what no term names is empty. */
export function viewOf(terms: readonly Term[]): FilterView & { env?: string } {
  const values = (field: Field) =>
    terms.flatMap((term) =>
      term.kind === 'field' && term.field === field ? [`${term.negated ? '!' : ''}${term.value}`] : [],
    );
  const bound = (kind: 'min' | 'max') =>
    terms.find((term) => term.kind === kind) as { ms: number } | undefined;
  const text = terms.find((term) => term.kind === 'text');
  const env = values('env')[0];
  return {
    service: values('service')[0] ?? null,
    route: values('route'),
    method: values('method'),
    status: values('status'),
    host: values('host'),
    version: values('version'),
    trace: values('trace')[0] ?? null,
    min: bound('min')?.ms ?? null,
    max: bound('max')?.ms ?? null,
    text: text === undefined ? '' : text.text,
    ...(env === undefined ? {} : { env }),
  };
}

/** What is being typed right now: the last word, and which field it is about when it names one. */
export function typing(input: string): {
  before: string;
  field: Field | null;
  prefix: string;
  negated: boolean;
} {
  const last = /(?:[^\s"]|"[^"]*"?)*$/.exec(input)?.[0] ?? '';
  const before = input.slice(0, input.length - last.length);
  const named = /^(!?)([a-z]+):(!?)(.*)$/is.exec(last);
  const field = FIELDS.find((name) => name === named?.[2]?.toLowerCase()) ?? null;
  if (named === null || field === null) {
    const negated = last.startsWith('!');
    return { before, field: null, prefix: negated ? last.slice(1) : last, negated };
  }
  return {
    before,
    field,
    prefix: (named[4] ?? '').replaceAll('"', ''),
    negated: named[1] === '!' || named[3] === '!',
  };
}
