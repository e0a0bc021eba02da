/**
 * The SDK in Node.js: sockets of its own, compression on the thread pool, the process's end.
 *
 * Sockets are those of `node:http` and not of `fetch`: frameworks replace `fetch` (Next.js caches it), and it would bring
 * megabytes. Nothing here keeps a process alive, except a flush that somebody waits for, for as long as its deadline.
 */

import { randomFillSync } from 'node:crypto';
import * as http from 'node:http';
import * as https from 'node:https';
import { hostname } from 'node:os';
import { constants, gzip } from 'node:zlib';
import { ANSWER_BYTES_MAX, type Reply } from './answer.js';
import { Client, type Platform, type Request } from './client.js';
import { sendAndWait } from './exit.js';
import type { Options } from './options.js';
import { endShared, shared } from './shared.js';

export type { Client, Stats } from './client.js';
export type { Event } from './event.js';
export type { Options } from './options.js';
export { guessRoute } from './route.js';

/** A client of its own. Most applications need only the shared one, `peep()`. */
export function createClient(options: Options = {}): Client {
  return new Client(options, nodePlatform());
}

/** The client of this process; made when it is first asked for, with the options of that call. */
export function peep(options?: Options): Client {
  return shared(() => {
    const client = createClient(options);
    if (client.enabled) flushAtTheEnd(client);
    return client;
  });
}

/** Sends what is left and ends the shared client. To be called last, after the server has closed. */
export async function shutdown(timeoutMs?: number): Promise<void> {
  await endShared(timeoutMs);
}

const USER_AGENT = 'peep-sdk-js/0.1.0';

function nodePlatform(): Platform {
  const agents = {
    'http:': new http.Agent({ keepAlive: true, maxSockets: 2, maxFreeSockets: 1 }),
    'https:': new https.Agent({ keepAlive: true, maxSockets: 2, maxFreeSockets: 1 }),
  };
  return {
    environment: process.env,
    hostName: hostname,
    random: (bytes) => void randomFillSync(bytes),
    post: (request, timeoutMs) => post(request, timeoutMs, agents),
    gzip: (bytes) =>
      new Promise((resolve, reject) => {
        // Level 1: half the time of the default, for a tenth more bytes on lines that are so alike. A copy of its own
        // size, because zlib's result may lie in a larger piece of memory.
        gzip(bytes, { level: constants.Z_BEST_SPEED }, (error, packed) =>
          error === null ? resolve(new Uint8Array(packed)) : reject(error),
        );
      }),
    after: (ms, call) => {
      const timer = setTimeout(call, ms);
      timer.unref();
      return { cancel: () => clearTimeout(timer) };
    },
    deadline: (ms, call) => {
      const timer = setTimeout(call, ms);
      return { cancel: () => clearTimeout(timer) };
    },
  };
}

function post(
  request: Request,
  timeoutMs: number,
  agents: { 'http:': http.Agent; 'https:': https.Agent },
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const url = new URL(request.url);
    const secure = url.protocol === 'https:';
    const outgoing = (secure ? https : http).request(url, {
      method: 'POST',
      agent: secure ? agents['https:'] : agents['http:'],
      headers: { ...request.headers, 'Content-Length': request.body.length, 'User-Agent': USER_AGENT },
    });
    const timer = setTimeout(
      () => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    timer.unref();
    const settle = (outcome: Reply | Error) => {
      clearTimeout(timer);
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    outgoing.on('socket', (socket) => socket.unref());
    outgoing.on('error', settle);
    // A server that speaks another protocol from now on has answered nothing; without a listener Node.js ends the request without a word.
    outgoing.on('upgrade', (_, socket) => {
      socket.destroy();
      settle(new Error('it answered 101 and speaks another protocol now'));
    });
    let isAnswered = false;
    outgoing.on('close', () => {
      if (!isAnswered) settle(new Error('the connection was closed without an answer'));
    });
    outgoing.on('response', (response) => {
      isAnswered = true;
      const { statusCode: status = 0, headers } = response;
      const chunks: Buffer[] = [];
      let length = 0;
      response.on('data', (chunk: Buffer) => {
        length += chunk.length;
        if (length <= ANSWER_BYTES_MAX) return void chunks.push(chunk);
        // Whoever says so much is no ingest; the rest is not waited for.
        settle({ status, retryAfter: headers['retry-after'], body: '' });
        outgoing.destroy();
      });
      response.on('end', () =>
        settle({ status, retryAfter: headers['retry-after'], body: Buffer.concat(chunks).toString('utf8') }),
      );
      response.on('error', settle);
      response.on('close', () => settle(new Error('the answer broke off')));
    });
    outgoing.end(request.body);
  });
}

/**
 * A process that ends by itself, or by a signal that nobody else handles, still sends what it has, without blocking. An application with
 * handlers of its own may call `shutdown()` in them; what is left when it exits is sent while it waits.
 */
function flushAtTheEnd(client: Client): void {
  let isGivenUp = false;
  // A flush and no shutdown: somebody else's listener may have more work, and then this is called again.
  process.on('beforeExit', () => {
    if (isGivenUp || client.stats().held === 0) return;
    void client.flush().then((isDone) => {
      isGivenUp = !isDone;
    });
  });
  process.on('exit', () => {
    const { exitTimeoutMs } = client.settings;
    if (isGivenUp) void client.shutdown(0);
    else if (exitTimeoutMs > 0)
      client.sendBlocking((requests, answered) => sendAndWait(requests, exitTimeoutMs, answered));
  });
  if (!client.settings.onSignal) return;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    if (process.pid === 1) flushOn(signal, client);
    else endOn(signal, client);
  }
}

/** Once: a second signal ends the process at once, as it would without the SDK. */
function endOn(signal: NodeJS.Signals, client: Client): void {
  process.once(signal, () => {
    if (process.listenerCount(signal) > 0) return;
    void client.shutdown().then(() => process.kill(process.pid, signal));
  });
}

/**
 * The first process of a container is not ended by a signal that it does not handle: the kernel ignores it. So it was without the SDK, and so it stays;
 * the requests that are served until something stronger comes are counted as before.
 */
function flushOn(signal: NodeJS.Signals, client: Client): void {
  process.on(signal, () => void client.flush());
}
