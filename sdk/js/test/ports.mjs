// Ports for programs that are told where to listen, and may be started there again.

import { once } from 'node:events';
import { createServer } from 'node:net';

const FIRST = 28_000;
const COUNT = 4_000;
let next = (process.pid * 97) % COUNT;

/**
 * A port of 127.0.0.1 that nobody listens on, and that stays free: outside of the range from which kernels take ports for outgoing
 * connections and for port 0.
 */
export async function freePort() {
  for (let tries = 0; tries < COUNT; tries += 1) {
    const port = FIRST + next;
    next = (next + 1) % COUNT;
    const server = createServer().listen(port, '127.0.0.1');
    const isFree = await new Promise((resolve) => {
      server.once('listening', () => resolve(true));
      server.once('error', () => resolve(false));
    });
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error(`no free port between ${FIRST} and ${FIRST + COUNT}`);
}
