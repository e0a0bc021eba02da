import { renderToStaticMarkup } from 'react-dom/server';
import { expect, test } from 'vitest';
import { Isolated } from './isolated';

const drawn = (text: string, name: string | null) =>
  renderToStaticMarkup(<Isolated text={text} name={name} />);

test('a name that reads from right to left does not turn the sentence around it', () => {
  expect(drawn('\u05d0\u05d1 is new', '\u05d0\u05d1')).toBe('<bdi>\u05d0\u05d1</bdi> is new');
  expect(drawn('5 % fail', 'shop')).toBe('5 % fail');
  expect(drawn('All is well', null)).toBe('All is well');
  expect(drawn('<b> failed', '<b>')).toBe('<bdi>&lt;b&gt;</bdi> failed');
});
