'use client';

import Link from 'next/link';
/** Where am I, where can I go: environment, search, pages, and the services in the order of trouble. */
import { usePathname } from 'next/navigation';
import { type RefObject, useState } from 'react';
import { Glyph } from '@/components/ui/glyph';
import { Icon, Logo } from '@/components/ui/icon';
import { Num } from '@/components/ui/num';
import { latency, share } from '@/lib/format/number';
import { toHref, type ViewState } from '@/lib/view/url';
import { usePageData } from './page-data';
import type { SidebarService } from './services';

/** The same window, zone and environment, another subject. */
export function hrefOf(view: ViewState, patch: Partial<ViewState>): string {
  return toHref({ ...view, route: null, method: null, status: null, text: '', sort: null, ...patch });
}

export function EnvPicker({ envs }: { envs: readonly string[] }) {
  const { view, choose } = usePageData();
  const names = view.env === null || envs.includes(view.env) ? envs : [view.env, ...envs];
  return (
    <span className="relative inline-flex items-center text-ink2 hover:text-ink">
      <select
        aria-label="Environment"
        className="field-sizing-content h-7 max-w-28 appearance-none truncate rounded-control bg-transparent pr-5 pl-2 text-13 text-inherit"
        value={view.env ?? ''}
        onChange={(event) => choose({ env: event.target.value || null })}
      >
        <option value="">all envs</option>
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
      <span className="pointer-events-none absolute right-0.5">
        <Icon name="chevronDown" size={14} />
      </span>
    </span>
  );
}

interface NavigationProps {
  services: readonly SidebarService[];
  searchRef?: RefObject<HTMLInputElement | null>;
  onNavigate?: () => void;
}

/** Search and the list of services: in the sidebar, and in the sheet of narrow screens. */
export function Navigation({ services, searchRef, onNavigate }: NavigationProps) {
  const { view, choose } = usePageData();
  const pathname = usePathname();
  const [wanted, setWanted] = useState('');
  const needle = wanted.trim().toLowerCase();
  const shown =
    needle === '' ? services : services.filter((item) => item.service.toLowerCase().includes(needle));
  const first = shown[0];

  return (
    <>
      <search className="contents">
        <form
          className="control mx-2 mt-2 h-8"
          onSubmit={(event) => {
            event.preventDefault();
            if (first === undefined) return;
            setWanted('');
            choose({ service: first.service, route: null, method: null, status: null, sort: null, text: '' });
            onNavigate?.();
          }}
        >
          <Icon name="search" size={14} />
          <input
            ref={searchRef}
            type="search"
            aria-label="Search or jump to a service"
            placeholder="Search or jump"
            className="min-w-0 flex-1 bg-transparent text-13 text-ink outline-none placeholder:text-ink3 [&::-webkit-search-cancel-button]:hidden"
            value={wanted}
            onChange={(event) => setWanted(event.target.value)}
            onKeyDown={(event) => {
              if (event.key === 'Escape') {
                setWanted('');
                event.currentTarget.blur();
              }
            }}
          />
          <kbd className="rounded-kbd border border-line px-1 font-sans text-11 text-ink3">Ctrl K</kbd>
        </form>
      </search>
      <nav aria-label="Pages" className="mt-3 px-2">
        <NavLink
          href={hrefOf(view, { service: null })}
          current={!pathname.startsWith('/service')}
          onClick={onNavigate}
        >
          <Icon name="overview" />
          <span className="flex-1">Overview</span>
        </NavLink>
      </nav>
      <nav aria-label="Services" className="mt-4 flex min-h-0 flex-1 flex-col px-2">
        <h2 className="flex h-8 shrink-0 items-center justify-between px-2 text-12 text-ink3">
          Services <span className="live-number">{services.length}</span>
        </h2>
        <ul className="min-h-0 flex-1 overflow-y-auto pb-3">
          {shown.map((item) => {
            const failing = item.state === 'failing';
            return (
              <li key={item.id}>
                <NavLink
                  href={hrefOf(view, { service: item.service })}
                  current={view.service === item.service}
                  onClick={onNavigate}
                >
                  <Glyph state={item.state} />
                  <span className="min-w-0 flex-1 truncate" title={item.service}>
                    {item.service}
                  </span>
                  <Num
                    written={
                      failing
                        ? share(item.window.errors, item.window.count)
                        : latency(item.window.quantilesMs['0.99'])
                    }
                    className={failing ? 'font-strong text-bad' : 'text-ink2'}
                    unitClass=""
                    title={failing ? 'share of requests that failed' : 'p99'}
                  />
                </NavLink>
              </li>
            );
          })}
          {needle !== '' && shown.length === 0 && (
            <li className="px-2 py-1 text-12 text-ink3">Nothing called “{wanted.trim()}”.</li>
          )}
        </ul>
      </nav>
    </>
  );
}

function NavLink(props: {
  href: string;
  current: boolean;
  onClick?: (() => void) | undefined;
  children: React.ReactNode;
}) {
  return (
    <Link
      href={props.href}
      prefetch={false}
      aria-current={props.current ? 'page' : undefined}
      onClick={props.onClick}
      className={`flex h-8 items-center gap-2.5 rounded-control px-2 max-tablet:h-11 ${
        props.current ? 'bg-hover font-name text-ink' : 'text-ink2 hover:bg-hover hover:text-ink'
      }`}
    >
      {props.children}
    </Link>
  );
}

interface SidebarProps {
  services: readonly SidebarService[];
  envs: readonly string[];
  searchRef: RefObject<HTMLInputElement | null>;
  onKeys: () => void;
  onLeave: () => void;
}

export function Sidebar({ services, envs, searchRef, onKeys, onLeave }: SidebarProps) {
  const { view } = usePageData();
  return (
    <aside
      aria-label="Navigation"
      className="sticky top-0 hidden h-dvh w-54 shrink-0 flex-col border-line border-r bg-bg desktop:flex"
    >
      <div className="flex h-13 items-center justify-between pr-2 pl-4">
        <Link
          href={hrefOf(view, { service: null })}
          prefetch={false}
          className="flex items-center gap-2 text-15 font-strong"
        >
          <Logo />
          peep
        </Link>
        <EnvPicker envs={envs} />
      </div>
      <Navigation services={services} searchRef={searchRef} />
      <div className="border-line border-t px-2 py-2">
        <FootButton icon="keyboard" label="Keyboard" onClick={onKeys} />
        <FootButton icon="leave" label="Log out" onClick={onLeave} />
      </div>
    </aside>
  );
}

function FootButton(props: { icon: 'keyboard' | 'leave'; label: string; onClick: () => void }) {
  return (
    <button
      type="button"
      onClick={props.onClick}
      className="flex h-8 w-full items-center gap-2.5 rounded-control px-2 text-ink2 hover:bg-hover hover:text-ink"
    >
      <Icon name={props.icon} />
      {props.label}
    </button>
  );
}
