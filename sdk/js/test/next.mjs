// The Next.js example, built and started as it is in production. `npm run test:next`: not part of `npm test`, because the
// build alone takes longer than all other tests together.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { backend, counted } from './backend.mjs';
import { freePort } from './ports.mjs';
import { until } from './scripted.mjs';

const app = fileURLToPath(new URL('../examples/next', import.meta.url));
// Next.js is large and the dashboard has it already: the same version, installed once.
const installed = fileURLToPath(new URL('../../../dashboard/node_modules', import.meta.url));

let place;
before(async () => {
  assert.ok(
    existsSync(`${installed}/next`),
    'the packages of dashboard/ are installed first: npm ci --prefix dashboard',
  );
  rmSync(`${app}/node_modules`, { recursive: true, force: true });
  for (const name of [
    'next',
    'react',
    'react-dom',
    'typescript',
    '@types/node',
    '@types/react',
    '@types/react-dom',
  ]) {
    mkdirSync(dirname(`${app}/node_modules/${name}`), { recursive: true });
    symlinkSync(`${installed}/${name}`, `${app}/node_modules/${name}`);
  }
  place = await backend();
});
after(() => place.close());

function next(args, env = {}) {
  const child = spawn(process.execPath, [`${installed}/next/dist/bin/next`, ...args], {
    cwd: app,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NEXT_TELEMETRY_DISABLED: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { text: '' };
  child.stdout.on('data', (chunk) => (said.text += chunk));
  child.stderr.on('data', (chunk) => (said.text += chunk));
  return { child, said, ended: once(child, 'exit') };
}

test('Next.js: pages, route handlers and edge functions are counted with their templates', async (t) => {
  const build = next(['build', '--webpack']);
  assert.equal((await build.ended)[0], 0, build.said.text);
  const port = await freePort();
  const service = `next-${process.pid}`;
  const server = next(['start', '--port', String(port), '--hostname', '127.0.0.1'], {
    ...place.env,
    PEEP_SERVICE: service,
  });
  t.after(() => server.child.kill('SIGKILL'));
  const origin = `http://127.0.0.1:${port}`;
  const get = async (path) => (await fetch(origin + path)).status;
  // Next.js listens before it has read instrumentation.ts, and lets requests wait. Its own files are not counted.
  await until(
    () =>
      get('/_next/nothing').then(
        () => true,
        () => false,
      ),
    () => server.said.text,
  );
  const statuses = [];
  const paths = [
    '/',
    '/users/1',
    '/users/2?token=secret',
    '/api/users/1',
    '/api/users/0',
    '/api/edge/1',
    '/api/edge/2',
    '/nowhere/secret',
  ];
  for (const path of [...paths, '/legacy/a/b']) statuses.push(await get(path));
  assert.deepEqual(statuses, [200, 200, 200, 200, 500, 200, 200, 404, 200], server.said.text);
  server.child.kill('SIGTERM');
  await server.ended;
  assert.deepEqual(await counted(place, service, 9), [
    'GET (none) 404 1',
    'GET / 200 1',
    'GET /api/edge/{id} 200 2',
    'GET /api/users/{id} 200 1',
    'GET /api/users/{id} 500 1',
    'GET /legacy/{*rest} 200 1',
    'GET /users/{id} 200 2',
  ]);
});
