// What README.md says to copy is copied here, and run.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, before, test } from 'node:test';
import { backend, counted } from './backend.mjs';
import { until } from './scripted.mjs';

const root = new URL('..', import.meta.url);
const readme = readFileSync(new URL('README.md', root), 'utf8');
/** Each block with the file that it claims to be, if any. */
const blocks = [...readme.matchAll(/(?:\]\((examples\/\S+)\)\n\n)?```(\w+)\n([\s\S]*?)```/g)].map(
  ([, file, language, code]) => ({ file, language, code }),
);

let place;
before(async () => {
  place = await backend();
});
after(() => place.close());

test('every block of README.md is the example it names, or is run below', () => {
  const named = blocks.filter(({ file }) => file !== undefined);
  for (const { file, code } of named) assert.equal(code, readFileSync(new URL(file, root), 'utf8'), file);
  assert.ok(named.length >= 8, `${named.length}`);
});

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

function start(args, env, program = process.execPath) {
  const child = spawn(program, args, {
    cwd: root,
    env: { PATH: process.env.PATH, ...place.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { text: '' };
  child.stdout.on('data', (chunk) => (said.text += chunk));
  child.stderr.on('data', (chunk) => (said.text += chunk));
  return { child, said, ended: once(child, 'exit') };
}

/** Programs that are the same shop in every framework. */
const programs = ['express', 'fastify', 'koa', 'http', 'hono'].map((name) => ({
  name,
  args: [`examples/${name}.mjs`],
}));
// The same in another language: scripts/sdk.sh builds it.
if (process.env.PEEP_RUST_EXAMPLE !== undefined)
  programs.push({ name: 'axum', args: [], program: process.env.PEEP_RUST_EXAMPLE });

for (const { name, args, program } of programs) {
  test(`the example for ${name} counts its requests and sends them before it ends`, async (t) => {
    const service = `readme-${name}-${process.pid}`;
    const port = await freePort();
    const { child, said, ended } = start(
      args,
      { PORT: String(port), PEEP_SERVICE: service, NODE_ENV: 'test' },
      program,
    );
    t.after(() => child.kill('SIGKILL'));
    const origin = `http://localhost:${port}`;
    const get = async (path) => (await fetch(origin + path, { headers: { connection: 'close' } })).status;
    await until(
      () =>
        get('/users/1').then(
          () => true,
          () => false,
        ),
      () => said.text,
    );
    const statuses = [
      await get('/users/2'),
      await get('/users/3'),
      await get('/boom'),
      await get('/nowhere'),
    ];
    assert.deepEqual(statuses, [200, 200, 500, 404]);
    child.kill('SIGTERM');
    await ended;
    assert.deepEqual(await counted(place, service, 5), [
      'GET (none) 404 1',
      'GET /boom 500 1',
      'GET /users/{id} 200 3',
    ]);
  });
}

for (const { code } of blocks.filter(({ file, language }) => file === undefined && language === 'js')) {
  test(`this block of README.md runs: ${code.split('\n').find((line) => line !== '' && !line.startsWith('import'))}`, async () => {
    const { said, ended } = start(['--input-type=module', '-e', code], {
      PEEP_SERVICE: `readme-${process.pid}`,
    });
    const [status, signal] = await ended;
    assert.deepEqual([status, signal], [0, null], said.text);
    assert.doesNotMatch(said.text, /peep:/);
  });
}
