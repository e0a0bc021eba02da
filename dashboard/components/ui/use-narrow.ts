'use client';

/** Whether the screen is a phone's: such pages are built differently, and what is not shown need not be drawn. */
import { useSyncExternalStore } from 'react';

const QUERY = '(max-width: 759.98px)';

function subscribe(changed: () => void): () => void {
  const media = window.matchMedia(QUERY);
  media.addEventListener('change', changed);
  return () => media.removeEventListener('change', changed);
}

export function useNarrow(): boolean {
  return useSyncExternalStore(
    subscribe,
    () => window.matchMedia(QUERY).matches,
    () => false,
  );
}
