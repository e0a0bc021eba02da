// An Express application in a process of its own, with the SDK or without; reports its own CPU time when asked.
import { peep } from '@peep/sdk';
import { peepExpress, peepExpressApp } from '@peep/sdk/express';
import express from 'express';
import { declare, learnMark } from '../dist/esm/frameworks/declare.js';

const options = JSON.parse(process.env.PEEP_BENCH ?? 'null');
const app = express();
// Nothing is counted, but Express is spared what counting spares it.
if (process.env.PEEP_BENCH_DECLARED === '1') {
  const { handle } = app;
  let learned = 0;
  app.handle = function (request, response, next) {
    declare(request, response);
    if (learned < 10) response.on('finish', () => learnMark(request));
    learned += 1;
    return handle.call(this, request, response, next);
  };
}
if (options?.setUp === 'middleware') app.use(peepExpress(options));
else if (options !== null) peepExpressApp(app, options);
app.get('/users/:id', (request, response) => response.json({ user: request.params.id, name: 'somebody' }));

const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
process.on('message', async (message) => {
  if (message === 'cpu') {
    const { user, system } = process.cpuUsage();
    process.send({ cpuUs: user + system });
  } else if (message === 'flush') {
    process.send({ flushed: options === null || (await peep().flush()) });
  } else if (message === 'stats') {
    process.send({ stats: options === null ? null : peep().stats() });
  } else {
    process.exit(0);
  }
});
// A bench that fails, or is killed, leaves nobody to say stop.
process.on('disconnect', () => process.exit(1));
