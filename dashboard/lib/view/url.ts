/**
 * One view, one URL. The query string comes in; the view state leaves, with a sentence for every value that was not
 * understood. `toSearch` is the way back; defaults are left out, so the shortest address is the default view.
 */
import type { Zone } from '@/lib/format/time';

export const RANGES = [
  { name: '5m', label: '5 m', ms: 300_000, stepMs: 10_000, live: true },
  { name: '15m', label: '15 m', ms: 900_000, stepMs: 10_000, live: true },
  { name: '1h', label: '1 h', ms: 3_600_000, stepMs: 10_000, live: true },
  { name: '6h', label: '6 h', ms: 21_600_000, stepMs: 60_000, live: false },
  { name: '24h', label: '24 h', ms: 86_400_000, stepMs: 300_000, live: false },
  { name: '7d', label: '7 d', ms: 604_800_000, stepMs: 3_600_000, live: false },
] as const;
export type RangeName = (typeof RANGES)[number]['name'];
export const DEFAULT_RANGE: RangeName = '15m';

export const SORTS = ['service', 'rate', 'errors', 'p50', 'p95', 'p99', 'max', 'time', 'route'] as const;
export type SortColumn = (typeof SORTS)[number];
export interface Sort {
  column: SortColumn;
  descending: boolean;
}

export interface ViewState {
  env: string | null;
  service: string | null;
  route: string | null;
  method: string | null;
  status: string | null;
  range: RangeName;
  /** A frozen window; both or neither. With it the page shows history and never moves by itself. */
  frozen: { fromMs: number; toMs: number } | null;
  tz: Zone;
  /** `null` is the default order of the table. */
  sort: Sort | null;
  text: string;
}

export const DEFAULT_VIEW: ViewState = {
  env: null,
  service: null,
  route: null,
  method: null,
  status: null,
  range: DEFAULT_RANGE,
  frozen: null,
  tz: 'utc',
  sort: null,
  text: '',
};

const METHODS = /^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|TRACE|CONNECT|_OTHER)$/;
const STATUS = /^([1-5]xx|[1-5]\d\d|unknown)$/;
export const SHORTEST_MS = 60_000;

export function parseView(search: string): { view: ViewState; ignored: string[] } {
  const query = new URLSearchParams(search);
  const ignored: string[] = [];
  const view: ViewState = { ...DEFAULT_VIEW };
  const take = (name: string): string | null => query.get(name) || null;
  const refuse = (name: string, why: string) => ignored.push(`Ignored ${name}=${query.get(name)}: ${why}.`);

  view.env = take('env');
  view.service = take('service');
  view.route = take('route');
  view.text = query.get('text') ?? '';

  const method = take('method');
  if (method !== null) {
    if (METHODS.test(method)) view.method = method;
    else refuse('method', 'not a method');
  }
  const status = take('status');
  if (status !== null) {
    if (STATUS.test(status)) view.status = status;
    else refuse('status', 'not a status code or class');
  }
  const tz = take('tz');
  if (tz === 'local' || tz === 'utc') view.tz = tz;
  else if (tz !== null) refuse('tz', 'neither utc nor local');

  const sort = take('sort');
  if (sort !== null) {
    const column = sort.replace(/^-/, '');
    const known = SORTS.find((name) => name === column);
    if (known === undefined) refuse('sort', 'no such column');
    else view.sort = { column: known, descending: sort.startsWith('-') };
  }

  const from = take('from');
  const to = take('to');
  if (to === null) {
    const range = RANGES.find((item) => `-${item.name}` === from);
    if (range !== undefined) view.range = range.name;
    else if (from !== null) refuse('from', 'not a time');
  } else {
    const fromMs = parseInstant(from);
    const toMs = parseInstant(to);
    if (fromMs === null) refuse('from', 'not a time');
    else if (toMs === null) refuse('to', 'not a time');
    else if (toMs - fromMs < 10_000) refuse('to', 'not after from');
    else view.frozen = { fromMs, toMs };
  }
  return { view, ignored };
}

function parseInstant(value: string | null): number | null {
  if (value === null) return null;
  if (/^\d{12,14}$/.test(value)) return Number(value);
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(value)) return null;
  const parsed = Date.parse(value);
  return Number.isNaN(parsed) ? null : parsed;
}

export function toSearch(view: ViewState): string {
  const query = new URLSearchParams();
  if (view.env !== null) query.set('env', view.env);
  if (view.service !== null) query.set('service', view.service);
  if (view.route !== null) query.set('route', view.route);
  if (view.method !== null) query.set('method', view.method);
  if (view.status !== null) query.set('status', view.status);
  if (view.frozen !== null) {
    query.set('from', new Date(view.frozen.fromMs).toISOString());
    query.set('to', new Date(view.frozen.toMs).toISOString());
  } else if (view.range !== DEFAULT_RANGE) {
    query.set('from', `-${view.range}`);
  }
  if (view.tz !== 'utc') query.set('tz', view.tz);
  if (view.sort !== null) query.set('sort', `${view.sort.descending ? '-' : ''}${view.sort.column}`);
  if (view.text !== '') query.set('text', view.text);
  const search = query.toString();
  return search === '' ? '' : `?${search}`;
}

/** The address of the page that shows this view: a service has its own. */
export function toHref(view: ViewState): string {
  return `${view.service === null ? '/' : '/service/'}${toSearch(view)}`;
}

export function rangeOf(name: RangeName): (typeof RANGES)[number] {
  return RANGES.find((range) => range.name === name) ?? RANGES[1];
}

/** A step that gives a window at most about 360 points, from those the server keeps. */
export function stepFor(windowMs: number): number {
  const steps = [10_000, 60_000, 300_000, 3_600_000, 21_600_000];
  return steps.find((step) => windowMs / step <= 361) ?? 86_400_000;
}
