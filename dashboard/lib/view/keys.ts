/** The keys of the page and what they mean, in one list: the help is made from it, `components/shell/use-keys` acts. */
import { RANGES } from './url';

export interface KeyHelp {
  keys: string;
  does: string;
}

export const KEY_HELP: readonly KeyHelp[] = [
  { keys: 'Ctrl K', does: 'search, jump, do' },
  { keys: '/', does: 'filter' },
  { keys: 'Space', does: 'pause or resume' },
  { keys: 'L', does: 'go live' },
  { keys: `1 to ${RANGES.length}`, does: 'range, 5 minutes to 7 days' },
  { keys: '[, ]', does: 'one range back, forward' },
  { keys: 'Z', does: 'undo zoom' },
  { keys: '-', does: 'zoom out' },
  { keys: 'T', does: 'time picker' },
  { keys: 'U', does: 'UTC or local time' },
  { keys: 'V', does: 'compare with yesterday, last week, nothing' },
  { keys: 'E', does: 'failing only' },
  { keys: 'P', does: 'all percentiles or the usual ones' },
  { keys: 'D', does: 'dark or light' },
  { keys: 'S', does: 'share: copy a link to this moment' },
  { keys: 'X', does: 'export' },
  { keys: 'J, K', does: 'next, previous row' },
  { keys: 'Enter', does: 'open the row' },
  { keys: 'Backspace', does: 'one level up' },
  { keys: 'G, then O R C A L K', does: 'overview, requests, compare, alerts, ledger, keys' },
  { keys: '←, →', does: 'move the cursor of a focused chart; with Shift a selection, then Enter zooms' },
  { keys: 'Esc', does: 'close, then clear the selection' },
  { keys: '?', does: 'this list' },
];

/** Whether a key belongs to what is being typed or pressed, and not to the page. */
export function belongsElsewhere(event: KeyboardEvent): boolean {
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName)) return true;
  if (target.closest('dialog[open]') !== null && event.key !== 'Escape') return true;
  return (event.key === ' ' || event.key === 'Enter') && target.closest('button, a, summary') !== null;
}
