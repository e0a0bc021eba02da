'use client';

/** The heatmap of this view and what differs in its selection, side by side. Left out where the server has none. */
import dynamic from 'next/dynamic';
import { useEffect, useRef, useState } from 'react';
import type { Marker } from '@/components/charts/plot';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { fetchHeatmap, type Heatmap, joinHeatmap } from '@/lib/query/heatmap';
import type { RequestFailed } from '@/lib/query/http';
import { usePoll } from '@/lib/query/use-poll';
import { Differs } from './differs';

const HeatmapCard = dynamic(() => import('@/components/charts/heatmap'), {
  ssr: false,
  loading: () => <div className="card h-[442px] max-tablet:h-[350px]" />,
});

/** Asked again with each step, but only for the newest ones. */
const TAIL_STEPS = 4;
const AT_LEAST_MS = 5000;
/** What the server answers at most. */
const STEPS_MAX = 720;

interface Joined {
  question: string;
  heatmap: Heatmap;
}

export function Heat({ markers, stale }: { markers: readonly Marker[]; stale: boolean }) {
  const { view, data, filter, asked, mode, paused, windowMs, choose } = usePageData();
  const stepMs = data?.stepMs ?? 10_000;
  const question = JSON.stringify([filter, windowMs, view.frozen, stepMs]);
  const joined = useRef<Joined | null>(null);
  const fromMs = data?.fromMs ?? 0;
  // While a longer window is being asked for, the step is still that of the one before.
  const settled = data !== null && windowMs <= stepMs * STEPS_MAX;
  const polled = usePoll(
    settled ? question : null,
    async (signal): Promise<Joined> => {
      const before = joined.current;
      const last = before?.heatmap.t.at(-1);
      if (before !== null && before.question === question && last !== undefined) {
        const tail = await fetchHeatmap(
          filter,
          { from: last - TAIL_STEPS * stepMs, to: Math.ceil(Date.now() / stepMs) * stepMs },
          stepMs,
          signal,
        );
        const heatmap = joinHeatmap(before.heatmap, tail, fromMs);
        if (heatmap !== null) return { question, heatmap };
      }
      return { question, heatmap: await fetchHeatmap(filter, asked, stepMs, signal) };
    },
    mode === 'history' || paused !== null ? null : Math.max(AT_LEAST_MS, stepMs),
  );
  joined.current = polled.data;
  const [shown, setShown] = useState<Joined | null>(null);
  useEffect(() => {
    if (polled.data !== null) setShown(polled.data);
  }, [polled.data]);

  if (isMissing(polled.error) && shown === null) return null;
  if (shown === null && polled.error !== null)
    return <BlockFailed inSteps block what="the heatmap" error={polled.error} retry={polled.retry} />;
  const heatmap = (polled.data ?? shown)?.heatmap ?? null;
  return (
    <div className="grid grid-cols-1 gap-4 desktop:grid-cols-[minmax(0,1fr)_324px] wide:grid-cols-[minmax(0,1fr)_396px] max-tablet:gap-3">
      {heatmap === null ? (
        <div className="card h-[442px] max-tablet:h-[350px]" />
      ) : (
        <HeatmapCard
          heatmap={heatmap}
          subject={question}
          markers={markers}
          stale={stale}
          onSelect={(sel) => choose({ sel })}
        />
      )}
      <Differs heatmap={heatmap} />
    </div>
  );
}

/** A server without this endpoint, or one that cannot answer for this filter: the block is left out, not faked. */
function isMissing(error: RequestFailed | null): boolean {
  return error !== null && (error.status === 404 || error.code === 'not_exact');
}
