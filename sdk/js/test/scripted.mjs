// An ingest that answers as a test tells it to, and remembers what it was sent.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { gunzipSync } from 'node:zlib';

/**
 * `answer(request, number)` says what becomes of the request: a status, `{status, headers, body}`, or a function that gets the
 * response. Requests are `{producer, seq, encoding, key, contentType, url, body, lines}`.
 */
export async function scripted(answer = () => 202) {
  const requests = [];
  const server = createServer(async (incoming, response) => {
    // As ingest does for pages.
    if (incoming.headers.origin !== undefined)
      response.setHeader('access-control-allow-origin', incoming.headers.origin);
    if (incoming.method === 'OPTIONS') {
      response.setHeader('access-control-allow-methods', 'POST');
      response.setHeader(
        'access-control-allow-headers',
        'content-type, content-encoding, peep-producer, peep-seq, peep-key',
      );
      return void response.writeHead(204).end();
    }
    const chunks = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk);
    } catch {
      return;
    }
    const raw = Buffer.concat(chunks);
    const encoding = incoming.headers['content-encoding'];
    const body = (encoding === 'gzip' ? gunzipSync(raw) : raw).toString();
    const request = {
      producer: incoming.headers['peep-producer'],
      seq: Number(incoming.headers['peep-seq']),
      key: incoming.headers['peep-key'],
      contentType: incoming.headers['content-type'],
      url: incoming.url,
      encoding,
      raw,
      lines: body
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
    };
    requests.push(request);
    const said = answer(request, requests.length);
    if (typeof said === 'function') return said(response, request);
    const { status, headers = {}, body: text } = typeof said === 'number' ? { status: said } : said;
    const accepted = JSON.stringify({
      accepted: request.lines.length,
      rejected: [],
      receipt: 'r',
      delivery: 'exactly_once',
    });
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(
      text ??
        (status === 202 ? accepted : JSON.stringify({ error: { code: 'scripted', message: 'as told' } })),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    requests,
    url: `http://127.0.0.1:${server.address().port}`,
    port: server.address().port,
    /** What a real ingest counts: each identity once. */
    counted() {
      const seen = new Map();
      for (const { producer, seq, lines, answered } of requests)
        if (answered !== false) seen.set(`${producer}/${seq}`, lines.length);
      return [...seen.values()].reduce((sum, count) => sum + count, 0);
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Waits until `condition` holds; fails with what `describe` says after a time that only a broken program needs. */
export async function until(condition, describe = () => '', ms = 120_000) {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${condition} ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Everything that was recorded is somewhere, once. */
export function balanced(stats) {
  const dropped = Object.values(stats.dropped).reduce((sum, count) => sum + count, 0);
  return stats.recorded === stats.accepted + stats.rejected + stats.unconfirmed + dropped + stats.held;
}
