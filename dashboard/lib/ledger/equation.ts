/**
 * The balance as an equation that adds up on the screen: what was accepted is what was counted, recognised as a duplicate,
 * set aside, or still on its way. The books settle the first three; what is in flight comes on top on both sides.
 */
import { exactCount } from '@/lib/format/number';
import type { Books } from '@/lib/query/reconcile';

export interface Part {
  count: string;
  name: string;
}

export interface Equation {
  accepted: Part;
  parts: Part[];
  /** Written out, for a title and for those who hear it. */
  words: string;
}

export function equation(books: Books): Equation {
  // In flight may be a lower bound, and then the sum is one too.
  const least = books.inFlightExact ? '' : 'at least ';
  const accepted = { count: `${least}${exactCount(books.settled + books.inFlight)}`, name: 'accepted' };
  const parts = [
    { count: exactCount(books.counted), name: 'counted' },
    { count: exactCount(books.duplicate), name: books.duplicate === 1 ? 'duplicate' : 'duplicates' },
    { count: exactCount(books.deadLettered), name: 'dead-lettered' },
    { count: `${least}${exactCount(books.inFlight)}`, name: 'in flight' },
  ];
  const say = ({ count, name }: Part) => `${count} ${name}`;
  return { accepted, parts, words: `${say(accepted)} = ${parts.map(say).join(' + ')}` };
}

/** What does not balance, in one line: `12 unaccounted since 2026-11-20, partition 3`. */
export function unaccounted(books: Books): string | null {
  if (books.balanced) return null;
  const first = books.differences[0];
  if (first === undefined) return 'The books do not balance';
  const events = books.differences.reduce((sum, item) => sum + Math.abs(item.events ?? 0), 0);
  const partitions = [
    ...new Set(books.differences.flatMap((item) => (item.partition === null ? [] : [item.partition]))),
  ];
  const since = books.differences.map((item) => item.since).find((item) => item !== null);
  return [
    events > 0 ? `${exactCount(events)} unaccounted` : first.words.replace(/\.$/, ''),
    since === undefined ? '' : ` since ${since}`,
    partitions.length === 0 ? '' : `, partition${partitions.length > 1 ? 's' : ''} ${partitions.join(', ')}`,
  ].join('');
}
