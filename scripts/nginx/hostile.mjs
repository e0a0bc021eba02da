// Sends what no honest client sends to nginx on a unix socket, one request a connection; prints the status of each answer.
// Each request has one, and so has to be one line of the log and one event.

import net from "node:net";

const socket = process.argv[2];

const request = (target, header = "", method = "GET") =>
  Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: shop\r\n${header}Connection: close\r\n\r\n`, "latin1");

const everyByte = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => byte !== 0x0a && byte !== 0x0d);

const requests = [
  request('/q"uote","status":"200'),
  request('/a"}\\n{"msec":"1","status":"500"}'),
  request("/back\\slash\\"),
  request('/\\"\\\\"'),
  request("/bytes/\xff\xfe\xc3\x28\xed\xa0\x80"),
  request("/%22%5c%0a%0d%09%1b"),
  request("/%00"),
  request("/line\u0085\u00a0separator\xe2\x80\xa8"),
  request(`/long?q=${"x".repeat(8192)}`),
  request(`/long?q=${'"'.repeat(8192)}`),
  request(`/longer?q=${"x".repeat(20_000)}`),
  request("/a", `traceparent: 00-${"0".repeat(32)}-"},{"\\\xff\x01\r\n`),
  request("/a", `traceparent: ${'"\\'.repeat(4000)}\r\n`),
  request("/a", 'User-Agent: "\\\x7f\xff\r\n'),
  request("/a", 'Host: "other\\"\r\n'),
  request("/a", "", 'G"T'),
  request("/a", "", "PROPFIND"),
  request("*", "", "OPTIONS"),
  request("http://else.where/a?b=c"),
  request("no/slash"),
  Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03, 0x0a, 0x0a]),
  Buffer.from("\0\0\0\0\0\0\r\n\r\n"),
  // Each byte in a path: nginx refuses some, and logs them all.
  ...everyByte.map((byte) => request(`/byte/${String.fromCharCode(byte)}/x`)),
  // And in a header that is logged.
  ...everyByte.map((byte) => request("/byte", `traceparent: 00-${String.fromCharCode(byte)}-\r\n`)),
];

const answer = (bytes) =>
  new Promise((resolve, reject) => {
    const connection = net.connect(socket);
    const chunks = [];
    connection.setTimeout(30_000, () => connection.destroy(new Error("no answer")));
    connection.on("connect", () => connection.write(bytes));
    connection.on("data", (chunk) => chunks.push(chunk));
    connection.on("error", (error) => (chunks.length > 0 ? undefined : reject(error)));
    connection.on("close", () => resolve(Buffer.concat(chunks).toString("latin1")));
  });

for (const bytes of requests) {
  const text = await answer(bytes);
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(text);
  if (!status) throw new Error(`no status in ${JSON.stringify(text.slice(0, 100))} to ${JSON.stringify(bytes.toString("latin1").slice(0, 100))}`);
  console.log(status[1]);
}
