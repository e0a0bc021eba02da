import { peepBrowser } from '@peep/sdk/browser';

const peep = peepBrowser({
  url: 'https://ingest.shop.example',
  key: 'peep_browser_…',
  service: 'web',
  route: () => document.querySelector('meta[name=route]')?.content, // '/products/{id}'
});

const started = performance.now();
document.querySelector('#buy').addEventListener('click', () => {
  peep.record({ route: 'buy', durationMs: performance.now() - started });
});
