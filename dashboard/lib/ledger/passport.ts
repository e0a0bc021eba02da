/** The way of one event as four stations: the time at each, the way since the one before, and why one was not reached. */
import { latency, NBSP, write } from '@/lib/format/number';
import { clock, milliseconds, type Zone } from '@/lib/format/time';
import type { Passport, StationName } from '@/lib/query/receipts';

export interface Stop {
  name: StationName;
  title: string;
  reached: boolean;
  /** `14:22:10.418`, or why it is not known. */
  detail: string;
  /** `+4 ms`, since it was accepted. */
  after: string | null;
}

const TITLES: Readonly<Record<StationName, string>> = {
  accepted: 'Accepted',
  log: 'In the log',
  counted: 'Counted',
  live: 'Sent to this page',
};

/** What each station is called when it was not reached. */
const WAITING: Readonly<Record<StationName, string>> = {
  accepted: 'Not accepted',
  log: 'Not in the log',
  counted: 'Not counted',
  live: 'Not sent to a page',
};

export function stops(passport: Passport, zone: Zone): Stop[] {
  const times = new Map((passport.stations ?? []).map((station) => [station.name, station]));
  const acceptedMs = times.get('accepted')?.atMs ?? null;
  const place =
    passport.partition === null
      ? ''
      : `partition ${passport.partition}, offset ${passport.offset?.toLocaleString('en-US')}`;
  const names: readonly StationName[] =
    passport.stations === null ? ['log', 'counted'] : ['accepted', 'log', 'counted', 'live'];
  return names.map((name) => {
    const station = times.get(name);
    const atMs =
      station?.atMs ?? (name === 'counted' && passport.status === 'applied' ? passport.settledMs : null);
    // A receipt is only given for what is in the log, with or without the time.
    const reached = atMs !== null || name === 'log' || (name === 'counted' && passport.status === 'applied');
    const time = atMs === null ? '' : `${clock(atMs, zone, true)}.${milliseconds(atMs)}`;
    const note = station?.note ?? (reached ? null : reason(passport, name));
    const detail = [name === 'log' ? place : '', time, note ?? ''].filter((part) => part !== '').join(', ');
    return {
      name,
      // A note of the server says itself whether it was not reached or only its time is not known.
      title: reached || station?.note != null ? TITLES[name] : WAITING[name],
      reached,
      detail,
      after:
        name === 'accepted' || atMs === null || acceptedMs === null
          ? null
          : `+${write(latency(Math.max(0, atMs - acceptedMs)))}`,
    };
  });
}

function reason(passport: Passport, name: StationName): string {
  if (name === 'live') return 'No live page was open that shows it';
  switch (passport.status) {
    case 'pending':
      if (passport.blocked !== null) return `Counting stopped: ${passport.blocked}`;
      if (passport.recordsAhead === null || passport.recordsAhead === 0)
        return 'It is counted with the next flush';
      return `${passport.recordsAhead.toLocaleString('en-US')}${NBSP}records are ahead of it`;
    case 'duplicate':
      return 'The same batch was counted before';
    case 'dead_lettered':
      return `Set aside: ${[...new Set(passport.letters.map((letter) => letter.reason))].join(', ') || 'no reason is kept'}`;
    case 'lost':
      return 'Its log was given up before it was counted';
    case 'applied':
      return 'No time is kept';
  }
}

/** The line above the stations. */
export function verdict(passport: Passport): string {
  switch (passport.status) {
    case 'applied':
      return passport.letters.length === 0
        ? 'Counted, once.'
        : `Counted, but ${passport.letters.length} of the batch: ${[...new Set(passport.letters.map((letter) => letter.reason))].join(', ')}.`;
    case 'pending':
      return 'In the log, and not counted yet.';
    case 'duplicate':
      return 'A duplicate: the same batch was counted before, so this try was not.';
    case 'dead_lettered':
      return 'Set aside, not counted.';
    case 'lost':
      return 'Lost: its log was given up by an operator before it was counted.';
  }
}
