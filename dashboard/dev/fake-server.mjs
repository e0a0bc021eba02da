/**
 * A stand-in for the stream service, for working on the dashboard without one. It speaks the read API with generated
 * traffic of nine services and serves the export like the real one does, content security policy included.
 * A tool for development only: nothing here is shipped, and no test of the product runs on it.
 *
 *   node dev/fake-server.mjs [port]      SCENARIO=failing|calm|empty|gap|few|recovering|hostile|many   WITHOUT=findings,heatmap
 */
import { createHash, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { createServer, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pages } from './fake-pages.mjs';

const OUT = fileURLToPath(new URL('../out', import.meta.url));
const PORT = Number(process.argv[2] ?? 8085);
const SCENARIO = process.env.SCENARIO ?? 'failing';
const STARTED = Date.now();
const KEY = 'peep_read_fake';
/** Endpoints this server pretends not to have. */
const WITHOUT = (process.env.WITHOUT ?? '').split(',').filter(Boolean);
/** When checkout got its release, and when the failures began. */
const RELEASED_MS = STARTED - 500_000;
const BROKE_MS = RELEASED_MS + 20_000;

const SERVICES = [
  [
    'checkout',
    128,
    38,
    2.0,
    [
      'POST /buy',
      'GET /items/{id}.json',
      'GET /users/transactions.json',
      'GET /new_items/{id}.json',
      'POST /login',
      'GET /users/{id}.json',
      'POST /sell',
      'GET /settings',
      'GET /timeline',
      'PUT /cart/{id}',
    ],
  ],
  ['search', 64, 52, 2.2, ['GET /search', 'GET /suggest']],
  ['gateway', 531, 9.8, 1.6, ['GET /', 'GET /assets/{name}', 'POST /graphql']],
  ['catalog', 247, 12, 1.5, ['GET /items', 'GET /items/{id}']],
  ['images', 189, 3.4, 1.4, ['GET /i/{hash}']],
  ['auth', 86, 19, 1.4, ['POST /token', 'POST /introspect']],
  ['orders', 21, 45, 1.5, ['GET /orders', 'POST /orders']],
  ['sessions', 9.6, 0.84, 1.3, ['GET /s', 'PUT /s']],
  ['notifications', 0.7, 61, 1.5, ['POST /push']],
];

const VERSIONS = {
  checkout: 'v2.14.0',
  search: 'v3.8.1',
  gateway: 'v1.92.3',
  catalog: 'v5.0.7',
  images: 'v1.4.0',
  auth: 'v2.2.9',
  orders: 'v4.31.0',
  sessions: 'v1.1.6',
  notifications: 'v0.19.2',
};
if (SCENARIO === 'few') SERVICES.splice(2);
if (SCENARIO === 'hostile') {
  SERVICES.push(
    ['<script>alert(1)</script>', 12, 30, 1.5, ['GET /<img src=x onerror=alert(1)>', 'GET /ok']],
    ['\u202eecivres-lia', 9, 30, 1.5, ['GET /\u05d0\u05d1\u05d2']],
    [
      `${'very-long-name-of-a-service-'.repeat(5)}end`,
      7,
      30,
      1.5,
      [`GET /${'segment/'.repeat(22)}tail.json`],
    ],
    ['(other)', 40, 30, 1.5, ['(other) (other)']],
  );
}
if (SCENARIO === 'many')
  for (let n = 0; n < 2000; n += 1)
    SERVICES.push([`service-${n}`, 2 + (n % 7), 5 + (n % 90), 1.5, ['GET /']]);

/** A generator that gives the same numbers for the same second, so live and history agree. */
function rng(seed) {
  let a = seed | 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const normal = (r) => Math.sqrt(-2 * Math.log(r() + 1e-12)) * Math.cos(2 * Math.PI * r());
const poisson = (r, mean) => {
  if (mean > 30) return Math.max(0, Math.round(mean + normal(r) * Math.sqrt(mean)));
  let n = 0;
  for (let p = Math.exp(-mean), x = r(); x > p; n += 1) x *= r();
  return n;
};

/** One step of one route: counts by status and a few representative durations. */
const memo = new Map();
function cell(s, routeIndex, slot, stepS) {
  if (SCENARIO === 'empty') return null;
  const id = `${s}/${routeIndex}/${slot}/${stepS}`;
  const known = memo.get(id);
  if (known !== undefined) return known;
  const [name, rate, p50, tail, routes] = SERVICES[s];
  const r = rng(slot * 7919 + s * 104729 + routeIndex * 1299709 + stepS);
  const weights = routes.map((_, i) => 1 / (i + 1.4));
  const part = weights[routeIndex] / weights.reduce((a, b) => a + b, 0);
  const age = (STARTED - slot * 1000) / 1000;
  if (SCENARIO === 'gap' && name === 'checkout' && age > 300 && age < 320) return null;
  const wave = 1 + 0.05 * Math.sin(slot / 140) + 0.03 * normal(r);
  const count = poisson(r, rate * part * stepS * wave);
  if (count === 0) {
    memo.set(id, null);
    return null;
  }
  const bad = SCENARIO !== 'calm' && name === 'checkout' && routeIndex === 0 && age < 480;
  const ramp = bad ? Math.min(1, (480 - age) / 70) : 0;
  const slow = SCENARIO !== 'calm' && name === 'search' && age < 700 ? Math.min(1, (700 - age) / 120) : 0;
  const errors = poisson(r, count * (0.0012 + 0.28 * ramp));
  const client = poisson(r, count * 0.02);
  const redirect = poisson(r, count * (name === 'gateway' ? 0.1 : 0.01));
  const q = p50 * (1 + routeIndex * 0.3);
  const spread = Math.log(3 + tail);
  const scale = (1 + 0.02 * normal(r)) * (1 + 0.15 * ramp);
  const quantiles = {
    0.5: q * scale,
    0.95: q * scale * Math.exp(spread) * (1 + 0.06 * normal(r)) * (1 + 0.6 * ramp),
    0.99: q * scale * Math.exp(spread * 1.35) * (1 + 0.08 * normal(r)) * (1 + 3.4 * ramp + 1.3 * slow),
  };
  const max = quantiles[0.99] * (1.2 + 3 * r() ** 2);
  const made = {
    count,
    errors: Math.min(errors, count),
    latency_count: count,
    mean_ms: q * scale * 1.6,
    max_ms: max,
    quantiles,
    status: {
      '1xx': 0,
      '2xx': Math.max(0, count - errors - client - redirect),
      '3xx': redirect,
      '4xx': client,
      '5xx': Math.min(errors, count),
      unknown: 0,
    },
  };
  memo.set(id, made);
  if (memo.size > 400_000) memo.clear();
  return made;
}

/** Weighted means of percentiles are wrong, and good enough for a stand-in that invents its numbers anyway. */
function merge(cells) {
  const all = cells.filter(Boolean);
  if (all.length === 0) return null;
  const count = all.reduce((n, c) => n + c.count, 0);
  const mean = (pick) => all.reduce((n, c) => n + pick(c) * c.count, 0) / count;
  const status = {};
  for (const name of ['1xx', '2xx', '3xx', '4xx', '5xx', 'unknown'])
    status[name] = all.reduce((n, c) => n + c.status[name], 0);
  return {
    count,
    errors: all.reduce((n, c) => n + c.errors, 0),
    latency_count: count,
    mean_ms: mean((c) => c.mean_ms),
    max_ms: Math.max(...all.map((c) => c.max_ms)),
    quantiles: {
      0.5: mean((c) => c.quantiles[0.5]),
      0.95: mean((c) => c.quantiles[0.95]),
      0.99: mean((c) => c.quantiles[0.99]),
    },
    status,
  };
}

function totals(cells, windowS) {
  const m = merge(cells);
  if (m === null)
    return {
      count: 0,
      errors: 0,
      rate: 0,
      error_rate: 0,
      latency_count: 0,
      sum_ms: 0,
      mean_ms: null,
      min_ms: null,
      max_ms: null,
      quantiles_ms: { 0.5: null, 0.9: null, 0.95: null, 0.99: null },
    };
  return {
    count: m.count,
    errors: m.errors,
    rate: m.count / windowS,
    error_rate: m.errors / m.count,
    latency_count: m.count,
    sum_ms: m.count * m.mean_ms,
    mean_ms: m.mean_ms,
    min_ms: m.quantiles[0.5] / 8,
    max_ms: m.max_ms,
    quantiles_ms: {
      0.5: m.quantiles[0.5],
      0.9: m.quantiles[0.95] * 0.8,
      0.95: m.quantiles[0.95],
      0.99: m.quantiles[0.99],
      0.999: m.quantiles[0.99] * 1.15,
    },
  };
}

function admits(q, name, value) {
  const all = q.getAll(name);
  const wanted = all.filter((item) => !item.startsWith('!'));
  return !all.includes(`!${value}`) && (wanted.length === 0 || wanted.includes(value));
}

/** The (service, route) pairs a filter admits, by group. */
function groups(q, by) {
  const found = new Map();
  SERVICES.forEach(([service, , , , routes], s) => {
    if (!admits(q, 'service', service)) return;
    routes.forEach((full, r) => {
      const [method, route] = full.split(' ');
      if (!admits(q, 'route', route) || !admits(q, 'method', method)) return;
      if (q.getAll('status').includes('599')) return;
      const all = { service, route, method, env: 'production' };
      const key = Object.fromEntries(by.map((name) => [name, all[name] ?? '']));
      const id = JSON.stringify(key);
      if (!found.has(id)) found.set(id, { key, members: [] });
      found.get(id).members.push([s, r]);
    });
  });
  return [...found.values()];
}

const cellsAt = (members, slot, stepS) => merge(members.map(([s, r]) => cell(s, r, slot, stepS)));

function columnsOf(members, slots, stepS, sparse, nowS) {
  const out = {
    t: [],
    count: [],
    errors: [],
    latency_count: [],
    mean_ms: [],
    max_ms: [],
    status: { '1xx': [], '2xx': [], '3xx': [], '4xx': [], '5xx': [], unknown: [] },
    quantiles_ms: { 0.5: [], 0.9: [], 0.95: [], 0.99: [], 0.999: [] },
  };
  for (const slot of slots) {
    let m = cellsAt(members, slot, stepS);
    if (m !== null && nowS !== undefined && slot + stepS > nowS) {
      const part = Math.max(0.05, (nowS - slot) / stepS);
      m = {
        ...m,
        count: Math.ceil(m.count * part),
        errors: Math.floor(m.errors * part),
        latency_count: Math.ceil(m.count * part),
        status: Object.fromEntries(Object.entries(m.status).map(([k, v]) => [k, Math.round(v * part)])),
      };
    }
    if (m === null && sparse) continue;
    out.t.push(slot * 1000);
    for (const name of ['count', 'errors', 'latency_count', 'mean_ms', 'max_ms'])
      out[name].push(m?.[name] ?? null);
    for (const name of Object.keys(out.status)) out.status[name].push(m?.status[name] ?? null);
    for (const name of ['0.5', '0.95', '0.99']) out.quantiles_ms[name].push(m?.quantiles[name] ?? null);
    out.quantiles_ms['0.9'].push(m === null ? null : m.quantiles['0.95'] * 0.8);
    out.quantiles_ms['0.999'].push(m === null ? null : m.quantiles['0.99'] * 1.15);
  }
  return out;
}

const slotsOf = (fromMs, toMs, stepS) => {
  const first = Math.floor(fromMs / 1000 / stepS) * stepS;
  const slots = [];
  for (let at = first; at * 1000 < toMs; at += stepS) slots.push(at);
  return slots;
};

function seconds(text, fallback) {
  const m = /^(\d+)(s|m|h|d)$/.exec(text ?? '');
  return m ? Number(m[1]) * { s: 1, m: 60, h: 3600, d: 86400 }[m[2]] : fallback;
}
const by = (q) => (q.get('group_by') ?? '').split(',').filter(Boolean);
const moment = (text) =>
  text === 'now'
    ? Date.now()
    : text?.startsWith('-')
      ? Date.now() - seconds(text.slice(1), 900) * 1000
      : Number(text);
const span = (q) => ({ fromMs: moment(q.get('from')), toMs: moment(q.get('to')) });

let serial = 0;
function liveData(q, type, slots, stepS, windowS) {
  const now = Date.now();
  const all = slotsOf(now - windowS * 1000, now, stepS);
  const nowS = (now - 350) / 1000;
  const row = (key, members) => ({
    key,
    last_seen_ms: now - 300,
    window: totals(
      all.map((slot) => cellsAt(members, slot, stepS)),
      windowS,
    ),
    ...columnsOf(members, slots, stepS, true, nowS),
  });
  const found = groups(q, by(q));
  serial += 1;
  return {
    type,
    id: `fake-${serial}`,
    at_ms: now,
    step_ms: stepS * 1000,
    window_ms: windowS * 1000,
    error_bound: 0.001,
    newest_event_ms: SCENARIO === 'empty' ? null : now - 300 - Math.round(Math.random() * 200),
    epoch: '1',
    quantiles: ['0.5', '0.95', '0.99'],
    envs: SCENARIO === 'empty' ? [] : ['production', 'staging'],
    total: row(
      {},
      found.flatMap((g) => g.members),
    ),
    rows: SCENARIO === 'empty' ? [] : found.map((g) => row(g.key, g.members)),
    ...(type === 'frame' ? { gone: [] } : {}),
  };
}

function live(q, send) {
  const stepS = seconds(q.get('step'), 10);
  const windowS = seconds(q.get('window'), 900);
  const now = Date.now();
  send(liveData(q, 'snapshot', slotsOf(now - windowS * 1000, now, stepS), stepS, windowS));
  const timer = setInterval(() => {
    const at = Date.now();
    if (SCENARIO === 'empty')
      send({ type: 'heartbeat', id: `fake-${++serial}`, at_ms: at, newest_event_ms: null });
    else send(liveData(q, 'frame', slotsOf(at - Math.max(2, stepS) * 1000, at, stepS), stepS, windowS));
  }, 1000);
  return () => clearInterval(timer);
}

const api = {
  '/v1/services': (q) => {
    const { fromMs, toMs } = span(q);
    const stepS = 60;
    const slots = slotsOf(fromMs, toMs, stepS);
    return {
      from_ms: fromMs,
      to_ms: toMs,
      error_bound: 0.001,
      envs: ['production', 'staging'],
      services: groups(q, ['service']).map((g) => ({
        service: g.key.service,
        ...totals(
          slots.map((slot) => cellsAt(g.members, slot, stepS)),
          (toMs - fromMs) / 1000,
        ),
        last_seen_ms: Date.now() - 400,
        version: VERSIONS[g.key.service] ?? null,
        versions: g.key.service === 'checkout' ? 2 : 1,
        hosts: 6,
        first_seen_ms: Date.now() - 6e8,
      })),
    };
  },
  '/v1/summary': (q) => {
    const { fromMs, toMs } = span(q);
    const stepS = 60;
    const slots = slotsOf(fromMs, toMs, stepS);
    const windowS = (toMs - fromMs) / 1000;
    if (['version', 'host'].includes(q.get('group_by'))) {
      const dimension = q.get('group_by');
      const service = q.get('service');
      const m = totals(
        groups(q, []).flatMap((g) => slots.map((slot) => cellsAt(g.members, slot, stepS))),
        windowS,
      );
      const values =
        dimension === 'version'
          ? service === 'checkout'
            ? [
                ['v2.14.0', 0.58, 1.6, RELEASED_MS, 1.7],
                ['v2.13.4', 0.42, 0.35, RELEASED_MS - 6e8, 0.05],
              ]
            : [[VERSIONS[service] ?? 'v1', 1, 1, RELEASED_MS - 6e8, 1]]
          : Array.from({ length: 6 }, (_, n) => [
              `web-${n + 1}`,
              (1 + (n % 3) / 10) / 6.6,
              1 + n / 50,
              STARTED - 6e8,
              1,
            ]);
      return {
        from_ms: fromMs,
        to_ms: toMs,
        error_bound: 0.001,
        rows: values.map(([value, part, slow, first, bad]) => ({
          [dimension]: value,
          ...m,
          count: Math.round(m.count * part),
          errors: Math.round(m.errors * part * bad),
          quantiles_ms: Object.fromEntries(
            Object.entries(m.quantiles_ms).map(([name, ms]) => [name, ms === null ? null : ms * slow]),
          ),
          first_seen_ms: first,
          last_seen_ms: Date.now() - 300,
        })),
      };
    }
    if (q.get('group_by') === 'status') {
      const m = totals(
        groups(q, []).flatMap((g) => slots.map((slot) => cellsAt(g.members, slot, stepS))),
        windowS,
      );
      const codes = [
        [200, 0.877],
        [304, 0.08],
        [502, m.error_rate],
        [422, 0.015],
        [404, 0.0047],
        [504, 0.0007],
      ];
      return {
        from_ms: fromMs,
        to_ms: toMs,
        error_bound: 0.001,
        rows: codes.map(([status, part]) => ({
          status,
          ...m,
          count: Math.round(m.count * part),
          errors: status >= 500 ? Math.round(m.count * part) : 0,
        })),
      };
    }
    return {
      from_ms: fromMs,
      to_ms: toMs,
      error_bound: 0.001,
      rows: groups(q, by(q)).map((g) => ({
        ...g.key,
        ...totals(
          slots.map((slot) => cellsAt(g.members, slot, stepS)),
          windowS,
        ),
      })),
    };
  },
  '/v1/series': (q) => {
    const { fromMs, toMs } = span(q);
    const stepS = seconds(q.get('step'), 60);
    const slots = slotsOf(fromMs, toMs, stepS);
    const found = groups(q, by(q));
    const base = { step_ms: stepS * 1000, from_ms: fromMs, to_ms: toMs, error_bound: 0.001 };
    if (by(q).length === 0)
      return {
        ...base,
        ...columnsOf(
          found.flatMap((g) => g.members),
          slots,
          stepS,
          false,
        ),
      };
    return {
      ...base,
      t: slots.map((slot) => slot * 1000),
      groups: found.map((g) => ({ key: g.key, ...columnsOf(g.members, slots, stepS, false) })),
    };
  },
  '/v1/findings': () => {
    const now = Date.now();
    const base = {
      at_ms: now,
      window: { from_ms: now - 300_000, to_ms: now },
      usual: {
        kind: 'yesterday',
        from_ms: now - 300_000 - 864e5,
        to_ms: now - 864e5,
        label: 'yesterday',
      },
      services: SERVICES.length,
      no_usual: SCENARIO === 'hostile' ? ['(other)'] : [],
    };
    if (!['failing', 'gap', 'few', 'recovering', 'hostile', 'many'].includes(SCENARIO))
      return { ...base, findings: [] };
    const checkout = {
      kind: 'failing',
      service: 'checkout',
      env: 'production',
      title: '4.21 % of requests fail, usually 0.12 %',
      value: 0.0421,
      usual: 0.0012,
      unit: 'share',
      since_ms: BROKE_MS,
      after: { version: 'v2.14.0', ms: 20_000 },
      where: { dimension: 'route', value: 'POST /buy', share: 0.96 },
      status: 502,
      affected: 27_418 + Math.round((now - STARTED) / 20),
      per_second: 54.7,
      recovered_ms: SCENARIO === 'recovering' ? STARTED - 60_000 : null,
      alert: null,
    };
    const search = {
      ...checkout,
      kind: 'slower',
      service: 'search',
      title: 'p99 is 1.43 s, usually 596 ms',
      value: 1430,
      usual: 596,
      unit: 'ms',
      since_ms: STARTED - 700_000,
      after: null,
      where: { dimension: 'host', value: 'search-3', share: 1 },
      status: null,
      affected: 4100,
      per_second: 5,
      recovered_ms: null,
    };
    return { ...base, findings: SCENARIO === 'recovering' ? [checkout] : [checkout, search] };
  },
  '/v1/releases': (q) => {
    const { fromMs, toMs } = span(q);
    const release = {
      service: 'checkout',
      env: 'production',
      version: 'v2.14.0',
      first_seen_ms: RELEASED_MS,
      hosts: 6,
      previous: 'v2.13.4',
    };
    const inside = SCENARIO !== 'calm' && RELEASED_MS >= fromMs && RELEASED_MS <= toMs;
    return { releases: inside ? [release] : [] };
  },
  '/v1/reconcile': (q) => {
    const { fromMs, toMs } = q.get('from') ? span(q) : { fromMs: Date.now() - 36e5, toMs: Date.now() };
    const minutes = slotsOf(fromMs, toMs, 60);
    const all = groups(new URLSearchParams(), []).flatMap((g) => g.members);
    const n = minutes.reduce((sum, slot) => sum + (cellsAt(all, slot, 60)?.count ?? 0), 0);
    return {
      from_ms: fromMs,
      to_ms: toMs,
      accepted: n,
      rolled_up: n,
      dead_lettered: { total: 0 },
      duplicate: 0,
      balanced: true,
    };
  },
  '/v1/alerts': () => ({
    rules: [{ id: '1', name: 'checkout', state: 'firing' }],
    firing: SCENARIO === 'calm' ? 0 : 1,
  }),
  '/v1/heatmap': (q) => {
    const { fromMs, toMs } = span(q);
    const stepS = seconds(q.get('step'), 10);
    const slots = slotsOf(fromMs, toMs, stepS);
    const rows = 70;
    const bound = (row) => Math.round(1000 * 10 ** (row / 16));
    const members = groups(q, []).flatMap((g) => g.members);
    const rowUs = Array.from({ length: rows + 1 }, (_, row) => bound(row));
    const p50 = [];
    const p99 = [];
    let max = 0;
    let total = 0;
    const count = slots.map((slot) => {
      const cells = members.map(([s, r]) => cell(s, r, slot, stepS)).filter(Boolean);
      if (cells.length === 0) {
        p50.push(null);
        p99.push(null);
        return null;
      }
      const m = merge(cells);
      p50.push(m.quantiles[0.5]);
      p99.push(m.quantiles[0.99]);
      const r = rng(slot * 31 + stepS);
      const column = new Array(rows).fill(0);
      for (const c of cells) {
        const sigma = Math.log(c.quantiles[0.95] / c.quantiles[0.5]) / 1.64;
        for (let row = 0; row < rows; row += 1) {
          const ms = bound(row + 0.5) / 1000;
          const z = Math.log(ms / c.quantiles[0.5]) / sigma;
          const width = (Math.LN10 / 16 / sigma) * Math.exp(-(z * z) / 2) * 0.399;
          column[row] += poisson(r, c.count * width * 0.985);
          const tail = Math.log(ms / c.quantiles[0.99]) / 0.25;
          const share = c.errors / c.count > 0.02 ? c.errors / c.count : 0.006;
          column[row] += poisson(
            r,
            c.count * share * (Math.LN10 / 16 / 0.25) * Math.exp(-(tail * tail) / 2) * 0.399,
          );
        }
      }
      for (const n of column) {
        max = Math.max(max, n);
        total += n;
      }
      return column;
    });
    return {
      step_ms: stepS * 1000,
      from_ms: fromMs,
      to_ms: toMs,
      rows_per_decade: 16,
      row_us: rowUs,
      t: slots.map((slot) => slot * 1000),
      count,
      max,
      total,
      quantiles_ms: { 0.5: p50, 0.99: p99 },
      origin: 'exact',
    };
  },
  '/v1/differs': (q) => {
    const [from, to, us0, us1] = q.get('sel').split(',').map(Number);
    const exact = (name, value, share, rest, distinct) => ({
      name,
      origin: 'exact',
      value,
      share,
      rest_share: rest,
      distinct,
      difference: share - rest,
    });
    return {
      selection: { from_ms: from, to_ms: to, us0, us1, count: 26_902 },
      rest: { count: 1_128_000 },
      dimensions: [
        exact('status', '502', 0.959, 0.041, 6),
        exact('route', 'POST /buy', 0.978, 0.131, 10),
        { ...exact('attrs.gateway', 'acme-pay', 0.98, 0.31, 4), origin: 'sampled', n: 1204 },
        exact('version', 'v2.14.0', 0.996, 0.568, 2),
        exact('host', null, 0, 0, 6),
      ],
      kept: 1204,
    };
  },
  '/v1/events': (q) => {
    const r = rng(Math.floor(Date.now() / 1000));
    const found = groups(q, ['service', 'route', 'method']);
    const events = Array.from({ length: Number(q.get('limit') ?? 50) }, (_, i) => {
      const g = found[Math.floor(r() ** 2 * found.length)];
      const failed = r() < 0.08;
      const ts = Date.now() - i * 37 - 400;
      return {
        ts: new Date(ts).toISOString(),
        ts_ms: ts,
        ...g.key,
        env: 'production',
        status: failed ? 502 : 200,
        duration_ms: 8 + 300 * r() ** 4,
        error: failed ? 'upstream refused the connection' : null,
        host: `web-${1 + Math.floor(r() * 4)}`,
        version: 'v2.14.0',
        trace_id: null,
        span_id: null,
        source: 'sdk',
        attrs: null,
        weight: 1,
      };
    });
    return { events, next_cursor: null, sampled: false };
  },
};

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
  '.txt': 'text/plain',
  '.json': 'application/json',
};

/** With `next dev` beside it (DEV_URL), pages come from there: changed files are seen without a build. */
const DEV_URL = process.env.DEV_URL ?? null;
function passOn(request, response) {
  const asked = httpRequest(
    `${DEV_URL}${request.url}`,
    { method: request.method, headers: { ...request.headers, host: new URL(DEV_URL).host } },
    (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    },
  );
  asked.on('error', () => response.destroy());
  request.pipe(asked);
}

/** The socket over which `next dev` tells that a file has changed; its pages wait for it. */
function passSocketOn(request, socket, head) {
  const { hostname, port, host } = new URL(DEV_URL);
  const other = connect(Number(port), hostname, () => {
    const headers = Object.entries({ ...request.headers, host, origin: DEV_URL }).map(
      ([name, value]) => `${name}: ${value}`,
    );
    other.write(`GET ${request.url} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`);
    other.write(head);
    socket.pipe(other).pipe(socket);
  });
  other.on('error', () => socket.destroy());
  socket.on('error', () => other.destroy());
}

function serveFile(path, response) {
  let file = normalize(join(OUT, decodeURIComponent(path)));
  if (!file.startsWith(OUT)) file = join(OUT, '404.html');
  if (existsSync(file) && statSync(file).isDirectory()) file = join(file, 'index.html');
  const found = existsSync(file);
  if (!found) file = join(OUT, '404.html');
  const body = readFileSync(file);
  const headers = { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' };
  if (file.endsWith('.html')) {
    const hashes = [...body.toString().matchAll(/<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g)].map(
      (m) => `'sha256-${createHash('sha256').update(m[1]).digest('base64')}'`,
    );
    headers['content-security-policy'] =
      `default-src 'none'; script-src 'self' ${hashes.join(' ')}; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`;
  }
  response.writeHead(found ? 200 : 404, headers);
  response.end(body);
}

const error = (response, status, code, message) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ error: { code, message, request_id: `fake-${Date.now()}` } }));
};
/** Issued and not used yet. */
const tickets = new Set();
const signedIn = (request) => /peep_session=1/.test(request.headers.cookie ?? '') || process.env.OPEN === '1';

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://x');
  const q = url.searchParams;
  if (url.pathname === '/v1/session') {
    if (request.method === 'POST') {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        const given = JSON.parse(body);
        if (given.key !== KEY && given.token !== 'once')
          return error(response, 401, 'unauthorized', 'unknown key or link');
        response.writeHead(200, {
          'content-type': 'application/json',
          'set-cookie': 'peep_session=1; Path=/; HttpOnly; SameSite=Lax',
        });
        response.end(JSON.stringify({ project: 'dev', expires_ms: Date.now() + 864e5 }));
      });
      return;
    }
    if (request.method === 'DELETE') {
      response.writeHead(204, { 'set-cookie': 'peep_session=; Path=/; Max-Age=0' });
      response.end();
      return;
    }
    if (!signedIn(request)) return error(response, 401, 'unauthorized', 'no session');
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ project: 'dev', expires_ms: Date.now() + 864e5 }));
    return;
  }
  if (url.pathname.startsWith('/v1/')) {
    if (!signedIn(request)) return error(response, 401, 'unauthorized', 'no session');
    if (url.pathname === '/v1/tickets' && request.method === 'POST') {
      const ticket = randomUUID();
      tickets.add(ticket);
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ ticket, expires_ms: Date.now() + 30_000 }));
      return;
    }
    if (url.pathname === '/v1/live') {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      const stop = live(q, (message) =>
        response.write(`event: ${message.type}\nid: ${message.id}\ndata: ${JSON.stringify(message)}\n\n`),
      );
      request.on('close', stop);
      return;
    }
    const answer = (status, json) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(json === undefined ? undefined : JSON.stringify(json));
    };
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      const refuse = (status, code, message) => error(response, status, code, message);
      const without = WITHOUT.includes(url.pathname.slice(4));
      if (!without && pages(request, url, body, answer, refuse)) return;
      const read = without ? undefined : api[url.pathname];
      if (read === undefined) refuse(404, 'not_found', 'no such path');
      else answer(200, read(q));
    });
    return;
  }
  if (DEV_URL !== null) return passOn(request, response);
  serveFile(url.pathname, response);
});

/** Just enough of RFC 6455: text frames to the client, its close frame back. */
server.on('upgrade', (request, socket, head) => {
  const url = new URL(request.url, 'http://x');
  if (DEV_URL !== null && url.pathname.startsWith('/_next/')) return passSocketOn(request, socket, head);
  const invited = tickets.delete(url.searchParams.get('ticket'));
  if (url.pathname !== '/v1/live' || !invited || process.env.NO_WEBSOCKET === '1') {
    socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n');
    return;
  }
  const accept = createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  const stop = live(url.searchParams, (message) => {
    const payload = Buffer.from(JSON.stringify(message));
    const header =
      payload.length < 126
        ? Buffer.from([0x81, payload.length])
        : payload.length < 65536
          ? Buffer.from([0x81, 126, payload.length >> 8, payload.length & 255])
          : Buffer.concat([
              Buffer.from([0x81, 127, 0, 0, 0, 0]),
              Buffer.from(new Uint32Array([payload.length]).buffer).reverse(),
            ]);
    socket.write(Buffer.concat([header, payload]));
  });
  const end = () => {
    stop();
    socket.destroy();
  };
  socket.on('data', (chunk) => {
    if ((chunk[0] & 15) === 8) end();
  });
  socket.on('close', end);
  socket.on('error', end);
});

server.listen(PORT, '127.0.0.1', () =>
  console.log(`fake peep on http://127.0.0.1:${PORT}/login/#token=once (${SCENARIO})`),
);
