import { createServer } from 'node:http';
import { peepHttp, setRoute } from '@peep/sdk/http';

const server = createServer(
  peepHttp((request, response) => {
    const user = /^\/users\/(\w+)$/.exec(request.url)?.[1];
    if (user !== undefined) {
      setRoute(request, '/users/{id}');
      response.end(JSON.stringify({ user }));
    } else if (request.url === '/boom') {
      setRoute(request, '/boom');
      response.writeHead(500).end();
    } else {
      response.writeHead(404).end();
    }
  }),
);

server.listen(process.env.PORT ?? 3000);
