'use client';

/** How long an event took to the screen, over the last day: measured by peep with events of its own. */
import { useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { Icon } from '@/components/ui/icon';
import { useWidth } from '@/components/ui/use-width';
import { axisLatency, latency, write } from '@/lib/format/number';
import { moment, tickLabel, timeTicks, zoneName } from '@/lib/format/time';
import { type FreshnessHistory, fetchFreshness } from '@/lib/query/fresh';
import { usePoll } from '@/lib/query/use-poll';
import { logRange, logTicks } from '@/lib/series/axis';
import type { Column } from '@/lib/series/types';

const EVERY_MS = 60_000;
const HEIGHT = 168;
const LEFT = 56;
const RIGHT = 36;
const TOP = 10;
const BOTTOM = 24;

export function Fresh() {
  const { paused } = usePageData();
  const polled = usePoll(
    'freshness',
    (signal) => fetchFreshness({ from: '-24h', to: 'now' }, signal),
    paused === null ? EVERY_MS : null,
  );
  const [asTable, setAsTable] = useState(false);
  const data = polled.data;
  // No probe, no claim: the block is left out.
  if (data === null || data.p50.every((value) => value === null)) return null;
  return (
    <section aria-label="Freshness" className="card px-4 pt-3 pb-2">
      <div className="flex flex-wrap items-baseline gap-x-3">
        <h2 className="font-name">Freshness</h2>
        <p className="text-12 text-ink2">
          From sending an event to seeing it, measured by peep itself; last 24 hours.
        </p>
        <span className="flex-1" />
        <p className="text-12 text-ink2">
          p50 <span className="font-name text-ink">{write(latency(data.p50Ms))}</span>, p99{' '}
          <span className="font-name text-ink">{write(latency(data.p99Ms))}</span>
        </p>
        <button
          type="button"
          aria-pressed={asTable}
          aria-label={asTable ? 'Show as chart' : 'Show as table'}
          title={asTable ? 'Show as chart' : 'Show as table'}
          className="grid size-6 place-items-center self-center rounded-kbd text-ink2 hover:bg-hover max-tablet:size-11"
          onClick={() => setAsTable(!asTable)}
        >
          <Icon name={asTable ? 'chart' : 'table'} size={14} />
        </button>
      </div>
      {asTable ? <Table data={data} /> : <Chart data={data} />}
    </section>
  );
}

function Chart({ data }: { data: FreshnessHistory }) {
  const { view } = usePageData();
  const { ref, width } = useWidth(900);
  const { t } = data;
  const toMs = Date.now();
  const fromMs = toMs - 86_400_000;
  const values = [...data.p50, ...data.p99].filter((value): value is number => value !== null && value > 0);
  const [low, high] = logRange(Math.min(...values), Math.max(...values));
  const x = (ms: number) => LEFT + ((ms - fromMs) / (toMs - fromMs)) * (width - LEFT - RIGHT);
  const y = (ms: number) =>
    HEIGHT - BOTTOM - (Math.log(Math.max(ms, low) / low) / Math.log(high / low)) * (HEIGHT - BOTTOM - TOP);
  const lastOf = (column: Column) => column.findLast((value) => value !== null) ?? null;
  const worst = data.p99.reduce<number>((best, value) => Math.max(best, value ?? 0), 0);
  const label = `Freshness over the last 24 hours: p50 ${write(latency(data.p50Ms))}, p99 ${write(latency(data.p99Ms))}, at worst ${write(latency(worst))}.`;
  const ticks = timeTicks(fromMs, toMs, Math.max(2, Math.floor(width / 130)), view.tz);
  const tickStep = (ticks[1] ?? toMs) - (ticks[0] ?? fromMs);
  return (
    <div ref={ref} className="mt-2 min-w-0">
      <svg width={width} height={HEIGHT} role="img" aria-label={label} className="block text-11">
        {logTicks([low, high]).map((ms) => (
          <g key={ms}>
            <path d={`M${LEFT} ${Math.round(y(ms)) + 0.5}H${width - RIGHT}`} className="stroke-(--grid)" />
            <text x={LEFT - 8} y={y(ms) + 4} textAnchor="end" className="fill-ink2">
              {axisLatency(ms)}
            </text>
          </g>
        ))}
        {ticks.map((ms) => (
          <text key={ms} x={x(ms)} y={HEIGHT - 6} textAnchor="middle" className="fill-ink2">
            {tickLabel(ms, tickStep, view.tz)}
          </text>
        ))}
        {paths(t, data.p50, x, y).map((d) => (
          <path key={d} d={d} fill="none" className="stroke-p50" strokeWidth="1.75" />
        ))}
        {paths(t, data.p99, x, y).map((d) => (
          <path key={d} d={d} fill="none" className="stroke-p99" strokeWidth="1.75" strokeLinejoin="round" />
        ))}
        {(['p50', 'p99'] as const).map((name) => {
          const value = lastOf(data[name]);
          return value === null ? null : (
            <text key={name} x={width - RIGHT + 6} y={y(value) + 4} className="fill-ink2">
              {name}
            </text>
          );
        })}
      </svg>
    </div>
  );
}

/** One path for each stretch without a gap; a lone point is a short dash. */
function paths(
  t: readonly number[],
  column: Column,
  x: (ms: number) => number,
  y: (ms: number) => number,
): string[] {
  const found: string[] = [];
  let open: string[] = [];
  const close = () => {
    if (open.length === 1) open.push('h1');
    if (open.length > 0) found.push(open.join(''));
    open = [];
  };
  t.forEach((ms, index) => {
    const value = column[index];
    if (value === null || value === undefined) close();
    else open.push(`${open.length === 0 ? 'M' : 'L'}${x(ms).toFixed(1)} ${y(value).toFixed(1)}`);
  });
  close();
  return found;
}

function Table({ data }: { data: FreshnessHistory }) {
  const { view } = usePageData();
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard
    <section className="mt-2 h-[168px] overflow-auto" tabIndex={0} aria-label="Freshness, table">
      <table className="w-full text-12">
        <thead>
          <tr className="text-right text-ink2">
            <th scope="col" className="sticky top-0 bg-surface text-left font-name">
              Time, {zoneName(Date.now(), view.tz)}
            </th>
            <th scope="col" className="sticky top-0 bg-surface font-name">
              p50
            </th>
            <th scope="col" className="sticky top-0 bg-surface font-name">
              p99
            </th>
          </tr>
        </thead>
        <tbody>
          {data.t.map((ms, index) => (
            <tr key={ms} className="border-line border-t text-right">
              <td className="text-left">{moment(ms, view.tz, Date.now())}</td>
              <td className="font-number">{write(latency(data.p50[index]))}</td>
              <td className="font-number">{write(latency(data.p99[index]))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
