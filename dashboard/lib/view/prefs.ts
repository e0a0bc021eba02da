'use client';

/** What a reader prefers on this machine, beyond the theme: kept in localStorage, never in the address. */
import { useSyncExternalStore } from 'react';

export interface Prefs {
  /** Whether single keys do anything (WCAG 2.1.4). `Ctrl K`, `Esc` and arrows always do. */
  keys: boolean;
  /** The height of rows in tables: 42 px, or 34. */
  density: Density;
}

export type Density = 'calm' | 'compact';

const NAME = 'peep.prefs';
const DEFAULT: Prefs = { keys: true, density: 'calm' };

let current: Prefs | null = null;
const listeners = new Set<() => void>();

export function prefs(): Prefs {
  if (current !== null) return current;
  current = DEFAULT;
  try {
    const stored: unknown = JSON.parse(window.localStorage.getItem(NAME) ?? 'null');
    if (typeof stored === 'object' && stored !== null)
      current = {
        keys: !('keys' in stored) || stored.keys !== false,
        density: 'density' in stored && stored.density === 'compact' ? 'compact' : 'calm',
      };
  } catch {
    // Storage may be forbidden or hold something else; the defaults are fine.
  }
  return current;
}

export function setPrefs(patch: Partial<Prefs>): void {
  current = { ...prefs(), ...patch };
  document.documentElement.dataset.density = current.density;
  try {
    window.localStorage.setItem(NAME, JSON.stringify(current));
  } catch {
    // The choice then lasts as long as the page.
  }
  for (const listener of listeners) listener();
}

export function usePrefs(): Prefs {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    prefs,
    () => DEFAULT,
  );
}

/** Up to five things used last, newest first; the palette shows them first. */
const RECENT = 'peep.recent';

export function recents(): string[] {
  try {
    const stored: unknown = JSON.parse(window.localStorage.getItem(RECENT) ?? '[]');
    return Array.isArray(stored) ? stored.filter((item) => typeof item === 'string').slice(0, 5) : [];
  } catch {
    return [];
  }
}

export function remember(id: string): void {
  try {
    window.localStorage.setItem(
      RECENT,
      JSON.stringify([id, ...recents().filter((item) => item !== id)].slice(0, 5)),
    );
  } catch {
    // Nothing is remembered then.
  }
}
