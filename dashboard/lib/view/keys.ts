/** The keys of the page and what they mean, in one list: the handler and the help are made from it. */
import { RANGES } from './url';

export interface KeyHelp {
  keys: string;
  does: string;
}

export const KEY_HELP: readonly KeyHelp[] = [
  { keys: `1 to ${RANGES.length}`, does: 'range, 5 minutes to 7 days' },
  { keys: 'Space', does: 'pause or resume' },
  { keys: 'L', does: 'go live' },
  { keys: 'Z', does: 'undo zoom' },
  { keys: 'Ctrl K', does: 'search services' },
  { keys: '/', does: 'filter' },
  { keys: 'J, K', does: 'next, previous row' },
  { keys: 'Enter', does: 'open the row' },
  { keys: 'Backspace', does: 'one level up' },
  { keys: '←, →', does: 'move the cursor of a focused chart' },
  { keys: 'D', does: 'dark or light' },
  { keys: 'U', does: 'UTC or local time' },
  { keys: '?', does: 'this list' },
  { keys: 'Esc', does: 'close' },
];

/** Whether a key belongs to what is being typed or pressed, and not to the page. */
export function belongsElsewhere(event: KeyboardEvent): boolean {
  const target = event.target;
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName)) return true;
  if (target.closest('dialog[open]') !== null && event.key !== 'Escape') return true;
  return (event.key === ' ' || event.key === 'Enter') && target.closest('button, a, summary') !== null;
}
