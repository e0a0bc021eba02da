import { serve } from '@hono/node-server';
import { peep } from '@peep/sdk';
import { peepHono } from '@peep/sdk/hono';
import { Hono } from 'hono';

const app = new Hono();
app.use(peepHono({ client: peep() }));

app.get('/users/:id', (c) => c.json({ user: c.req.param('id') }));
app.get('/boom', () => {
  throw new Error('boom');
});

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000) });
