'use client';

/** What this page is about, as chips: each can be changed or removed, and one more can be added. */
import { useEffect, useId, useRef, useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { Icon } from '@/components/ui/icon';
import { Name } from '@/components/ui/name';
import { MenuItem, Popover } from '@/components/ui/popover';
import { isolated } from '@/lib/format/isolate';
import { exactCount } from '@/lib/format/number';
import type { SummaryRow } from '@/lib/query/summary';
import type { FilterName, ViewState } from '@/lib/view/url';

const STATUSES = ['2xx', '3xx', '4xx', '5xx'] as const;
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS'] as const;
const FIXED: readonly FilterName[] = ['route', 'method', 'status'];

interface Choice {
  label: string;
  patch: Partial<ViewState>;
}

interface Props {
  versions: readonly SummaryRow[] | null;
  hosts: readonly SummaryRow[] | null;
}

export function Filters({ versions, hosts }: Props) {
  const { view, data, choose } = usePageData();
  const { envs } = useServices();
  const routes = [...new Set(data?.rows.map((row) => row.key.route ?? '') ?? [])].filter(
    (route) => route !== '',
  );
  const add = (name: FilterName, value: string): Partial<ViewState> => ({
    [name]: [...view[name].filter((item) => item !== value), value],
    sel: null,
  });
  const groups: { name: string; mono?: boolean; choices: Choice[] }[] = [
    { name: 'Status', choices: STATUSES.map((status) => ({ label: status, patch: add('status', status) })) },
    { name: 'Method', choices: METHODS.map((method) => ({ label: method, patch: add('method', method) })) },
    {
      name: 'Environment',
      choices: envs.length > 1 ? envs.map((env) => ({ label: env, patch: { env } })) : [],
    },
    {
      name: 'Route',
      mono: true,
      choices: routes.map((route) => ({ label: route, patch: add('route', route) })),
    },
    {
      name: 'Host',
      choices: valuesOf(hosts, 'host').map((host) => ({ label: host, patch: add('host', host) })),
    },
    {
      name: 'Version',
      choices: valuesOf(versions, 'version').map((version) => ({
        label: version,
        patch: add('version', version),
      })),
    },
  ];
  return (
    <div className="flex items-center gap-2 max-tablet:-mx-3 max-tablet:overflow-x-auto max-tablet:px-3 max-tablet:py-1 tablet:flex-wrap">
      <Chip name="service" value={view.service ?? ''} />
      {view.env !== null && <Chip name="env" value={view.env} onRemove={() => choose({ env: null })} />}
      {FIXED.flatMap((name) =>
        view[name].map((value) => (
          <Chip
            key={`${name} ${value}`}
            name={name}
            value={value}
            mono={name !== 'status'}
            onRemove={() =>
              choose({
                [name]: view[name].filter((item) => item !== value),
                ...(name === 'route' ? { method: [] } : {}),
                sel: null,
              })
            }
          />
        )),
      )}
      <Many name="version" rows={versions} />
      <Many name="host" rows={hosts} />
      <AddFilter groups={groups} onChoose={(choice) => choose(choice.patch)} />
    </div>
  );
}

function valuesOf(rows: readonly SummaryRow[] | null, name: 'host' | 'version'): string[] {
  return (rows ?? []).map((row) => row.key[name] ?? '').filter((value) => value !== '');
}

/** `version all 2`: how many there are, or which one was chosen; a menu of them. */
function Many({ name, rows }: { name: 'host' | 'version'; rows: readonly SummaryRow[] | null }) {
  const { view, choose } = usePageData();
  const values = valuesOf(rows, name);
  const chosen = view[name];
  if (chosen.length === 1 && chosen[0] !== undefined)
    return <Chip name={name} value={chosen[0]} onRemove={() => choose({ [name]: [], sel: null })} />;
  if (values.length === 0) return null;
  return (
    <Popover
      label={`${name} ${chosen.length === 0 ? `all ${exactCount(values.length)}` : chosen.length}, filter`}
      align="left"
      button={
        <>
          {name}{' '}
          <span className="font-name text-ink">
            {chosen.length === 0 ? `all ${exactCount(values.length)}` : chosen.length}
          </span>
        </>
      }
      buttonClass="control h-7 shrink-0 gap-1.5 px-2.5 max-tablet:h-11"
      panelClass="max-h-80 w-56 overflow-y-auto p-1"
    >
      {(close) =>
        values.map((value) => (
          <MenuItem
            key={value}
            current={chosen.includes(value)}
            onClick={() => {
              close();
              choose({ [name]: [value], sel: null });
            }}
          >
            <span className="truncate" title={value}>
              <Name>{value}</Name>
            </span>
          </MenuItem>
        ))
      }
    </Popover>
  );
}

function Chip(props: { name: string; value: string; mono?: boolean; onRemove?: () => void }) {
  const negated = props.value.startsWith('!');
  const value = negated ? props.value.slice(1) : props.value;
  return (
    <span className="control h-7 shrink-0 gap-1.5 px-2.5 hover:bg-surface max-tablet:h-11">
      {negated ? `not ${props.name}` : props.name}
      <span
        className={`max-w-80 truncate text-ink ${props.mono ? 'font-mono text-12' : 'font-name'}`}
        title={value}
      >
        <Name>{value}</Name>
      </span>
      {props.onRemove !== undefined && (
        <button
          type="button"
          aria-label={`Remove ${props.name} ${isolated(props.value)}`}
          className="-mr-1.5 grid size-6 place-items-center rounded-kbd text-ink2 hover:bg-hover hover:text-ink max-tablet:size-11"
          onClick={props.onRemove}
        >
          <Icon name="close" size={12} />
        </button>
      )}
    </span>
  );
}

/** Type to narrow, arrows to move, Enter to choose, Esc to leave. `!` in front turns a filter around. */
function AddFilter({
  groups,
  onChoose,
}: {
  groups: readonly { name: string; mono?: boolean; choices: readonly Choice[] }[];
  onChoose: (choice: Choice) => void;
}) {
  const [open, setOpen] = useState(false);
  const [needle, setNeedle] = useState('');
  const [active, setActive] = useState(0);
  const root = useRef<HTMLDivElement>(null);
  const trigger = useRef<HTMLButtonElement>(null);
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

  const negated = needle.trim().startsWith('!');
  const wanted = needle.trim().replace(/^!/, '').toLowerCase();
  const shown = groups
    .map((group) => ({
      ...group,
      choices: group.choices
        .filter((choice) => choice.label.toLowerCase().includes(wanted))
        .map((choice) => (negated && group.name !== 'Environment' ? turnedAround(choice) : choice)),
    }))
    .filter((group) => group.choices.length > 0);
  const flat = shown.flatMap((group) => group.choices);
  const close = () => {
    setOpen(false);
    setNeedle('');
    trigger.current?.focus();
  };
  const take = (choice: Choice | undefined) => {
    if (choice === undefined) return;
    close();
    onChoose(choice);
  };

  return (
    <div ref={root} className="relative">
      <button
        ref={trigger}
        type="button"
        data-filter
        aria-expanded={open}
        className="control h-7 border-control border-dashed bg-transparent px-2.5 max-tablet:h-11"
        onClick={() => {
          setActive(0);
          setOpen(!open);
        }}
      >
        Add filter
        <kbd className="rounded-kbd border border-line px-1 font-sans text-11 max-tablet:hidden">/</kbd>
      </button>
      {open && (
        <div className="appear absolute top-full left-0 z-20 mt-1 w-72 rounded-card border border-line bg-raised p-1 shadow-popover max-tablet:fixed max-tablet:inset-x-3 max-tablet:top-auto max-tablet:w-auto">
          <input
            ref={input}
            role="combobox"
            aria-label="Filter by"
            aria-expanded="true"
            aria-controls={list}
            aria-activedescendant={flat[active] === undefined ? undefined : `${list}-${active}`}
            placeholder="status, method, route, host, version"
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
              else if (event.key === 'Escape') close();
              else return;
              event.preventDefault();
              event.stopPropagation();
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
                      className={`cursor-pointer truncate rounded-control px-2 py-1 max-tablet:py-3 ${at === active ? 'bg-hover' : ''} ${group.mono ? 'font-mono text-12' : ''}`}
                      onPointerEnter={() => setActive(at)}
                      onClick={() => take(choice)}
                    >
                      <Name>{choice.label}</Name>
                    </div>
                  );
                })}
              </div>
            ))}
            {flat.length === 0 && (
              <p className="px-2 py-1 text-ink2">
                Nothing called “<Name>{needle.trim()}</Name>”.
              </p>
            )}
          </div>
        </div>
      )}
    </div>
  );
}

/** The same filter, turned around: everything but this value. */
function turnedAround(choice: Choice): Choice {
  const patch = Object.fromEntries(
    Object.entries(choice.patch).map(([name, value]) => [
      name,
      Array.isArray(value)
        ? value.map((item, index) => (index === value.length - 1 ? `!${item}` : item))
        : value,
    ]),
  );
  return { label: `not ${choice.label}`, patch };
}
