/**
 * The way back from fixed windows, for as long as this page lives. Every choice of a window comes in with the one before
 * it; what stood there before the window on the screen leaves. The history of the browser is not asked: its last
 * entry may be another site, or a choice that was no zoom.
 */
import type { ViewState } from './url';

export type WindowChoice = Pick<ViewState, 'range' | 'frozen' | 'step'>;
type Frozen = NonNullable<ViewState['frozen']>;

/** As many as anyone walks back through. */
const KEPT = 50;

export class Zooms {
  private readonly steps: { before: WindowChoice; to: Frozen }[] = [];

  chosen({ range, frozen, step }: WindowChoice, to: Frozen): void {
    if (isSame(frozen, to)) return;
    this.steps.push({ before: { range, frozen, step }, to });
    if (this.steps.length > KEPT) this.steps.shift();
  }

  /** What was shown before this window; the live range where that is not known. What came later is forgotten. */
  back({ range, frozen }: WindowChoice): WindowChoice {
    const at = this.steps.findLastIndex((step) => isSame(step.to, frozen));
    const before = this.steps[at]?.before;
    if (before === undefined) return { range, frozen: null, step: null };
    this.steps.length = at;
    return before;
  }
}

function isSame(a: Frozen | null, b: Frozen | null): boolean {
  return a?.fromMs === b?.fromMs && a?.toMs === b?.toMs;
}

/** Those of this page. */
export const zooms = new Zooms();
