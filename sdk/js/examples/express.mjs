import { peepExpressApp } from '@peep/sdk/express';
import express from 'express';

const app = peepExpressApp(express());

app.get('/users/:id', (request, response) => response.json({ user: request.params.id }));
app.get('/boom', () => {
  throw new Error('boom');
});

app.listen(process.env.PORT ?? 3000);
