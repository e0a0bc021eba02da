'use client';

/** The view state of the page, read from and written to the address bar; nothing else remembers it. */
import { usePathname, useRouter, useSearchParams } from 'next/navigation';
import { useCallback, useMemo } from 'react';
import { parseView, toHref, type ViewState } from './url';

export interface ViewControl {
  view: ViewState;
  ignored: readonly string[];
  /** A choice: goes into the history, so Back undoes it. */
  choose: (patch: Partial<ViewState>) => void;
  /** Typing: replaces, so Back does not walk through letters. */
  adjust: (patch: Partial<ViewState>) => void;
}

export function useView(): ViewControl {
  const search = useSearchParams().toString();
  const pathname = usePathname();
  const router = useRouter();
  const { view: parsed, ignored } = useMemo(() => parseView(search), [search]);
  const onService = pathname.startsWith('/service');
  // A service in the address of the overview means nothing there.
  const view = useMemo(
    () => (onService ? parsed : { ...parsed, service: null, route: null, method: null, status: null }),
    [parsed, onService],
  );

  const go = useCallback(
    (patch: Partial<ViewState>, replace: boolean) => {
      const next = { ...view, ...patch };
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
  return { view, ignored, choose, adjust };
}
