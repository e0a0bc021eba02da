import { describe, expect, it, vi } from 'vitest';
import { toSteps } from './chart-card';
import { CursorStore } from './cursor';
import type { PlacedMarker } from './flags';
import { mergeFlags } from './flags';
import { rulerLabels } from './ruler';

describe('the cursor', () => {
  it('tells everybody when it moves, and nobody when it does not', () => {
    const cursor = new CursorStore();
    const told = vi.fn();
    cursor.subscribe(told);
    cursor.set(10);
    cursor.set(10);
    expect([cursor.get(), told.mock.calls.length]).toEqual([10, 1]);
  });

  it('stays where it is pinned, until it is pinned there again or let go', () => {
    const cursor = new CursorStore();
    cursor.pin(10);
    cursor.set(20);
    cursor.set(null);
    expect(cursor.get()).toBe(10);
    cursor.pin(30);
    expect([cursor.get(), cursor.pinned()]).toEqual([30, true]);
    cursor.pin(30);
    expect(cursor.pinned()).toBe(false);
    cursor.pin(5);
    cursor.unpin();
    expect(cursor.get()).toBeNull();
  });
});

describe('flags', () => {
  const marker = (x: number, label: string): PlacedMarker => ({ x, label, t: x, href: `/${label}` });

  it('that would collide become one, which leads to the newest', () => {
    const flags = mergeFlags([marker(100, 'v2'), marker(110, 'v3'), marker(400, 'v4')]);
    expect(flags.map((flag) => [flag.label, flag.href])).toEqual([
      ['2 releases', '/v3'],
      ['v4', '/v4'],
    ]);
    expect(flags[0]?.title).toBe('v2, v3');
  });

  it('stay apart where there is room, in the order of time', () => {
    expect(mergeFlags([marker(400, 'v4'), marker(100, 'v2')]).map((flag) => flag.label)).toEqual([
      'v2',
      'v4',
    ]);
  });
});

describe('a brushed stretch', () => {
  it('is made of whole steps', () => {
    expect(toSteps(12, 38, 10)).toEqual({ fromMs: 10, toMs: 40 });
  });
});

describe('the latency ruler', () => {
  it('names every decade of a usual axis, and every other one of a wide axis, from 1 ms', () => {
    expect(rulerLabels({ lowMs: 0.5, highMs: 10_000 })).toEqual([1, 10, 100, 1000, 10_000]);
    const wide = rulerLabels({ lowMs: 0.0005, highMs: 3_600_000 }).map((ms) => Math.log10(ms));
    expect(wide.map(Math.round)).toEqual([-2, 0, 2, 4, 6]);
  });
});
