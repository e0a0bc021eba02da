'use client';

/** What is on the screen as files: the steps and the routes as CSV, the charts as a picture. */
import { usePageData } from '@/components/shell/page-data';
import { Icon } from '@/components/ui/icon';
import { MenuItem, Popover } from '@/components/ui/popover';
import { downloadCsv, downloadPng, fileName, micros } from '@/lib/view/export';

export function ExportMenu() {
  const { view, data } = usePageData();
  if (data === null) return null;
  const subject = [view.service, ...view.route].filter((part) => part !== null).join('-');
  const name = (what: string, kind: string) => fileName(`${subject}-${what}`, data.fromMs, kind);
  const quantiles = ['0.5', '0.95', '0.99'];
  const steps = () => {
    const { columns } = data.total;
    downloadCsv(
      name('steps', 'csv'),
      ['time', 'requests', 'errors', 'p50_us', 'p95_us', 'p99_us', 'max_us', 'complete'],
      columns.t.map((t, index) => [
        new Date(t).toISOString(),
        columns.count[index] ?? null,
        columns.errors[index] ?? null,
        ...quantiles.map((q) => micros(columns.quantilesMs[q]?.[index])),
        micros(columns.maxMs[index]),
        t === data.openT ? 'no' : 'yes',
      ]),
    );
  };
  const routes = () =>
    downloadCsv(
      name('routes', 'csv'),
      [
        'method',
        'route',
        'requests',
        'errors',
        'p50_us',
        'p95_us',
        'p99_us',
        'max_us',
        'time_us',
        'from',
        'to',
      ],
      data.rows.map(({ key, window }) => [
        key.method ?? '',
        key.route ?? '',
        window.count,
        window.errors,
        ...quantiles.map((q) => micros(window.quantilesMs[q])),
        micros(window.maxMs),
        micros(window.latencyCount * (window.meanMs ?? 0)),
        new Date(data.fromMs).toISOString(),
        new Date(data.toMs).toISOString(),
      ]),
    );
  return (
    <Popover
      label="Export"
      opens="export"
      button={
        <>
          Export <Icon name="chevronDown" size={14} />
        </>
      }
      buttonClass="control text-ink max-tablet:h-11"
      panelClass="w-48 p-1"
    >
      {(close) => {
        const run = (act: () => void) => () => {
          close();
          act();
        };
        return (
          <>
            <MenuItem onClick={run(steps)}>Steps as CSV</MenuItem>
            <MenuItem onClick={run(routes)}>Routes as CSV</MenuItem>
            <MenuItem onClick={run(() => downloadPng(name('charts', 'png')))}>Charts as PNG</MenuItem>
          </>
        );
      }}
    </Popover>
  );
}
