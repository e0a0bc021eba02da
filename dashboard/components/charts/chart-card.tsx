'use client';

/** One chart with its head. While the cursor is out, the head shows the window; under the cursor, the step. */
import { type ReactNode, useState, useSyncExternalStore } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { Icon } from '@/components/ui/icon';
import { clock, moment } from '@/lib/format/time';
import { LinePlot } from './line-plot';
import type { PlotData, PlotSpec } from './plot';

export interface TableView {
  head: readonly string[];
  /** Rows are made only when someone asks for the table. */
  rows: () => readonly (readonly string[])[];
}

interface Props {
  title: string;
  /** Right of the title while no cursor is out. */
  note: string;
  /** Added to the time under the cursor. */
  cursorNote?: string;
  head: (index: number | null) => ReactNode;
  spec: PlotSpec;
  data: PlotData;
  label: string;
  plotClass: string;
  className?: string;
  table: TableView;
}

export function useCursorIndex(t: readonly number[]): number | null {
  const { cursor } = usePageData();
  const at = useSyncExternalStore(cursor.subscribe, cursor.get, () => null);
  if (at === null) return null;
  const index = t.indexOf(at);
  return index === -1 ? null : index;
}

export function ChartCard(props: Props) {
  const { view, hold, cursor, choose, data: page } = usePageData();
  const [asTable, setAsTable] = useState(false);
  const { t } = props.data;
  const index = useCursorIndex(t);
  const time = index === null ? null : (t[index] as number);

  const zoom = (from: number, to: number) => {
    const step = page?.stepMs ?? 10_000;
    const fromMs = Math.floor(from / step) * step;
    const toMs = Math.ceil(to / step) * step;
    if (toMs - fromMs >= step * 5) choose({ frozen: { fromMs, toMs } });
  };

  return (
    <section
      className="group card flex min-w-0 flex-col px-4 pt-3 pb-2"
      aria-label={props.title}
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
      <div className="flex items-center gap-2">
        <h2 className="font-name">{props.title}</h2>
        <div className="flex-1" />
        <button
          type="button"
          aria-pressed={asTable}
          aria-label={asTable ? 'Show as chart' : 'Show as table'}
          title={asTable ? 'Show as chart' : 'Show as table'}
          onClick={() => setAsTable(!asTable)}
          className="grid size-6 place-items-center rounded-kbd text-ink2 opacity-0 hover:bg-hover focus-visible:opacity-100 group-focus-within:opacity-100 group-hover:opacity-100 aria-pressed:opacity-100 [@media(hover:none)]:opacity-100"
        >
          <Icon name={asTable ? 'chart' : 'table'} size={14} />
        </button>
        <p className="text-12 text-ink3">
          {time === null
            ? props.note
            : `${moment(time, view.tz, Date.now(), true)}${props.cursorNote ? `, ${props.cursorNote}` : ''}`}
        </p>
      </div>
      {props.head(index)}
      {asTable ? (
        <DataTable table={props.table} className={props.plotClass} title={props.title} />
      ) : (
        <LinePlot
          spec={props.spec}
          data={props.data}
          cursor={cursor}
          label={props.label}
          className={props.plotClass}
          onZoom={zoom}
        />
      )}
    </section>
  );
}

function DataTable({ table, className, title }: { table: TableView; className: string; title: string }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard
    <section className={`overflow-auto ${className}`} tabIndex={0} aria-label={`${title}, table`}>
      <table className="w-full text-12">
        <thead>
          <tr>
            {table.head.map((name, index) => (
              <th
                key={name}
                scope="col"
                className={`sticky top-0 bg-surface py-1 font-name text-ink2 ${index === 0 ? 'text-left' : 'text-right'}`}
              >
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows().map((row) => (
            <tr key={row[0]} className="border-line border-t">
              {row.map((cell, index) => (
                <td
                  key={table.head[index]}
                  className={index === 0 ? 'py-0.5' : 'py-0.5 text-right font-number'}
                >
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** The first column of every chart table. */
export function timeCell(ms: number, zone: 'utc' | 'local'): string {
  return clock(ms, zone, true);
}
