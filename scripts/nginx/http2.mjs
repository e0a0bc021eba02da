// Sends 200 requests at the same time over one HTTP/2 connection to a unix socket, and takes back five that wait for an upstream. Prints
// how many were answered, by status.

import http2 from "node:http2";
import net from "node:net";
import { once } from "node:events";

const session = http2.connect("http://shop", { createConnection: () => net.connect(process.argv[2]) });

const answered = Array.from({ length: 200 }, async (_, number) => {
  const request = session.request({ ":path": `/multiplexed?n=${number}` });
  request.end();
  const [headers] = await once(request, "response");
  request.resume();
  await once(request, "close");
  return headers[":status"];
});
const takenBack = Array.from({ length: 5 }, async () => {
  const request = session.request({ ":path": "/abandoned" });
  request.end();
  setTimeout(() => request.close(http2.constants.NGHTTP2_CANCEL), 300);
  await once(request, "close");
});

const statuses = await Promise.all(answered);
await Promise.all(takenBack);
session.close();
for (const status of new Set(statuses)) {
  console.log(`${status} ${statuses.filter((other) => other === status).length}`);
}
