// Requests to several nginx in turns of some milliseconds, and what each costs its worker: `turns.mjs ROUNDS NAME=PORT:PID…` prints a line
// "<round> <name> <requests> <seconds> <CPU in ns>" for each turn. A shared machine changes its speed from one second to the next by more than
// a log costs; from one turn to the next it hardly does. Fixed work over connections that stay open, one request at a time on each; the worker's CPU
// time is the scheduler's. The order within a round is drawn anew for each.

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";

const CONNECTIONS = 32;
const REQUESTS = 640;
/** Until caches, logs and the worker's memory are what they will be. */
const WARM_UP_ROUNDS = 20;
const REQUEST = "GET /items/4711?from=bench HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const BODY_BYTES = 4000;

const [rounds, ...given] = process.argv.slice(2);
const servers = await Promise.all(
  given.map(async (text) => {
    const [, name, port, pid] = /^(\w+)=(\d+):(\d+)$/.exec(text) ?? [];
    if (name === undefined) throw new Error(`${text} is not NAME=PORT:PID`);
    const sockets = Array.from({ length: CONNECTIONS }, () => connect(Number(port), "127.0.0.1"));
    await Promise.all(sockets.map((socket) => once(socket.setNoDelay(true), "connect")));
    return { name, pid, sockets };
  }),
);

const cpuNs = (pid) => Number(readFileSync(`/proc/${pid}/schedstat`, "latin1").split(" ", 1)[0]);

/** Resolves when so many requests are answered; rejects at the first answer that is not the page. */
function turn(sockets) {
  let [sent, answered] = [0, 0];
  return new Promise((resolve, reject) => {
    for (const socket of sockets) {
      let [received, expected] = [0, 0];
      const next = () => {
        if (sent === REQUESTS) return;
        sent += 1;
        [received, expected] = [0, 0];
        socket.write(REQUEST);
      };
      socket.removeAllListeners("data").removeAllListeners("error").on("error", reject);
      socket.on("data", (chunk) => {
        if (expected === 0) {
          const end = chunk.indexOf("\r\n\r\n");
          if (end < 0 || !chunk.toString("latin1", 0, 12).endsWith(" 200"))
            return void reject(new Error(`answered ${chunk.toString("latin1", 0, 60)}`));
          expected = end + 4 + BODY_BYTES;
        }
        received += chunk.length;
        if (received < expected) return;
        answered += 1;
        if (answered === REQUESTS) resolve();
        else next();
      });
      next();
    }
  });
}

for (let round = 1 - WARM_UP_ROUNDS; round <= Number(rounds); round += 1) {
  const order = servers.map((server) => [Math.random(), server]).sort(([a], [b]) => a - b);
  for (const [, { name, pid, sockets }] of order) {
    const [started, before] = [performance.now(), cpuNs(pid)];
    await turn(sockets);
    const seconds = (performance.now() - started) / 1000;
    // A worker that is still writing its log has not slept yet, and the scheduler's books are those of its last sleep.
    await new Promise((resolve) => setTimeout(resolve, 2));
    if (round > 0) console.log(round, name, REQUESTS, seconds.toFixed(6), cpuNs(pid) - before);
  }
}
for (const { sockets } of servers) for (const socket of sockets) socket.destroy();
