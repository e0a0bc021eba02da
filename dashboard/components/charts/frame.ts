/** What all charts of a page share about one view: the grid, which step is open, where data is missing. */
import { findGaps, type Gaps } from '@/lib/series/gaps';
import type { Late, Row, View } from '@/lib/series/types';

export interface ChartFrame {
  t: readonly number[];
  open: number;
  /** How many leading steps are complete. */
  closed: number;
  gaps: Gaps;
  stepMs: number;
  /** Milliseconds of the open step that count for a rate; 0 when too little has passed to say. */
  openMs: number;
  /** Steps that late events revised; known of the total. */
  late: readonly Late[];
}

const TOO_LITTLE = 0.2;

export function chartFrame(view: View, row: Row): ChartFrame {
  const { t, count } = row.columns;
  const open = view.openT !== null && t.at(-1) === view.openT ? t.length - 1 : -1;
  const closed = open === -1 ? t.length : open;
  return {
    t,
    open,
    closed,
    gaps: findGaps(count, closed),
    stepMs: view.stepMs,
    openMs: view.openElapsedMs >= view.stepMs * TOO_LITTLE ? view.openElapsedMs : 0,
    late: row === view.total ? view.late : [],
  };
}
