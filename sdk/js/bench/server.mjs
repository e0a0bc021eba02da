// An Express application in a process of its own, with the SDK or without; reports its own CPU time when asked.
import { peep } from '@peep/sdk';
import { peepExpress } from '@peep/sdk/express';
import express from 'express';

const options = JSON.parse(process.env.PEEP_BENCH ?? 'null');
const app = express();
if (options !== null) app.use(peepExpress(options));
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
