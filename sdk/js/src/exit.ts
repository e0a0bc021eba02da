/**
 * The last way out in Node.js: `process.exit()`, after which nothing that is not finished ever will be.
 *
 * Applications end like this more often than not: `process.on('SIGTERM', () => server.close(() => process.exit()))`, or a framework does it
 * for them. In the listener for `exit` no promise settles and no socket moves, but a thread of its own can send while this one waits for it. Promised:
 * it waits no longer than it may; an ingest that does not answer is not asked twice; batches keep the identity under which they may have been sent
 * before, so what arrives a second time is not counted twice; whatever goes wrong, the process ends as it would have.
 */

import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { ANSWER_BYTES_MAX, type Reply } from './answer.js';
import type { Request } from './client.js';

/** Says what became of `requests[index]`; called in their order, until one of them has no answer. */
type Answered = (index: number, reply: Reply) => void;

/** Sends the requests one after the other, and returns when all are answered, one fails, or the time is over. */
export function sendAndWait(requests: Request[], timeoutMs: number, answered: Answered): void {
  const until = performance.now() + timeoutMs;
  const { port1: here, port2: there } = new MessageChannel();
  const said = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const worker = new Worker(SENDER, {
    eval: true,
    // Neither loaders nor the environment of the application: nothing of it is to run a second time.
    execArgv: [],
    env: {},
    workerData: { requests, said, there, bytesMax: ANSWER_BYTES_MAX },
    transferList: [there],
  });
  worker.unref();
  for (let count = 0; count <= requests.length; ) {
    const left = until - performance.now();
    if (left <= 0 || Atomics.wait(said, 0, count, left) === 'timed-out') return;
    count = Atomics.load(said, 0);
    for (let next = receiveMessageOnPort(here); next !== undefined; next = receiveMessageOnPort(here)) {
      const { index, reply } = next.message as { index: number; reply: Reply | undefined };
      if (reply === undefined) return;
      answered(index, reply);
      if (index === requests.length - 1) return;
    }
  }
}

/** Plain text, because a bundler may have packed everything else away; it needs no more than Node.js itself. */
const SENDER = `
const { workerData: { requests, said, there, bytesMax } } = require('node:worker_threads');
const modules = { 'http:': require('node:http'), 'https:': require('node:https') };
const agents = { 'http:': new modules['http:'].Agent({ keepAlive: true }), 'https:': new modules['https:'].Agent({ keepAlive: true }) };
const send = ({ url, headers, body }) => new Promise((resolve) => {
  const { protocol } = new URL(url);
  const options = { method: 'POST', agent: agents[protocol], headers: { ...headers, 'Content-Length': body.length } };
  const outgoing = modules[protocol].request(url, options, (response) => {
    const chunks = [];
    let length = 0;
    response.on('data', (chunk) => {
      length += chunk.length;
      if (length <= bytesMax) return void chunks.push(chunk);
      resolve(undefined);
      outgoing.destroy();
    });
    response.on('end', () => resolve({ status: response.statusCode, retryAfter: undefined, body: Buffer.concat(chunks).toString() }));
    response.on('error', () => resolve(undefined));
  });
  outgoing.on('error', () => resolve(undefined));
  outgoing.on('upgrade', (_, socket) => {
    socket.destroy();
    resolve(undefined);
  });
  outgoing.end(body);
});
const tell = (message) => {
  there.postMessage(message);
  Atomics.add(said, 0, 1);
  Atomics.notify(said, 0);
};
(async () => {
  for (const [index, request] of requests.entries()) {
    const reply = await send(request);
    tell({ index, reply });
    if (reply === undefined) return;
  }
})();
`;
