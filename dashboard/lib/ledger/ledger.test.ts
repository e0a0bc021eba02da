import { describe, expect, it } from 'vitest';
import { parsePassport } from '@/lib/query/receipts';
import { parseBooks } from '@/lib/query/reconcile';
import { fromLetters } from '@/lib/query/rejects';
import { equation, unaccounted } from './equation';
import { stops, verdict } from './passport';

const plain = (text: string) => text.replaceAll('\u00a0', ' ');
const answer = {
  from_ms: 0,
  to_ms: 3_600_000,
  accepted: 11_524_036,
  rolled_up: 11_523_902,
  dead_lettered: { total: 4, too_old: 4 },
  duplicate: 130,
  in_flight: 82,
  in_flight_exact: true,
  in_flight_note: null,
  balanced: true,
  checks: {
    sums: { ok: true },
    chain: { ok: true, gaps: [], breaks: [] },
    days: { ok: true, compared: 1, since: '2026-11-20', differences: [] },
    dead_letters: { ok: true, kept: 4 },
  },
};

describe('the equation', () => {
  it('adds up on the screen', () => {
    const { words, accepted, parts } = equation(parseBooks(answer));
    expect(words).toBe(
      '11,524,118 accepted = 11,523,902 counted + 130 duplicates + 4 dead-lettered + 82 in flight',
    );
    const value = (text: string) => Number(text.replaceAll(',', ''));
    expect(parts.reduce((sum, part) => sum + value(part.count), 0)).toBe(value(accepted.count));
    expect(unaccounted(parseBooks(answer))).toBeNull();
  });

  it('says "at least" when what is in flight is a lower bound', () => {
    const { words } = equation(
      parseBooks({ ...answer, in_flight_exact: false, in_flight_note: 'too much to read' }),
    );
    expect(words).toMatch(/^at least 11,524,118 accepted = .* at least 82 in flight$/);
  });

  it('names what is missing, since when and where', () => {
    const days = {
      ok: false,
      compared: 1,
      since: null,
      differences: [{ day: '2026-11-20', partition: 3, rolled_up: 100, rollups: 88 }],
    };
    const books = parseBooks({ ...answer, balanced: false, checks: { ...answer.checks, days } });
    expect(unaccounted(books)).toBe('12 unaccounted since 2026-11-20, partition 3');
    const chain = { ok: false, gaps: [{ partition: 1, ends: 10, continues: 12 }], breaks: [] };
    expect(unaccounted(parseBooks({ ...answer, balanced: false, checks: { ...answer.checks, chain } }))).toBe(
      'Between two flushes, offset 10 to 12 is missing, partition 1',
    );
  });
});

describe('a passport', () => {
  const at = Date.UTC(2026, 10, 20, 14, 22, 10, 418);
  const applied = {
    status: 'applied',
    receipt: 'r1.7.3.1595c.8d3f21aa',
    partition: 3,
    offset: 88_412,
    settled_ms: at + 310,
    counted: 'all',
    stations: [
      { name: 'accepted', at_ms: at, note: null },
      { name: 'log', at_ms: at + 4, note: null },
      { name: 'counted', at_ms: at + 310, note: '14:22:10 to :20' },
      { name: 'live', at_ms: null, note: null },
    ],
  };

  it('tells time and way of every station, and why one was not reached', () => {
    const way = stops(parsePassport(applied), 'utc');
    expect(way.map((stop) => [stop.title, stop.reached, plain(stop.after ?? '')])).toEqual([
      ['Accepted', true, ''],
      ['In the log', true, '+4.00 ms'],
      ['Counted', true, '+310 ms'],
      ['Not sent to a page', false, ''],
    ]);
    expect(way[0]?.detail).toBe('14:22:10.418');
    expect(way[1]?.detail).toBe('partition 3, offset 88,412, 14:22:10.422');
    expect(way[3]?.detail).toBe('No live page was open that shows it');
  });

  it('of a server without times still says what is known, and no more', () => {
    const { stations: _, ...old } = applied;
    const way = stops(
      parsePassport({ ...old, status: 'pending', settled_ms: null, records_ahead: 12 }),
      'utc',
    );
    expect(way.map((stop) => [stop.name, stop.reached])).toEqual([
      ['log', true],
      ['counted', false],
    ]);
    expect(plain(way[1]?.detail ?? '')).toBe('12 records are ahead of it');
  });

  it('says why a batch was set aside', () => {
    const passport = parsePassport({
      ...applied,
      status: 'dead_lettered',
      dead_lettered: [{ index: 0, events: 1, reason: 'too_old' }],
    });
    expect(verdict(passport)).toBe('Set aside, not counted.');
    expect(passport.letters).toEqual([{ index: 0, reason: 'too_old' }]);
  });
});

describe('rejects of a server that only lists letters', () => {
  it('are added up by reason', () => {
    const letter = (reason: string, events: number) => ({
      id: '1',
      reason,
      advice: 'do this',
      events,
      recorded_ms: 5,
      preview: [{ service: 'a' }],
    });
    const { reasons, scope } = fromLetters({
      rejects: [letter('too_old', 1), letter('too_old', 3), letter('in_future', 9)],
      next_cursor: null,
    });
    expect(scope).toBe('dead_letters');
    expect(reasons.map((item) => [item.reason, item.count, item.fix])).toEqual([
      ['in_future', 9, 'do this'],
      ['too_old', 4, 'do this'],
    ]);
  });
});
