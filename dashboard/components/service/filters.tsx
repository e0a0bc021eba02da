'use client';

/** What this page is about, as chips: each can be changed or removed, and one more can be added. */
import { useEffect, useId, useRef, useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { Icon } from '@/components/ui/icon';
import type { ViewState } from '@/lib/view/url';

const STATUSES = ['2xx', '3xx', '4xx', '5xx'] as const;
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'] as const;

interface Choice {
  label: string;
  patch: Partial<ViewState>;
}

export function Filters() {
  const { view, data, choose } = usePageData();
  const { envs } = useServices();
  const routes = [...new Set(data?.rows.map((row) => row.key.route ?? '') ?? [])].filter(
    (route) => route !== '',
  );
  const groups: { name: string; choices: Choice[] }[] = [
    { name: 'Status', choices: STATUSES.map((status) => ({ label: status, patch: { status } })) },
    { name: 'Method', choices: METHODS.map((method) => ({ label: method, patch: { method } })) },
    {
      name: 'Environment',
      choices: envs.length > 1 ? envs.map((env) => ({ label: env, patch: { env } })) : [],
    },
    {
      name: 'Route',
      choices: view.route === null ? routes.map((route) => ({ label: route, patch: { route } })) : [],
    },
  ];
  return (
    <div className="flex items-center gap-2 max-tablet:-mx-3 max-tablet:overflow-x-auto max-tablet:px-3 tablet:flex-wrap">
      <Chip name="service" value={view.service ?? ''} />
      {view.env !== null && <Chip name="env" value={view.env} onRemove={() => choose({ env: null })} />}
      {view.route !== null && (
        <Chip name="route" value={view.route} mono onRemove={() => choose({ route: null, method: null })} />
      )}
      {view.method !== null && (
        <Chip name="method" value={view.method} mono onRemove={() => choose({ method: null })} />
      )}
      {view.status !== null && (
        <Chip name="status" value={view.status} onRemove={() => choose({ status: null })} />
      )}
      <AddFilter groups={groups} onChoose={(choice) => choose(choice.patch)} />
    </div>
  );
}

function Chip(props: { name: string; value: string; mono?: boolean; onRemove?: () => void }) {
  return (
    <span className="control h-7 shrink-0 gap-1.5 px-2.5 hover:bg-surface max-tablet:h-9">
      {props.name}
      <span
        className={`max-w-80 truncate text-ink ${props.mono ? 'font-mono text-12' : 'font-name'}`}
        title={props.value}
      >
        {props.value}
      </span>
      {props.onRemove !== undefined && (
        <button
          type="button"
          aria-label={`Remove ${props.name} ${props.value}`}
          className="-mr-1.5 grid size-6 place-items-center rounded-kbd text-ink2 hover:bg-hover hover:text-ink"
          onClick={props.onRemove}
        >
          <Icon name="close" size={12} />
        </button>
      )}
    </span>
  );
}

/** Type to narrow, arrows to move, Enter to choose, Esc to leave. */
function AddFilter({
  groups,
  onChoose,
}: {
  groups: readonly { name: string; choices: readonly Choice[] }[];
  onChoose: (choice: Choice) => void;
}) {
  const [open, setOpen] = useState(false);
  const [needle, setNeedle] = useState('');
  const [active, setActive] = useState(0);
  const root = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const list = useId();

  useEffect(() => {
    if (!open) return;
    input.current?.focus();
    const outside = (event: PointerEvent) => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => document.removeEventListener('pointerdown', outside);
  }, [open]);

  const wanted = needle.trim().toLowerCase();
  const shown = groups
    .map((group) => ({
      ...group,
      choices: group.choices.filter((choice) => choice.label.toLowerCase().includes(wanted)),
    }))
    .filter((group) => group.choices.length > 0);
  const flat = shown.flatMap((group) => group.choices);
  const take = (choice: Choice | undefined) => {
    if (choice === undefined) return;
    setOpen(false);
    setNeedle('');
    onChoose(choice);
  };

  return (
    <div ref={root} className="relative">
      <button
        type="button"
        data-filter
        aria-expanded={open}
        className="control h-7 border-control border-dashed bg-transparent px-2.5 max-tablet:h-9"
        onClick={() => {
          setActive(0);
          setOpen(!open);
        }}
        onKeyDown={(event) => {
          if (event.key === '/') {
            event.preventDefault();
            event.stopPropagation();
            setOpen(true);
          }
        }}
      >
        Add filter
        <kbd className="rounded-kbd border border-line px-1 font-sans text-11 max-tablet:hidden">/</kbd>
      </button>
      {open && (
        <div className="absolute top-full left-0 z-20 mt-1 w-72 rounded-card border border-line bg-raised p-1 shadow-popover max-tablet:fixed max-tablet:inset-x-3 max-tablet:top-auto max-tablet:w-auto">
          <input
            ref={input}
            role="combobox"
            aria-label="Filter by"
            aria-expanded="true"
            aria-controls={list}
            aria-activedescendant={flat[active] === undefined ? undefined : `${list}-${active}`}
            placeholder="status, method, route"
            className="h-8 w-full rounded-control bg-transparent px-2 outline-none placeholder:text-ink3"
            value={needle}
            onChange={(event) => {
              setNeedle(event.target.value);
              setActive(0);
            }}
            onKeyDown={(event) => {
              if (event.key === 'ArrowDown') setActive((at) => Math.min(flat.length - 1, at + 1));
              else if (event.key === 'ArrowUp') setActive((at) => Math.max(0, at - 1));
              else if (event.key === 'Enter') take(flat[active]);
              else if (event.key === 'Escape') setOpen(false);
              else return;
              event.preventDefault();
            }}
          />
          <div
            id={list}
            role="listbox"
            aria-label="Filters"
            className="max-h-72 overflow-y-auto border-line border-t pt-1"
          >
            {shown.map((group) => (
              // biome-ignore lint/a11y/useSemanticElements: a group of options has no element of its own
              <div key={group.name} role="group" aria-label={group.name}>
                <div className="px-2 py-1 text-11 text-ink2" aria-hidden="true">
                  {group.name}
                </div>
                {group.choices.map((choice) => {
                  const at = flat.indexOf(choice);
                  return (
                    // biome-ignore lint/a11y/useKeyWithClickEvents: the combobox above holds the focus and the keys
                    // biome-ignore lint/a11y/useFocusableInteractive: as above
                    <div
                      key={choice.label}
                      id={`${list}-${at}`}
                      role="option"
                      aria-selected={at === active}
                      className={`cursor-pointer truncate rounded-control px-2 py-1 max-tablet:py-3 ${at === active ? 'bg-hover' : ''} ${group.name === 'Route' ? 'font-mono text-12' : ''}`}
                      onPointerEnter={() => setActive(at)}
                      onClick={() => take(choice)}
                    >
                      {choice.label}
                    </div>
                  );
                })}
              </div>
            ))}
            {flat.length === 0 && <p className="px-2 py-1 text-ink2">Nothing called “{needle.trim()}”.</p>}
          </div>
        </div>
      )}
    </div>
  );
}
