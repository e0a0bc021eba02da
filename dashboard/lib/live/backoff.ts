/**
 * How long to wait before attempt `attempt` (0 is the first retry): full jitter under a ceiling that doubles from
 * half a second to 15 s. Full jitter, because a thousand tabs that lost the same server must not come back together.
 */
export const FIRST_MS = 500;
export const LONGEST_MS = 15_000;

export function backoffMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
  return Math.round(random() * ceiling);
}
