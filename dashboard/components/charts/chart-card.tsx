'use client';

/** One chart with its head. While the cursor is out, the head shows the window; under the cursor, the step. */
import Link from 'next/link';
import { createContext, type ReactNode, useContext, useState, useSyncExternalStore } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { undoZoom } from '@/components/shell/use-keys';
import { Icon } from '@/components/ui/icon';
import { clock, moment, span } from '@/lib/format/time';
import { lateAt, lateIn } from '@/lib/series/late';
import { toast } from '@/lib/view/toast';
import { toHref } from '@/lib/view/url';
import { LinePlot } from './line-plot';
import type { PlotData, PlotSpec } from './plot';

/** Whose charts these are, where there are several of the same kind on a page; part of their names. */
export const ChartSubject = createContext<string | null>(null);

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
  cursorNote?: string | ((index: number) => string);
  head: (index: number | null) => ReactNode;
  spec: PlotSpec;
  data: PlotData;
  label: string;
  plotClass: string;
  className?: string;
  table: TableView;
}

/** A brush shorter than this many steps says that there is nothing finer to see. */
const STEPS_MIN = 5;

export function useCursorIndex(t: readonly number[]): number | null {
  const { cursor } = usePageData();
  const at = useSyncExternalStore(cursor.subscribe, cursor.get, () => null);
  if (at === null) return null;
  const index = t.indexOf(at);
  return index === -1 ? null : index;
}

/** A stretch of time cut to whole steps. */
export function toSteps(fromMs: number, toMs: number, stepMs: number): { fromMs: number; toMs: number } {
  return { fromMs: Math.floor(fromMs / stepMs) * stepMs, toMs: Math.ceil(toMs / stepMs) * stepMs };
}

export function ChartCard(props: Props) {
  const page = usePageData();
  const { view, hold, cursor, choose, visit } = page;
  const stepMs = page.data?.stepMs ?? 10_000;
  const [asTable, setAsTable] = useState(false);
  const [picked, setPicked] = useState<{ fromMs: number; toMs: number } | null>(null);
  const { t } = props.data;
  const index = useCursorIndex(t);
  const time = index === null ? null : (t[index] as number);

  const zoom = (from: number, to: number) => {
    const frozen = toSteps(from, to, stepMs);
    if (frozen.toMs - frozen.fromMs < stepMs * STEPS_MIN) {
      toast(`Already at ${span(stepMs)} steps.`);
      return;
    }
    cursor.unpin();
    choose({ frozen, sel: null });
  };

  const subject = useContext(ChartSubject);
  return (
    <section
      className="group card relative flex min-w-0 flex-col px-4 pt-3 pb-2"
      aria-label={subject === null ? props.title : `${props.title}, ${subject}`}
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
      <div className="flex items-center gap-2">
        <h2 className="font-name">{props.title}</h2>
        <div className="flex-1" />
        <TableButton asTable={asTable} onToggle={() => setAsTable(!asTable)} />
        <p className="live-number whitespace-nowrap text-12 text-ink3">
          {time === null
            ? props.note
            : [
                moment(time, view.tz, Date.now(), true),
                lateAt(props.data.late, time),
                noteAt(props.cursorNote, index),
              ]
                .filter((part) => part)
                .join(', ')}
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
          label={`${props.label}${lateIn(props.data.late, view.tz)}`}
          className={props.plotClass}
          onZoom={zoom}
          onPick={(from, to) => setPicked(toSteps(from, to, stepMs))}
          picked={picked !== null}
          onUndo={() => undoZoom(page)}
          onVisit={visit}
        />
      )}
      {picked !== null && (
        <Picked
          picked={picked}
          onZoom={() => zoom(picked.fromMs, picked.toMs)}
          onClose={() => setPicked(null)}
        />
      )}
    </section>
  );
}

const noteAt = (note: Props['cursorNote'], index: number | null) =>
  typeof note === 'function' ? (index === null ? '' : note(index)) : note;

/** What can be done with a stretch of time that was selected and not zoomed into. */
function Picked(props: {
  picked: { fromMs: number; toMs: number };
  onZoom: () => void;
  onClose: () => void;
}) {
  const { view } = usePageData();
  const { fromMs, toMs } = props.picked;
  const length = toMs - fromMs;
  const link = 'rounded-kbd px-2 py-1 font-name text-focus hover:bg-hover';
  return (
    <div className="appear absolute inset-x-3 bottom-8 z-10 flex flex-wrap items-center gap-x-1 rounded-control border border-line bg-raised px-2 py-1 text-12 shadow-popover">
      <span className="flex-1 px-1 text-ink2">
        {clock(fromMs, view.tz, true)} to {clock(toMs, view.tz, true)}
      </span>
      <Link
        className={link}
        prefetch={false}
        href={toHref({ ...view, page: 'requests', frozen: { fromMs, toMs }, sel: null })}
      >
        Requests
      </Link>
      <Link
        className={link}
        prefetch={false}
        href={toHref({
          ...view,
          page: 'compare',
          sel: null,
          a: `window:${fromMs - length},${fromMs}`,
          b: `window:${fromMs},${toMs}`,
        })}
      >
        Compare with before
      </Link>
      <button type="button" className={link} onClick={props.onZoom}>
        Zoom
      </button>
      <button
        type="button"
        aria-label="Clear the selection"
        className="grid size-6 place-items-center rounded-kbd text-ink2 hover:bg-hover"
        onClick={props.onClose}
      >
        <Icon name="close" size={12} />
      </button>
    </div>
  );
}

/** Quiet until someone points at the card, gets there by keyboard, or has no pointer that hovers. */
export function TableButton({ asTable, onToggle }: { asTable: boolean; onToggle: () => void }) {
  const label = asTable ? 'Show as chart' : 'Show as table';
  return (
    <button
      type="button"
      aria-pressed={asTable}
      aria-label={label}
      title={label}
      onClick={onToggle}
      className="-my-1 grid size-6 max-tablet:-my-3 max-tablet:size-11 place-items-center rounded-kbd text-ink2 opacity-0 hover:bg-hover focus-visible:opacity-100 group-focus-within:opacity-100 group-hover:opacity-100 aria-pressed:opacity-100 [@media(hover:none)]:opacity-100"
    >
      <Icon name={asTable ? 'chart' : 'table'} size={14} />
    </button>
  );
}

export function DataTable({
  table,
  className,
  title,
}: {
  table: TableView;
  className: string;
  title: string;
}) {
  const subject = useContext(ChartSubject);
  const name = subject === null ? `${title}, table` : `${title}, ${subject}, table`;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolling region must be reachable by keyboard
    <section className={`overflow-auto ${className}`} tabIndex={0} aria-label={name}>
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
