import { withPeep } from '@peep/sdk/fetch';

export default {
  fetch: withPeep((request) => new Response(`hello ${request.method}`), { route: '/hello' }),
};
