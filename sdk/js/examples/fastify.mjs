import { peepFastify } from '@peep/sdk/fastify';
import Fastify from 'fastify';

const app = Fastify();
await app.register(peepFastify());

app.get('/users/:id', async (request) => ({ user: request.params.id }));
app.get('/boom', async () => {
  throw new Error('boom');
});

await app.listen({ port: Number(process.env.PORT ?? 3000) });
