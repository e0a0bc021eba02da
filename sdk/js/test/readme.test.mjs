// What README.md says to copy is copied here, and run.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import http2 from 'node:http2';
import { tmpdir } from 'node:os';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { backend, counted } from './backend.mjs';
import { freePort } from './ports.mjs';
import { until } from './scripted.mjs';

const root = new URL('..', import.meta.url);
/** Each block of a README with the file that it claims to be, if any. */
function blocksOf(folder) {
  const readme = readFileSync(new URL('README.md', folder), 'utf8');
  return [...readme.matchAll(/(?:\]\((examples\/\S+)\)\n\n)?```(\w+)\n([\s\S]*?)```/g)].map(
    ([, file, language, code]) => ({ folder, file, language, code }),
  );
}
const blocks = blocksOf(root);
const rustBlocks = blocksOf(new URL('../rust/', root));

let place;
let number = 0;
before(async () => {
  place = await backend();
});
after(() => place.close());

/** Where each example is run as it stands. */
const RUN_ELSEWHERE = { 'examples/page.mjs': 'browser.test.mjs', 'examples/next/': 'next.mjs' };

test('every block of code in the READMEs is an example, and every example is run', () => {
  const named = [...blocks, ...rustBlocks].filter(({ file }) => file !== undefined);
  for (const { folder, file, code } of named)
    assert.equal(code, readFileSync(new URL(file, folder), 'utf8'), file);
  const run = [
    ...programs.flatMap(({ files }) => files),
    'examples/fetch.mjs',
    'examples/tower.rs',
    'examples/tonic/src/main.rs',
  ];
  for (const { file } of named) {
    const place = Object.keys(RUN_ELSEWHERE).find((beginning) => file.startsWith(beginning));
    assert.ok(run.includes(file) || place !== undefined, `${file} is run by no test`);
  }
  assert.deepEqual(
    rustBlocks.filter(({ file, language }) => file === undefined && !['bash', 'toml'].includes(language)),
    [],
  );
  assert.ok(named.length >= 15, `${named.length}`);
});

function start(args, env, program = process.execPath, cwd = root) {
  const child = spawn(program, args, {
    cwd,
    env: { PATH: process.env.PATH, ...place.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said = { text: '' };
  child.stdout.on('data', (chunk) => (said.text += chunk));
  child.stderr.on('data', (chunk) => (said.text += chunk));
  return { child, said, ended: once(child, 'exit') };
}

/** Express 4 in the place of Express 5, for an example that is written for both. */
const express4 = `import { register } from 'node:module';
register('data:text/javascript,' + encodeURIComponent(\`export const resolve = (name, context, next) =>
  next(name === 'express' ? 'express-4' : name, context)\`));`;

/** Another runtime: where the environment says, or on the path, or as `make sdk-extra` installs it. */
function runtime(name) {
  const places = [
    process.env[`PEEP_${name.toUpperCase()}`],
    ...(process.env.PATH ?? '').split(':').map((folder) => `${folder}/${name}`),
    fileURLToPath(new URL(`test/runtimes/node_modules/.bin/${name}`, root)),
  ];
  // A package whose program did not come with it is there too.
  return places.find((place) => place && existsSync(place) && spawnSync(place, ['--version']).status === 0);
}

// What scripts/sdk.sh has built: the examples of the Rust SDK; and with `make sdk-extra` the one of tonic.
const { PEEP_RUST_EXAMPLES: rustExamples, PEEP_TONIC_EXAMPLE: tonicExample } = process.env;
const noRust = rustExamples === undefined && 'scripts/sdk.sh builds them';

/** Programs that are the same shop in every framework. `skip` says why one is not run. */
const programs = [
  ...['express', 'fastify', 'koa', 'http', 'hono'].map((name) => ({
    name,
    args: [`examples/${name}.mjs`],
    files: [`examples/${name}.mjs`],
  })),
  {
    name: 'express-4',
    args: ['--import', `data:text/javascript,${encodeURIComponent(express4)}`, 'examples/express.mjs'],
    files: [],
  },
  ...Object.entries({ bun: ['run'], deno: ['run', '-A', '--node-modules-dir=manual'] }).map(
    ([name, args]) => ({
      name,
      args: [...args, `${name}.mjs`],
      files: [`examples/${name}.mjs`],
      program: runtime(name),
      isElsewhere: true,
      skip: runtime(name) === undefined && `make sdk-extra installs ${name}`,
    }),
  ),
  ...['axum', 'hyper'].map((name) => ({
    name,
    args: [],
    files: [`examples/${name}.rs`],
    program: `${rustExamples}/${name}`,
    skip: noRust,
  })),
];

/** A folder with an example alone and the package in its `node_modules`, as it is with whoever copied it. */
function folderWith(t, file) {
  const folder = mkdtempSync(`${tmpdir()}/peep-readme-`);
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(`${folder}/node_modules/@peep`, { recursive: true });
  symlinkSync(fileURLToPath(root), `${folder}/node_modules/@peep/sdk`);
  writeFileSync(`${folder}/package.json`, '{}');
  copyFileSync(new URL(file, root), `${folder}/${file.split('/').at(-1)}`);
  return folder;
}

async function answers(call, said) {
  await until(
    () =>
      call().then(
        () => true,
        () => false,
      ),
    () => said.text,
  );
}

for (const { name, args, files, program, isElsewhere, skip } of programs) {
  test(`the example for ${name} counts its requests and sends them before it ends`, {
    skip,
  }, async (t) => {
    const service = `readme-${name}-${process.pid}`;
    const port = await freePort();
    const { child, said, ended } = start(
      args,
      { PORT: String(port), PEEP_SERVICE: service, NODE_ENV: 'test' },
      program,
      isElsewhere ? folderWith(t, files[0]) : undefined,
    );
    t.after(() => child.kill('SIGKILL'));
    const origin = `http://localhost:${port}`;
    const get = async (path) => (await fetch(origin + path, { headers: { connection: 'close' } })).status;
    await answers(() => get('/users/1'), said);
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

test('the example for tonic counts the calls of its methods with their statuses', {
  skip: tonicExample === undefined && 'make sdk-extra builds it',
}, async (t) => {
  const service = `readme-tonic-${process.pid}`;
  const port = await freePort();
  const { child, said, ended } = start([], { PORT: String(port), PEEP_SERVICE: service }, tonicExample);
  t.after(() => child.kill('SIGKILL'));
  const calls = [
    ['/grpc.health.v1.Health/Check', grpcMessage('')],
    ['/grpc.health.v1.Health/Check', grpcMessage('unknown')],
    ['/secret.v1.Nothing/Here', grpcMessage('')],
  ];
  await answers(() => grpcStatus(port, ...calls[0]), said);
  const statuses = [];
  for (const call of calls) statuses.push(await grpcStatus(port, ...call));
  // A stream that does not end by itself, and a client that has seen enough.
  statuses.push(await grpcStatus(port, '/grpc.health.v1.Health/Watch', grpcMessage(''), true));
  assert.deepEqual(statuses, ['0', '5', '12', 'left']);
  child.kill('SIGTERM');
  await ended;
  assert.deepEqual(await counted(place, service, 5), [
    'POST (none) 501 1',
    'POST /grpc.health.v1.Health/Check 200 2',
    'POST /grpc.health.v1.Health/Check 404 1',
    'POST /grpc.health.v1.Health/Watch 499 1',
  ]);
});

/** A `HealthCheckRequest` in its frame: the name of a service is field 1. */
function grpcMessage(name) {
  const message =
    name === '' ? Buffer.alloc(0) : Buffer.from(`\x0a${String.fromCharCode(name.length)}${name}`);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The `grpc-status` of one call, on a connection of its own. */
function grpcStatus(port, path, message, isLeft = false) {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    session.on('error', reject);
    const call = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    let status;
    const look = (headers) => {
      status = headers['grpc-status'] ?? status;
    };
    call.on('response', look).on('trailers', look).on('error', reject);
    call.on('data', () => {
      if (!isLeft) return;
      status = 'left';
      call.close(http2.constants.NGHTTP2_CANCEL);
    });
    call.on('close', () => {
      session.close();
      resolve(status);
    });
    call.end(message);
  });
}

test('the example for any tower service counts a request and an operation', { skip: noRust }, async () => {
  const service = `readme-tower-${process.pid}`;
  const { said, ended } = start([], { PEEP_SERVICE: service }, `${rustExamples}/tower`);
  assert.deepEqual((await ended)[0], 0, said.text);
  assert.deepEqual(await counted(place, service, 2), [' nightly-report 0 1', 'GET /hello/{name} 200 1']);
});

test('the example for handlers from Request to Response counts a request, and waits where it must', async (t) => {
  const service = `readme-fetch-${process.pid}`;
  const folder = folderWith(t, 'examples/fetch.mjs');
  // As a worker is called: with the platform's context last.
  const caller = `import worker from './fetch.mjs';
const work = [];
const response = await worker.fetch(new Request('http://a/hello?token=secret'), {}, { waitUntil: (promise) => work.push(promise) });
if ((await response.text()) !== 'hello GET') throw new Error('another answer');
await Promise.all(work);
if (work.length !== 1) throw new Error('nobody waits');`;
  writeFileSync(`${folder}/caller.mjs`, caller);
  const { said, ended } = start(['caller.mjs'], { PEEP_SERVICE: service }, process.execPath, folder);
  assert.deepEqual((await ended)[0], 0, said.text);
  assert.deepEqual(await counted(place, service, 1), ['GET /hello 200 1']);
});

/** What the other blocks count: everything that is no example of a framework. */
const COUNTED = { 'nightly-report': [' nightly-report 0 1'] };

for (const { code } of blocks.filter(({ file, language }) => file === undefined && language === 'js')) {
  const title = code.split('\n').find((line) => line !== '' && !line.startsWith('import'));
  test(`this block of README.md runs: ${title}`, async () => {
    number += 1;
    const service = `readme-${process.pid}-${number}`;
    const { said, ended } = start(['--input-type=module', '-e', code], { PEEP_SERVICE: service });
    const [status, signal] = await ended;
    assert.deepEqual([status, signal], [0, null], said.text);
    assert.doesNotMatch(said.text, /peep:/);
    const rows = Object.entries(COUNTED).find(([word]) => code.includes(word))?.[1];
    if (rows !== undefined) assert.deepEqual(await counted(place, service, rows.length), rows);
  });
}
