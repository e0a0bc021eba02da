// A closed loop over a few connections, and the server under test in its process.
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { fileURLToPath } from 'node:url';

/** Keeps a process, with its threads of now and later, on one core. False: this machine cannot. */
export function pin(pid, core) {
  return spawnSync('taskset', ['-a', '-p', '-c', String(core), String(pid)]).status === 0;
}

export async function startServer(options, { isProfiled = false, isDeclared = false } = {}) {
  const folder = fileURLToPath(new URL('.', import.meta.url));
  const child = fork(`${folder}server.mjs`, {
    execArgv: isProfiled ? ['--cpu-prof', `--cpu-prof-dir=${folder}`] : [],
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      ...(isDeclared ? { PEEP_BENCH_DECLARED: '1' } : {}),
      ...(options ? { PEEP_BENCH: JSON.stringify(options) } : {}),
    },
  });
  const [{ port }] = await once(child, 'message');
  const ask = async (what) => {
    const answer = once(child, 'message');
    child.send(what);
    return (await answer)[0];
  };
  return {
    port,
    pid: child.pid,
    flush: () => ask('flush'),
    cpuUs: async () => (await ask('cpu')).cpuUs,
    stats: async () => (await ask('stats')).stats,
    stop: async () => {
      child.send('stop');
      await once(child, 'exit');
    },
  };
}

/** Takes everything and answers 202, as cheaply as it can; `isUp` says whether it answers at all. */
export async function startSink(isUp = () => true) {
  const counts = { events: 0 };
  const server = createServer((request, response) => {
    if (!isUp()) return void request.socket.destroy();
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const body = Buffer.concat(chunks);
      const { gunzipSync } = await import('node:zlib');
      const text = request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body;
      let events = 0;
      // Native: it has the core of the load, which would wait for a loop.
      for (let at = text.indexOf(10); at >= 0; at = text.indexOf(10, at + 1)) events += 1;
      counts.events += events;
      response.writeHead(202).end(JSON.stringify({ accepted: events, rejected: [] }));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    counts,
    url: `http://127.0.0.1:${server.address().port}`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** CPU time of a process with all of its threads, also those that have ended since; exact while it sleeps. Linux alone says so. */
export function cpuUsOf(pid) {
  let ns = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ', 1)[0]);
  }
  return ns / 1000;
}

/** Connections that stay open: `run(requests)` sends so many over them, each as soon as the one before it is answered. */
export async function connections(port, count = 8) {
  const sockets = await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = connect(port, '127.0.0.1');
      socket.setNoDelay(true).setEncoding('latin1');
      await once(socket, 'connect');
      return socket;
    }),
  );
  return {
    run(requests) {
      let [sent, answered, failed] = [0, 0, 0];
      return new Promise((resolve) => {
        const next = (socket) => {
          if (sent === requests) return;
          sent += 1;
          socket.write(`GET /users/${sent} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n`);
        };
        for (const socket of sockets) {
          socket.removeAllListeners('data').on('data', (text) => {
            answered += 1;
            if (!text.startsWith('HTTP/1.1 200')) failed += 1;
            if (answered === requests) resolve(failed);
            else next(socket);
          });
          next(socket);
        }
      });
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Requests until `requests` are answered. `latenciesMs` of each, and how many were no 200. */
export async function load(port, requests, connections = 8) {
  const latenciesMs = [];
  let sent = 0;
  let failed = 0;
  const started = performance.now();
  await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect(port, '127.0.0.1');
      socket.setNoDelay(true).setEncoding('latin1');
      await once(socket, 'connect');
      await new Promise((resolve, reject) => {
        let sentAt = 0;
        const next = () => {
          if (sent === requests) return void socket.end(resolve);
          sent += 1;
          sentAt = performance.now();
          socket.write(`GET /users/${sent} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n`);
        };
        // Answers are small and come in one piece.
        socket.on('data', (text) => {
          latenciesMs.push(performance.now() - sentAt);
          if (!text.startsWith('HTTP/1.1 200')) failed += 1;
          next();
        });
        socket.on('error', reject);
        next();
      });
    }),
  );
  return { latenciesMs, failed, seconds: (performance.now() - started) / 1000 };
}

export function quantile(values, q) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}
export const median = (values) => quantile(values, 0.5);
