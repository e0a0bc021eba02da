'use client';

/** Where, over which window, against what, in which zone, and whether it moves. */
import Link from 'next/link';
import { useRef, useState } from 'react';
import { Icon, Logo, PauseIcon } from '@/components/ui/icon';
import { Name } from '@/components/ui/name';
import { Popover } from '@/components/ui/popover';
import { zoneName } from '@/lib/format/time';
import { hrefOf, RANGES, rangeOf } from '@/lib/view/url';
import { Badge } from './badge';
import { usePageData } from './page-data';
import { useServices } from './services';
import { ENTRIES, EnvPicker, FOOT_ENTRIES } from './sidebar';
import { TimePicker } from './time-picker';

export function Topbar({ envs, onMenu }: { envs: readonly string[]; onMenu: () => void }) {
  const { view, mode, choose, paused, setPaused } = usePageData();
  return (
    <header className="sticky top-0 z-20 flex h-13 items-center gap-2 border-line border-b bg-bg px-6 max-tablet:px-3">
      <button
        type="button"
        onClick={onMenu}
        aria-label="Menu: services, search, settings"
        className="grid size-11 shrink-0 place-items-center tablet:hidden"
      >
        <Logo />
      </button>
      <div className="min-w-0 tablet:hidden">
        <EnvPicker envs={envs} />
      </div>
      <Breadcrumb />
      <div className="flex-1" />
      <Ranges />
      <span className="max-tablet:hidden">
        <Versus />
      </span>
      <button
        type="button"
        className="control px-3 max-tablet:hidden"
        aria-label={`Time zone ${zoneName(Date.now(), view.tz)}. Switch to ${view.tz === 'utc' ? 'local time' : 'UTC'}`}
        onClick={() => choose({ tz: view.tz === 'utc' ? 'local' : 'utc' })}
      >
        {zoneName(Date.now(), view.tz)}
      </button>
      {mode !== 'history' && (
        <button
          type="button"
          className="control w-[30px] justify-center px-0 text-ink max-tablet:hidden"
          aria-label={paused === null ? 'Pause' : 'Resume'}
          aria-pressed={paused !== null}
          onClick={() => setPaused(paused === null)}
        >
          <PauseIcon paused={paused !== null} />
        </button>
      )}
      <span className="max-tablet:hidden">
        <Badge />
      </span>
      <WindowSheet />
      <span className="min-w-0 tablet:hidden">
        <Badge compact />
      </span>
    </header>
  );
}

function Breadcrumb() {
  const { view } = usePageData();
  const entry = [...ENTRIES, ...FOOT_ENTRIES].find((item) => item.page === view.page);
  if (view.page !== 'service' || view.service === null) {
    return <span className="truncate font-name max-tablet:hidden">{entry?.name ?? 'Service'}</span>;
  }
  const route = view.route[0];
  return (
    <nav aria-label="Breadcrumb" className="flex min-w-0 items-center gap-2 max-tablet:hidden">
      <Link
        href={hrefOf(view, { page: 'overview', service: null })}
        prefetch={false}
        className="text-ink2 hover:text-ink"
      >
        Overview
      </Link>
      <span className="text-ink3">/</span>
      <span className="min-w-0 truncate font-name" aria-current={route === undefined ? 'page' : undefined}>
        {route === undefined ? (
          <Name>{view.service}</Name>
        ) : (
          <Link href={hrefOf(view, {})} prefetch={false} className="text-ink2 hover:text-ink">
            <Name>{view.service}</Name>
          </Link>
        )}
      </span>
      {route !== undefined && (
        <>
          <span className="text-ink3">/</span>
          <span className="min-w-0 truncate font-mono text-12" aria-current="page" title={route}>
            {view.method[0] ?? ''} <Name>{route}</Name>
          </span>
        </>
      )}
    </nav>
  );
}

function Ranges() {
  const { view, choose } = usePageData();
  const current = view.frozen === null ? view.range : null;
  const usual = RANGES.some((range) => range.name === current);
  return (
    <fieldset
      aria-label="Range"
      className="flex h-[30px] shrink-0 items-center rounded-control border border-line bg-surface p-0.5 max-tablet:hidden"
    >
      {RANGES.map((range) => (
        <button
          key={range.name}
          type="button"
          aria-pressed={current === range.name}
          onClick={() => choose({ range: range.name, frozen: null })}
          className={`h-6 rounded-kbd px-2.5 max-desktop:px-1.5 ${
            current === range.name ? 'bg-hover font-strong text-ink' : 'text-ink2 hover:text-ink'
          }`}
        >
          {range.label}
        </button>
      ))}
      <Popover
        label="Another time"
        opens="time"
        button={usual ? '…' : view.frozen !== null ? 'Fixed' : rangeOf(view.range).label}
        buttonClass={`h-6 min-w-7 rounded-kbd px-2 ${usual ? 'text-ink2 hover:text-ink' : 'bg-hover font-strong text-ink'}`}
        panelClass="w-92"
      >
        {(close) => <TimePicker close={close} />}
      </Popover>
    </fieldset>
  );
}

/** What the dashed line is: yesterday, a week ago, the version before, or none. */
function Versus() {
  const { view, choose } = usePageData();
  const { releases } = useServices();
  const versions =
    view.page === 'service' && view.service !== null
      ? [
          ...new Set(
            releases
              .filter((release) => release.service === view.service)
              .flatMap((release) => [release.previous, release.version])
              .filter((version) => version !== null),
          ),
        ]
      : [];
  const known = ['yesterday', 'week', 'off', ...versions];
  const name = VS_NAMES[view.vs] ?? view.vs;
  return (
    <span className="control relative focus-within:outline-2 focus-within:outline-focus focus-within:outline-offset-2">
      <span className="text-ink3">vs</span>
      <span className="font-name text-ink">{name}</span>
      <Icon name="chevronDown" size={14} />
      <select
        aria-label="Compare with"
        className="absolute inset-0 w-full opacity-0"
        value={view.vs}
        onChange={(event) => choose({ vs: event.target.value })}
      >
        {(known.includes(view.vs) ? known : [...known, view.vs]).map((value) => (
          <option key={value} value={value}>
            {VS_NAMES[value] ?? value}
          </option>
        ))}
      </select>
    </span>
  );
}

export const VS_NAMES: Record<string, string> = { yesterday: 'yesterday', week: 'last week', off: 'nothing' };

/** On a phone range, comparison, zone and pause share one sheet. */
function WindowSheet() {
  const page = usePageData();
  const { view, choose, mode, paused, setPaused } = page;
  const sheet = useRef<HTMLDialogElement>(null);
  // The fields of the picker begin with the window of the moment it is opened.
  const [open, setOpen] = useState(false);
  return (
    <>
      <button
        type="button"
        className="control h-11 shrink-0 gap-1 px-2.5 text-ink tablet:hidden"
        aria-label={`Window: ${view.frozen !== null ? 'fixed' : rangeOf(view.range).label}`}
        onClick={() => {
          sheet.current?.showModal();
          setOpen(true);
        }}
      >
        {view.frozen !== null ? 'Fixed' : rangeOf(view.range).label.replace(' ', '\u00a0')}
        <Icon name="chevronDown" size={14} />
      </button>
      <dialog
        ref={sheet}
        aria-label="Window"
        onClose={() => setOpen(false)}
        className="mx-auto mt-auto mb-0 w-full max-w-none rounded-t-card border-line border-t bg-raised p-4 pb-[calc(16px+env(safe-area-inset-bottom))] text-ink backdrop:bg-bg/60 tablet:hidden"
      >
        <div className="mb-3 flex items-center">
          <h2 className="flex-1 text-15 font-strong">Window</h2>
          <button
            type="button"
            aria-label="Close"
            className="grid size-11 place-items-center"
            onClick={() => sheet.current?.close()}
          >
            <Icon name="close" />
          </button>
        </div>
        <div className="grid grid-cols-3 gap-2">
          {RANGES.map((range) => (
            <button
              key={range.name}
              type="button"
              aria-pressed={view.frozen === null && view.range === range.name}
              className="control h-11 justify-center aria-pressed:border-control aria-pressed:bg-hover aria-pressed:font-strong aria-pressed:text-ink"
              onClick={() => {
                choose({ range: range.name, frozen: null });
                sheet.current?.close();
              }}
            >
              {range.label}
            </button>
          ))}
        </div>
        <div className="mt-3 flex flex-wrap items-center gap-2 [&_.control]:h-11">
          <Versus />
          <button
            type="button"
            className="control"
            onClick={() => choose({ tz: view.tz === 'utc' ? 'local' : 'utc' })}
          >
            {zoneName(Date.now(), view.tz)}
          </button>
          {mode !== 'history' && (
            <button type="button" className="control" onClick={() => setPaused(paused === null)}>
              <PauseIcon paused={paused !== null} />
              {paused === null ? 'Pause' : 'Resume'}
            </button>
          )}
        </div>
        <div className="-mx-4 mt-3 border-line border-t pt-1">
          {open && <TimePicker close={() => sheet.current?.close()} />}
        </div>
      </dialog>
    </>
  );
}
