// What does the SDK hold, whatever the server does? Live memory after a collection, beyond what the process had before.
// Run with --expose-gc; runs itself so. Exits 1 above the limit.
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createClient } from '@peep/sdk';

if (globalThis.gc === undefined) {
  const { status } = spawnSync(process.execPath, ['--expose-gc', process.argv[1]], { stdio: 'inherit' });
  process.exit(status);
}

const LIMIT_MIB = 8;
const EVENTS = Number(process.env.EVENTS ?? 300_000);
const servers = {
  'refuses connections': null,
  'accepts and says nothing': () => {},
  'answers 503 at once': (_, response) => response.writeHead(503).end(),
  'answers 503 without end': (_, response) => {
    response.writeHead(503);
    const more = () => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, 120)));
      response.once('drain', more);
    };
    more();
  },
  'trickles its answer': (_, response) => {
    response.writeHead(202);
    const timer = setInterval(() => response.write('x'), 20);
    response.on('close', () => clearInterval(timer));
  },
  'hangs up at once': (request) => request.socket.destroy(),
  'sends a header after the other': (request) => {
    const { socket } = request;
    socket.write('HTTP/1.1 202 Accepted\r\n');
    const timer = setInterval(
      () => socket.writable && socket.write(`x-${Math.random()}: ${'y'.repeat(1000)}\r\n`),
      1,
    );
    socket.on('close', () => clearInterval(timer)).on('error', () => {});
  },
  'takes everything': (request, response) => {
    let bytes = 0;
    request
      .on('data', (chunk) => (bytes += chunk.length))
      .on('end', () => response.writeHead(202).end(`{"bytes":${bytes}}`));
  },
};

function live() {
  globalThis.gc();
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 1048576;
}

let worst = 0;
for (const [name, listener] of Object.entries(servers)) {
  const server = listener === null ? null : createServer(listener).listen(0, '127.0.0.1');
  if (server !== null) await once(server, 'listening');
  const url = `http://127.0.0.1:${server === null ? 9 : server.address().port}`;
  const before = live();
  const rss = process.memoryUsage().rss;
  const client = createClient({
    url,
    key: 'k',
    service: 'bench',
    log: () => {},
    flushIntervalMs: 50,
    attemptTimeoutMs: 500,
    backoffMaxMs: 50,
  });
  let most = 0;
  for (let index = 0; index < EVENTS; index += 1) {
    const trace = `00-${index.toString(16).padStart(32, 'a')}-1234567890123456-01`;
    client.request(`/route/{id}/${index % 50}`, 'GET', 200, Math.random() * 1000, 10, 1000, trace);
    if (index % 2000 === 0) {
      await new Promise((resolve) => setTimeout(resolve, 2));
      most = Math.max(most, live() - before);
    }
  }
  most = Math.max(most, live() - before);
  const { held, heldBytes, dropped } = client.stats();
  const line = [
    name.padEnd(32),
    `${most.toFixed(1).padStart(5)} MiB live at most`,
    `${((process.memoryUsage().rss - rss) / 1048576).toFixed(0)} MiB resident more`,
  ];
  console.log(
    `${line.join('  ')}  (buffer ${(heldBytes / 1048576).toFixed(2)} MiB, ${held} events held, ${dropped.full + dropped.refused} dropped)`,
  );
  worst = Math.max(worst, most);
  await client.shutdown(0);
  server?.closeAllConnections();
  server?.close();
}
console.log(`worst ${worst.toFixed(1)} MiB (limit ${LIMIT_MIB} MiB)`);
process.exit(worst > LIMIT_MIB ? 1 : 0);
