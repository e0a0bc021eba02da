import { renderToStaticMarkup } from 'react-dom/server';
import { expect, test } from 'vitest';
import { Name } from './name';

const drawn = (name: string) => renderToStaticMarkup(<Name>{name}</Name>);

test('a name that reads from right to left does not turn the words around it', () => {
  expect(drawn('\u05d0\u05d1')).toBe('<bdi>\u05d0\u05d1</bdi>');
  expect(drawn('<b>')).toBe('<bdi>&lt;b&gt;</bdi>');
  expect(drawn('a\u2069\u202eb')).toBe('<bdi>\u2068a\u2069\u202eb</bdi>');
});
