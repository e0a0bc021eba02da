import { describe, expect, it } from 'vitest';
import { envFile, ingestUrl, nameProblem, snippet, TABS } from './snippets';

const place = { url: 'http://127.0.0.1:4318', key: 'peep_prod_abc', service: 'checkout', env: 'production' };

describe('a snippet', () => {
  it.each(TABS)(
    'for %s has address, key and service in it, no fixed time, and at most eight lines',
    (tab) => {
      for (const env of ['production', null]) {
        const { code, note } = snippet(tab, { ...place, env });
        expect(code).toContain(place.url);
        expect(code).toContain(place.key);
        expect(code).toContain('checkout');
        expect(code.includes('production')).toBe(env !== null);
        expect(code).not.toMatch(/\b20\d\d-\d\d|"ts"|\b1[67]\d{8,}\b/);
        expect(code.split('\n').length).toBeLessThanOrEqual(8);
        expect(note).not.toBe('');
      }
    },
  );

  it('for curl sends an event that ingest takes', () => {
    const body = /-d '(.*)'$/.exec(snippet('curl', place).code)?.[1] ?? '';
    expect(JSON.parse(body)).toEqual({
      service: 'checkout',
      env: 'production',
      route: '/cart/{id}',
      method: 'POST',
      status: 201,
      duration_ms: 38.4,
    });
  });
});

describe('a name', () => {
  it('is what ingest takes, so that it needs no quoting anywhere', () => {
    expect(nameProblem('service', 'shop/checkout-2.api_x')).toBeNull();
    for (const bad of ['', 'a b', "x'; rm -rf /", '$(id)', 'über', 'x'.repeat(129)])
      expect(nameProblem('service', bad), bad).not.toBeNull();
  });
});

describe('where ingest is', () => {
  it('follows the port of the page', () => {
    const at = (port: string, protocol = 'http:') => ingestUrl({ protocol, hostname: 'peep.example', port });
    expect(at('8080')).toBe('http://peep.example:4318');
    expect(at('8880')).toBe('http://peep.example:5118');
    expect(at('', 'https:')).toBe('https://peep.example:4318');
    expect(at('3000')).toBe('http://peep.example:4318');
  });
});

it('a file for a process has what it needs and ends with a line', () => {
  expect(envFile(place.url, place.key)).toBe(
    'PEEP_INGEST_URL=http://127.0.0.1:4318\nPEEP_INGEST_KEY=peep_prod_abc\n',
  );
});
