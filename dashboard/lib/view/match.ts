/** How the palette finds things: by the letters in their order, what begins with them first; and what was pasted. */

export type Pasted = { kind: 'trace' | 'receipt' } | { kind: 'address'; href: string };

/** A trace id, a receipt or an address of this peep. */
export function recognise(text: string, origin: string): Pasted | null {
  if (/^[0-9a-f]{32}$/i.test(text)) return { kind: 'trace' };
  if (/^r\d+(\.[0-9a-f]+){3,}$/i.test(text)) return { kind: 'receipt' };
  if (text.startsWith(`${origin}/`)) return { kind: 'address', href: text.slice(origin.length) };
  return null;
}

/** Every word must occur. Whole names, then beginnings, then beginnings of a part, then the rest. */
export function matches<T>(wanted: string, items: readonly T[], textOf: (item: T) => string): T[] {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  const needle = words.join(' ');
  const ranked: { item: T; rank: number; length: number }[] = [];
  for (const item of items) {
    const text = textOf(item).toLowerCase().replaceAll('\u00a0', ' ');
    if (!words.every((word) => text.includes(word))) continue;
    const at = text.indexOf(words[0] ?? '');
    const whole = text === needle || text.startsWith(`${needle} `);
    const part = at > 0 && /[^a-z0-9]/.test(text[at - 1] as string);
    ranked.push({ item, rank: whole ? 0 : at === 0 ? 1 : part ? 2 : 3, length: text.length });
  }
  return ranked.sort((a, b) => a.rank - b.rank || a.length - b.length).map((entry) => entry.item);
}

/** The name with the fewest edits, when they are few enough for a slip of the hand. */
export function nearest(wanted: string, names: readonly string[]): string | null {
  const limit = Math.max(1, Math.floor(wanted.length / 3));
  let best: { name: string; edits: number } | null = null;
  for (const name of names) {
    if (Math.abs(name.length - wanted.length) > limit) continue;
    const edits = distance(wanted.toLowerCase(), name.toLowerCase());
    if (edits <= limit && (best === null || edits < best.edits)) best = { name, edits };
  }
  return best?.name ?? null;
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1);
    }
    row = next;
  }
  return row[b.length] as number;
}
