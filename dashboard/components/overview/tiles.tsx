'use client';

/** The three charts of the overview on a phone: three numbers with their shapes in one card. */
import { useMemo } from 'react';
import type { ChartFrame } from '@/components/charts/frame';
import { Sparkline } from '@/components/charts/sparkline';
import type { Token } from '@/components/charts/tokens';
import { Num } from '@/components/ui/num';
import { latency, rate, share, type Written } from '@/lib/format/number';
import { rates, shares } from '@/lib/series/gaps';
import type { Column, Row } from '@/lib/series/types';

export function Tiles({ row, frame, failing }: { row: Row; frame: ChartFrame; failing: boolean }) {
  const { window, columns } = row;
  const shapes = useMemo(
    () => ({
      requests: rates(columns.count, frame.gaps, frame.stepMs).slice(0, frame.closed),
      errors: shares(columns.errors, columns.count).slice(0, frame.closed),
      p99: (columns.quantilesMs['0.99'] ?? []).slice(0, frame.closed),
    }),
    [columns, frame],
  );
  return (
    <dl className="card grid grid-cols-3 divide-x divide-line">
      <Tile name="Requests" written={rate(window.rate)} values={shapes.requests} token="rate" />
      <Tile
        name="Errors"
        written={share(window.errors, window.count)}
        values={shapes.errors}
        token={failing ? 'bad' : 'was'}
        fill={failing}
      />
      <Tile name="p99" written={latency(window.quantilesMs['0.99'])} values={shapes.p99} token="p99" />
    </dl>
  );
}

function Tile(props: { name: string; written: Written; values: Column; token: Token; fill?: boolean }) {
  return (
    <div className="px-3 py-2">
      <dt className="text-12 text-ink2">{props.name}</dt>
      <dd>
        <Num
          written={props.written}
          className="text-18 font-strong!"
          unitClass="text-12 font-number text-ink2"
        />
        <span className="mt-1 block">
          <Sparkline values={props.values} token={props.token} fill={props.fill ?? false} width={88} />
        </span>
      </dd>
    </div>
  );
}
