// Ingest is killed while an application serves requests, again and again, and comes back: no request fails, and peep has exactly as
// many as there were. Needs the peep that scripts/sdk.sh starts; its ingest here is a second one, so that nobody else notices.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { backend, counted } from './backend.mjs';
import { freePort } from './ports.mjs';
import { until } from './scripted.mjs';

const { PATH, DATABASE_URL, PEEP_BIN, PEEP_RUST_EXAMPLES } = process.env;
const KILLS = 5;
const applications = [
  {
    name: 'express',
    program: process.execPath,
    args: [fileURLToPath(new URL('../examples/express.mjs', import.meta.url))],
  },
  { name: 'axum', program: `${PEEP_RUST_EXAMPLES}/axum`, args: [] },
];

function start(program, args, env) {
  const child = spawn(program, args, { env: { PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const said = { text: '' };
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said.text += chunk));
  return { child, said, ended: once(child, 'exit') };
}

const agent = new Agent({ keepAlive: true, maxSockets: 4 });
const get = (port, path) =>
  new Promise((resolve, reject) => {
    const outgoing = request({ port, host: '127.0.0.1', path, agent }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode));
    });
    outgoing.on('error', reject).end();
  });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const answers = (port) => () =>
  get(port, '/users/0').then(
    () => true,
    () => false,
  );

for (const { name, program, args } of applications) {
  test(`ingest is killed ${KILLS} times under ${name}, and what peep counts is what was served`, {
    skip: PEEP_BIN === undefined && 'without a peep',
  }, async (t) => {
    const place = await backend();
    const service = `outage-${name}-${process.pid}`;
    const [port, ingestPort, adminPort] = [await freePort(), await freePort(), await freePort()];
    const startIngest = () =>
      start(PEEP_BIN, ['ingest'], {
        DATABASE_URL,
        PEEP_INGEST_LISTEN: `127.0.0.1:${ingestPort}`,
        PEEP_ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
      });
    let ingest = startIngest();
    const app = start(program, args, {
      PORT: String(port),
      NODE_ENV: 'production',
      PEEP_SERVICE: service,
      PEEP_INGEST_KEY: place.env.PEEP_INGEST_KEY,
      PEEP_INGEST_URL: `http://127.0.0.1:${ingestPort}`,
    });
    t.after(() => [app, ingest].map(({ child }) => child.kill('SIGKILL')));
    await until(answers(port), () => app.said.text);
    let served = 1;
    let isOver = false;
    const serving = (async () => {
      while (!isOver) {
        const statuses = await Promise.all([1, 2, 3, 4].map((user) => get(port, `/users/${user}`)));
        assert.deepEqual(statuses, [200, 200, 200, 200]);
        served += statuses.length;
        await pause(5);
      }
    })();
    for (let kill = 0; kill < KILLS; kill += 1) {
      const before = ingest;
      await until(answers(ingestPort), () => before.said.text);
      await pause(700);
      ingest.child.kill('SIGKILL');
      await ingest.ended;
      await pause(300);
      ingest = startIngest();
    }
    await until(answers(ingestPort), () => ingest.said.text);
    isOver = true;
    await serving;
    app.child.kill('SIGTERM');
    await app.ended;
    assert.deepEqual(await counted(place, service, served), [`GET /users/{id} 200 ${served}`]);
    await place.close();
  });
}
