/** One side of a comparison, as the address and the API write it: `window:<from>,<to>`, `version:…`, `host:…`, `env:…`. */
import { isolated } from '@/lib/format/isolate';
import { moment, type Zone, zoneName } from '@/lib/format/time';

export const KINDS = ['window', 'version', 'host', 'env'] as const;
export type Kind = (typeof KINDS)[number];

export type Side =
  | { kind: 'window'; fromMs: number; toMs: number }
  | { kind: Exclude<Kind, 'window'>; value: string };

export function parseSide(text: string | null): Side | null {
  const read = /^(window|version|host|env):(.+)$/.exec(text ?? '');
  if (read === null) return null;
  const [, kind, value] = read as unknown as [string, Kind, string];
  if (kind !== 'window') return { kind, value };
  const ends = value.split(',').map(instant);
  const [fromMs, toMs] = ends;
  if (ends.length !== 2 || fromMs === undefined || toMs === undefined) return null;
  return toMs > fromMs ? { kind, fromMs, toMs } : null;
}

function instant(text: string): number {
  if (/^\d{12,14}$/.test(text)) return Number(text);
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) ? Date.parse(text) : Number.NaN;
}

export function writeSide(side: Side): string {
  return side.kind === 'window' ? `window:${side.fromMs},${side.toMs}` : `${side.kind}:${side.value}`;
}

/** As a reader would call it. */
export function saySide(side: Side, zone: Zone, nowMs: number): string {
  if (side.kind !== 'window') return isolated(side.value);
  return `${moment(side.fromMs, zone, nowMs, true)} to ${moment(side.toMs, zone, nowMs, true)} ${zoneName(side.toMs, zone)}`;
}

/** The window of the page and the equally long one before it: what is compared when nothing was chosen. */
export function windowsBefore(fromMs: number, toMs: number): { a: Side; b: Side } {
  return {
    a: { kind: 'window', fromMs: fromMs - (toMs - fromMs), toMs: fromMs },
    b: { kind: 'window', fromMs, toMs },
  };
}
