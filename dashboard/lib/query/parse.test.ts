import { describe, expect, it } from 'vitest';
import { parseDiffers } from './differs';
import { parseFindings } from './findings';
import { joinHeatmap, parseHeatmap } from './heatmap';
import { alignPast, type Past } from './past';

describe('findings at the edge', () => {
  const answer = {
    at_ms: 1,
    window: { from_ms: 0, to_ms: 1 },
    usual: { kind: 'yesterday', from_ms: 0, to_ms: 1, label: 'yesterday' },
    services: 2,
    findings: [
      {
        kind: 'failing',
        service: 'checkout',
        env: 'prod',
        title: '…',
        value: 0.04,
        usual: 0.001,
        unit: 'share',
        since_ms: 5,
        after: { version: 'v2', ms: 20_000 },
        where: { dimension: 'route', value: 'POST /buy', share: 0.96 },
        status: 502,
        affected: 27_418,
        per_second: 54.7,
        recovered_ms: null,
        alert: null,
      },
      { kind: 'melting', service: 'checkout', title: 'of a later server', unit: 'share' },
    ],
    no_usual: ['new'],
  };

  it('are typed, and kinds of a later server are passed over', () => {
    const parsed = parseFindings(answer);
    expect(parsed.findings).toHaveLength(1);
    expect(parsed.findings[0]?.where).toEqual({ dimension: 'route', value: 'POST /buy', share: 0.96 });
    expect(parsed.noUsual).toEqual(['new']);
  });

  it('are refused with the path of what was wrong', () => {
    const broken = structuredClone(answer);
    (broken.findings[0] as { since_ms: unknown }).since_ms = 'noon';
    expect(() => parseFindings(broken)).toThrow('findings[0].since_ms: expected a finite number');
  });
});

describe('the heatmap', () => {
  const heatmap = (t: number[], rowUs: number[], count: (number[] | null)[]) =>
    parseHeatmap({
      step_ms: 10,
      from_ms: t[0] ?? 0,
      to_ms: (t.at(-1) ?? 0) + 10,
      rows_per_decade: 16,
      row_us: rowUs,
      t,
      count,
      max: 9,
      total: 9,
      quantiles_ms: { '0.5': t.map(() => 1), '0.99': t.map(() => null) },
      origin: 'exact',
    });

  it('takes the newest columns over what it had and forgets what left the window', () => {
    const before = heatmap([0, 10, 20], [1, 2, 3], [[1, 0], null, [2, 2]]);
    const tail = heatmap([20, 30], [2, 3], [[5], [7]]);
    const joined = joinHeatmap(before, tail, 10);
    expect(joined?.t).toEqual([10, 20, 30]);
    expect(joined?.cells).toEqual([null, [0, 5], [0, 7]]);
    expect(joined?.p50).toEqual([1, 1, 1]);
  });

  it('asks anew when a request falls into a row there was not', () => {
    const before = heatmap([0], [1, 2, 3], [[1, 0]]);
    expect(joinHeatmap(before, heatmap([10], [8, 9], [[1]]), 0)).toBeNull();
    expect(joinHeatmap(before, heatmap([10], [8, 9], [[0]]), 0)?.cells).toEqual([
      [1, 0],
      [0, 0],
    ]);
  });

  it('refuses columns that do not fit its rows', () => {
    expect(() => heatmap([0], [1, 2, 3], [[1]])).toThrow('count[0]: expected 2 values');
  });
});

describe('what differs', () => {
  it('says of each dimension whether it is exact, and of none more than was answered', () => {
    const parsed = parseDiffers({
      selection: { from_ms: 0, to_ms: 1, us0: 1, us1: 2, count: 26_902 },
      rest: { count: 10 },
      dimensions: [
        { name: 'status', origin: 'exact', value: 502, share: 0.959, rest_share: 0.041, distinct: 6 },
        {
          name: 'attrs.gateway',
          origin: 'sampled',
          n: 1204,
          value: null,
          share: 0,
          rest_share: 0,
          distinct: 3,
        },
      ],
      kept: 1204,
    });
    expect(parsed.dimensions.map((item) => [item.value, item.exact])).toEqual([
      ['502', true],
      [null, false],
    ]);
  });
});

describe('the compared past', () => {
  const past: Past = {
    shiftMs: 1000,
    stepMs: 20,
    place: new Map([
      [0, 0],
      [20, 1],
      [40, 2],
    ]),
    count: [40, null, 20],
    errors: [4, null, 0],
    quantilesMs: {},
  };

  it('lies on the grid of the present, also from wider steps, and has its own gaps', () => {
    const aligned = alignPast(past, [1000, 1010, 1020, 1040], 4);
    expect(aligned.rate).toEqual([2000, 2000, null, 1000]);
    expect(aligned.share).toEqual([10, 10, null, 0]);
  });

  it('has no mean where it has nothing', () => {
    expect(alignPast(past, [9000], 1)).toMatchObject({ meanRate: null, meanShare: null });
  });
});
