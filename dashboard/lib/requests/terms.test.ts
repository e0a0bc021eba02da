import { describe, expect, it } from 'vitest';
import {
  addTerm,
  parseDuration,
  parseTerms,
  sayTerm,
  type Term,
  termsOf,
  typing,
  viewOf,
  writeDuration,
  writeTerm,
} from './terms';

const field = (name: string, value: string, negated = false) =>
  ({ kind: 'field', field: name, value, negated }) as Term;

describe('the filter language', () => {
  it('reads fields, durations and text in one line', () => {
    const { terms, problems } = parseTerms('status:5xx route:/buy >500ms !host:web-3 "timed out"');
    expect(problems).toEqual([]);
    expect(terms).toEqual([
      field('status', '5xx'),
      field('route', '/buy'),
      { kind: 'min', ms: 500 },
      field('host', 'web-3', true),
      { kind: 'text', text: 'timed out' },
    ]);
  });

  it('joins bare words to one text and takes quotes as they are', () => {
    expect(parseTerms('connection refused').terms).toEqual([{ kind: 'text', text: 'connection refused' }]);
    expect(parseTerms('"status:5xx"').terms).toEqual([{ kind: 'text', text: 'status:5xx' }]);
    expect(parseTerms('route:"/a b"').terms).toEqual([field('route', '/a b')]);
    expect(parseTerms('https://shop.example/x').terms).toEqual([
      { kind: 'text', text: 'https://shop.example/x' },
    ]);
  });

  it('writes methods and status classes as the server knows them', () => {
    expect(parseTerms('method:post STATUS:5XX').terms).toEqual([
      field('method', 'POST'),
      field('status', '5xx'),
    ]);
  });

  it('negates before the field and before the value alike', () => {
    expect(parseTerms('!status:200').terms).toEqual(parseTerms('status:!200').terms);
  });

  it('says what it did not understand, and keeps the rest', () => {
    const { terms, problems } = parseTerms('status:777 colour:red >soon host: method:FETCH host:web-1');
    expect(terms).toEqual([field('host', 'web-1')]);
    expect(problems.length).toBe(5);
    expect(problems[0]).toBe('“777” is no status. Write 502, 5xx or unknown.');
    expect(problems[1]).toMatch(/^There is no field “colour”/);
    expect(problems[2]).toMatch(/no duration/);
    expect(problems[3]).toBe('host: needs a value.');
  });

  it('comes back from what it writes, whatever is in it', () => {
    for (const line of ['status:5xx', '!host:web-3', '>1.5s', '<840us', '"a b"', 'route:"/a b"', '>2min']) {
      const { terms } = parseTerms(line);
      expect(terms.length, line).toBe(1);
      expect(writeTerm(terms[0] as Term), line).toBe(line);
    }
  });
});

describe('durations', () => {
  it.each([
    ['500ms', 500],
    ['1.5s', 1500],
    ['840us', 0.84],
    ['840µs', 0.84],
    ['2min', 120_000],
    ['2m', 120_000],
    ['12', 12],
    ['0.001ms', 0.001],
  ])('reads %s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });
  it.each(['', 'soon', '1,5s', '-5ms', '2h', '1e9', '3601s', 'NaN'])('refuses %j', (text) => {
    expect(parseDuration(text)).toBeNull();
  });
  it.each([0, 0.001, 0.84, 1, 12.5, 999, 1000, 1843, 60_000, 90_000, 3_600_000])(
    'writes %d so that it reads back',
    (ms) => {
      expect(parseDuration(writeDuration(ms))).toBe(ms);
    },
  );
});

describe('the address of a filter', () => {
  it('holds every term and gives it back', () => {
    const { terms } = parseTerms(
      'service:checkout status:5xx status:!502 route:/buy host:!web-9 >500ms <2s "timed out"',
    );
    const view = viewOf(terms);
    expect(view.status).toEqual(['5xx', '!502']);
    expect([view.service, view.min, view.max, view.text]).toEqual(['checkout', 500, 2000, 'timed out']);
    expect(new Set(termsOf(view).map(writeTerm))).toEqual(new Set(terms.map(writeTerm)));
  });

  it('is empty without terms', () => {
    expect(termsOf(viewOf([]))).toEqual([]);
  });
});

describe('adding a term', () => {
  it('replaces a bound, a text and the opposite of itself', () => {
    let terms = parseTerms('>500ms host:web-1 "a"').terms;
    terms = addTerm(terms, { kind: 'min', ms: 900 });
    terms = addTerm(terms, field('host', 'web-1', true));
    terms = addTerm(terms, field('host', 'web-2'));
    terms = addTerm(terms, { kind: 'text', text: 'b' });
    expect(terms.map(writeTerm)).toEqual(['>900ms', '!host:web-1', 'host:web-2', '"b"']);
  });
});

describe('what is being typed', () => {
  it('is the last word, with its field', () => {
    expect(typing('status:5xx rou')).toEqual({
      before: 'status:5xx ',
      field: null,
      prefix: 'rou',
      negated: false,
    });
    expect(typing('route:/b')).toEqual({ before: '', field: 'route', prefix: '/b', negated: false });
    expect(typing('!host:')).toEqual({ before: '', field: 'host', prefix: '', negated: true });
    expect(typing('host:web ').prefix).toBe('');
  });
});

describe('a term in a sentence', () => {
  it('reads as one would say it', () => {
    const said = parseTerms('status:5xx !host:web-9 >500ms "x"').terms.map((term) =>
      sayTerm(term).replaceAll('\u00a0', ' '),
    );
    expect(said).toEqual(['status 5xx', 'not host web-9', 'at least 500 ms', 'text “x”']);
  });
});
