'use client';

/** Dark or light: the reader's choice is kept in localStorage, otherwise the system decides. */
import { useSyncExternalStore } from 'react';
import { onThemeChange, themeChanged } from '@/components/charts/tokens';

export type Theme = 'dark' | 'light';
export type ThemeChoice = Theme | 'system';

export function currentTheme(): Theme {
  return document.documentElement.dataset.theme === 'light' ? 'light' : 'dark';
}

export function toggleTheme(): void {
  chooseTheme(currentTheme() === 'dark' ? 'light' : 'dark');
}

export function chooseTheme(choice: ThemeChoice): void {
  const light = window.matchMedia('(prefers-color-scheme: light)').matches;
  document.documentElement.dataset.theme = choice === 'system' ? (light ? 'light' : 'dark') : choice;
  try {
    if (choice === 'system') window.localStorage.removeItem('peep.theme');
    else window.localStorage.setItem('peep.theme', choice);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
  themeChanged();
}

function themeChoice(): ThemeChoice {
  try {
    const stored = window.localStorage.getItem('peep.theme');
    return stored === 'dark' || stored === 'light' ? stored : 'system';
  } catch {
    return currentTheme();
  }
}

export function useThemeChoice(): ThemeChoice {
  return useSyncExternalStore(onThemeChange, themeChoice, () => 'system');
}

export function useTheme(): Theme {
  return useSyncExternalStore(onThemeChange, currentTheme, () => 'dark');
}
