import { expect, it } from 'vitest';
import { countsSentence } from './counts';

const all = { matched: 3204, total: 1_155_600, sampled: false, oneIn: null, filtered: true };

it('says what matches and that everything is kept', () => {
  expect(countsSentence(all)).toBe('3,204 of 1,155,600 requests match. Kept in full.');
  expect(countsSentence({ ...all, matched: 1 })).toBe('1 of 1,155,600 requests matches. Kept in full.');
});

it('calls a count by weights an estimate and says what is kept', () => {
  expect(countsSentence({ ...all, sampled: true, oneIn: 40 })).toBe(
    'About 3,204 of 1,155,600 requests match. Kept: all errors, the slowest, and 1 in 40 of the rest; weights are applied.',
  );
  expect(countsSentence({ ...all, sampled: true, oneIn: 1 })).toContain('a sample of the rest');
});

it('needs no total without a filter, and no number from a server that does not count', () => {
  expect(countsSentence({ ...all, matched: 12, filtered: false })).toBe('12 requests. Kept in full.');
  expect(countsSentence({ ...all, matched: null })).toBe('Kept in full.');
});
