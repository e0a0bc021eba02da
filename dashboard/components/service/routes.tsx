'use client';

/** The routes beside the charts: the page's own rows, or, while one route is chosen, all of them asked separately. */
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { fetchRows } from '@/lib/query/history';
import { usePoll } from '@/lib/query/use-poll';
import { stepFor } from '@/lib/view/url';
import { RoutesTable } from './routes-table';

const EVERY_MS = 10_000;
const BY = ['route', 'method'] as const;

export function Routes() {
  const { view, data, filter, asked, windowMs, mode, paused } = usePageData();
  const narrowed = view.route.length > 0 || view.method.length > 0;
  const all = { ...filter, route: [], method: [] };
  const polled = usePoll(
    narrowed ? JSON.stringify([all, windowMs, view.frozen]) : null,
    (signal) => fetchRows(all, BY, asked, data?.stepMs ?? stepFor(windowMs), signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  const apart = view.host.length > 0 || view.version.length > 0;
  if (apart && data !== null && data.rows.length === 0) {
    return <p className="card px-4 py-3 text-ink2">Routes are not counted apart by version or host.</p>;
  }
  if (!narrowed) return <RoutesTable rows={data?.rows ?? []} windowMs={windowMs} />;
  if (polled.data === null && polled.error !== null) {
    return <BlockFailed inSteps block what="the routes" error={polled.error} retry={polled.retry} />;
  }
  return <RoutesTable rows={polled.data ?? data?.rows ?? []} windowMs={windowMs} />;
}
