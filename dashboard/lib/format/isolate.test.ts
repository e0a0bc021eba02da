import { expect, test } from 'vitest';
import { closed, isolated } from './isolate';

test('an ordinary name stays as it is', () => {
  for (const name of ['checkout', 'GET /büy/{id}', '商店', 'v1.0.0 “beta”', '👩‍💻', ''])
    expect(isolated(name)).toBe(name);
});

test('a name that turns is kept to itself', () => {
  expect(isolated('\u05d0\u05d1')).toBe('\u2068\u05d0\u05d1\u2069');
  expect(isolated('\u0645\u062a\u062c\u0631')).toBe('\u2068\u0645\u062a\u062c\u0631\u2069');
  expect(isolated('\u{1e900}')).toBe('\u2068\u{1e900}\u2069');
  expect(isolated('/\u202exeslaf')).toBe('\u2068/\u202exeslaf\u2069');
});

test('a name can neither leave its isolate nor keep it open', () => {
  expect(isolated('a\u2069\u202eb')).toBe('\u2068\u2068a\u2069\u202eb\u2069');
  expect(isolated('a\u2067b')).toBe('\u2068a\u2067b\u2069\u2069');
  expect(isolated('\u2069a\u2066\u2069\u2068')).toBe('\u2068\u2068\u2069a\u2066\u2069\u2068\u2069\u2069');
  expect(isolated('a\u2029\u202eb')).toBe('\u2068a\ufffd\u202eb\u2069');
});

test('inside an element a name only has to be closed', () => {
  expect(closed('\u05d0\u05d1')).toBe('\u05d0\u05d1');
  expect(closed('a\u2069\u202eb')).toBe('\u2068a\u2069\u202eb');
  expect(closed('a\u2067b')).toBe('a\u2067b\u2069');
});
