import { peep } from '@peep/sdk';
import { withPeep } from '@peep/sdk/fetch';

const counted = (route, handler) => withPeep(handler, { client: peep(), route });

Bun.serve({
  port: Number(process.env.PORT ?? 3000),
  routes: {
    '/users/:id': counted('/users/{id}', (request) => Response.json({ user: request.params.id })),
    '/boom': counted('/boom', () => new Response('boom', { status: 500 })),
  },
  fetch: counted('', () => new Response('nothing here', { status: 404 })),
});
