// The client against an ingest that misbehaves as told.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import * as edge from '../dist/esm/edge.js';
import * as node from '../dist/esm/node.js';
import { freePort } from './ports.mjs';
import { balanced, scripted, until } from './scripted.mjs';

// What these tests are about is handed in, or missing.
for (const name of ['PEEP_INGEST_URL', 'PEEP_INGEST_KEY', 'PEEP_SERVICE', 'PEEP_ENV'])
  delete process.env[name];

const quick = {
  service: 'shop',
  key: 'peep_any_x',
  flushIntervalMs: 20,
  backoffFirstMs: 5,
  backoffMaxMs: 20,
  log: () => {},
};

/** The same promises on both platforms. */
for (const [platform, { createClient }] of Object.entries({ node, edge })) {
  const testOn = (name, body) => test(`${platform}: ${name}`, body);

  testOn('events arrive in batches with an identity, compressed when that pays', async (t) => {
    const ingest = await scripted();
    t.after(() => ingest.close());
    const client = createClient({
      ...quick,
      url: `${ingest.url}/`,
      env: 'prod',
      version: '1',
      batchEvents: 100,
    });
    for (let index = 0; index < 250; index += 1)
      client.record({ route: '/a/{id}', method: 'GET', status: 200, durationMs: index });
    assert.equal(await client.flush(), true);
    client.record({ route: '/a/{id}' });
    await until(() => client.stats().accepted === 251);
    const [first, second, third, last] = ingest.requests;
    assert.deepEqual(
      [first, second, third, last].map(({ seq, lines }) => [seq, lines.length]),
      [
        [0, 100],
        [1, 100],
        [2, 50],
        [3, 1],
      ],
    );
    assert.deepEqual(new Set(ingest.requests.map(({ producer }) => producer)).size, 1);
    // To the same machine only what has to wait is compressed.
    assert.deepEqual([first.encoding, second.encoding, last.encoding], [undefined, 'gzip', undefined]);
    assert.deepEqual(
      [first.key, first.contentType, first.url],
      ['peep_any_x', 'application/x-ndjson', '/v1/events'],
    );
    assert.ok(second.raw.length * 5 < JSON.stringify(second.lines).length);
    const { service, env, version, source, route } = last.lines[0];
    assert.deepEqual(
      { service, env, version, source, route },
      { service: 'shop', env: 'prod', version: '1', source: 'sdk', route: '/a/{id}' },
    );
    const stats = client.stats();
    assert.ok(balanced(stats));
    assert.deepEqual(
      [stats.recorded, stats.held, stats.heldBytes, stats.retried, stats.requests],
      [251, 0, 0, 0, 4],
    );
  });

  testOn(
    'a retry is the same bytes under the same identity, also after an answer that was lost',
    async (t) => {
      const ingest = await scripted((_, number) => {
        if (number === 1) return 503;
        if (number === 2) return (response) => response.destroy();
        if (number === 3)
          return (response) =>
            response.writeHead(202, { 'content-length': 50 }).write('{"accep', () => response.destroy());
        return number === 4 ? 429 : 202;
      });
      t.after(() => ingest.close());
      const client = createClient({ ...quick, url: ingest.url });
      for (let index = 0; index < 100; index += 1) client.record({ route: '/a' });
      await until(() => ingest.requests.length >= 2);
      // What comes meanwhile goes into a batch of its own.
      client.record({ route: '/b' });
      await until(() => client.stats().accepted === 101);
      const tries = ingest.requests.slice(0, 5);
      for (const { producer, seq, raw } of tries)
        assert.deepEqual([producer, seq, raw], [tries[0].producer, 0, tries[0].raw]);
      assert.deepEqual([ingest.requests[5].seq, ingest.requests[5].lines.length], [1, 1]);
      assert.equal(ingest.counted(), 101);
      assert.equal(client.stats().retried, 4);
      assert.ok(balanced(client.stats()));
    },
  );

  testOn('an answer in another protocol is a failure, after which the batch is tried again', async (t) => {
    const upgrade = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
    const ingest = await scripted((_, number) =>
      number > 2
        ? 202
        : (response) => void (number === 1 ? response.socket.write(upgrade) : response.socket.end()),
    );
    t.after(() => ingest.close());
    const client = createClient({ ...quick, url: ingest.url });
    client.record({ route: '/a' });
    await until(() => client.stats().accepted === 1);
    assert.equal(client.stats().retried, 2);
    assert.equal(ingest.counted(), 1);
  });

  testOn('Retry-After is waited for', async (t) => {
    const times = [];
    const ingest = await scripted((_, number) => {
      times.push(performance.now());
      return number === 1 ? { status: 503, headers: { 'retry-after': '1' } } : 202;
    });
    t.after(() => ingest.close());
    const client = createClient({ ...quick, url: ingest.url });
    client.record({ route: '/a' });
    await until(() => ingest.requests.length === 1);
    // Not even somebody in a hurry comes back earlier.
    void client.flush();
    await until(() => client.stats().accepted === 1);
    assert.ok(times[1] - times[0] >= 990, `${times[1] - times[0]} ms`);
  });

  for (const status of [400, 401, 403, 404, 405, 413, 415, 431, 307]) {
    testOn(`${status} is final: the batch is dropped, counted and said`, async (t) => {
      const said = [];
      const ingest = await scripted((_, number) => (number === 1 ? status : 202));
      t.after(() => ingest.close());
      const client = createClient({ ...quick, url: ingest.url, log: (line) => said.push(line) });
      client.record({ route: '/a' });
      await until(() => client.stats().dropped.refused === 1);
      client.record({ route: '/b' });
      await until(() => client.stats().accepted === 1);
      assert.equal(ingest.requests.length, 2);
      assert.match(said.join(), new RegExp(String(status)));
      assert.ok(balanced(client.stats()));
    });
  }

  testOn('rejected events are counted, and one is named', async (t) => {
    const said = [];
    const rejected = [{ index: 0, code: 'invalid_route', message: '`route` is empty' }];
    const ingest = await scripted((request) => ({
      status: 202,
      body: JSON.stringify({ accepted: request.lines.length - 1, rejected }),
    }));
    t.after(() => ingest.close());
    const client = createClient({ ...quick, url: ingest.url, log: (line) => said.push(line) });
    for (let index = 0; index < 3; index += 1) client.record({ route: '/a' });
    await until(() => client.stats().rejected === 1);
    assert.equal(client.stats().accepted, 2);
    assert.match(said.join(), /invalid_route/);
  });

  testOn('a full buffer drops the newest, counts them, and holds no more than it may', async (t) => {
    let isUp = false;
    const ingest = await scripted(() => (isUp ? 202 : 503));
    t.after(() => ingest.close());
    const said = [];
    const limits = { bufferBytes: 24 << 10, batchBytes: 8 << 10, batchEvents: 50 };
    const client = createClient({ ...quick, ...limits, url: ingest.url, log: (line) => said.push(line) });
    for (let index = 0; index < 8000; index += 1) {
      client.record({ route: '/a', attrs: { index, random: Math.random() } });
      assert.ok(client.stats().heldBytes <= 24 << 10);
      if (index % 100 === 0) await new Promise(setImmediate);
    }
    const during = client.stats();
    assert.ok(during.dropped.full > 0 && during.held > 0);
    assert.ok(balanced(during));
    assert.match(said.join(), /buffer is full/);
    isUp = true;
    await until(() => client.stats().held === 0);
    const after = client.stats();
    assert.equal(after.accepted + after.dropped.full, 8000);
    assert.ok(balanced(after));
    const indices = ingest.requests.flatMap(({ lines }) => lines.map(({ attrs }) => attrs.index));
    assert.equal(Math.min(...indices), 0, 'the oldest was kept');
  });

  testOn('a server that never answers costs one batch after the other its time, and no memory', async (t) => {
    const ingest = await scripted(() => () => {});
    t.after(() => ingest.close());
    const client = createClient({ ...quick, url: ingest.url, attemptTimeoutMs: 50, giveUpAfterMs: 1500 });
    client.record({ route: '/a' });
    await until(() => client.stats().dropped.expired === 1);
    assert.ok(client.stats().retried >= 1);
    assert.ok(balanced(client.stats()));
  });

  testOn('an answer without end is not read to its end', async (t) => {
    let written = 0;
    const ingest = await scripted(() => (response) => {
      response.writeHead(200);
      const more = () => {
        while (!response.destroyed && written < 64 << 20) {
          written += 1 << 16;
          if (!response.write(Buffer.alloc(1 << 16, 32))) return void response.once('drain', more);
        }
      };
      more();
    });
    t.after(() => ingest.close());
    const client = createClient({ ...quick, url: ingest.url });
    client.record({ route: '/a' });
    await until(() => client.stats().dropped.refused === 1);
    assert.ok(written < 32 << 20, `${written}`);
  });

  testOn('a shutdown sends what there is, and what cannot be sent within its time is counted', async (t) => {
    const ingest = await scripted();
    t.after(() => ingest.close());
    const slow = { ...quick, flushIntervalMs: 60_000 };
    const client = createClient({ ...slow, url: ingest.url });
    for (let index = 0; index < 10; index += 1) client.record({ route: '/a' });
    assert.equal((await client.shutdown()).accepted, 10);
    client.record({ route: '/late' });
    assert.deepEqual([client.stats().recorded, client.stats().dropped.shutdown], [11, 1]);
    assert.ok(balanced(client.stats()));

    const dead = createClient({ ...slow, url: 'http://127.0.0.1:9' });
    for (let index = 0; index < 10; index += 1) dead.record({ route: '/a' });
    const started = performance.now();
    const [stats] = await Promise.all([dead.shutdown(300), dead.shutdown(300)]);
    assert.ok(performance.now() - started < 10_000);
    assert.deepEqual([stats.dropped.shutdown, stats.held], [10, 0]);
    assert.ok(balanced(stats));
  });

  testOn('what is not configured is said once, and nothing is sent', async () => {
    const nothing = { PEEP_INGEST_URL: undefined };
    for (const options of [
      {},
      { url: 'http://127.0.0.1:1' },
      { key: 'k' },
      { url: 'ftp://a', key: 'k' },
      { url: 'nonsense', key: 'k' },
      { url: 'http://a', key: 'with space' },
    ]) {
      const said = [];
      const client = createClient({ ...nothing, ...options, log: (line) => said.push(line) });
      for (let index = 0; index < 3; index += 1) {
        client.record({ route: '/a' });
        client.request('/a', 'GET', 200, 1);
      }
      assert.equal(await client.flush(), true);
      const stats = await client.shutdown();
      assert.deepEqual([stats.enabled, stats.recorded, said.length], [false, 0, 1]);
      assert.match(said[0], /PEEP_INGEST_/);
    }
  });

  testOn('whatever is handed in, nothing is thrown and the books balance', async (t) => {
    const ingest = await scripted();
    t.after(() => ingest.close());
    const thrower = new Proxy(
      {},
      {
        get: () => {
          throw new Error('no');
        },
        ownKeys: () => {
          throw new Error('no');
        },
      },
    );
    const client = createClient({
      ...quick,
      url: ingest.url,
      log: () => {
        throw new Error('no');
      },
    });
    for (const odd of [
      undefined,
      null,
      1,
      'x',
      [],
      {},
      thrower,
      { route: thrower },
      { attrs: thrower },
      { durationMs: 1n },
      Symbol('x'),
      { route: Symbol('x') },
    ]) {
      client.record(odd);
      client.request(odd, odd, odd, odd, odd, odd, odd);
    }
    await client.flush();
    const stats = client.stats();
    assert.equal(stats.recorded, 24);
    assert.ok(stats.dropped.invalid > 0 && balanced(stats));
    assert.equal(
      createClient({ url: {}, key: 7, flushIntervalMs: 'x', bufferBytes: Number.NaN, log: 3 }).enabled,
      false,
    );
  });

  testOn(
    'of a share of the events the detail is kept, of errors always, and every one is sent',
    async (t) => {
      const ingest = await scripted();
      t.after(() => ingest.close());
      const client = createClient({ ...quick, url: ingest.url, detail: 0.25 });
      const traceparent = '00-12345678901234567890123456789012-1234567890123456-01';
      for (let index = 0; index < 4000; index += 1)
        client.request('/a', 'GET', index < 100 ? 500 : 200, 1, -1, 7, traceparent);
      await client.shutdown();
      const events = ingest.requests.flatMap(({ lines }) => lines);
      const traced = events.filter(({ trace_id }) => trace_id !== undefined);
      assert.equal(events.length, 4000);
      assert.equal(traced.filter(({ status }) => status === 500).length, 100);
      // Five standard deviations of a fair draw.
      assert.ok(
        Math.abs(traced.length - 100 - 3900 / 4) < 5 * Math.sqrt((3900 * 3) / 16),
        `${traced.length}`,
      );
      assert.ok(
        events.every((event) => event.duration_ms === 1 && 'bytes_out' in event === 'trace_id' in event),
      );
    },
  );
}

test('a producer is replaced after its time, between batches and never within a retry', async (t) => {
  const ingest = await scripted((_, number) => (number % 2 === 1 ? 503 : 202));
  t.after(() => ingest.close());
  const client = node.createClient({ ...quick, url: ingest.url, producerAgeMs: 1 });
  for (let index = 0; index < 3; index += 1) {
    client.record({ route: '/a' });
    await until(() => client.stats().accepted === index + 1);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const ids = ingest.requests.map(({ producer, seq }) => `${producer} ${seq}`);
  assert.deepEqual([ids[0], ids[2], ids[4]], [ids[1], ids[3], ids[5]]);
  assert.equal(new Set(ids).size, 3);
  assert.ok(ids.every((id) => id.endsWith(' 0')));
});

test('an outage that lasts: everything within the buffer arrives, once, when ingest is back', async (t) => {
  // A port that refuses connections, then one where ingest listens.
  const port = await freePort();
  const client = node.createClient({ ...quick, url: `http://127.0.0.1:${port}`, flushIntervalMs: 5 });
  for (let index = 0; index < 2000; index += 1) {
    client.record({ route: '/a', attrs: { index } });
    if (index % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(client.stats().held, 2000);
  const { createServer: createHttp } = await import('node:http');
  const seen = [];
  const server = createHttp((request, response) => {
    let bytes = [];
    request
      .on('data', (chunk) => bytes.push(chunk))
      .on('end', async () => {
        bytes = Buffer.concat(bytes);
        const { gunzipSync } = await import('node:zlib');
        const text = (request.headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes).toString();
        const lines = text
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line).attrs.index);
        seen.push(...lines);
        response.writeHead(202).end(JSON.stringify({ accepted: lines.length, rejected: [] }));
      });
  }).listen(port, '127.0.0.1');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await until(() => client.stats().held === 0);
  assert.deepEqual(
    seen,
    Array.from({ length: 2000 }, (_, index) => index),
  );
});

/** Runs a program with the SDK in a process of its own, and says how it ended. */
async function run(program, env) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    cwd: new URL('..', import.meta.url),
    env: { PATH: process.env.PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  return { child, ended: once(child, 'exit').then(([code, signal]) => ({ code, signal, output })) };
}

const program = `import { peep } from '@peep/sdk'; peep().record({ route: '/a' });`;

test('a process that ends sends what it has, without being asked', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = {
    PEEP_INGEST_URL: ingest.url,
    PEEP_INGEST_KEY: 'k',
    PEEP_SERVICE: 'short',
    PEEP_ENV: 'test',
    PEEP_HOST: 'h',
    PEEP_VERSION: 'v',
  };
  const { ended } = await run(program, env);
  assert.deepEqual(await ended, { code: 0, signal: null, output: '' });
  const { service, env: name, host, version } = ingest.requests[0].lines[0];
  assert.deepEqual(
    { service, name, host, version },
    { service: 'short', name: 'test', host: 'h', version: 'v' },
  );
});

test('a process that ends does not wait for an ingest that is away longer than the deadline', async () => {
  const { ended } = await run(`${program} peep().settings.shutdownTimeoutMs = 200;`, {
    PEEP_INGEST_URL: 'http://127.0.0.1:9',
    PEEP_INGEST_KEY: 'k',
    PEEP_SERVICE: 's',
  });
  const { code, output } = await ended;
  assert.equal(code, 0);
  assert.match(output, /1 events could not be sent/);
});

test('what another listener still does at the end of a process is sent, too', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const { ended } = await run(
    `${program} process.once('beforeExit', () => setTimeout(() => peep().record({ route: '/b' }), 100));`,
    env,
  );
  assert.deepEqual(await ended, { code: 0, signal: null, output: '' });
  assert.deepEqual(
    ingest.requests.map(({ lines }) => lines.map(({ route }) => route)),
    [['/a'], ['/b']],
  );
});

test('a process that another one with Next.js has started counts for itself', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const inherited = `import { register } from '@peep/sdk/next'; import { spawnSync } from 'node:child_process';
    register(); const program = \`import { withPeep } from '@peep/sdk/fetch'; import { shutdown } from '@peep/sdk';
      await withPeep(() => new Response('x'), { route: '/a' })(new Request('http://a/')); await shutdown();\`;
    spawnSync(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit', timeout: 30_000 });`;
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const { ended } = await run(inherited, env);
  assert.equal((await ended).output, '');
  assert.deepEqual(
    ingest.requests.flatMap(({ lines }) => lines).map(({ route }) => route),
    ['/a'],
  );
});

test('a signal sends what there is and then ends the process as it would have', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const waiting = `import { peep } from '@peep/sdk'; peep({ flushIntervalMs: 60000 }).record({ route: '/a' });
    setInterval(() => {}, 1000); console.log('ready');`;
  const { child, ended } = await run(waiting, env);
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  assert.equal((await ended).signal, 'SIGTERM');
  assert.equal(ingest.requests.length, 1);
});

test('the first process of a container goes on after a signal, as it would have, and so does the counting', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  // The number is all that the SDK looks at.
  const serving = `import { peep } from '@peep/sdk';
    Object.defineProperty(process, 'pid', { value: 1 });
    // As the kernel would.
    process.kill = () => true;
    const client = peep({ flushIntervalMs: 60000 });
    client.record({ route: '/before' });
    process.on('SIGUSR2', () => client.record({ route: '/after' }));
    setInterval(() => {}, 1000); console.log('ready');`;
  const { child } = await run(serving, env);
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  const routes = () => ingest.requests.flatMap(({ lines }) => lines).map(({ route }) => route);
  child.kill('SIGTERM');
  await until(() => routes().length === 1);
  child.kill('SIGUSR2');
  // They may arrive in another order.
  await new Promise((resolve) => setTimeout(resolve, 50));
  child.kill('SIGINT');
  await until(() => routes().length === 2);
  assert.deepEqual(routes(), ['/before', '/after']);
});

test('a signal that the application handles is left to it', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const handling = `import { peep, shutdown } from '@peep/sdk'; peep({ flushIntervalMs: 60000 }).record({ route: '/a' });
    process.on('SIGTERM', async () => { await shutdown(); process.exit(7); });
    setInterval(() => {}, 1000); console.log('ready');`;
  const { child, ended } = await run(handling, env);
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  assert.equal((await ended).code, 7);
  assert.equal(ingest.requests.length, 1);
});

/** Ends in the middle of everything, as `server.close(() => process.exit())` does. */
const exiting = (options = '{}', end = 'process.exit(7)') => `import { peep } from '@peep/sdk';
  let exited;
  process.on('exit', () => (exited = performance.now()));
  const client = peep({ flushIntervalMs: 60000, ...${options} });
  for (let n = 0; n < 3; n += 1) client.record({ route: '/a' });
  process.on('exit', () => console.log(JSON.stringify({ ...client.stats(), waitedMs: performance.now() - exited })));
  setTimeout(() => { ${end}; }, 10);`;

test('process.exit() sends what there is, and the process ends as it would have', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const { code, output } = await (await run(exiting('{ batchEvents: 2 }'), env)).ended;
  assert.equal(code, 7);
  // The first batch is full at once and may have been under way.
  assert.equal(ingest.counted(), 3);
  assert.ok(ingest.requests.every(({ key }) => key === 'k'));
  const { accepted, held, waitedMs } = JSON.parse(output);
  assert.deepEqual({ accepted, held }, { accepted: 3, held: 0 });
  assert.ok(waitedMs < 1000, `${waitedMs} ms`);
});

test('what led to an error that nobody caught is sent', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const { code, output } = await (await run(exiting('{}', "throw new Error('boom')"), env)).ended;
  assert.equal(code, 1);
  assert.match(output, /Error: boom/);
  assert.equal(ingest.counted(), 3);
});

test('a batch that is under way when the process exits keeps its identity', async (t) => {
  // The first answer never comes.
  const ingest = await scripted((_, number) => (number === 1 ? () => {} : 202));
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const { code } = await (
    await run(exiting('{ flushIntervalMs: 1 }', 'setTimeout(() => process.exit(7), 300)'), env)
  ).ended;
  assert.equal(code, 7);
  assert.equal(ingest.requests.length, 2);
  assert.deepEqual(ingest.requests[1].raw, ingest.requests[0].raw);
  assert.equal(ingest.counted(), 3);
});

for (const [what, url, answer] of [
  ['does not answer', undefined, () => () => {}],
  ['is not there', 'http://127.0.0.1:9', () => 202],
  ['is out of order', undefined, () => 503],
  [
    'answers without end',
    undefined,
    () => (response) => {
      response.writeHead(202);
      setInterval(() => response.write('x'.repeat(1 << 16)), 1).unref();
    },
  ],
])
  test(`process.exit() waits no longer than it may for an ingest that ${what}`, async (t) => {
    const ingest = await scripted(answer);
    t.after(() => ingest.close());
    const env = { PEEP_INGEST_URL: url ?? ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
    const { code, output } = await (await run(exiting('{ exitTimeoutMs: 300 }'), env)).ended;
    // The default is a second.
    assert.ok(Number(/"waitedMs":([\d.]+)/.exec(output)?.[1]) < 900, output);
    assert.equal(code, 7);
    assert.match(output, /3 events could not be sent/);
    assert.match(output, /"accepted":0.*"shutdown":3.*"held":0/);
  });

test('a process whose exit is not to wait does not', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const env = { PEEP_INGEST_URL: ingest.url, PEEP_INGEST_KEY: 'k', PEEP_SERVICE: 's' };
  const { code } = await (await run(exiting('{ exitTimeoutMs: 0 }'), env)).ended;
  assert.equal(code, 7);
  assert.equal(ingest.requests.length, 0);
});
