'use client';

/** The two sides of a comparison, each chosen by kind and value. */
import { useId, useState } from 'react';
import { INPUT } from '@/components/ui/field';
import { KINDS, type Kind, type Side, saySide, windowsBefore, writeSide } from '@/lib/compare/side';
import type { Zone } from '@/lib/format/time';
import { fetchSuggestions } from '@/lib/query/suggest';
import { usePoll } from '@/lib/query/use-poll';

const NAMES: Readonly<Record<Kind, string>> = {
  window: 'Window',
  version: 'Release',
  host: 'Host',
  env: 'Environment',
};

const WEEK_MS = 7 * 86_400_000;
const DAY_MS = 86_400_000;

interface Props {
  name: 'A' | 'B';
  side: Side;
  other: Side;
  /** The window of the page: what the offered windows are made from. */
  window: { fromMs: number; toMs: number };
  service: string | null;
  env: string | null;
  zone: Zone;
  onChange: (side: Side) => void;
}

export function SidePicker({ name, side, window, service, env, zone, onChange }: Props) {
  const id = useId();
  const [pending, setPending] = useState<Exclude<Kind, 'window'> | null>(null);
  const kind = pending ?? side.kind;
  const known = usePoll(
    kind === 'window' ? null : JSON.stringify([kind, service, env]),
    (signal) =>
      fetchSuggestions(
        {
          field: kind,
          prefix: '',
          service: kind === 'env' ? null : service,
          env: kind === 'env' ? null : env,
        },
        signal,
      ),
    null,
  );
  const windows = kind === 'window' ? offered(window) : [];
  const value = side.kind === 'window' || pending !== null ? '' : side.value;
  return (
    <div className="flex min-w-0 items-center gap-2">
      <span
        className={`grid size-6 shrink-0 place-items-center rounded-kbd border text-12 font-strong ${name === 'A' ? 'border-was border-dashed text-ink2' : 'border-p99 text-ink'}`}
      >
        {name}
      </span>
      <select
        aria-label={`${name} is a`}
        className={`${INPUT} w-32! shrink-0`}
        value={kind}
        onChange={(event) => {
          const next = KINDS.find((one) => one === event.target.value) ?? 'window';
          if (next === 'window') {
            setPending(null);
            onChange(windowsBefore(window.fromMs, window.toMs)[name === 'A' ? 'a' : 'b']);
          } else setPending(next);
        }}
      >
        {KINDS.map((one) => (
          <option key={one} value={one}>
            {NAMES[one]}
          </option>
        ))}
      </select>
      {kind === 'window' ? (
        <select
          aria-label={`${name}, window`}
          className={`${INPUT} min-w-0`}
          value={writeSide(side)}
          onChange={(event) => {
            const found = windows.find((one) => writeSide(one.side) === event.target.value);
            if (found !== undefined) onChange(found.side);
          }}
        >
          {side.kind === 'window' && !windows.some((one) => writeSide(one.side) === writeSide(side)) && (
            <option value={writeSide(side)}>{saySide(side, zone, Date.now())}</option>
          )}
          {windows.map((one) => (
            <option key={writeSide(one.side)} value={writeSide(one.side)}>
              {one.name}, {saySide(one.side, zone, Date.now())}
            </option>
          ))}
        </select>
      ) : (
        <>
          <input
            key={`${kind}:${value}`}
            aria-label={`${name}, ${NAMES[kind].toLowerCase()}`}
            list={`${id}-values`}
            className={`${INPUT} min-w-0 font-mono text-12`}
            placeholder={kind === 'version' ? 'v2.14.0' : kind === 'host' ? 'web-1' : 'production'}
            defaultValue={value}
            spellCheck={false}
            autoComplete="off"
            onChange={(event) => {
              // A value picked from the list arrives whole.
              const text = event.target.value.trim();
              if (known.data?.some((item) => item.value === text)) {
                setPending(null);
                onChange({ kind, value: text });
              }
            }}
            onKeyDown={(event) => {
              if (event.key === 'Enter') event.currentTarget.blur();
            }}
            onBlur={(event) => {
              const text = event.target.value.trim();
              if (text === '' || text === value) return;
              setPending(null);
              onChange({ kind, value: text });
            }}
          />
          <datalist id={`${id}-values`}>
            {(known.data ?? []).map((item) => (
              <option key={item.value} value={item.value} />
            ))}
          </datalist>
        </>
      )}
    </div>
  );
}

function offered({ fromMs, toMs }: { fromMs: number; toMs: number }): { name: string; side: Side }[] {
  const shifted = (by: number): Side => ({ kind: 'window', fromMs: fromMs - by, toMs: toMs - by });
  return [
    { name: 'This window', side: shifted(0) },
    { name: 'The one before', side: shifted(toMs - fromMs) },
    { name: 'Yesterday', side: shifted(DAY_MS) },
    { name: 'A week ago', side: shifted(WEEK_MS) },
  ];
}
