/**
 * One view, one URL. The query string comes in; the view state leaves, with a sentence for every value that was not
 * understood. `toSearch` is the way back; defaults are left out, so the shortest address is the default view.
 */
import { isolated } from '@/lib/format/isolate';
import type { Zone } from '@/lib/format/time';

export const PAGES = [
  'overview',
  'service',
  'requests',
  'compare',
  'alerts',
  'ledger',
  'connect',
  'settings',
] as const;
export type Page = (typeof PAGES)[number];

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The ranges with a button of their own. */
export const RANGES = [
  { name: '5m', label: '5 m' },
  { name: '15m', label: '15 m' },
  { name: '1h', label: '1 h' },
  { name: '6h', label: '6 h' },
  { name: '24h', label: '24 h' },
  { name: '7d', label: '7 d' },
] as const;
/** `15m`, `3h`, `30d`: how far back from now. */
export type RangeName = string;
export const DEFAULT_RANGE: RangeName = '15m';

export interface Range {
  name: RangeName;
  label: string;
  ms: number;
  stepMs: number;
  /** Short enough to be drawn from live frames; longer ones are asked for again and again. */
  live: boolean;
}

export const SORTS = ['service', 'rate', 'errors', 'p50', 'p95', 'p99', 'max', 'time', 'route'] as const;
export type SortColumn = (typeof SORTS)[number];
export interface Sort {
  column: SortColumn;
  descending: boolean;
}

/** What a view can be narrowed by. Several values of one name mean any of them; a leading `!` means none of them. */
export const FILTERS = ['route', 'method', 'status', 'host', 'version'] as const;
export type FilterName = (typeof FILTERS)[number];

/** Lines a latency chart can draw. */
export const QUANTILES = ['0.5', '0.9', '0.95', '0.99', '0.999'] as const;
export type Quantile = (typeof QUANTILES)[number];
export const DEFAULT_QUANTILES: readonly Quantile[] = ['0.5', '0.95', '0.99'];

/** A rectangle of the heatmap: a stretch of time and a band of durations, in µs. */
export interface Selection {
  fromMs: number;
  toMs: number;
  us0: number;
  us1: number;
}

export interface ViewState extends Record<FilterName, readonly string[]> {
  page: Page;
  env: string | null;
  service: string | null;
  range: RangeName;
  /** A frozen window; both or neither. With it the page shows history and never moves by itself. */
  frozen: { fromMs: number; toMs: number } | null;
  /** Coarser steps than the window would have, in ms: chosen when the finer ones were too many to answer. */
  step: number | null;
  /** Percentiles drawn. */
  q: readonly Quantile[];
  /** The past that is drawn beside the present: `yesterday`, `week`, `off` or a version. */
  vs: string;
  scale: 'log' | 'lin';
  sel: Selection | null;
  tz: Zone;
  /** `null` is the default order of the table. */
  sort: Sort | null;
  /** Free text of the requests page, its shortest and longest duration in ms, and a trace. */
  text: string;
  min: number | null;
  max: number | null;
  trace: string | null;
  /** The two sides of a comparison, as the server reads them: `version:v2`, `window:<from>,<to>`. */
  a: string | null;
  b: string | null;
  /** The tab of the settings. */
  tab: string | null;
}

export const DEFAULT_VIEW: ViewState = {
  page: 'overview',
  env: null,
  service: null,
  route: [],
  method: [],
  status: [],
  host: [],
  version: [],
  range: DEFAULT_RANGE,
  frozen: null,
  step: null,
  q: DEFAULT_QUANTILES,
  vs: 'yesterday',
  scale: 'log',
  sel: null,
  tz: 'utc',
  sort: null,
  text: '',
  min: null,
  max: null,
  trace: null,
  a: null,
  b: null,
  tab: null,
};

/** A view without filters of any kind. */
export const NO_FILTERS: Pick<ViewState, FilterName> = {
  route: [],
  method: [],
  status: [],
  host: [],
  version: [],
};

const METHODS = /^!?(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT|_OTHER)$/;
const STATUS = /^!?([1-5]xx|[1-5]\d\d|unknown)$/;
const TRACE = /^[0-9a-f]{32}$/i;
const RANGE = /^(\d{1,4})(m|h|d)$/;
const VERSION = /^[\w.+/-]{1,128}$/;
export const SHORTEST_MS = 60_000;
const LONGEST_MS = 400 * DAY;

export function parseView(search: string, page: Page = 'overview'): { view: ViewState; ignored: string[] } {
  const query = new URLSearchParams(search);
  const ignored: string[] = [];
  const view: ViewState = { ...DEFAULT_VIEW, page };
  const take = (name: string): string | null => query.get(name) || null;
  const refuse = (name: string, value: string | null, why: string) =>
    ignored.push(`Ignored ${name}=${isolated(value ?? '')}: ${why}.`);

  view.env = take('env');
  view.service = take('service');
  view.text = query.get('text') ?? '';
  view.a = take('a');
  view.b = take('b');
  view.tab = take('tab');

  for (const name of FILTERS) {
    const kept: string[] = [];
    for (const value of query.getAll(name)) {
      if (value === '' || value === '!' || kept.includes(value)) continue;
      if (name === 'method' && !METHODS.test(value)) refuse(name, value, 'not a method');
      else if (name === 'status' && !STATUS.test(value)) refuse(name, value, 'not a status code or class');
      else kept.push(value);
    }
    view[name] = kept;
  }

  const tz = take('tz');
  if (tz === 'local' || tz === 'utc') view.tz = tz;
  else if (tz !== null) refuse('tz', tz, 'neither utc nor local');

  const scale = take('scale');
  if (scale === 'lin' || scale === 'log') view.scale = scale;
  else if (scale !== null) refuse('scale', scale, 'neither lin nor log');

  const vs = take('vs');
  if (vs !== null) {
    if (VERSION.test(vs)) view.vs = vs;
    else refuse('vs', vs, 'neither yesterday, week, off nor a version');
  }

  const q = query.get('q');
  if (q !== null) {
    const wanted = q.split(',').filter((name) => name !== '');
    const known = QUANTILES.filter((name) => wanted.includes(name));
    if (known.length < wanted.length) refuse('q', q, `not all of ${QUANTILES.join(', ')}`);
    else view.q = known;
  }

  for (const name of ['min', 'max'] as const) {
    const value = take(name);
    if (value === null) continue;
    const ms = Number(value);
    if (Number.isFinite(ms) && ms >= 0) view[name] = ms;
    else refuse(name, value, 'not a duration in ms');
  }
  const trace = take('trace');
  if (trace !== null) {
    if (TRACE.test(trace)) view.trace = trace.toLowerCase();
    else refuse('trace', trace, 'not a trace id');
  }

  const step = take('step');
  if (step !== null) {
    view.step = parseStep(step);
    if (view.step === null) refuse('step', step, 'not a step that is kept');
  }

  const sort = take('sort');
  if (sort !== null) {
    const column = sort.replace(/^-/, '');
    const known = SORTS.find((name) => name === column);
    if (known === undefined) refuse('sort', sort, 'no such column');
    else view.sort = { column: known, descending: sort.startsWith('-') };
  }

  const sel = take('sel');
  if (sel !== null) {
    const parsed = parseSelection(sel);
    if (parsed === null) refuse('sel', sel, 'not a part of the heatmap');
    else view.sel = parsed;
  }

  const from = take('from');
  const to = take('to');
  if (to === null || to === 'now') {
    if (from?.startsWith('-')) {
      const name = from.slice(1);
      if (rangeMs(name) === null) refuse('from', from, 'not a time');
      else view.range = name;
    } else if (from !== null) {
      // A fixed beginning without an end is live: as many minutes as have passed since.
      const fromMs = parseInstant(from);
      const minutes = fromMs === null ? 0 : Math.ceil((Date.now() - fromMs) / MINUTE);
      if (minutes <= 0 || minutes * MINUTE > LONGEST_MS) refuse('from', from, 'not a time');
      else view.range = minutes < 9999 ? `${minutes}m` : `${Math.ceil(minutes / 1440)}d`;
    }
  } else {
    const fromMs = from?.startsWith('-') ? agoMs(from) : parseInstant(from);
    const toMs = to.startsWith('-') ? agoMs(to) : parseInstant(to);
    if (toMs === null) refuse('to', to, 'not a time');
    else if (from === null) refuse('to', to, 'it needs a from');
    else if (fromMs === null) refuse('from', from, 'not a time');
    else if (toMs - fromMs < 10_000) refuse('to', to, 'not after from');
    else view.frozen = { fromMs, toMs };
  }
  return { view, ignored };
}

/** The length that a name stands for, or `null` when it is none. */
export function rangeMs(name: string): number | null {
  const found = RANGE.exec(name);
  if (found === null) return null;
  const ms = Number(found[1]) * { m: MINUTE, h: HOUR, d: DAY }[found[2] as 'm' | 'h' | 'd'];
  return ms >= SHORTEST_MS && ms <= LONGEST_MS ? ms : null;
}

function agoMs(value: string): number | null {
  const ms = rangeMs(value.slice(1));
  return ms === null ? null : Date.now() - ms;
}

function parseInstant(value: string | null): number | null {
  if (value === null) return null;
  if (/^\d{12,14}$/.test(value)) return Number(value);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value)) return null;
  const parsed = Date.parse(value);
  return Number.isNaN(parsed) ? null : parsed;
}

function parseSelection(value: string): Selection | null {
  const parts = value.split(',').map(Number);
  const [fromMs, toMs, us0, us1] = parts;
  if (parts.length !== 4 || parts.some((part) => !Number.isFinite(part) || part < 0)) return null;
  if (fromMs === undefined || toMs === undefined || us0 === undefined || us1 === undefined) return null;
  return toMs > fromMs && us1 > us0 ? { fromMs, toMs, us0, us1 } : null;
}

export function toSearch(view: ViewState): string {
  const query = new URLSearchParams();
  if (view.env !== null) query.set('env', view.env);
  if (view.service !== null) query.set('service', view.service);
  for (const name of FILTERS) for (const value of view[name]) query.append(name, value);
  if (view.frozen !== null) {
    query.set('from', new Date(view.frozen.fromMs).toISOString());
    query.set('to', new Date(view.frozen.toMs).toISOString());
  } else if (view.range !== DEFAULT_RANGE) {
    query.set('from', `-${view.range}`);
  }
  if (view.step !== null) query.set('step', writeStep(view.step));
  if (view.q.join() !== DEFAULT_QUANTILES.join()) query.set('q', view.q.join());
  if (view.vs !== DEFAULT_VIEW.vs) query.set('vs', view.vs);
  if (view.scale !== DEFAULT_VIEW.scale) query.set('scale', view.scale);
  if (view.tz !== 'utc') query.set('tz', view.tz);
  if (view.sort !== null) query.set('sort', `${view.sort.descending ? '-' : ''}${view.sort.column}`);
  if (view.sel !== null) {
    const { fromMs, toMs, us0, us1 } = view.sel;
    query.set('sel', [fromMs, toMs, us0, us1].join());
  }
  if (view.text !== '') query.set('text', view.text);
  if (view.min !== null) query.set('min', String(view.min));
  if (view.max !== null) query.set('max', String(view.max));
  if (view.trace !== null) query.set('trace', view.trace);
  if (view.a !== null) query.set('a', view.a);
  if (view.b !== null) query.set('b', view.b);
  if (view.tab !== null) query.set('tab', view.tab);
  const search = query.toString();
  return search === '' ? '' : `?${search}`;
}

export function pageOf(pathname: string): Page {
  const name = pathname.split('/')[1] ?? '';
  return PAGES.find((page) => page === name) ?? 'overview';
}

export function pathOf(page: Page): string {
  return page === 'overview' ? '/' : `/${page}/`;
}

/** The address of a view. */
export function toHref(view: ViewState): string {
  return `${pathOf(view.page)}${toSearch(view)}`;
}

/**
 * The same window, zone and environment, another subject: what narrowed the old one stays behind. Naming a service
 * leads to its page unless another page is named.
 */
export function hrefOf(view: ViewState, patch: Partial<ViewState>): string {
  const page =
    patch.page ?? (patch.service === undefined ? view.page : patch.service === null ? 'overview' : 'service');
  return toHref({
    ...view,
    ...NO_FILTERS,
    text: '',
    min: null,
    max: null,
    trace: null,
    sort: null,
    sel: null,
    a: null,
    b: null,
    tab: null,
    ...patch,
    page,
  });
}

export function rangeOf(name: RangeName): Range {
  const ms = rangeMs(name) ?? 15 * MINUTE;
  const label = name.replace(/^(\d+)/, '$1 ');
  return { name, label, ms, stepMs: stepFor(ms), live: ms <= HOUR };
}

const STEPS_MS = [10_000, 60_000, 300_000, 3_600_000, 21_600_000];

/** `1h`, `60m`: one of the steps a window can be shown in. */
export function parseStep(text: string): number | null {
  const ms = rangeMs(text);
  return ms !== null && STEPS_MS.includes(ms) ? ms : null;
}

const writeStep = (ms: number): string => (ms % HOUR === 0 ? `${ms / HOUR}h` : `${ms / MINUTE}m`);

/** A step that gives a window at most about 360 points, from those the server keeps. */
export function stepFor(windowMs: number): number {
  return STEPS_MS.find((step) => windowMs / step <= 361) ?? DAY;
}

/** The range one larger or smaller than this one, among those with a button and 30 days. */
export function neighbourRange(name: RangeName, by: 1 | -1): RangeName {
  const names = [...RANGES.map((range) => range.name as string), '30d'];
  const ms = rangeMs(name) ?? 0;
  const sizes = names.map((item) => rangeMs(item) ?? 0);
  const at = by === 1 ? sizes.findIndex((size) => size > ms) : sizes.findLastIndex((size) => size < ms);
  return names[at] ?? name;
}

/** A frozen window twice as long around the same middle, not past the present. */
export function zoomedOut(fromMs: number, toMs: number, nowMs: number): { fromMs: number; toMs: number } {
  const length = toMs - fromMs;
  const end = Math.min(nowMs, toMs + length / 2);
  return { fromMs: Math.round(end - length * 2), toMs: Math.round(end) };
}
