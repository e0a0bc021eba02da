import { describe, expect, it } from 'vitest';
import { axisLatency, bound, bytes, change, count, exactCount, latency, rate, share, write } from './number';

const plain = (text: string) => text.replaceAll('\u00a0', ' ');

describe('latency beside an axis', () => {
  it('has one unit, and seconds to the end', () => {
    const written = [0.5, 5, 100, 1000, 100_000, 166_000, 500_000, 3_600_000].map((ms) =>
      plain(axisLatency(ms)),
    );
    expect(written).toEqual(['500 µs', '5 ms', '100 ms', '1 s', '100 s', '166 s', '500 s', '3,600 s']);
  });
});

describe('latency', () => {
  it.each([
    [0.84, '840 µs'],
    [9.82, '9.82 ms'],
    [412, '412 ms'],
    [1840, '1.84 s'],
    [134_000, '2 min 14 s'],
    [0, '0 µs'],
    [0.0004, '< 1 µs'],
    [59.999, '60.0 ms'],
    [999.6, '1.00 s'],
    [0.9996, '1.00 ms'],
    [119_960, '2 min 0 s'],
    [99.96, '100 ms'],
  ])('writes %f ms as %s', (ms, text) => {
    expect(plain(write(latency(ms)))).toBe(text);
  });

  it('writes four digits where the cursor is', () => {
    expect(plain(write(latency(38.6204, 4)))).toBe('38.62 ms');
    expect(plain(write(latency(1853.2, 4)))).toBe('1.853 s');
  });

  it('writes a dash for what is unknown, never a zero', () => {
    for (const unknown of [null, undefined, Number.NaN, -1]) expect(write(latency(unknown))).toBe('–');
  });
});

describe('rate', () => {
  it.each([
    [0.2, '12 /min'],
    [7.2, '7.2 /s'],
    [63, '63.0 /s'],
    [168.4, '168 /s'],
    [1284, '1,284 /s'],
    [12_800, '12.8 k/s'],
    [1_280_000, '1.28 M/s'],
    [0, '0 /s'],
    [0.001, '< 0.1 /min'],
    [9999.7, '10.0 k/s'],
    [999_700, '1.00 M/s'],
  ])('writes %f per second as %s', (perSecond, text) => {
    expect(plain(write(rate(perSecond)))).toBe(text);
  });
});

describe('share', () => {
  it.each([
    [0, 100, '0'],
    [1, 100_000, '< 0.01 %'],
    [12, 10_000, '0.12 %'],
    [309, 1000, '30.9 %'],
    [9998, 10_000, '99.98 %'],
    [999_999, 1_000_000, '> 99.99 %'],
    [5, 5, '100 %'],
    [9996, 100_000, '10.0 %'],
  ])('writes %d of %d as %s', (part, whole, text) => {
    expect(plain(write(share(part, whole)))).toBe(text);
  });

  it('says nothing about a share of nothing', () => {
    expect(write(share(0, 0))).toBe('–');
    expect(write(share(null, 10))).toBe('–');
  });
});

describe('the rest', () => {
  it('groups counts below a million and shortens above', () => {
    expect(write(count(11_524))).toBe('11,524');
    expect(plain(write(count(1_155_600)))).toBe('1.16 M');
    expect(exactCount(1_155_600)).toBe('1,155,600');
  });

  it('writes a change as a factor from 1.5 on, else in percent, and nothing inside the bound', () => {
    expect(write(change(3.7, 1, 0.001))).toBe('3.7×');
    expect(plain(write(change(103.1, 100, 0.001)))).toBe('+3.1 %');
    expect(write(change(100.1, 100, 0.001))).toBe('same');
  });

  it('writes bytes in powers of 1024 and the bound as it was stated', () => {
    expect(plain(write(bytes(214 * 1024)))).toBe('214 KiB');
    expect(plain(bound(0.001))).toBe('±0.1 %');
  });
});
