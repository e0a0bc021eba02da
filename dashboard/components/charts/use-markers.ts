'use client';

/** The releases in sight, as markers: on the overview with the name of their service, on its own page without. */
import { useMemo } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { isolated } from '@/lib/format/isolate';
import { toHref } from '@/lib/view/url';
import type { Marker } from './plot';

/** Before and after a release are compared over at most this long. */
const COMPARED_MS = 900_000;

export function useMarkers(): readonly Marker[] {
  const { view, data } = usePageData();
  const { releases } = useServices();
  const onService = view.page === 'service';
  const toMs = data?.toMs ?? 0;
  const fromMs = data?.fromMs ?? 0;
  // Not with every frame: a marker moves with its chart, not by itself.
  const minute = Math.floor(toMs / 60_000) * 60_000;
  return useMemo(
    () =>
      releases
        .filter((release) => (onService ? release.service === view.service : true))
        .filter((release) => release.firstSeenMs >= fromMs && release.firstSeenMs <= minute + 60_000)
        .map((release) => {
          const t = release.firstSeenMs;
          const length = Math.max(60_000, Math.min(COMPARED_MS, minute - t));
          return {
            t,
            label: onService
              ? isolated(release.version)
              : `${isolated(release.service)} ${isolated(release.version)}`,
            href: toHref({
              ...view,
              page: 'compare',
              service: release.service,
              sel: null,
              sort: null,
              frozen: null,
              a: `window:${t - length},${t}`,
              b: `window:${t},${t + length}`,
            }),
          };
        }),
    [releases, onService, view, fromMs, minute],
  );
}
