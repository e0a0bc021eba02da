import Router from '@koa/router';
import { peepKoa } from '@peep/sdk/koa';
import Koa from 'koa';

const app = new Koa();
app.use(peepKoa());

const router = new Router();
router.get('/users/:id', (ctx) => {
  ctx.body = { user: ctx.params.id };
});
router.get('/boom', () => {
  throw new Error('boom');
});
app.use(router.routes());
app.silent = true;

app.listen(process.env.PORT ?? 3000);
