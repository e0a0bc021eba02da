// Each framework for real: requests over sockets, and what peep then counts.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { serve } from '@hono/node-server';
import Router from '@koa/router';
import { createClient } from '@peep/sdk';
import { createClient as createEdgeClient } from '@peep/sdk/edge';
import { peepExpress, peepExpressApp, setRoute } from '@peep/sdk/express';
import { peepFastify } from '@peep/sdk/fastify';
import { withPeep } from '@peep/sdk/fetch';
import { peepHono } from '@peep/sdk/hono';
import { peepHttp } from '@peep/sdk/http';
import { peepKoa } from '@peep/sdk/koa';
import express5 from 'express';
import express4 from 'express-4';
import Fastify from 'fastify';
import { Hono } from 'hono';
import Koa from 'koa';
import { backend, counted } from './backend.mjs';
import { balanced, scripted, until } from './scripted.mjs';

let place;
before(async () => {
  place = await backend();
});
after(() => place.close());

let number = 0;
function clientFor(name, create = createClient) {
  number += 1;
  const { PEEP_INGEST_URL: url, PEEP_INGEST_KEY: key } = place.env;
  return create({ url, key, service: `${name}-${process.pid}-${number}`, flushIntervalMs: 20 });
}

async function listening(t, server) {
  if (!server.listening) await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections?.();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

async function get(origin, paths, init) {
  for (const path of paths) await (await fetch(origin + path, init)).arrayBuffer();
}

/** What peep counted of a client, once all of it is there. */
async function rowsOf(client, count) {
  const stats = await client.shutdown(20_000);
  assert.deepEqual([stats.accepted, stats.rejected], [count, 0], JSON.stringify(stats));
  assert.ok(balanced(stats));
  return counted(place, client.settings.service, count);
}

const expresses = [
  ['express-5', express5],
  ['express-4', express4],
];
const setUps = [
  ['middleware', (express, client) => express().use(peepExpress({ client }))],
  ['application', (express, client) => peepExpressApp(express(), { client })],
];
for (const [name, express, setUp, appWith] of expresses.flatMap((each) =>
  setUps.map((one) => [...each, ...one]),
)) {
  test(`${name}, ${setUp}: routes are what was registered, wherever it is mounted, and never a path`, async (t) => {
    const client = clientFor(name);
    const app = appWith(express, client);
    app.use('/static', (_, response) => response.end('a file'));
    app.get('/', (_, response) => response.end());
    app.get('/users/:id', (_, response) => response.json({}));
    app.post('/users/:id', express.json(), (_, response) => response.status(201).json({}));
    app.get(/^\/v\d+$/, (_, response) => response.end());
    app.get(['/one', '/two'], (_, response) => response.end());
    app.get('/named', (request, response) => {
      setRoute(request, '/by/{hand}');
      response.end();
    });
    app.get('/boom', () => {
      throw new Error('boom');
    });
    app.get('/later', (_, _response, next) => setTimeout(() => next(new Error('late')), 1));
    app.get('/passes/:it', (_, _response, next) => next());

    const orders = express.Router({ mergeParams: true });
    orders.get('/', (_, response) => response.end());
    orders.get('/:order', (_, response) => response.end());
    const deep = express.Router();
    deep.use('/customers/:customer/orders', orders);
    app.use('/api', deep);
    const admin = express();
    admin.get('/jobs/:job', (_, response) => response.end());
    app.use('/admin', admin);
    app.use((_error, _request, response, _next) => response.status(500).end());

    const origin = await listening(t, app.listen(0, '127.0.0.1'));
    const paths = [
      '/',
      '/users/1',
      '/users/2?token=secret',
      '/users/3',
      '/v7',
      '/one',
      '/two',
      '/named',
      '/boom',
      '/later',
    ];
    paths.push(
      '/api/customers/42/orders',
      '/api/customers/42/orders/7',
      '/api/customers/43/orders/8',
      '/admin/jobs/5',
    );
    paths.push('/static/secret.txt', '/nowhere/secret', '/passes/secret');
    await get(origin, paths);
    await get(origin, ['/users/9'], {
      method: 'POST',
      body: '{"a":1}',
      headers: { 'content-type': 'application/json' },
    });
    await get(origin, ['/users/9'], { method: 'HEAD' });
    assert.deepEqual(
      await rowsOf(client, 19),
      [
        'GET (none) 200 1',
        'GET (none) 404 1',
        'GET / 200 1',
        'GET /admin/jobs/{job} 200 1',
        'GET /api/customers/{customer}/orders 200 1',
        'GET /api/customers/{customer}/orders/{order} 200 2',
        'GET /boom 500 1',
        'GET /by/{hand} 200 1',
        'GET /later 500 1',
        'GET /passes/{it} 404 1',
        'GET /users/{id} 200 3',
        'GET /{/^\\/v\\d+$/} 200 1',
        'GET /{/one|/two} 200 2',
        'HEAD /users/{id} 200 1',
        'POST /users/{id} 201 1',
      ].sort(),
    );
  });
}

// V8 up to that of Node.js 22 gives each request a hidden class of its own, once it has a property more after Express replaced its prototype.
setFlagsFromString('--allow-natives-syntax');
const haveSameClass = new Function('one', 'other', 'return %HaveSameMap(one, other)');

for (const [name, express, setUp, appWith] of expresses.flatMap((each) =>
  setUps.map((one) => [...each, ...one]),
)) {
  test(`${name}, ${setUp}: requests share their hidden class, and have no value but what Express gives them`, async (t) => {
    const app = appWith(express, createClient({ url: 'http://127.0.0.1:9', key: 'k', log: () => {} }));
    const seen = [];
    app.use((request, { locals }, next) => {
      const { next: own, baseUrl, params, route, res } = request;
      seen.push({
        own: typeof own,
        baseUrl,
        params: { ...params },
        route,
        res: typeof res,
        locals,
      });
      next();
    });
    app.get('/users/:id', (request, response) =>
      response.json({ url: request.originalUrl, query: request.query, id: request.params.id }),
    );
    const held = [];
    app.get('/two', (request, response) => held.push([request, response]));
    const origin = await listening(t, app.listen(0, '127.0.0.1'));
    // What Express's router has of its own, and a middleware's application, is known from the second request on; V8 takes some more to settle.
    await get(origin, Array(50).fill('/users/0'));
    const answer = await (await fetch(`${origin}/users/2?a=b`)).json();
    assert.deepEqual(answer, { url: '/users/2?a=b', query: { a: 'b' }, id: '2' });
    for (const { locals, ...each } of seen)
      assert.deepEqual(
        { ...each, locals: { ...locals } },
        { own: 'function', baseUrl: '', params: {}, route: undefined, res: 'object', locals: {} },
      );
    const two = [get(origin, ['/two']), get(origin, ['/two'])];
    await Promise.all([...two, until(() => held.length === 2).then(answerBoth)]);
    function answerBoth() {
      const [[request, response], [otherRequest, otherResponse]] = held;
      for (const each of [response, otherResponse]) each.json({});
      assert.ok(haveSameClass(request, otherRequest), 'requests');
      assert.ok(haveSameClass(response, otherResponse), 'responses');
    }
  });
}

test('express: what a request has from before is left to it', async (t) => {
  const app = peepExpressApp(express5(), {
    client: createClient({ url: 'http://127.0.0.1:9', key: 'k', log: () => {} }),
  });
  app.get('/users', (request, response) => response.json([request.originalUrl, request.baseUrl]));
  const server = createServer((request, response) => {
    request.originalUrl = '/outside/users';
    request.baseUrl = '/outside';
    app(request, response);
  }).listen(0, '127.0.0.1');
  const origin = await listening(t, server);
  assert.deepEqual(await (await fetch(`${origin}/users`)).json(), ['/outside/users', '/outside']);
});

test('express: what is no application is said, and given back as it is', () => {
  const said = [];
  for (const app of [undefined, null, 1, {}, Object.freeze({ handle() {} })]) {
    const client = createClient({
      url: 'http://127.0.0.1:1',
      key: 'k',
      service: 's',
      log: (line) => said.push(line),
    });
    assert.equal(peepExpressApp(app, { client }), app);
  }
  assert.equal(said.length, 5);
});

test('fastify: every route of the server is counted, in plugins and with prefixes too', async (t) => {
  const client = clientFor('fastify');
  const app = Fastify();
  await app.register(peepFastify({ client }));
  app.get('/users/:id', async () => ({}));
  app.register(
    async (inner) => {
      inner.get('/jobs/:job(^\\d+$)', async () => ({}));
    },
    { prefix: '/admin/:tenant' },
  );
  app.get('/boom', async () => {
    throw new Error('boom');
  });
  app.get('/files/*', async () => 'file');
  app.get('/refused', { preHandler: async (_, reply) => reply.code(403).send() }, async () => ({}));
  await app.listen({ port: 0, host: '127.0.0.1' });
  t.after(() => app.close());
  const origin = `http://127.0.0.1:${app.server.address().port}`;
  await get(origin, [
    '/users/1',
    '/users/2?secret',
    '/admin/x/jobs/7',
    '/boom',
    '/files/a/b',
    '/refused',
    '/nowhere',
  ]);
  assert.deepEqual(await rowsOf(client, 7), [
    'GET (none) 404 1',
    'GET /admin/{tenant}/jobs/{job} 200 1',
    'GET /boom 500 1',
    'GET /files/{*} 200 1',
    'GET /refused 403 1',
    'GET /users/{id} 200 2',
  ]);
});

test('koa: routes of its router, nested ones too, and errors', async (t) => {
  const client = clientFor('koa');
  const app = new Koa();
  app.silent = true;
  app.use(peepKoa({ client }));
  const inner = new Router();
  inner.get('/:order', (ctx) => {
    ctx.body = 'x';
  });
  const router = new Router({ prefix: '/api' });
  router.get('/users/:id', (ctx) => {
    ctx.body = {};
  });
  router.use('/customers/:customer/orders', inner.routes());
  router.get('/boom', () => {
    throw new Error('boom');
  });
  app.use(router.routes());
  const origin = await listening(t, app.listen(0, '127.0.0.1'));
  await get(origin, ['/api/users/1', '/api/users/2', '/api/customers/3/orders/4', '/api/boom', '/nowhere']);
  assert.deepEqual(await rowsOf(client, 5), [
    'GET (none) 404 1',
    'GET /api/boom 500 1',
    'GET /api/customers/{customer}/orders/{order} 200 1',
    'GET /api/users/{id} 200 2',
  ]);
});

test('hono: routes of its router, and what it makes of errors', async (t) => {
  const client = clientFor('hono');
  const app = new Hono();
  app.use(peepHono({ client }));
  app.get('/users/:id{[0-9]+}', (c) => c.json({}));
  const inner = new Hono();
  inner.get('/:order', (c) => c.text('x'));
  app.route('/customers/:customer/orders', inner);
  app.get('/boom', () => {
    throw new Error('boom');
  });
  app.onError((_, c) => c.text('sorry', 500));
  const origin = await listening(t, serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }));
  await get(origin, ['/users/1', '/users/2', '/customers/3/orders/4', '/boom', '/nowhere']);
  assert.deepEqual(await rowsOf(client, 5), [
    'GET (none) 404 1',
    'GET /boom 500 1',
    'GET /customers/{customer}/orders/{order} 200 1',
    'GET /users/{id} 200 2',
  ]);
});

test('fetch handlers: measured, flushed through waitUntil, and errors go on to the caller', async () => {
  const client = clientFor('fetch', createEdgeClient);
  const waited = [];
  const context = { waitUntil: (work) => waited.push(work) };
  const handler = withPeep(
    async (request) => {
      if (request.url.endsWith('boom')) throw new Error('boom');
      return new Response('hello', { status: 201 });
    },
    { client, route: '/users/{id}' },
  );
  assert.equal((await handler(new Request('http://a/users/1', { method: 'PUT' }), {}, context)).status, 201);
  await assert.rejects(handler(new Request('http://a/users/boom'), {}, context), /boom/);
  await Promise.all(waited);
  assert.equal(client.stats().accepted, 2, 'what waitUntil was given has sent them');
  assert.deepEqual(await rowsOf(client, 2), ['GET /users/{id} 500 1', 'PUT /users/{id} 201 1']);
});

test('http: routes that the application names, or guesses', async (t) => {
  const client = clientFor('http');
  const server = createServer(peepHttp((_, response) => response.end(), { client, route: 'guess' })).listen(
    0,
    '127.0.0.1',
  );
  const origin = await listening(t, server);
  await get(origin, ['/items/49777.json?limit=5', '/u/550e8400-e29b-41d4-a716-446655440000', '/about']);
  assert.deepEqual(await rowsOf(client, 3), [
    'GET /about 200 1',
    'GET /items/{id}.json 200 1',
    'GET /u/{uuid} 200 1',
  ]);
});

test('http: a client that hangs up is 499, and measured to the end of what was sent otherwise', async (t) => {
  const client = clientFor('http');
  const server = createServer(
    peepHttp(
      (request, response) => {
        if (request.url === '/never') return response.write('beginning');
        response.write('slow');
        setTimeout(() => response.end('ly'), 50);
      },
      { client, route: (request) => request.url },
    ),
  ).listen(0, '127.0.0.1');
  const origin = await listening(t, server);
  await get(origin, ['/slow']);
  const socket = connect(server.address().port, '127.0.0.1', () =>
    socket.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\n'),
  );
  await once(socket, 'data');
  socket.destroy();
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(await rowsOf(client, 2), ['GET /never 499 1', 'GET /slow 200 1']);
});

test('http: the size of a response is its length, and unknown where nobody knows it', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const client = createClient({ url: ingest.url, key: 'k', service: 's' });
  const answers = {
    '/plain': (response) => response.end('four'),
    '/head': (response) => response.writeHead(200, { 'content-length': 3 }).end('abc'),
    '/set': (response) => response.setHeader('content-length', 2).end('ab'),
    '/chunked': (response) => void response.write('a') || response.end('b'),
  };
  const listener = (request, response) => answers[request.url](response);
  const server = createServer(peepHttp(listener, { client, route: (request) => request.url }));
  const origin = await listening(t, server.listen(0, '127.0.0.1'));
  await get(origin, Object.keys(answers));
  await client.shutdown();
  const sizes = ingest.requests
    .flatMap(({ lines }) => lines)
    .map(({ route, bytes_out }) => [route, bytes_out]);
  assert.deepEqual(Object.fromEntries(sizes), { '/plain': 4, '/head': 3, '/set': 2, '/chunked': undefined });
});

test('http: pipelined requests on one connection are each counted once', async (t) => {
  const client = clientFor('http');
  const listener = (request, response) => setTimeout(() => response.end(request.url), Math.random() * 3);
  const server = createServer(peepHttp(listener, { client, route: 'guess' })).listen(0, '127.0.0.1');
  await listening(t, server);
  const socket = connect(server.address().port, '127.0.0.1');
  socket.write('GET /a HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(50));
  let received = '';
  socket.setEncoding('utf8').on('data', (text) => {
    received += text;
    if (received.split('HTTP/1.1 200').length === 51) socket.destroy();
  });
  await once(socket, 'close');
  assert.deepEqual(await rowsOf(client, 50), ['GET /a 200 50']);
});

test('http: HTTP/2 is counted the same', async (t) => {
  const client = clientFor('http2');
  const server = http2.createServer(peepHttp((_, response) => response.end('x'), { client, route: 'guess' }));
  server.listen(0, '127.0.0.1');
  const origin = await listening(t, server);
  const session = http2.connect(origin);
  for (let index = 0; index < 3; index += 1)
    await once(session.request({ ':path': '/a' }).resume().end(), 'close');
  session.close();
  assert.deepEqual(await rowsOf(client, 3), ['GET /a 200 3']);
});

test('nothing but template, method, status, sizes and trace id leaves the process', async (t) => {
  const bodies = [];
  const sink = createServer((request, response) => {
    request.on('data', (chunk) => bodies.push(chunk)).on('end', () => response.writeHead(202).end());
  }).listen(0, '127.0.0.1');
  const url = await listening(t, sink);
  const client = createClient({ url, key: 'k', service: 's', host: 'h', gzip: false, log: () => {} });
  const app = express5();
  app.use(peepExpress({ client }));
  app.post('/users/:id', express5.json(), (_, response) =>
    response.set('x-secret', 'S3CRET').json({ s: 'S3CRET' }),
  );
  const origin = await listening(t, app.listen(0, '127.0.0.1'));
  const headers = {
    'content-type': 'application/json',
    cookie: 'S3CRET',
    authorization: 'S3CRET',
    'user-agent': 'S3CRET',
  };
  headers.traceparent = '00-12345678901234567890123456789012-1234567890123456-01';
  await get(origin, ['/users/S3CRET?q=S3CRET', '/S3CRET'], {
    method: 'POST',
    body: '{"x":"S3CRET"}',
    headers,
  });
  await client.shutdown(500);
  const [first, second] = Buffer.concat(bodies)
    .toString()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(Object.keys(first), [
    'service',
    'host',
    'source',
    'route',
    'method',
    'status',
    'duration_ms',
    'ts',
    'bytes_in',
    'bytes_out',
    'trace_id',
  ]);
  assert.deepEqual(
    [first.route, first.bytes_in, first.trace_id],
    ['/users/{id}', 14, '12345678901234567890123456789012'],
  );
  assert.ok(!JSON.stringify([first, second]).includes('S3CRET'));
});
