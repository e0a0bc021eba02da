'use client';

import Link from 'next/link';
/** The frame around every page: navigation, top bar, notices, keys. It stays while pages change inside it. */
import { usePathname } from 'next/navigation';
import { type ReactNode, Suspense, useCallback, useEffect, useRef, useState } from 'react';
import { Icon } from '@/components/ui/icon';
import { share, write } from '@/lib/format/number';
import { RequestFailed } from '@/lib/query/http';
import { checkSession, endSession } from '@/lib/query/session';
import { belongsElsewhere, KEY_HELP } from '@/lib/view/keys';
import { toggleTheme } from '@/lib/view/theme';
import { RANGES } from '@/lib/view/url';
import { useFreshness } from './badge';
import { Notices } from './notices';
import { PageDataProvider, usePageData } from './page-data';
import { ServicesProvider, useServices } from './services';
import { hrefOf, Navigation, Sidebar } from './sidebar';
import { Topbar } from './topbar';

/** Set once a session worked here, so its end can be told from never having had one. */
const SEEN = 'peep.session';

function loginHref(): string {
  return `/login/?next=${encodeURIComponent(window.location.pathname + window.location.search)}`;
}

export function Workspace({ children }: { children: ReactNode }) {
  return (
    <Suspense fallback={<Blank />}>
      <Gate>
        <PageDataProvider>
          <ServicesProvider>
            <Frame>{children}</Frame>
          </ServicesProvider>
        </PageDataProvider>
      </Gate>
    </Suspense>
  );
}

/** Grey blocks in the final sizes, until the address is read and the session is known. */
function Blank() {
  return (
    <div className="flex min-h-dvh">
      <div className="hidden w-54 shrink-0 border-line border-r desktop:block" />
      <div className="hidden w-14 shrink-0 border-line border-r tablet:block desktop:hidden" />
      <div className="flex-1">
        <div className="h-13 border-line border-b" />
      </div>
    </div>
  );
}

function Gate({ children }: { children: ReactNode }) {
  const [state, setState] = useState<'asking' | 'open' | 'ended'>('asking');
  useEffect(() => {
    // Who was let in before is not kept waiting; if the answer is no, the page is closed again.
    if (window.localStorage.getItem(SEEN) !== null) setState('open');
    const stop = new AbortController();
    checkSession(stop.signal).then(
      () => {
        window.localStorage.setItem(SEEN, '1');
        setState('open');
      },
      (cause: unknown) => {
        if (stop.signal.aborted) return;
        // Only a clear no closes the door: when peep is away, the page shows that instead.
        if (!(cause instanceof RequestFailed) || cause.status !== 401) setState('open');
        else if (window.localStorage.getItem(SEEN) === null) window.location.replace(loginHref());
        else setState('ended');
      },
    );
    return () => stop.abort();
  }, []);
  if (state === 'asking') return <Blank />;
  if (state === 'ended') return <SessionEnded />;
  return children;
}

function SessionEnded() {
  return (
    <main className="grid min-h-dvh place-items-center p-6">
      <h1 className="text-20 font-strong">
        Your session ended.{' '}
        <a className="text-focus underline underline-offset-4" href={loginHref()}>
          Log in
        </a>
        , then you return here.
      </h1>
    </main>
  );
}

function Frame({ children }: { children: ReactNode }) {
  const page = usePageData();
  const { services, envs } = useServices();
  const search = useRef<HTMLInputElement>(null);
  const keys = useRef<HTMLDialogElement>(null);
  const sheet = useRef<HTMLDialogElement>(null);
  const state = useFreshness();

  const jump = useCallback(() => {
    if (search.current?.offsetParent) search.current.focus();
    else sheet.current?.showModal();
  }, []);
  useKeys(jump, () => keys.current?.showModal());
  useTitle(services);

  const leave = useCallback(() => {
    window.localStorage.removeItem(SEEN);
    void endSession().finally(() => window.location.assign('/login/'));
  }, []);

  if (page.sessionEnded) return <SessionEnded />;
  return (
    <div className="flex min-h-dvh" data-stale={state.kind === 'lost'}>
      <Sidebar
        services={services}
        envs={envs}
        searchRef={search}
        onKeys={() => keys.current?.showModal()}
        onLeave={leave}
      />
      <Rail
        onServices={() => sheet.current?.showModal()}
        onKeys={() => keys.current?.showModal()}
        onLeave={leave}
      />
      <div className="flex min-w-0 flex-1 flex-col max-tablet:pb-[calc(60px+env(safe-area-inset-bottom))]">
        <Topbar envs={envs} />
        <Notices />
        <main className="mx-auto w-full max-w-[1680px] flex-1 px-6 py-5 max-tablet:px-3 max-tablet:py-3">
          {children}
        </main>
      </div>
      <BottomBar onServices={() => sheet.current?.showModal()} onLeave={leave} />
      <dialog
        ref={sheet}
        aria-label="Services"
        className="m-0 h-dvh max-h-none w-72 max-w-[85vw] border-line border-r bg-bg p-0 text-ink shadow-popover backdrop:bg-bg/60 open:flex open:flex-col"
      >
        <div className="flex h-13 shrink-0 items-center justify-between pr-2 pl-4 font-strong">
          Services
          <button
            type="button"
            aria-label="Close"
            className="grid size-9 place-items-center rounded-control text-ink2 hover:bg-hover"
            onClick={() => sheet.current?.close()}
          >
            <Icon name="close" />
          </button>
        </div>
        <Navigation services={services} onNavigate={() => sheet.current?.close()} />
      </dialog>
      <dialog
        ref={keys}
        aria-labelledby="keys-title"
        className="m-auto w-[400px] max-w-[92vw] rounded-card border border-line bg-raised p-0 text-ink shadow-popover backdrop:bg-bg/60"
      >
        <div className="flex items-center justify-between px-4 pt-3">
          <h2 id="keys-title" className="text-15 font-strong">
            Keyboard
          </h2>
          <button
            type="button"
            aria-label="Close"
            className="grid size-8 place-items-center rounded-control text-ink2 hover:bg-hover"
            onClick={() => keys.current?.close()}
          >
            <Icon name="close" />
          </button>
        </div>
        <dl className="grid grid-cols-[120px_1fr] gap-y-1 px-4 pt-2 pb-4">
          {KEY_HELP.map((item) => (
            <div key={item.keys} className="contents">
              <dt>
                <kbd className="rounded-kbd border border-line px-1.5 py-px font-sans text-12">
                  {item.keys}
                </kbd>
              </dt>
              <dd className="text-ink2">{item.does}</dd>
            </div>
          ))}
        </dl>
      </dialog>
    </div>
  );
}

/** 56 px of icons, between the phone and the full sidebar. */
function Rail(props: { onServices: () => void; onKeys: () => void; onLeave: () => void }) {
  const { view } = usePageData();
  const pathname = usePathname();
  const item = 'grid size-10 place-items-center rounded-control text-ink2 hover:bg-hover hover:text-ink';
  return (
    <aside
      aria-label="Navigation"
      className="sticky top-0 hidden h-dvh w-14 shrink-0 flex-col items-center gap-1 border-line border-r py-2 tablet:flex desktop:hidden"
    >
      <Link
        href={hrefOf(view, { service: null })}
        prefetch={false}
        aria-label="Overview"
        aria-current={pathname.startsWith('/service') ? undefined : 'page'}
        className={`${item} ${pathname.startsWith('/service') ? '' : 'bg-hover text-ink'}`}
      >
        <Icon name="overview" />
      </Link>
      <button type="button" aria-label="Services" className={item} onClick={props.onServices}>
        <Icon name="services" />
      </button>
      <div className="flex-1" />
      <button type="button" aria-label="Keyboard" className={item} onClick={props.onKeys}>
        <Icon name="keyboard" />
      </button>
      <button type="button" aria-label="Log out" className={item} onClick={props.onLeave}>
        <Icon name="leave" />
      </button>
    </aside>
  );
}

function BottomBar(props: { onServices: () => void; onLeave: () => void }) {
  const page = usePageData();
  const pathname = usePathname();
  const item = 'flex h-[60px] flex-1 flex-col items-center justify-center gap-1 text-11 text-ink2';
  return (
    <nav
      aria-label="Sections"
      className="fixed inset-x-0 bottom-0 z-20 flex border-line border-t bg-bg pb-[env(safe-area-inset-bottom)] tablet:hidden"
    >
      <Link
        href={hrefOf(page.view, { service: null })}
        prefetch={false}
        aria-current={pathname.startsWith('/service') ? undefined : 'page'}
        className={`${item} ${pathname.startsWith('/service') ? '' : 'font-strong text-ink'}`}
      >
        <Icon name="overview" />
        Overview
      </Link>
      <button type="button" className={item} onClick={props.onServices}>
        <Icon name="services" />
        Services
      </button>
      <button
        type="button"
        className={item}
        onClick={() => page.setPaused(page.paused === null)}
        disabled={page.mode === 'history'}
      >
        <Icon name="clock" />
        {page.paused === null ? 'Pause' : 'Resume'}
      </button>
      <button type="button" className={item} onClick={toggleTheme}>
        <Icon name="sun" />
        Theme
      </button>
      <button type="button" className={item} onClick={props.onLeave}>
        <Icon name="leave" />
        Log out
      </button>
    </nav>
  );
}

/** The title of the tab always tells the worst. */
function useTitle(services: ReturnType<typeof useServices>['services']): void {
  const worst = services[0];
  const title =
    worst !== undefined && worst.state === 'failing'
      ? `◆ ${worst.service} ${write(share(worst.window.errors, worst.window.count))} · peep`
      : 'peep';
  useEffect(() => {
    document.title = title;
  }, [title]);
}

function useKeys(jump: () => void, help: () => void): void {
  const page = usePageData();
  const latest = useRef({ page, jump, help });
  latest.current = { page, jump, help };
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const { page: now, jump: toSearch, help: showHelp } = latest.current;
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        toSearch();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || belongsElsewhere(event)) return;
      const range = RANGES[Number(event.key) - 1];
      if (range !== undefined) {
        now.choose({ range: range.name, frozen: null });
        return;
      }
      switch (event.key) {
        case ' ':
          if (now.mode !== 'history') now.setPaused(now.paused === null);
          break;
        case 'l':
          now.setPaused(false);
          if (now.mode !== 'live')
            now.choose({ frozen: null, range: now.mode === 'polled' ? '15m' : now.view.range });
          break;
        case 'z':
          if (now.view.frozen !== null) window.history.back();
          break;
        case 'd':
          toggleTheme();
          break;
        case 'u':
          now.choose({ tz: now.view.tz === 'utc' ? 'local' : 'utc' });
          break;
        case '?':
          showHelp();
          break;
        case '/': {
          const filter = [...document.querySelectorAll<HTMLElement>('[data-filter]')].find(
            (item) => item.offsetParent !== null,
          );
          if (filter !== undefined) filter.focus();
          else toSearch();
          break;
        }
        case 'j':
        case 'k':
          moveRow(event.key === 'j' ? 1 : -1);
          break;
        case 'Backspace':
          if (now.view.route !== null || now.view.method !== null || now.view.status !== null)
            now.choose({ route: null, method: null, status: null });
          else if (now.view.service !== null) now.choose({ service: null, sort: null });
          break;
        default:
          return;
      }
      event.preventDefault();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
}

function moveRow(by: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>('[data-row]')].filter(
    (row) => row.offsetParent !== null,
  );
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const next = at === -1 ? (by === 1 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[next]?.focus();
}
