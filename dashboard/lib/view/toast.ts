/** Short words at the foot of the page: what was ignored, copied, filled in. Whoever has something to say calls `toast`. */
export interface Toast {
  id: number;
  words: string;
}

const SHOWN_MS = 4000;
const MOST = 3;

let serial = 0;
let toasts: readonly Toast[] = [];
const listeners = new Set<() => void>();

function set(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

export function toast(words: string): void {
  if (words === '' || toasts.some((item) => item.words === words)) return;
  serial += 1;
  const id = serial;
  set([...toasts, { id, words }].slice(-MOST));
  window.setTimeout(() => set(toasts.filter((item) => item.id !== id)), SHOWN_MS);
}

export function currentToasts(): readonly Toast[] {
  return toasts;
}

export function onToasts(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
