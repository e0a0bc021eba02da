// What all SDKs agree on, and the pure parts.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { test } from 'node:test';
import { judge } from '../dist/esm/answer.js';
import { pauseMs, retryAfterMs } from '../dist/esm/backoff.js';
import { Encoder, TAIL_BYTES_MAX } from '../dist/esm/event.js';
import { Producer, uuidV7 } from '../dist/esm/identity.js';
import { resolve } from '../dist/esm/options.js';
import { Queue } from '../dist/esm/queue.js';
import { guessRoute } from '../dist/esm/route.js';
import { templateOf } from '../dist/esm/template.js';
import { traceIdOf } from '../dist/esm/trace.js';

const fixture = (name) => JSON.parse(readFileSync(new URL(`../../fixtures/${name}.json`, import.meta.url)));

test('an event is the line that all SDKs write', () => {
  const { origin, events } = fixture('events');
  const encoder = new Encoder(origin);
  for (const { name, event, line } of events) {
    const given = {
      ...event,
      durationMs: event.duration_ms,
      endedMs: event.ended_ms,
      bytesIn: event.bytes_in,
      bytesOut: event.bytes_out,
      traceId: event.trace_id,
      spanId: event.span_id,
    };
    assert.equal(encoder.event(given, 0, true), `${line}\n`, name);
  }
});

test('the way of the frameworks and the way of the application write the same', () => {
  const encoder = new Encoder({ service: 'shöp', host: 'web-1' });
  const chunk = new Uint8Array(4096).fill(63);
  const trace = '12345678901234567890123456789012';
  const durations = [0, 0.0004, 0.0005, 0.001, 0.01, 1.2345, 9.9996, 12.34, 999.9, 3_600_000, -1, 3_600_001];
  const sizes = [-1, 0, 9, 10, 999_999_999, 1e9, 1_000_000_001, Number.MAX_SAFE_INTEGER, 2 ** 53, 0.5];
  const statuses = [99, 100, 200, 599, 600, Number.NaN];
  for (const durationMs of [...durations, Number.NaN, '1'])
    for (const bytesIn of sizes)
      for (const status of statuses)
        for (const traceId of [undefined, trace]) {
          const event = { route: '/ä/{id}', method: 'GET', status, durationMs, endedMs: 1795867200000 };
          Object.assign(event, { bytesIn, bytesOut: bytesIn, traceId });
          const prefix = encoder.prefix(event.route, event.method, status);
          const at = 100;
          const end = encoder.request(
            chunk,
            at,
            prefix,
            durationMs,
            event.endedMs,
            bytesIn,
            bytesIn,
            traceId,
          );
          assert.equal(
            new TextDecoder().decode(chunk.subarray(at, end)),
            encoder.event(event, 0, true),
            JSON.stringify(event),
          );
          assert.ok(end - at - prefix.length <= TAIL_BYTES_MAX);
          assert.equal(chunk[end], 63, 'nothing is written behind the line');
          chunk.fill(63, at, end);
        }
});

test('without detail an event keeps what is counted', () => {
  const encoder = new Encoder({ service: 'shop' });
  const event = {
    route: '/a',
    status: 200,
    durationMs: 1,
    traceId: '12345678901234567890123456789012',
    attrs: { a: 1 },
    bytesIn: 3,
  };
  assert.equal(
    encoder.event(event, 7, false),
    '{"service":"shop","source":"sdk","route":"/a","status":200,"duration_ms":1,"ts":7}\n',
  );
});

test('nothing that is handed in makes a line that is no JSON', () => {
  const encoder = new Encoder({ service: 'shop' });
  const odd = [
    undefined,
    null,
    '',
    'x',
    '\ud800',
    '\udc00\ud800',
    -1,
    0.5,
    Number.NaN,
    Infinity,
    1e300,
    10n ** 30n,
    true,
    {},
    [],
    () => 1,
  ];
  for (const value of odd) {
    const event = {
      route: value,
      method: value,
      status: value,
      durationMs: value,
      endedMs: value,
      error: value,
      bytesIn: value,
      traceId: value,
      attrs: { a: value, [String(value)]: value },
    };
    const line = encoder.event(event, 1, true);
    assert.doesNotThrow(() => JSON.parse(line), line);
    assert.equal(line.indexOf('\n'), line.length - 1);
  }
});

test('attributes that no longer fit into an event are left out', () => {
  const encoder = new Encoder({ service: 'shop' });
  for (const letter of ['v', 'é', '日', '\u0001', '"']) {
    const attrs = Object.fromEntries(
      Array.from({ length: 31 }, (_, index) => [`k${index}`, letter.repeat(4096)]),
    );
    const line = encoder.event(
      { route: '/a', error: letter.repeat(8192), attrs: { ...attrs, last: 1 } },
      1,
      true,
    );
    const bytes = Buffer.byteLength(line) - 1;
    assert.ok(bytes <= 64 << 10 && bytes > 32 << 10, `${bytes}`);
    assert.equal(JSON.parse(line).attrs.last, 1);
  }
  const attrs = Object.fromEntries(Array.from({ length: 15 }, (_, index) => [`k${index}`, 'v'.repeat(4096)]));
  assert.equal(Object.keys(JSON.parse(encoder.event({ attrs }, 1, true)).attrs).length, 15);
});

test('a time at which nothing can have ended is as good as none', () => {
  const encoder = new Encoder({ service: 'shop' });
  const now = 1795867200000;
  for (const endedMs of [0, 1e300, 8.64e15, now / 1000, now * 1000, -1, Number.NaN, '1'])
    assert.equal(JSON.parse(encoder.event({ endedMs }, now, true)).ts, now, `${endedMs}`);
  assert.equal(JSON.parse(encoder.event({ endedMs: 946684800000.5 }, now, true)).ts, 946684800000);
});

test('the package has its licence, and whatever its entries name', () => {
  const root = new URL('..', import.meta.url);
  const packed = spawnSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root });
  const files = new Set(JSON.parse(packed.stdout)[0].files.map(({ path }) => path));
  const { exports } = JSON.parse(readFileSync(new URL('package.json', root)));
  const named = JSON.stringify(exports).match(/dist\/[^"]+/g);
  for (const file of ['LICENSE', 'README.md', ...named]) assert.ok(files.has(file), file);
  const licence = (place) => readFileSync(new URL(place, root), 'utf8');
  assert.equal(licence('LICENSE'), licence('../../LICENSE'));
});

test('routes without number do not make the memory of them grow', () => {
  const encoder = new Encoder({ service: 'shop' });
  const held = () => {
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const before = held();
  for (let index = 0; index < 200_000; index += 1)
    encoder.prefix(`/made/up/by/mistake/${index}`, 'GET', 200 + (index % 300));
  assert.ok(held() - before < 64 << 20);
});

test('routes of frameworks become templates of peep', () => {
  const dialects = { express: 'colon', fastify: 'colon', koa: 'colon', hono: 'hono', next: 'bracket' };
  for (const { framework, pattern, route } of fixture('routes').vectors) {
    if (framework in dialects)
      assert.equal(templateOf(pattern, dialects[framework]), route, `${framework} ${pattern}`);
  }
});

test('paths become the templates that every client guesses', () => {
  const { vectors } = JSON.parse(
    readFileSync(new URL('../../../wire/fixtures/route_templates.json', import.meta.url)),
  );
  for (const { path, route, why } of vectors) assert.equal(guessRoute(path), route, `${path} ${why ?? ''}`);
  for (const { route } of vectors) {
    if (route.startsWith('/')) assert.equal(guessRoute(route), route, 'a template is its own template');
  }
});

test('an answer means the same to all SDKs', () => {
  const { answers, retry_after, now_ms } = fixture('answers');
  for (const { status, body, events, verdict, accepted, rejected } of answers) {
    const found = judge({ status, retryAfter: undefined, body }, events);
    assert.equal(found.kind, verdict, `${status} ${body}`);
    if (verdict === 'counted') assert.deepEqual([found.accepted, found.rejected], [accepted, rejected]);
    else assert.match(found.reason, /ingest|PEEP_INGEST_URL/);
  }
  for (const { header, ms } of retry_after) assert.equal(retryAfterMs(header, now_ms) ?? null, ms, header);
});

test('what a server says is cut and printable before it is logged', () => {
  const body = JSON.stringify({ error: { code: 'x', message: `\u001b[31m\n${'y'.repeat(10_000)}` } });
  const { reason } = judge({ status: 400, retryAfter: undefined, body }, 1);
  assert.ok(reason.length < 500);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
  assert.doesNotMatch(reason, /[\u0000-\u001f]/);
});

test('pauses are those of all SDKs', () => {
  for (const { failures, retry_after_ms, random, pause_ms } of fixture('backoff').cases) {
    assert.equal(
      pauseMs({ firstMs: 200, maxMs: 15_000 }, failures, retry_after_ms ?? undefined, random),
      pause_ms,
    );
  }
});

test('a traceparent is read as W3C Trace Context wants it, from a real request', async () => {
  const seen = [];
  const server = createServer((request, response) => {
    seen.push(traceIdOf(request.headers.traceparent) ?? null);
    response.end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { cases } = fixture('traceparent');
  try {
    for (const { headers, trace_id } of cases) {
      // Written by hand: no client sends some of these.
      const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
      await new Promise((resolve, reject) => {
        const socket = connect(server.address().port, '127.0.0.1', () =>
          socket.write(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${lines}\r\n`),
        );
        socket.on('close', resolve).on('error', reject).resume();
      });
      assert.equal(seen.pop(), trace_id, JSON.stringify(headers));
    }
  } finally {
    server.close();
  }
});

test('a producer is a UUIDv7, counts from 0, and is replaced after a day', () => {
  const random = (bytes) => randomFillSync(bytes);
  assert.match(uuidV7(0x0192f0c17a5e, random), /^0192f0c1-7a5e-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const producer = new Producer(random, 1000);
  const first = [producer.next(5000), producer.next(5999)];
  const second = [producer.next(6000), producer.next(6001)];
  assert.deepEqual(
    [...first, ...second].map(({ seq }) => seq),
    [0, 1, 0, 1],
  );
  assert.equal(first[0].producer, first[1].producer);
  assert.notEqual(first[0].producer, second[0].producer);
  assert.notEqual(producer.next(10).producer, second[0].producer, 'a clock that was set back');
});

test('a queue never holds more than it may, and gives back every line that it took', () => {
  for (const bytesMax of [8 << 10, 20_000, 100_000]) {
    const queue = new Queue({ bytesMax, batchBytesMax: 8 << 10, batchEventsMax: 50 });
    const taken = [];
    for (let index = 0; index < 5000; index += 1) {
      const line = `${index} ${'é'.repeat(index % 300)}\n`;
      if (queue.push(line)) taken.push(line);
      assert.ok(queue.bytes <= bytesMax, `${queue.bytes} of ${bytesMax}`);
      assert.equal(queue.events, taken.length);
    }
    assert.ok(taken.length < 5000);
    queue.seal();
    const decoder = new TextDecoder();
    const given = [];
    for (let batch = queue.first(); batch !== undefined; batch = queue.first()) {
      assert.ok(batch.events <= 50 && batch.body.length <= 8 << 10);
      const lines = decoder.decode(batch.body).split(/(?<=\n)/);
      assert.equal(lines.length, batch.events);
      given.push(...lines);
      queue.remove(batch);
    }
    assert.deepEqual(given, taken);
    assert.deepEqual([queue.bytes, queue.events, queue.isEmpty], [0, 0, true]);
  }
});

test('a line that is larger than a batch is refused and nothing else', () => {
  const queue = new Queue({ bytesMax: 64 << 10, batchBytesMax: 8 << 10, batchEventsMax: 50 });
  assert.equal(queue.push('x'.repeat(9000)), false);
  assert.equal(queue.push('x\n'), true);
});

test('the environment configures, and code comes before it', () => {
  const environment = {
    PEEP_INGEST_URL: ' http://ingest:4318/ ',
    PEEP_INGEST_KEY: 'peep_any_x',
    PEEP_SERVICE: 'shop',
    PEEP_ENV: 'prod',
    PEEP_VERSION: '1.4.2',
    PEEP_HOST: 'web-1',
  };
  const of = (options) => {
    const { settings, missing } = resolve(options, environment);
    const { url, key, service, env, version, host } = settings;
    return [url, key, service, env, version, host, missing];
  };
  assert.deepEqual(of({}), ['http://ingest:4318', 'peep_any_x', 'shop', 'prod', '1.4.2', 'web-1', undefined]);
  assert.deepEqual(of({ url: 'http://other', service: 'till', env: '' }).slice(0, 4), [
    'http://other',
    'peep_any_x',
    'till',
    undefined,
  ]);
  assert.equal(resolve({}, {}).missing, 'PEEP_INGEST_URL is not set');
});

test('both module formats are the same package', () => {
  const require = createRequire(import.meta.url);
  for (const name of [
    '',
    '/express',
    '/fastify',
    '/koa',
    '/http',
    '/next',
    '/fetch',
    '/hono',
    '/edge',
    '/browser',
  ]) {
    const cjs = require(`@peep/sdk${name}`);
    assert.ok(Object.keys(cjs).length > 0, name);
  }
});

test('every test that docs/sdks.md names is there', () => {
  const textOf = (folder, ending) =>
    readdirSync(new URL(folder, import.meta.url))
      .filter((name) => name.endsWith(ending))
      .map((name) => readFileSync(new URL(folder + name, import.meta.url), 'utf8'))
      .join('\n');
  const javascript = textOf('./', '.mjs');
  const rust = textOf('../../rust/tests/', '.rs') + textOf('../../rust/src/', '.rs');
  const table = readFileSync(new URL('../../../docs/sdks.md', import.meta.url), 'utf8');
  const [titles, functions] = [/(?<!\*)\*([^*\n]+)\*(?!\*)/g, /`([a-z0-9]+(?:_[a-z0-9]+){2,})`/g].map(
    (form) => [...table.matchAll(form)].map(([, name]) => name),
  );
  assert.ok(titles.length > 10 && functions.length > 20, `${titles.length} and ${functions.length}`);
  // An ellipsis stands for whatever it is in the title.
  const isThere = (title) => title.split('…').every((part) => javascript.includes(part.replace(/,? *$/, '')));
  assert.deepEqual(
    titles.filter((title) => !isThere(title)),
    [],
  );
  assert.deepEqual(
    functions.filter((name) => !new RegExp(`fn ${name}\\(`).test(rust)),
    [],
  );
});
