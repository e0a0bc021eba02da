'use client';

/** The view state of the page, read from and written to the address bar; nothing else remembers it. */
import { usePathname, useRouter, useSearchParams } from 'next/navigation';
import { useCallback, useMemo } from 'react';
import { pageOf, parseView, toHref, type ViewState } from './url';
import { zooms } from './zooms';

export interface ViewControl {
  view: ViewState;
  ignored: readonly string[];
  /** A choice: goes into the history, so Back undoes it. */
  choose: (patch: Partial<ViewState>) => void;
  /** Typing: replaces, so Back does not walk through letters. */
  adjust: (patch: Partial<ViewState>) => void;
  /** Another page of ours, without loading it anew. */
  visit: (href: string) => void;
}

export function useView(): ViewControl {
  const search = useSearchParams().toString();
  const pathname = usePathname();
  const router = useRouter();
  const page = pageOf(pathname);
  const { view, ignored } = useMemo(() => parseView(search, page), [search, page]);

  const go = useCallback(
    (patch: Partial<ViewState>, replace: boolean) => {
      // Coarser steps were chosen for one window; another one may do without.
      const isOther = patch.range !== undefined || patch.frozen !== undefined;
      const next = { ...view, ...(isOther ? { step: null } : {}), ...patch };
      if (patch.frozen != null) zooms.chosen(view, patch.frozen);
      const href = toHref(next);
      const path = href.split('?')[0];
      if (path !== pathname) router.push(href);
      else if (replace) window.history.replaceState(null, '', href);
      else window.history.pushState(null, '', href);
    },
    [view, pathname, router],
  );
  const choose = useCallback((patch: Partial<ViewState>) => go(patch, false), [go]);
  const adjust = useCallback((patch: Partial<ViewState>) => go(patch, true), [go]);
  const visit = useCallback((href: string) => router.push(href), [router]);
  return { view, ignored, choose, adjust, visit };
}
