'use client';

/**
 * Two lines of quantiles: x spread toward the tail, y the duration, logarithmic. A is what was, dashed; B is p99's blue.
 * Where the difference is significant the space between them is filled; whiskers are the 99 % confidence intervals.
 */
import { useId } from 'react';
import { useWidth } from '@/components/ui/use-width';
import { logScale, percent, SPREAD_TICKS, significantRuns, spread, tight } from '@/lib/compare/plot';
import { judge, plotLabel } from '@/lib/compare/words';
import { axisLatency } from '@/lib/format/number';
import type { Comparison, QuantileRow } from '@/lib/query/compare';
import { logTicks } from '@/lib/series/axis';

const HEIGHT = 300;
const LEFT = 60;
const RIGHT = 20;
const TOP = 12;
const BOTTOM = 30;

export function QuantilePlot({ comparison }: { comparison: Comparison }) {
  const { ref, width } = useWidth(560);
  const hatch = useId();
  const rows = comparison.quantiles;
  const values = rows.flatMap((row) => [row.aMs, row.bMs].filter((ms): ms is number => ms !== null));
  const [low, high] = tight(values);
  const ends = [spread(rows[0]?.q ?? 0.5), spread(rows.at(-1)?.q ?? 0.9999)] as const;
  const x = (q: number) =>
    LEFT + ((spread(q) - ends[0]) / Math.max(0.1, ends[1] - ends[0])) * (width - LEFT - RIGHT);
  const y = logScale(low, high, HEIGHT - BOTTOM, TOP);
  const line = (pick: (row: QuantileRow) => number | null) =>
    runs(rows, pick).map((run) =>
      run
        .map(
          (row, index) =>
            `${index === 0 ? 'M' : 'L'}${x(row.q).toFixed(1)} ${y(pick(row) ?? low).toFixed(1)}`,
        )
        .join(''),
    );
  const filled = significantRuns(rows.map((row) => judge(row) === 'slower' || judge(row) === 'faster')).map(
    ([from, to]) => {
      // From the middle before to the middle after, because the difference begins somewhere between two quantiles.
      const part = rows.slice(from, to + 1);
      const up = part.map((row) => `${x(row.q).toFixed(1)} ${y(row.bMs ?? low).toFixed(1)}`);
      const down = part.toReversed().map((row) => `${x(row.q).toFixed(1)} ${y(row.aMs ?? low).toFixed(1)}`);
      return `M${[...up, ...down].join('L')}Z`;
    },
  );

  return (
    <div ref={ref} className="min-w-0">
      <svg
        width={width}
        height={HEIGHT}
        role="img"
        aria-label={plotLabel(comparison)}
        className="block text-11"
      >
        <defs>
          <pattern
            id={hatch}
            width="6"
            height="6"
            patternUnits="userSpaceOnUse"
            patternTransform="rotate(45)"
          >
            <rect width="6" height="6" className="fill-p99" opacity="0.1" />
            <path d="M0 0V6" className="stroke-p99" strokeWidth="1" opacity="0.35" />
          </pattern>
        </defs>
        {logTicks([low, high]).map((ms) => (
          <g key={ms}>
            <path d={`M${LEFT} ${Math.round(y(ms)) + 0.5}H${width - RIGHT}`} className="stroke-(--grid)" />
            <text x={LEFT - 8} y={y(ms) + 4} textAnchor="end" className="fill-ink2">
              {axisLatency(ms)}
            </text>
          </g>
        ))}
        {SPREAD_TICKS.filter((q) => spread(q) >= ends[0] - 0.01 && spread(q) <= ends[1] + 0.01).map((q) => (
          <g key={q}>
            <path d={`M${x(q)} ${HEIGHT - BOTTOM}v4`} className="stroke-(--line)" />
            <text x={x(q)} y={HEIGHT - BOTTOM + 17} textAnchor="middle" className="fill-ink2">
              {percent(q)}
            </text>
          </g>
        ))}
        {filled.map((d) => (
          <path key={d} d={d} fill={`url(#${hatch})`} />
        ))}
        {rows.map((row) => (
          <g key={row.q}>
            <Whisker x={x(row.q) - 2.5} low={row.aLowMs} high={row.aHighMs} y={y} className="stroke-was" />
            <Whisker x={x(row.q) + 2.5} low={row.bLowMs} high={row.bHighMs} y={y} className="stroke-p99" />
          </g>
        ))}
        {line((row) => row.aMs).map((d) => (
          <path key={d} d={d} className="stroke-was" fill="none" strokeWidth="1.75" strokeDasharray="4 3" />
        ))}
        {line((row) => row.bMs).map((d) => (
          <path key={d} d={d} className="stroke-p99" fill="none" strokeWidth="2" strokeLinejoin="round" />
        ))}
        {rows.map((row) => (
          <g key={row.q}>
            {row.aMs !== null && (
              <circle
                cx={x(row.q)}
                cy={y(row.aMs)}
                r="3"
                className="fill-surface stroke-was"
                strokeWidth="1.5"
              />
            )}
            {row.bMs !== null && (
              // What rests on too few requests is hollow.
              <circle
                cx={x(row.q)}
                cy={y(row.bMs)}
                r="3"
                className={`stroke-p99 ${row.enough ? 'fill-p99' : 'fill-surface'}`}
                strokeWidth="1.5"
              />
            )}
          </g>
        ))}
      </svg>
    </div>
  );
}

function Whisker(props: {
  x: number;
  low: number | null;
  high: number | null;
  y: (ms: number) => number;
  className: string;
}) {
  const { x, low, high, y } = props;
  if (low === null || high === null) return null;
  const [from, to] = [y(low), y(high)];
  // Narrower than a pixel: an interval nobody can see must not be pretended.
  if (from - to < 1) return null;
  return (
    <path
      d={`M${x} ${from}V${to}M${x - 2} ${from}h4M${x - 2} ${to}h4`}
      className={props.className}
      opacity="0.7"
      fill="none"
    />
  );
}

/** Stretches without a gap: a line never crosses a quantile that is not known. */
function runs(rows: readonly QuantileRow[], pick: (row: QuantileRow) => number | null): QuantileRow[][] {
  const found: QuantileRow[][] = [];
  let open: QuantileRow[] | null = null;
  for (const row of rows) {
    if (pick(row) === null) open = null;
    else if (open === null) {
      open = [row];
      found.push(open);
    } else open.push(row);
  }
  return found;
}
