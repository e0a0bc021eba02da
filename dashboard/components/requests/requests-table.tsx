'use client';

/** The rows. Nothing is pushed away: new ones wait behind a button, older ones are asked for. */
import { memo } from 'react';
import { Glyph } from '@/components/ui/glyph';
import { Name } from '@/components/ui/name';
import { Num } from '@/components/ui/num';
import { RouteName } from '@/components/ui/route-name';
import { latency } from '@/lib/format/number';
import { clock, day, milliseconds, type Zone } from '@/lib/format/time';
import type { OneRequest } from '@/lib/query/requests';

export interface RowsProps {
  rows: readonly OneRequest[];
  zone: Zone;
  /** Several services in sight, so each row names its own. */
  services: boolean;
  onOpen: (row: OneRequest) => void;
}

/** Where a duration lies between 1 ms and 10 s, so that rows can be compared without reading. */
export function durationPart(ms: number | null): number {
  if (ms === null || ms <= 0) return 0;
  return Math.min(1, Math.max(0.03, Math.log(Math.max(ms, 1)) / Math.log(10_000)));
}

function failed(row: OneRequest): boolean {
  return row.error !== null || (row.status ?? 0) >= 500;
}

function Time({ row, zone, withDay }: { row: OneRequest; zone: Zone; withDay: boolean }) {
  return (
    <>
      {withDay && <span className="text-ink3">{day(row.tsMs, zone)} </span>}
      {clock(row.tsMs, zone, true)}
      <span className="text-ink3">.{milliseconds(row.tsMs)}</span>
    </>
  );
}

function DurationBar({ ms, width }: { ms: number | null; width: string }) {
  return (
    <span aria-hidden="true" className={`block h-1.5 rounded-data bg-hover ${width}`}>
      <span className="block h-full rounded-data bg-p95" style={{ width: `${durationPart(ms) * 100}%` }} />
    </span>
  );
}

export function WideRows({ rows, zone, services, onOpen }: RowsProps) {
  const withDay = spansDays(rows, zone);
  return (
    <table className="w-full table-fixed">
      <thead>
        <tr className="h-9 border-line border-b text-left text-ink2">
          <th scope="col" className={`pl-4 font-regular ${withDay ? 'w-44' : 'w-32'}`}>
            Time
          </th>
          <th scope="col" className="w-7">
            <span className="sr-only">State</span>
          </th>
          {services && (
            <th scope="col" className="w-32 font-regular max-desktop:w-24">
              Service
            </th>
          )}
          <th scope="col" className="w-16 font-regular">
            Method
          </th>
          <th scope="col" className="font-regular">
            Route
          </th>
          <th scope="col" className="w-16 font-regular">
            Status
          </th>
          <th scope="col" className="w-24 pr-3 text-right font-regular">
            Duration
          </th>
          <th scope="col" className="w-28 max-desktop:hidden">
            <span className="sr-only">Duration, 1 ms to 10 s</span>
          </th>
          <th scope="col" className="w-28 pl-3 font-regular max-desktop:hidden">
            Host
          </th>
          <th scope="col" className="w-24 font-regular">
            Version
          </th>
          <th scope="col" className="w-24 pr-4 font-regular max-desktop:hidden">
            Trace
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: rows have no id of their own, and only ever grow at the end
          <WideRow key={index} row={row} zone={zone} withDay={withDay} services={services} onOpen={onOpen} />
        ))}
      </tbody>
    </table>
  );
}

const WideRow = memo(function WideRow(props: {
  row: OneRequest;
  zone: Zone;
  withDay: boolean;
  services: boolean;
  onOpen: (row: OneRequest) => void;
}) {
  const { row, zone } = props;
  const bad = failed(row);
  return (
    <tr className="relative h-(--row-dense) border-line border-b last:border-b-0 hover:bg-hover">
      <td className="pl-4 font-number whitespace-nowrap">
        <button
          type="button"
          data-row
          className="text-left after:absolute after:inset-0 focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-offset-[-2px] focus-visible:after:outline-focus"
          onClick={() => props.onOpen(row)}
        >
          <Time row={row} zone={zone} withDay={props.withDay} />
          <span className="sr-only">
            , open {row.method} <Name>{row.route}</Name>
          </span>
        </button>
      </td>
      <td>
        <Glyph state={bad ? 'failing' : 'fine'} size={13} />
      </td>
      {props.services && (
        <td className="truncate pr-3">
          <Name>{row.service}</Name>
        </td>
      )}
      <td className="font-mono text-12 text-ink2">{row.method || '–'}</td>
      <td className="pr-4" title={row.error ?? undefined}>
        <span className="flex min-w-0 items-center gap-3">
          <span className="min-w-0">
            <RouteName route={row.route || '(none)'} />
          </span>
          {row.error !== null && (
            <span className="min-w-16 shrink-[1000] truncate text-12 text-ink2">
              <Name>{row.error}</Name>
            </span>
          )}
        </span>
      </td>
      <td className={`font-mono text-12 ${bad ? 'font-strong text-bad' : ''}`}>{row.status ?? '–'}</td>
      <td className="pr-3 text-right">
        <Num written={latency(row.durationMs, 4)} />
      </td>
      <td className="max-desktop:hidden">
        <DurationBar ms={row.durationMs} width="w-full" />
      </td>
      <td className="truncate pl-3 text-ink2 max-desktop:hidden">{row.host ?? '–'}</td>
      <td className="truncate text-ink2">{row.version ?? '–'}</td>
      <td
        className="truncate pr-4 font-mono text-12 text-ink2 max-desktop:hidden"
        title={row.traceId ?? undefined}
      >
        {row.traceId?.slice(0, 8) ?? '–'}
      </td>
    </tr>
  );
});

/** Two lines a row on a phone. */
export function NarrowRows({ rows, zone, services, onOpen }: RowsProps) {
  const withDay = spansDays(rows, zone);
  return (
    <ul className="divide-y divide-line">
      {rows.map((row, index) => {
        const bad = failed(row);
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: rows have no id of their own, and only ever grow at the end
          <li key={index} className="relative px-3 py-2">
            <div className="flex items-center gap-2">
              <Glyph state={bad ? 'failing' : 'fine'} />
              <button
                type="button"
                data-row
                className="flex min-w-0 flex-1 items-baseline gap-2 text-left after:absolute after:inset-0"
                onClick={() => onOpen(row)}
              >
                <span className="font-mono text-12 text-ink2">{row.method || '–'}</span>
                <span className="min-w-0">
                  <RouteName route={row.route || '(none)'} />
                </span>
              </button>
              <span className={`font-mono text-12 ${bad ? 'font-strong text-bad' : ''}`}>
                {row.status ?? '–'}
              </span>
              <span className="w-20 text-right">
                <Num written={latency(row.durationMs, 4)} />
              </span>
            </div>
            <div className="flex items-center gap-3 pl-[22px] text-12 text-ink2">
              <span className="font-number">
                <Time row={row} zone={zone} withDay={withDay} />
              </span>
              <span className="min-w-0 flex-1 truncate">{services ? row.service : (row.host ?? '')}</span>
              <DurationBar ms={row.durationMs} width="w-20" />
            </div>
          </li>
        );
      })}
    </ul>
  );
}

function spansDays(rows: readonly OneRequest[], zone: Zone): boolean {
  const [first, last] = [rows[0], rows.at(-1)];
  if (first === undefined || last === undefined) return false;
  return day(first.tsMs, zone) !== day(last.tsMs, zone) || day(first.tsMs, zone) !== day(Date.now(), zone);
}
