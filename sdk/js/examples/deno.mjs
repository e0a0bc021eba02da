import process from 'node:process';
import { peep } from '@peep/sdk';
import { withPeep } from '@peep/sdk/fetch';

const routes = [
  { route: '/users/{id}', path: '/users/:id', answer: () => Response.json({ user: 'somebody' }) },
  { route: '/boom', path: '/boom', answer: () => new Response('boom', { status: 500 }) },
].map((each) => ({ ...each, pattern: new URLPattern({ pathname: each.path }) }));
const matched = (request) => routes.find(({ pattern }) => pattern.test(request.url));

const handler = withPeep(
  (request) => matched(request)?.answer() ?? new Response('nothing here', { status: 404 }),
  { client: peep(), route: (request) => matched(request)?.route },
);

Deno.serve({ port: Number(process.env.PORT ?? 3000) }, handler);
