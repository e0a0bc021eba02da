/**
 * What the stand-in answers to the pages of requests, comparison, alerts, ledger, keys and the first event. Invented, in
 * the shapes of the read API; what is created lives until the process ends.
 *
 *   SESSION=read   refuses every change, as a session of a read key is refused
 *   MISSING=/v1/freshness,/v1/compare   answers 404 to these, as an older server does
 */
const MISSING = (process.env.MISSING ?? '').split(',').filter(Boolean);
const MAY_CHANGE = process.env.SESSION !== 'read';
const STARTED = Date.now();
const ROUTES = [
  ['POST', '/buy', 120, 2.1],
  ['GET', '/items/{id}.json', 18, 1.4],
  ['GET', '/users/transactions.json', 96, 1.9],
  ['GET', '/new_items/{id}.json', 22, 1.3],
  ['POST', '/login', 64, 1.2],
  ['GET', '/users/{id}.json', 12, 1.5],
  ['POST', '/sell', 41, 1.3],
  ['GET', '/settings', 3.1, 1.2],
];
const hex = (n, digits) => {
  let text = '';
  for (let i = 0; text.length < digits; i += 1)
    text += ((Math.imul(n + i, 2654435761) >>> 0) ^ (n << i)).toString(16).replace('-', '');
  return text.slice(0, digits);
};

const chance = (n) => {
  let x = Math.imul(n ^ 0x9e3779b9, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return ((x ^ (x >>> 16)) >>> 0) / 4294967296;
};

/** The event that ended in that slot of 70 ms; the same whenever it is asked for. */
function eventAt(slot) {
  const u = (k) => chance(slot * 7 + k);
  const [method, route, base, tail] = ROUTES[Math.floor(u(1) ** 1.7 * ROUTES.length)];
  const bad = route === '/buy' && u(2) < 0.3;
  const status = bad ? (u(3) < 0.95 ? 502 : 504) : u(2) < 0.92 ? 200 : u(3) < 0.5 ? 404 : 304;
  const duration =
    base *
    Math.exp(tail * 0.55 * Math.sqrt(-2 * Math.log(u(4) + 1e-9)) * Math.cos(6.283 * u(5))) *
    (bad ? 9 : 1);
  const ts = slot * 70 + Math.floor(u(6) * 60);
  return {
    ts: new Date(ts).toISOString(),
    ts_ms: ts,
    service: 'checkout',
    env: 'production',
    route,
    method,
    status,
    duration_ms: Math.round(duration * 1000) / 1000,
    error: bad ? 'upstream refused the connection: acme-pay timed out after 1500 ms' : null,
    host: `web-${1 + Math.floor(u(7) * 6)}`,
    version: u(8) < 0.8 ? 'v2.14.0' : 'v2.13.4',
    trace_id: u(9) < 0.9 ? hex(slot, 32) : null,
    span_id: u(9) < 0.9 ? hex(slot + 1, 16) : null,
    source: 'sdk',
    bytes_in: 412,
    bytes_out: 9821,
    attrs: {
      gateway: bad ? 'acme-pay' : 'stripe',
      'http.user_agent': 'Mozilla/5.0',
      cart_items: Math.floor(u(3) * 9),
    },
    weight: status >= 500 || duration > 900 ? 1 : 40,
    receipt: `r1.7.${slot % 8}.${(slot % 1_000_000).toString(16)}.8d3f21aa`,
  };
}

const moment = (text) => {
  if (text === null || text === 'now') return Date.now();
  const back = /^-(\d+)(s|m|h|d)$/.exec(text);
  if (back) return Date.now() - Number(back[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[back[2]];
  return /^\d+$/.test(text) ? Number(text) : Date.parse(text);
};

const statusFits = (status, wanted) => wanted === String(status) || wanted === `${String(status)[0]}xx`;

function fits(event, q) {
  const any = (name, same = (value, wanted) => value === wanted) => {
    const asked = q.getAll(name);
    const no = asked.filter((value) => value.startsWith('!')).map((value) => value.slice(1));
    const yes = asked.filter((value) => !value.startsWith('!'));
    if (no.some((value) => same(event[name], value))) return false;
    return yes.length === 0 || yes.some((value) => same(event[name], value));
  };
  const text = (q.get('text') ?? '').toLowerCase();
  return (
    any('service') &&
    any('route') &&
    any('method') &&
    any('host') &&
    any('version') &&
    any('status', statusFits) &&
    (q.get('trace_id') === null || q.get('trace_id') === event.trace_id) &&
    event.duration_ms >= Number(q.get('min_duration_ms') ?? 0) &&
    event.duration_ms < Number(q.get('max_duration_ms') ?? Number.POSITIVE_INFINITY) &&
    (text === '' || JSON.stringify(event).toLowerCase().includes(text))
  );
}

const ROW_US = Array.from({ length: 81 }, (_, i) => Math.round(100 * 10 ** (i / 16)));

function events(q) {
  const limit = Number(q.get('limit') ?? 50);
  const last = Math.floor((Math.min(moment(q.get('to')), Date.now()) - 1500) / 70);
  const first = Math.ceil(moment(q.get('from')) / 70);
  const found = [];
  let at = q.get('cursor') ? Number(q.get('cursor')) : last;
  let seen = 0;
  for (; at > first && found.length < limit && seen < 40_000; at -= 1, seen += 1) {
    const event = eventAt(at);
    if (fits(event, q)) found.push(event);
  }
  // Counted over a part of the window and scaled: enough for a stand-in.
  const count = new Array(ROW_US.length - 1).fill(0);
  let matched = 0;
  let total = 0;
  const part = Math.max(1, Math.floor((last - first) / 4000));
  for (let slot = last; slot > first; slot -= part) {
    const event = eventAt(slot);
    const weight = event.weight * part;
    total += weight;
    if (!fits(event, q)) continue;
    matched += weight;
    const row = ROW_US.findIndex(
      (low, i) => event.duration_ms * 1000 >= low && event.duration_ms * 1000 < ROW_US[i + 1],
    );
    if (row !== -1 && row < count.length) count[row] += weight;
  }
  return {
    events: found,
    next_cursor: at > first ? String(at) : null,
    sampled: true,
    matched: found.length === 0 ? 0 : Math.max(matched, found.length),
    total,
    duration_histogram: { row_us: ROW_US, count },
  };
}

const SUGGEST = {
  service: ['checkout', 'search', 'gateway', 'catalog', 'images', 'auth', 'orders'],
  route: ROUTES.map(([, route]) => route),
  method: ['GET', 'POST', 'PUT', 'DELETE'],
  status: ['200', '304', '404', '422', '502', '504'],
  host: ['web-1', 'web-2', 'web-3', 'web-4', 'web-5', 'web-6'],
  version: ['v2.14.0', 'v2.13.4', 'v2.13.3'],
  env: ['production', 'staging'],
};

function compare(q) {
  const label = (side) =>
    side.startsWith('window:')
      ? side === q.get('a')
        ? '14:05 to 14:15'
        : '14:15 to 14:30'
      : side.split(':')[1];
  const few = q.get('b')?.includes('web-6');
  const quantiles = [
    [0.5, 38.1, 38.4],
    [0.75, 62.4, 62.9],
    [0.9, 124, 127],
    [0.95, 208, 211],
    [0.98, 287, 912],
    [0.99, 402, 1840],
    [0.999, 1120, 2480],
    [0.9999, 2210, 3870],
  ].map(([level, a, b]) => {
    const width = 0.004 + 0.02 * -Math.log10(1 - level);
    const significant = level > 0.97;
    return {
      q: level,
      a_ms: a,
      b_ms: few && level > 0.9 ? null : b,
      difference_ms: few && level > 0.9 ? null : b - a,
      factor: few && level > 0.9 ? null : b / a,
      significant: significant && !few,
      enough: !few && level < 0.9995,
      a_low_ms: a * (1 - width),
      a_high_ms: a * (1 + width),
      b_low_ms: b * (1 - width * 1.4),
      b_high_ms: b * (1 + width * 1.4),
    };
  });
  const bell = (us, centre, width, size) =>
    Math.round(size * Math.exp(-((Math.log(us / centre) / width) ** 2)));
  return {
    a: { label: label(q.get('a')), count: 412_903, errors: 495, error_rate: 0.0012, quantiles_ms: {} },
    b: {
      label: label(q.get('b')),
      count: few ? 86 : 288_114,
      errors: 12_130,
      error_rate: 0.0421,
      quantiles_ms: {},
    },
    error_bound: 0.001,
    quantiles,
    histogram: {
      row_us: ROW_US,
      a: ROW_US.slice(1).map((us) => bell(us, 38_000, 0.9, 24_000) + bell(us, 5200, 0.5, 6000)),
      b: ROW_US.slice(1).map(
        (us) => bell(us, 38_000, 0.9, 17_000) + bell(us, 5200, 0.5, 4200) + bell(us, 1_800_000, 0.25, 2600),
      ),
    },
    sentence: few
      ? 'Only 86 requests in B; p99 needs more. Widen the window.'
      : `${label(q.get('b'))} is slower from p98 up: p99 1.84 s against 402 ms. Below p95 there is no difference.`,
    errors_significant: true,
    routes: [
      ['POST', '/buy', 53_010, 37_900, 488, 2310, 0.936],
      ['GET', '/users/transactions.json', 20_102, 14_030, 902, 956, 0.041],
      ['POST', '/login', 14_220, 9960, 188, 190, 0.004],
      ['GET', '/items/{id}.json', 191_400, 134_000, 388, 381, -0.012],
    ].map(([method, route, a_count, b_count, a_p99_ms, b_p99_ms, contribution]) => ({
      method,
      route,
      a_count,
      b_count,
      a_p99_ms,
      b_p99_ms,
      contribution,
    })),
  };
}

const keys = [
  [
    '1',
    'checkout servers',
    'peep_production_7f3…',
    'ingest',
    'production',
    84 * 864e5,
    4e3,
    1_284_113,
    ['web-1', 'web-2'],
  ],
  ['2', 'storefront', 'peep_browser_c01…', 'ingest', 'browser', 31 * 864e5, 61e3, 88_210, []],
  ['3', 'grafana', 'peep_55e…', 'read', null, 12 * 864e5, null, null, []],
  ['4', 'old nginx', 'peep_production_a90…', 'ingest', 'production', 200 * 864e5, 9 * 864e5, 0, ['edge-1']],
].map(([id, name, prefix, scope, env, age, used, events_today, hosts]) => ({
  id,
  name,
  prefix,
  scope,
  env,
  origins: env === 'browser' ? ['https://shop.example'] : [],
  created_ms: STARTED - age,
  revoked_ms: id === '4' ? STARTED - 8 * 864e5 : null,
  last_used_ms: used === null ? null : STARTED - used,
  events_today,
  hosts,
}));

const rule = (id, name, service, kind, target, state, more = {}) => ({
  id,
  name,
  service,
  env: null,
  kind,
  target,
  receiver: { kind: 'webhook', url_shown: 'https://hooks.example/…' },
  enabled: true,
  state,
  since_ms: STARTED - 3 * 864e5,
  sentence: '',
  burn: null,
  window: null,
  ...more,
});
let rules = [
  rule(
    'a1',
    '99.9 % of requests succeed over 30 days',
    'checkout',
    'error_budget',
    { objective: 0.999, period_days: 30 },
    'firing',
    {
      since_ms: STARTED - 5 * 6e4,
      burn: 14.4,
      window: { from_ms: STARTED - 36e5, to_ms: STARTED },
      sentence: 'checkout fails 4.21 % of its requests and spends its budget of 30 days in 50 hours.',
    },
  ),
  rule('a2', 'p99 stays under 2× its usual', null, 'latency', { quantile: 0.99, times_usual: 2 }, 'pending', {
    since_ms: STARTED - 40e3,
    sentence: 'search: p99 is 1.43 s, usually 596 ms.',
  }),
  rule(
    'a3',
    'checkout answers in half a second',
    'checkout',
    'latency',
    { quantile: 0.95, limit_ms: 500 },
    'ok',
  ),
  rule('a4', 'No requests for 2 minutes', 'orders', 'silence', { for_s: 120 }, 'ok', { receiver: null }),
  rule('a5', 'nightly batch', 'reports', 'silence', { for_s: 86_400 }, 'ok', { enabled: false }),
];
const PRESETS = [
  ['99.9 % of requests succeed over 30 days', 'error_budget', { objective: 0.999, period_days: 30 }],
  ['p99 stays under 2× its usual', 'latency', { quantile: 0.99, times_usual: 2 }],
  ['No requests for 2 minutes', 'silence', { for_s: 120 }],
].map(([name, kind, target]) => ({
  name,
  service: null,
  env: null,
  kind,
  target,
  receiver: null,
  enabled: true,
}));

/** What arrived over the button, or from a curl at the port of the stand-in. */
const arrived = [];
const refused = [];

const reads = {
  '/v1/events': (q) => {
    const own = arrived.filter((event) => event.ts_ms >= moment(q.get('from')) && fits(event, q)).reverse();
    if (q.get('service') && !SUGGEST.service.includes(q.get('service')))
      return {
        events: own,
        next_cursor: null,
        sampled: false,
        matched: own.length,
        total: own.length,
        duration_histogram: null,
      };
    return events(q);
  },
  '/v1/suggest': (q) => {
    const all = SUGGEST[q.get('field')] ?? [];
    const prefix = (q.get('prefix') ?? '').toLowerCase();
    const values = all.filter((value) => value.toLowerCase().startsWith(prefix));
    return {
      values: values.slice(0, 10).map((value, i) => ({ value, count: Math.round(90_000 / (i + 1)) })),
    };
  },
  '/v1/compare': compare,
  '/v1/releases': (q) => ({
    releases: [
      {
        service: q.get('service') ?? 'checkout',
        env: 'production',
        version: 'v2.14.0',
        previous: 'v2.13.4',
        first_seen_ms: STARTED - 5 * 6e4,
        last_seen_ms: Date.now(),
        hosts: 6,
      },
    ],
  }),
  '/v1/reconcile': (q) => ({
    from_ms: moment(q.get('from')),
    to_ms: moment(q.get('to')),
    accepted: 11_524_036,
    rolled_up: 11_523_902,
    dead_lettered: { total: 4, too_old: 3, in_future: 1 },
    duplicate: 130,
    unidentified: 1200,
    uncertain: 0,
    cardinality_limited: 0,
    unreadable_records: 0,
    in_flight: 82,
    in_flight_exact: true,
    in_flight_note: null,
    balanced: process.env.BOOKS !== 'off',
    checks: {
      sums: { ok: true },
      chain: { ok: true, gaps: [], breaks: [] },
      days: {
        ok: process.env.BOOKS !== 'off',
        compared: 1,
        since: '2026-11-20',
        differences:
          process.env.BOOKS === 'off'
            ? [{ day: '2026-11-20', partition: 3, rolled_up: 11_523_902, rollups: 11_523_890 }]
            : [],
      },
      dead_letters: { ok: true, kept: 4 },
    },
  }),
  '/v1/rejects/summary': () => ({
    reasons: [
      ...refused,
      {
        reason: 'invalid_duration',
        meaning: 'A duration is not a number from 0 to 3,600,000.',
        fix: 'Send `duration_ms` in milliseconds; fractions are allowed. Leave it out when the request was not timed.',
        count: 212,
        last_seen_ms: Date.now() - 41e3,
        key: { id: '2', prefix: 'peep_browser_c01…' },
        example: {
          service: 'web',
          route: '/cart',
          method: 'GET',
          duration_ms: '38ms',
          attrs: { token: '[redacted]' },
        },
      },
      {
        reason: 'too_old',
        meaning: 'The event ended longer ago than events are taken.',
        fix: 'Raise PEEP_ROLLUP_LATE_MAX, or send events when they happen; `peep rejects replay` counts these later.',
        count: 3,
        last_seen_ms: Date.now() - 5 * 36e5,
        key: { id: '1', prefix: 'peep_production_7f3…' },
        example: {
          ts: '2026-09-01T00:00:00Z',
          service: 'checkout',
          env: 'production',
          route: '/cart',
          duration_ms: 12.5,
        },
      },
    ],
  }),
  '/v1/freshness': (q) => {
    const [from, to] = [moment(q.get('from')), moment(q.get('to'))];
    const t = Array.from(
      { length: 288 },
      (_, i) => Math.floor((from + ((to - from) * i) / 288) / 3e5) * 3e5,
    ).filter((x, i, all) => i === 0 || x > all[i - 1]);
    return {
      probe: { age_ms: 412, p50_ms: 390, p99_ms: 870, at_ms: Date.now() - 400 },
      t,
      p50_ms: t.map((at, i) => (i > 120 && i < 124 ? null : 380 + 40 * chance(at / 3e5))),
      p99_ms: t.map((at, i) =>
        i > 120 && i < 124 ? null : (i === 200 ? 3400 : 800) + 220 * chance(at / 3e5 + 9),
      ),
    };
  },
  '/v1/keys': () => ({ keys }),
  '/v1/alerts': () => ({ rules, firing: rules.filter((item) => item.state === 'firing').length }),
  '/v1/alerts/presets': () => ({ presets: PRESETS }),
  '/v1/openapi.json': () => ({
    openapi: '3.1.0',
    info: { title: 'peep', version: '0.9.0' },
    paths: { '/v1/test-event': {} },
  }),
};

function receipt(text) {
  const trace = /^[0-9a-f]{32}$/.test(text);
  if (!trace && !/^r1(\.[0-9a-f]+){4}$/.test(text))
    return [400, 'invalid_receipt', 'a receipt looks like r1.7.3.1595c.8d3f21aa; this one is not whole'];
  if (text.includes('.ffff'))
    return [404, 'receipt_not_found', 'there is no such record, or it is of another project'];
  const at = Date.now() - 6 * 6e4;
  return {
    status: 'applied',
    receipt: trace ? 'r1.7.3.1595c.8d3f21aa' : text,
    partition: 3,
    offset: 88_412,
    settled_ms: at + 310,
    counted: 'all',
    stations: [
      { name: 'accepted', at_ms: at, note: null },
      { name: 'log', at_ms: at + 4, note: null },
      { name: 'counted', at_ms: at + 310, note: 'in the window 14:22:10 to :20' },
      { name: 'live', at_ms: text.endsWith('0') ? null : at + 402, note: null },
    ],
  };
}

const MUST_LOG_IN =
  'this session was opened with a read key; open a login link (`peep login-link`) to change anything';

/** Whether it was for us. `answer(status, json)`, `refuse(status, code, message)`. */
export function pages(request, url, body, answer, refuse) {
  const path = url.pathname;
  const { method } = request;
  if (MISSING.includes(path)) {
    refuse(404, 'not_found', 'no such path');
    return true;
  }
  if (method === 'GET') {
    if (path.startsWith('/v1/receipts/')) {
      const found = receipt(decodeURIComponent(path.slice('/v1/receipts/'.length)));
      if (Array.isArray(found)) refuse(...found);
      else answer(200, found);
      return true;
    }
    const read = reads[path];
    if (read === undefined) return false;
    answer(200, read(url.searchParams));
    return true;
  }
  if (!/^\/v1\/(keys|alerts|test-event|events)/.test(path)) return false;
  if (path === '/v1/events') {
    // Not of the read API: so that a curl at the stand-in works.
    const event = JSON.parse(body);
    if (typeof event.duration_ms === 'string') {
      refused.unshift({
        reason: 'invalid_duration',
        meaning: 'A duration is not a number from 0 to 3,600,000.',
        fix: 'Send `duration_ms` in milliseconds, fractions allowed.',
        count: 1,
        last_seen_ms: Date.now(),
        key: null,
        example: event,
      });
      answer(422, { error: { code: 'no_valid_event', message: 'no event was acceptable', request_id: 'x' } });
    } else {
      arrived.push({ ...eventAt(1), ...event, ts_ms: Date.now(), trace_id: null, weight: 1, error: null });
      answer(202, { accepted: 1, rejected: [], receipt: 'r1.7.3.1595c.8d3f21aa' });
    }
    return true;
  }
  if (!MAY_CHANGE) {
    refuse(403, 'forbidden', MUST_LOG_IN);
    return true;
  }
  const json = body === '' ? {} : JSON.parse(body);
  const id = decodeURIComponent(path.split('/')[3] ?? '');
  if (path === '/v1/test-event') {
    arrived.push({
      ...eventAt(1),
      service: json.service,
      env: json.env,
      ts_ms: Date.now(),
      weight: 1,
      error: null,
      status: 200,
    });
    answer(202, { accepted: 1, receipt: 'r1.7.3.1595c.8d3f21aa' });
  } else if (path === '/v1/keys' && method === 'POST') {
    const made = { id: String(keys.length + 1), prefix: `peep_${json.env ? `${json.env}_` : ''}9ab…` };
    keys.unshift({
      ...made,
      name: json.name,
      scope: json.scope,
      env: json.env,
      origins: json.origins ?? [],
      created_ms: Date.now(),
      revoked_ms: null,
      last_used_ms: null,
      events_today: 0,
      hosts: [],
    });
    answer(201, { ...made, key: `peep_${json.env ? `${json.env}_` : ''}9abK2mTq7VxW0rYcP4sLd8uZ_0f31c2` });
  } else if (path.startsWith('/v1/keys/') && method === 'DELETE') {
    const key = keys.find((item) => item.id === id);
    if (key === undefined) refuse(404, 'not_found', 'no such key');
    else {
      key.revoked_ms = Date.now();
      answer(204);
    }
  } else if (path === '/v1/alerts/preview') {
    answer(200, {
      days: 7,
      times: 2,
      minutes: 31,
      episodes: [
        { from_ms: Date.now() - 5.2 * 864e5, to_ms: Date.now() - 5.2 * 864e5 + 12 * 6e4 },
        { from_ms: Date.now() - 0.3 * 864e5, to_ms: Date.now() - 0.3 * 864e5 + 19 * 6e4 },
      ],
    });
  } else if (path === '/v1/alerts/test') {
    const host = new URL(json.receiver.url).hostname;
    if (/^(10|127|192\.168)\./.test(host))
      refuse(
        422,
        'webhook_refused',
        `${host} is a private address. Alerts only go to public ones, or to hosts listed in \`PEEP_WEBHOOK_ALLOW\`.`,
      );
    else answer(200, { status: 200, body: '{"ok":true}', ms: 118 });
  } else if (path === '/v1/alerts' && method === 'POST') {
    const made = rule(`b${rules.length}`, json.name, json.service, json.kind, json.target, 'ok', {
      env: json.env,
      enabled: json.enabled,
      receiver: json.receiver
        ? { kind: 'webhook', url_shown: `${new URL(json.receiver.url).origin}/…` }
        : null,
    });
    rules.push(made);
    answer(201, made);
  } else if (path.startsWith('/v1/alerts/') && method === 'PUT') {
    const at = rules.findIndex((item) => item.id === id);
    rules[at] = {
      ...rules[at],
      ...json,
      receiver:
        json.receiver?.url === undefined
          ? rules[at].receiver
          : { kind: 'webhook', url_shown: 'https://hooks.example/…' },
    };
    answer(200, rules[at]);
  } else if (path.startsWith('/v1/alerts/') && method === 'DELETE') {
    rules = rules.filter((item) => item.id !== id);
    answer(204);
  } else return false;
  return true;
}
