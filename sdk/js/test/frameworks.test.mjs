// Each framework for real: requests over sockets, and what peep then counts.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import http2 from 'node:http2';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { getRequestListener, serve } from '@hono/node-server';
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

/** The routes that a client had, in the order of its requests. */
async function routesOf(t, appOf, ask) {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const client = createClient({ url: ingest.url, key: 'k', service: 's', log: () => {} });
  const server = createServer(await appOf(client)).listen(0, '127.0.0.1');
  await ask(await listening(t, server));
  // The end of a response is noticed a moment after it was read.
  await until(() => client.stats().recorded > 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await client.shutdown();
  return ingest.requests.flatMap(({ lines }) => lines).map(({ route = '(none)' }) => route);
}

for (const [name, express, setUp, appWith] of expresses.flatMap((each) =>
  setUps.map((one) => [...each, ...one]),
)) {
  test(`${name}, ${setUp}: what is mounted at several places is counted at the one that the request came by`, async (t) => {
    const appOf = (client) => {
      const app = appWith(express, client).set('env', 'test');
      app.use((request, _, next) => {
        request.url = request.url.replace(/^\/old\//, '/v2/');
        next();
      });
      const users = express.Router();
      users.get('/:id', (request, response, next) =>
        request.query.fails ? next(new Error('as asked')) : response.end(),
      );
      const api = express.Router();
      api.use('/users', users);
      api.use('/t/:tenant/users', users);
      app.use('/v1', api);
      app.use('/v2', api);
      const other = express();
      other.use('/users', users);
      app.use('/a', other);
      app.use('/b', other);
      return app;
    };
    const paths = [
      ['/v1/users/1', '/v1/users/{id}'],
      ['/v2/users/1?fails=1', '/v2/users/{id}'],
      ['/v2/users/2', '/v2/users/{id}'],
      ['/v2/t/acme/users/2', '/v2/t/{tenant}/users/{id}'],
      ['/v1/t/acme/users/2?fails=1', '/v1/t/{tenant}/users/{id}'],
      ['/old/users/3', '/v2/users/{id}'],
      ['/a/users/4', '/a/users/{id}'],
      ['/b/users/4?fails=1', '/b/users/{id}'],
      ['/b/users/4', '/b/users/{id}'],
      ['/V1/users/5/', '/v1/users/{id}'],
    ].map(([path, route]) => ({ path, route }));
    const routes = await routesOf(t, appOf, (origin) =>
      get(
        origin,
        paths.map(({ path }) => path),
      ),
    );
    assert.deepEqual(
      routes,
      paths.map(({ route }) => route),
    );
  });

  for (const first of ['fails', 'passes', 'works'])
    test(`${name}, ${setUp}: a mounted application has its routes also when the first request ${first}`, async (t) => {
      const appOf = (client) => {
        const [app, outer, inner] = [appWith(express, client), express(), express()];
        inner.get('/:id', ({ query }, response, next) => {
          if (query.how === 'works') response.end();
          else next(query.how === 'fails' ? new Error('as asked') : undefined);
        });
        outer.use('/inner', inner);
        outer.get('/else', (_, response) => response.end());
        return app.set('env', 'test').use('/outer', outer);
      };
      const paths = [first, 'fails', 'passes', 'works'].map((how) => `/outer/inner/1?how=${how}`);
      const routes = await routesOf(t, appOf, (origin) => get(origin, paths));
      assert.deepEqual(routes, Array(4).fill('/outer/inner/{id}'));
    });
}

test('express: a router that two applications share has its routes in each of them', async (t) => {
  for (const [, express] of expresses) {
    const router = express.Router().get('/:id', (_, response) => response.end());
    for (const path of ['/one', '/other']) {
      const appOf = (client) => peepExpressApp(express(), { client }).use(path, router);
      const routes = await routesOf(t, appOf, (origin) => get(origin, [`${path}/1`, `${path}/2`]));
      assert.deepEqual(routes, Array(2).fill(`${path}/{id}`));
    }
  }
});

test('express: paths of mounts are what was registered, however many and whatever is in them', async (t) => {
  for (const [, express] of expresses) {
    const mounts = [
      ['/with-dash.dot/:a-:b', '/with-dash.dot/1-2', '/with-dash.dot/{a}-{b}'],
      ['/files/:name.:type', '/files/a.png', '/files/{name}.{type}'],
      [['/one', '/two/:z'], '/two/2', '/{/one|/two/{z}}'],
      ['/slash/', '/slash', '/slash'],
      [/^\/rx\d+/, '/rx1', '/{/^\\/rx\\d+/}'],
    ];
    const appOf = (client) => {
      const app = peepExpressApp(express(), { client });
      for (const [path] of mounts)
        app.use(
          path,
          express.Router().get('/end', (_, response) => response.end()),
        );
      return app;
    };
    const paths = mounts.map(([, path]) => `${path}/end`);
    const routes = await routesOf(t, appOf, (origin) => get(origin, paths));
    assert.deepEqual(
      routes,
      mounts.map(([, , template]) => `${template}/end`),
    );
  }
});

/** Where the SDK was installed more often than needed: what then listens to requests for /x/1. */
const doubles = {
  'an Express application and its middleware': (client) =>
    peepExpressApp(express5(), { client })
      .use(peepExpress({ client }))
      .get('/x/:id', (_, response) => response.end()),
  'an Express application twice': (client) =>
    peepExpressApp(peepExpressApp(express4(), { client }), { client }).get('/x/:id', (_, response) =>
      response.end(),
    ),
  "Express's middleware in the application and in a router": (client) => {
    const router = express5.Router().use(peepExpress({ client }));
    router.get('/:id', (_, response) => response.end());
    return express5().use(peepExpress({ client })).use('/x', router);
  },
  'an Express application and the one that is mounted in it': (client) => {
    const inner = peepExpressApp(express5(), { client });
    inner.get('/:id', (_, response) => response.end());
    return peepExpressApp(express5(), { client }).use('/x', inner);
  },
  'plain http around Express': (client) =>
    peepHttp(
      peepExpressApp(express5(), { client }).get('/x/:id', (_, response) => response.end()),
      { client },
    ),
  'Koa twice': (client) => {
    const router = new Router().get('/x/:id', (ctx) => {
      ctx.body = 'x';
    });
    return new Koa().use(peepKoa({ client })).use(peepKoa({ client })).use(router.routes()).callback();
  },
  'Fastify twice': async (client) => {
    let listener;
    const app = Fastify({
      serverFactory: (handler) => {
        listener = handler;
        return createServer(handler);
      },
    });
    await app.register(peepFastify({ client }));
    await app.register(peepFastify({ client }));
    app.get('/x/:id', async () => 'x');
    await app.ready();
    return listener;
  },
  'Hono twice, and a handler around it': (client) => {
    const app = new Hono().use(peepHono({ client })).use(peepHono({ client }));
    app.get('/x/:id', (c) => c.text('x'));
    return getRequestListener(withPeep((request) => app.fetch(request), { client }));
  },
};
for (const [what, appOf] of Object.entries(doubles))
  test(`a request is counted once, with its route, by ${what}`, async (t) => {
    const paths = Array(5).fill('/x/1');
    const routes = await routesOf(t, appOf, (origin) => get(origin, paths));
    assert.deepEqual(routes, Array(5).fill('/x/{id}'));
  });

test('a request is counted by each of two clients, however often both are installed', async (t) => {
  const ingest = await scripted();
  t.after(() => ingest.close());
  const [one, other] = ['one', 'other'].map((service) =>
    createClient({ url: ingest.url, key: 'k', service, log: () => {} }),
  );
  let app = express5().get('/x/:id', (_, response) => response.end());
  for (const client of [one, other, one, other]) app = peepExpressApp(app, { client });
  const origin = await listening(t, app.listen(0, '127.0.0.1'));
  await get(origin, ['/x/1', '/x/2']);
  await until(() => [one, other].every((client) => client.stats().recorded >= 2));
  await Promise.all([one.shutdown(), other.shutdown()]);
  const seen = ingest.requests
    .flatMap(({ lines }) => lines)
    .map(({ service, route }) => `${service} ${route}`);
  assert.deepEqual(seen.sort(), ['one /x/{id}', 'one /x/{id}', 'other /x/{id}', 'other /x/{id}']);
});

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

test('fastify: a path that cannot be decoded is counted, and has no route', async (t) => {
  for (const http2 of [false, true]) {
    const client = clientFor('fastify');
    const app = Fastify({ http2 });
    await app.register(peepFastify({ client }));
    app.get('/users/:id', async () => ({}));
    await app.listen({ port: 0, host: '127.0.0.1' });
    t.after(() => app.close());
    const origin = `http://127.0.0.1:${app.server.address().port}`;
    const paths = ['/users/%E0%A4%A', '/users/a%20b', '/users/1?%E0%A4%A'];
    if (http2) await getOverHttp2(origin, paths);
    else await get(origin, paths);
    assert.deepEqual(await rowsOf(client, 3), ['GET (none) 400 1', 'GET /users/{id} 200 2']);
  }
});

async function getOverHttp2(origin, paths) {
  const session = http2.connect(origin);
  for (const path of paths) await once(session.request({ ':path': path }).resume().end(), 'close');
  session.close();
}

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

test('hono: what is thrown and no error is counted, and goes on to the server', async () => {
  const client = clientFor('hono');
  const app = new Hono().use(peepHono({ client }));
  app.get('/text/:id', () => {
    throw 'a text';
  });
  await assert.rejects(async () => app.request('/text/1'), /a text/);
  assert.deepEqual(await rowsOf(client, 1), ['GET /text/{id} 500 1']);
});

test("fetch handlers: Next.js's redirects and their like are the answers that they become", async () => {
  const client = clientFor('fetch', createEdgeClient);
  const digests = {
    'NEXT_REDIRECT;replace;/a;b;c;307;': 307,
    'NEXT_REDIRECT;push;/a;308;': 308,
    'NEXT_HTTP_ERROR_FALLBACK;403': 403,
    NEXT_NOT_FOUND: 404,
    'NEXT_REDIRECT;push;/a': 500,
    1234567: 500,
  };
  for (const digest of Object.keys(digests)) {
    const handler = withPeep(
      () => {
        throw Object.assign(new Error('x'), { digest });
      },
      { client, route: '/a' },
    );
    await assert.rejects(handler(new Request('http://a/')));
  }
  assert.deepEqual(await rowsOf(client, 6), [
    'GET /a 307 1',
    'GET /a 308 1',
    'GET /a 403 1',
    'GET /a 404 1',
    'GET /a 500 2',
  ]);
});

test('fetch handlers: a request whose route cannot be said is counted without, as often as it comes', async () => {
  const client = clientFor('fetch', createEdgeClient);
  const route = () => {
    throw new Error('no');
  };
  const handler = withPeep(() => new Response('x'), { client, route });
  const request = new Request('http://a/');
  assert.equal((await handler(request)).status, 200);
  assert.equal((await handler(request)).status, 200);
  assert.deepEqual(await rowsOf(client, 2), ['GET (none) 200 2']);
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
    '/same': (response) => response.writeHead(304, { 'content-length': 9 }).end(),
  };
  const listener = (request, response) => answers[request.url.replace(/\?.*/, '')](response);
  const server = createServer(peepHttp(listener, { client, route: (request) => request.url }));
  const origin = await listening(t, server.listen(0, '127.0.0.1'));
  await get(origin, Object.keys(answers));
  await get(origin, ['/plain?of=nothing'], { method: 'HEAD' });
  await client.shutdown();
  const sizes = ingest.requests
    .flatMap(({ lines }) => lines)
    .map(({ route, bytes_out }) => [route, bytes_out]);
  assert.deepEqual(Object.fromEntries(sizes), {
    '/plain': 4,
    '/head': 3,
    '/set': 2,
    '/chunked': undefined,
    '/same': 0,
    '/plain?of=nothing': 0,
  });
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

test('http: a client that hangs up is 499 over HTTP/2 as well', async (t) => {
  const client = clientFor('http2');
  const listener = (request, response) => void (request.url === '/begun' && response.write('x'));
  const server = http2.createServer(peepHttp(listener, { client, route: 'guess' })).listen(0, '127.0.0.1');
  const session = http2.connect(await listening(t, server));
  for (const path of ['/begun', '/not']) {
    const stream = session
      .request({ ':path': path })
      .resume()
      .on('error', () => {});
    await once(server, 'request');
    stream.close(http2.constants.NGHTTP2_CANCEL);
  }
  await until(() => client.stats().recorded === 2);
  session.close();
  assert.deepEqual(await rowsOf(client, 2), ['GET /begun 499 1', 'GET /not 499 1']);
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
