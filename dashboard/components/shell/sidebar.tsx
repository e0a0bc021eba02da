'use client';

/** Where am I, where can I go: environment, search, pages, and the services in the order of trouble. */
import Link from 'next/link';
import { Glyph } from '@/components/ui/glyph';
import { Icon, type IconName, Logo } from '@/components/ui/icon';
import { Name } from '@/components/ui/name';
import { Num } from '@/components/ui/num';
import { isolated } from '@/lib/format/isolate';
import { exactCount, latency, share } from '@/lib/format/number';
import { fetchBooks, fetchFiring } from '@/lib/query/books';
import { usePoll } from '@/lib/query/use-poll';
import { writeValue } from '@/lib/series/verdict';
import { hrefOf, type Page } from '@/lib/view/url';
import { usePageData } from './page-data';
import type { SidebarService } from './services';

export { hrefOf } from '@/lib/view/url';

export interface PageEntry {
  page: Page;
  name: string;
  icon: IconName;
}

/** The pages with an entry of their own, in this order everywhere. */
export const ENTRIES: readonly PageEntry[] = [
  { page: 'overview', name: 'Overview', icon: 'overview' },
  { page: 'requests', name: 'Requests', icon: 'requests' },
  { page: 'compare', name: 'Compare', icon: 'compare' },
  { page: 'alerts', name: 'Alerts', icon: 'alerts' },
  { page: 'ledger', name: 'Ledger', icon: 'ledger' },
];
export const FOOT_ENTRIES: readonly PageEntry[] = [
  { page: 'connect', name: 'Connect an app', icon: 'plus' },
  { page: 'settings', name: 'Settings and keys', icon: 'settings' },
];

/** What stands beside an entry: how many alerts fire, whether the books balance. `null` while nobody knows. */
export interface Marks {
  firing: number | null;
  unaccounted: number | null;
  balanced: boolean | null;
}

const FIRING_EVERY_MS = 10_000;
const BOOKS_EVERY_MS = 30_000;

export function useMarks(): Marks {
  const { paused } = usePageData();
  const firing = usePoll('firing', fetchFiring, paused === null ? FIRING_EVERY_MS : null);
  const books = usePoll(
    'books',
    (signal) => fetchBooks(null, signal),
    paused === null ? BOOKS_EVERY_MS : null,
  );
  return {
    firing: firing.data,
    unaccounted: books.data?.unaccounted ?? null,
    balanced: books.data?.balanced ?? null,
  };
}

export function EnvPicker({ envs }: { envs: readonly string[] }) {
  const { view, choose } = usePageData();
  const names = view.env === null || envs.includes(view.env) ? envs : [view.env, ...envs];
  return (
    <span className="relative inline-flex items-center text-ink2 hover:text-ink">
      <select
        aria-label="Environment"
        className="field-sizing-content h-7 max-w-28 appearance-none truncate rounded-control bg-transparent pr-5 pl-2 text-13 text-inherit max-tablet:h-11"
        value={view.env ?? ''}
        onChange={(event) => choose({ env: event.target.value || null })}
      >
        <option value="">all envs</option>
        {names.map((name) => (
          <option key={name} value={name}>
            {isolated(name)}
          </option>
        ))}
      </select>
      <span className="pointer-events-none absolute right-0.5">
        <Icon name="chevronDown" size={14} />
      </span>
    </span>
  );
}

function Mark({ page, marks }: { page: Page; marks: Marks }) {
  if (page === 'alerts' && marks.firing !== null && marks.firing > 0) {
    return (
      <span
        title={`${marks.firing} firing`}
        className="live-number grid h-4.5 min-w-4.5 place-items-center rounded-full bg-bad-soft px-1 text-11 font-strong text-bad"
      >
        <span className="sr-only">firing: </span>
        {marks.firing}
      </span>
    );
  }
  if (page === 'ledger' && marks.balanced !== null) {
    return marks.balanced ? (
      <span className="text-12 text-ink3">balanced</span>
    ) : (
      <span className="live-number text-12 font-strong text-bad">
        {marks.unaccounted ? exactCount(marks.unaccounted) : 'check'}
      </span>
    );
  }
  return null;
}

interface NavigationProps {
  services: readonly SidebarService[];
  marks: Marks;
  onSearch: () => void;
  onNavigate?: () => void;
}

/** Search, pages and services: in the sidebar, and in the sheet of narrow screens. */
export function Navigation({ services, marks, onSearch, onNavigate }: NavigationProps) {
  const { view } = usePageData();
  const entry = (item: PageEntry) => (
    <NavLink
      key={item.page}
      href={hrefOf(view, { page: item.page, service: null })}
      current={view.page === item.page}
      onClick={onNavigate}
    >
      <Icon name={item.icon} />
      <span className="flex-1">{item.name}</span>
      <Mark page={item.page} marks={marks} />
    </NavLink>
  );
  return (
    <>
      <button
        type="button"
        data-opens="palette"
        className="control mx-2 h-8 text-ink3 max-tablet:h-11"
        onClick={onSearch}
      >
        <Icon name="search" size={14} />
        <span className="flex-1 text-left">Search or jump</span>
        <kbd className="rounded-kbd border border-line px-1 font-sans text-11 text-ink2">Ctrl K</kbd>
      </button>
      <nav aria-label="Pages" className="mt-3 px-2">
        {ENTRIES.map(entry)}
      </nav>
      <nav aria-label="Services" className="mt-4 flex min-h-0 flex-1 flex-col px-2">
        <h2 className="flex h-8 shrink-0 items-center justify-between px-2 text-12 text-ink3">
          Services <span className="live-number">{exactCount(services.length)}</span>
        </h2>
        <ul className="min-h-0 flex-1 overflow-y-auto pb-3">
          {services.slice(0, MOST).map((item) => (
            <li key={item.id}>
              <NavLink
                href={hrefOf(view, { service: item.service })}
                current={view.page === 'service' && view.service === item.service}
                onClick={onNavigate}
              >
                <Glyph state={item.state} />
                <span className="min-w-0 flex-1 truncate" title={item.service}>
                  <Name>{item.service}</Name>
                </span>
                <ServiceNumber item={item} />
              </NavLink>
            </li>
          ))}
          {services.length > MOST && (
            <li className="px-2 py-1 text-12 text-ink3">
              {exactCount(services.length - MOST)} more in the overview
            </li>
          )}
        </ul>
      </nav>
      <nav aria-label="Setup" className="shrink-0 px-2 py-2">
        {FOOT_ENTRIES.map(entry)}
      </nav>
    </>
  );
}

/** In the order of trouble the first hundred are enough to look at; the search finds the others. */
const MOST = 100;

/** The failing number of a service in trouble, else its p99. */
function ServiceNumber({ item }: { item: SidebarService }) {
  const { finding, state, window } = item;
  if (finding !== null && state !== 'fine' && state !== 'recovered') {
    const tone = state === 'slower' ? 'text-warn' : 'text-bad';
    return (
      <span className={`live-number whitespace-nowrap font-strong ${tone}`}>
        {state === 'silent' ? 'silent' : writeValue(finding.value, finding.unit)}
      </span>
    );
  }
  const written =
    state === 'failing' ? share(window.errors, window.count) : latency(window.quantilesMs['0.99']);
  return <Num written={written} className="text-ink2" unitClass="" title="p99" />;
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
  marks: Marks;
  onSearch: () => void;
}

export function Sidebar({ services, envs, marks, onSearch }: SidebarProps) {
  const { view } = usePageData();
  return (
    <aside
      aria-label="Navigation"
      className="sticky top-0 hidden h-dvh w-54 shrink-0 flex-col border-line border-r bg-bg desktop:flex"
    >
      <div className="flex h-13 shrink-0 items-center justify-between pr-2 pl-4">
        <Link
          href={hrefOf(view, { page: 'overview', service: null })}
          prefetch={false}
          className="flex items-center gap-2 text-15 font-strong"
        >
          <Logo />
          peep
        </Link>
        <EnvPicker envs={envs} />
      </div>
      <Navigation services={services} marks={marks} onSearch={onSearch} />
    </aside>
  );
}

/** 56 px of icons, between the phone and the full sidebar. */
export function Rail({
  marks,
  onSearch,
  onServices,
}: {
  marks: Marks;
  onSearch: () => void;
  onServices: () => void;
}) {
  const { view } = usePageData();
  const item =
    'relative grid size-10 place-items-center rounded-control text-ink2 hover:bg-hover hover:text-ink';
  const link = (entry: PageEntry) => (
    <Link
      key={entry.page}
      href={hrefOf(view, { page: entry.page, service: null })}
      prefetch={false}
      aria-label={entry.name}
      title={entry.name}
      aria-current={view.page === entry.page ? 'page' : undefined}
      className={`${item} ${view.page === entry.page ? 'bg-hover text-ink' : ''}`}
    >
      <Icon name={entry.icon} />
      <Dot page={entry.page} marks={marks} />
    </Link>
  );
  return (
    <aside
      aria-label="Navigation"
      className="sticky top-0 hidden h-dvh w-14 shrink-0 flex-col items-center gap-1 border-line border-r py-1.5 tablet:flex desktop:hidden"
    >
      <Link
        href={hrefOf(view, { page: 'overview', service: null })}
        prefetch={false}
        aria-label="peep"
        className="grid size-10 place-items-center"
      >
        <Logo />
      </Link>
      <button
        type="button"
        aria-label="Search or jump"
        data-opens="palette"
        title="Search or jump"
        className={item}
        onClick={onSearch}
      >
        <Icon name="search" />
      </button>
      {ENTRIES.map(link)}
      <button type="button" aria-label="Services" title="Services" className={item} onClick={onServices}>
        <Icon name="services" />
      </button>
      <div className="flex-1" />
      {FOOT_ENTRIES.map(link)}
    </aside>
  );
}

/** A mark without room for words: something fires, or the books do not balance. */
function Dot({ page, marks }: { page: Page; marks: Marks }) {
  const firing = page === 'alerts' && (marks.firing ?? 0) > 0;
  const off = page === 'ledger' && marks.balanced === false;
  if (!firing && !off) return null;
  return (
    <span className="absolute top-1.5 right-1.5 size-2 rounded-full bg-bad">
      <span className="sr-only">{firing ? `${marks.firing} firing` : 'not balanced'}</span>
    </span>
  );
}

/** The five pages at the foot of a phone. */
export function BottomBar({ marks }: { marks: Marks }) {
  const { view } = usePageData();
  return (
    <nav
      aria-label="Pages"
      className="fixed inset-x-0 bottom-0 z-20 flex border-line border-t bg-bg pb-[env(safe-area-inset-bottom)] tablet:hidden"
    >
      {ENTRIES.map((entry) => {
        const current = view.page === entry.page || (entry.page === 'overview' && view.page === 'service');
        return (
          <Link
            key={entry.page}
            href={hrefOf(view, { page: entry.page, service: null })}
            prefetch={false}
            aria-current={view.page === entry.page ? 'page' : undefined}
            className={`relative flex h-[60px] min-w-0 flex-1 flex-col items-center justify-center gap-1 text-11 ${current ? 'font-strong text-ink' : 'text-ink2'}`}
          >
            <span className="relative">
              <Icon name={entry.icon} />
              <span className="absolute -top-2 -right-2">
                <Dot page={entry.page} marks={marks} />
              </span>
            </span>
            {entry.name}
          </Link>
        );
      })}
    </nav>
  );
}
