'use client';

/** The compared past of the page's whole filter, on the grid of what is on the screen; `null` when there is none. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { VS_NAMES } from '@/components/shell/topbar';
import { type AlignedPast, alignPast, fetchPast, shiftOf } from '@/lib/query/past';
import { about, usePoll } from '@/lib/query/use-poll';
import type { ChartFrame } from './frame';

export interface PastView extends AlignedPast {
  /** `yesterday`, `last week`, `v2.13.4`. */
  name: string;
}

export function usePast(frame: ChartFrame | null): PastView | null {
  const { view, data, filter, windowMs } = usePageData();
  const stepMs = data?.stepMs ?? 10_000;
  const block = data === null ? 0 : Math.floor(data.fromMs / windowMs);
  // A version exists only for a service, and is asked for where nothing else narrows.
  const wanted = data !== null && view.vs !== 'off' && (shiftOf(view.vs) !== null || view.service !== null);
  const subject = JSON.stringify([filter, view.vs, stepMs, windowMs]);
  const polled = usePoll(
    wanted ? `${subject}\n${block}` : null,
    (signal) =>
      fetchPast(
        filter,
        view.vs,
        block * windowMs,
        // Another version runs now; what it does in a minute is not there yet and is asked for then.
        (block + 2) * windowMs + stepMs,
        stepMs,
        Date.now(),
        signal,
      ),
    wanted && shiftOf(view.vs) === null ? 30_000 : null,
  );
  const past = wanted ? about(polled, subject) : null;
  const name = VS_NAMES[view.vs] ?? view.vs;
  return useMemo(() => {
    if (past === null || frame === null) return null;
    const aligned = alignPast(past, frame.t, frame.closed);
    return aligned.meanRate === null ? null : { ...aligned, name };
  }, [past, frame, name]);
}
