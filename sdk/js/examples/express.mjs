import { peepExpress } from '@peep/sdk/express';
import express from 'express';

const app = express();
app.use(peepExpress());

app.get('/users/:id', (request, response) => response.json({ user: request.params.id }));
app.get('/boom', () => {
  throw new Error('boom');
});

app.listen(process.env.PORT ?? 3000);
