/**
 * Route templates of frameworks, in the spelling of peep: `/users/:id` and `/users/[id]` are `/users/{id}`.
 *
 * So a service that moves to another framework, or has two, keeps its series. Vectors: `sdk/fixtures/routes.json`.
 */

/** `hono` writes a parameter's pattern in braces, where Express has optional parts. */
export type Dialect = 'colon' | 'hono' | 'bracket';

const KEPT_MAX = 2048;
const kept = {
  colon: new Map<string, string>(),
  hono: new Map<string, string>(),
  bracket: new Map<string, string>(),
};

export function templateOf(pattern: string, dialect: Dialect): string {
  const known = kept[dialect].get(pattern);
  if (known !== undefined) return known;
  const template = dialect === 'bracket' ? fromBrackets(pattern) : fromColons(pattern, dialect === 'hono');
  if (kept[dialect].size >= KEPT_MAX) kept[dialect].clear();
  kept[dialect].set(pattern, template);
  return template;
}

/** Next.js: `[id]`, `[...path]`, `[[...path]]`; groups `(name)`, slots `@name` and the file's name are no part of it. */
function fromBrackets(pattern: string): string {
  const segments = pattern
    .replace(/\/(?:page|route)$/, '')
    .split('/')
    .filter((segment) => segment !== '' && !/^\((?!\.)[^)]*\)$/.test(segment) && !segment.startsWith('@'))
    .map((segment) => segment.replace(/^\[?\[\.\.\.(.+?)\]\]?$/, '{*$1}').replace(/\[(.+?)\]/g, '{$1}'));
  return `/${segments.join('/')}`;
}

/** Express, Fastify, Koa, Hono: `:id`, `:id(\\d+)`, `:id?`, `:path*`, `*`, `*path`; Express 5 also `{/:optional}`. */
function fromColons(pattern: string, bracesHoldPatterns: boolean): string {
  let template = '';
  let index = 0;
  const name = /[A-Za-z0-9_$]+|"[^"]+"/y;
  const nameAt = (start: number): string => {
    name.lastIndex = start;
    return name.exec(pattern)?.[0] ?? '';
  };
  while (index < pattern.length) {
    const character = pattern[index] as string;
    index += 1;
    if (character === '\\') {
      template += pattern[index] ?? '';
      index += 1;
    } else if (character === ':' && pattern[index] === ':') {
      template += ':';
      index += 1;
    } else if (character === ':' && nameAt(index) !== '') {
      const found = nameAt(index);
      index = skipGroup(pattern, index + found.length, bracesHoldPatterns ? '({' : '(');
      const modifier = pattern[index] ?? '';
      if ('?*+'.includes(modifier)) index += modifier.length;
      const many = modifier === '*' || modifier === '+' ? '*' : '';
      template += `{${many}${found.replaceAll('"', '')}}`;
    } else if (character === '*') {
      const found = nameAt(index);
      index += found.length;
      template += `{*${found.replaceAll('"', '')}}`;
    } else if (character === '(') {
      // A pattern without a name.
      index = skipGroup(pattern, index - 1, '(');
      template += '{*}';
    } else if (character !== '{' && character !== '}' && character !== '?') {
      template += character;
    }
  }
  return template.startsWith('/') ? template : `/${template}`;
}

/** Behind the group that begins at `index`, if one of `openers` does. */
function skipGroup(pattern: string, index: number, openers: string): number {
  const opener = pattern[index] ?? '';
  if (opener === '' || !openers.includes(opener)) return index;
  const closer = opener === '(' ? ')' : '}';
  let depth = 0;
  for (let end = index; end < pattern.length; end += 1) {
    if (pattern[end] === '\\') end += 1;
    else if (pattern[end] === opener) depth += 1;
    else if (pattern[end] === closer) {
      depth -= 1;
      if (depth === 0) return end + 1;
    }
  }
  return pattern.length;
}
