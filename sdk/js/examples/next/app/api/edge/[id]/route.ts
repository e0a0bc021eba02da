import { withPeep } from '@peep/sdk/fetch';
import { after } from 'next/server';

export const runtime = 'edge';

export const GET = withPeep(async () => Response.json({ from: 'the edge' }), {
  route: '/api/edge/{id}',
  waitUntil: after,
});
