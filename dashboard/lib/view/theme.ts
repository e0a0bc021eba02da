'use client';

/** Dark or light: the reader's choice is kept in localStorage, otherwise the system decides. */
import { useSyncExternalStore } from 'react';
import { onThemeChange, themeChanged } from '@/components/charts/tokens';

export type Theme = 'dark' | 'light';

export function currentTheme(): Theme {
  return document.documentElement.dataset.theme === 'light' ? 'light' : 'dark';
}

export function toggleTheme(): void {
  const next: Theme = currentTheme() === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = next;
  try {
    window.localStorage.setItem('peep.theme', next);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
  themeChanged();
}

export function useTheme(): Theme {
  return useSyncExternalStore(onThemeChange, currentTheme, () => 'dark');
}
