import { afterEach, describe, expect, it } from 'vitest';
import { askRange, parseMoment, writeMoment } from './ask';
import { fileName, toCsv } from './export';
import { matches, nearest, recognise } from './match';

const NOW = Date.UTC(2026, 10, 20, 14, 30);
const zone = process.env.TZ;
afterEach(() => {
  process.env.TZ = zone;
});

describe('a time as people write it', () => {
  it('may be a length, a stretch, or since a release', () => {
    expect(askRange('last 3 h', 'utc', NOW, [])).toEqual({ range: '3h' });
    expect(askRange('45 minutes', 'utc', NOW, [])).toEqual({ range: '45m' });
    expect(askRange('14:20 to 14:25', 'utc', NOW, [])).toEqual({
      frozen: { fromMs: NOW - 600_000, toMs: NOW - 300_000 },
    });
    const release = { version: 'v2.14.0', firstSeenMs: NOW - 540_000 };
    expect(askRange('since v2.14.0', 'utc', NOW, [release])).toEqual({ range: '9m' });
    for (const bad of ['last 0 h', 'last 900 d', '25:00 to 26:00', '14:25 to 14:20', 'soon', ''])
      expect(askRange(bad, 'utc', NOW, [])).toBeNull();
  });

  it('means yesterday when today it would not have been yet', () => {
    expect(parseMoment('23:00', 'utc', NOW, NOW)).toBe(Date.UTC(2026, 10, 19, 23));
    expect(parseMoment('19 Nov 14:00:05', 'utc', NOW, NOW)).toBe(Date.UTC(2026, 10, 19, 14, 0, 5));
    expect(parseMoment('2026-11-18 09:15', 'utc', NOW, NOW)).toBe(Date.UTC(2026, 10, 18, 9, 15));
  });

  it('is read in the zone it is shown in, across a change of clocks too', () => {
    process.env.TZ = 'Europe/Berlin';
    const winter = Date.UTC(2026, 9, 25, 12);
    expect(writeMoment(winter, 'local')).toBe('2026-10-25 13:00:00');
    expect(parseMoment('2026-10-25 13:00', 'local', NOW, NOW)).toBe(winter);
    expect(parseMoment('2026-10-24 13:00', 'local', NOW, NOW)).toBe(Date.UTC(2026, 9, 24, 11));
    for (const at of [winter, NOW]) expect(parseMoment(writeMoment(at, 'utc'), 'utc', NOW, NOW)).toBe(at);
  });
});

describe('a moment', () => {
  it('is in UTC where it says so, whatever the zone of the page', () => {
    process.env.TZ = 'Europe/Berlin';
    const noon = Date.UTC(2026, 10, 20, 12, 10);
    expect(parseMoment('12:10 utc', 'local', NOW, NOW)).toBe(noon);
    expect(parseMoment('2026-11-20T12:10Z', 'local', NOW, NOW)).toBe(noon);
  });

  it('on a day that no month has is none', () => {
    expect(parseMoment('2026-02-31 10:00', 'utc', NOW, NOW)).toBeNull();
    expect(parseMoment('31 Nov 10:00', 'utc', NOW, NOW)).toBeNull();
    expect(parseMoment('2024-02-29 10:00', 'utc', NOW, NOW)).toBe(Date.UTC(2024, 1, 29, 10));
  });
});

describe('the palette', () => {
  it('finds by words in any place, beginnings first', () => {
    const names = ['GET /users/buy-again checkout', 'POST /buy checkout', 'buyers', 'orders'];
    expect(matches('buy', names, (name) => name)).toEqual([
      'buyers',
      'POST /buy checkout',
      'GET /users/buy-again checkout',
    ]);
    expect(matches('buy checkout', names, (name) => name)).toHaveLength(2);
  });

  it('names the nearest when nothing is found, and nothing when nothing is near', () => {
    expect(nearest('chekout', ['checkout', 'search'])).toBe('checkout');
    expect(nearest('zebra', ['checkout', 'search'])).toBeNull();
  });

  it('recognises what was pasted', () => {
    expect(recognise('4bf92f3577b34da6a3ce929d0e0e4736', 'http://peep')).toEqual({ kind: 'trace' });
    expect(recognise('r1.7.3.1595c.8d3f21aa', 'http://peep')).toEqual({ kind: 'receipt' });
    expect(recognise('http://peep/service/?service=a', 'http://peep')).toEqual({
      kind: 'address',
      href: '/service/?service=a',
    });
    expect(recognise('http://peep.evil/service/', 'http://peep')).toBeNull();
  });
});

describe('files', () => {
  it('quote what needs it and defuse formulas', () => {
    expect(
      toCsv(
        ['a', 'b'],
        [
          ['x,"y"', 1],
          ['=1+1', null],
        ],
      ),
    ).toBe('a,b\r\n"x,""y""",1\r\n\'=1+1,');
  });

  it('have names that every system takes', () => {
    expect(fileName('checkout-/a b/{id}', NOW, 'csv')).toBe('peep-checkout-_a_b_id_-2026-11-20T143000Z.csv');
  });
});
