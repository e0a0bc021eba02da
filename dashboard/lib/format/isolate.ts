/**
 * Names come from whoever sends events, and may read from right to left or hold characters that turn what follows. In
 * text with nothing but characters (titles, labels, options, what is said or drawn) `isolated` keeps the turn inside the
 * name; in the page it is `components/ui/name`, which needs of this only what closes the name.
 */

/** First strong isolate, and what ends it. */
const OPEN = '\u2068';
const CLOSE = '\u2069';

/** Scripts that run from right to left, marks of direction, and the end of a paragraph, which would end any isolate. */
const TURNS =
  /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\u2029\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/** A name that ends in no isolate but its own: what it opens is closed after it, what it closes is opened before. */
export function closed(name: string): string {
  if (!TURNS.test(name)) return name;
  let opened = 0;
  let before = 0;
  for (const char of name) {
    if (char >= '\u2066' && char <= OPEN) opened += 1;
    else if (char === CLOSE && opened > 0) opened -= 1;
    else if (char === CLOSE) before += 1;
  }
  return `${OPEN.repeat(before)}${name.replaceAll('\u2029', '\ufffd')}${CLOSE.repeat(opened)}`;
}

/** Unchanged as long as nothing in it turns: it can be searched and copied as it is. */
export function isolated(name: string): string {
  return TURNS.test(name) ? `${OPEN}${closed(name)}${CLOSE}` : name;
}
