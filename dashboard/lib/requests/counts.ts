/** The one line above the table: how many match, and how many of them are kept to be looked at. */
import { exactCount } from '@/lib/format/number';

export interface Counts {
  /** `null` from a server that does not count. */
  matched: number | null;
  total: number | null;
  sampled: boolean;
  /** The largest weight seen: 40 says that one in 40 of the ordinary requests was kept. */
  oneIn: number | null;
  filtered: boolean;
}

export function countsSentence(counts: Counts): string {
  return `${matching(counts)}${keeping(counts)}`;
}

function matching({ matched, total, sampled, filtered }: Counts): string {
  if (matched === null) return '';
  // Counted from kept events by weight: an estimate, and said to be one.
  const about = sampled ? 'About ' : '';
  const noun = (n: number) => (n === 1 ? 'request' : 'requests');
  if (!filtered || total === null) return `${about}${exactCount(matched)} ${noun(matched)}. `;
  return `${about}${exactCount(matched)} of ${exactCount(total)} ${noun(total)} ${matched === 1 ? 'matches' : 'match'}. `;
}

function keeping({ sampled, oneIn }: Counts): string {
  if (!sampled) return 'Kept in full.';
  const rest =
    oneIn !== null && oneIn > 1
      ? `1 in ${exactCount(Math.round(oneIn))} of the rest`
      : 'a sample of the rest';
  return `Kept: all errors, the slowest, and ${rest}; weights are applied.`;
}
