'use client';

/** The frame around every page: navigation, top bar, notices, keys. It stays while pages change inside it. */
import dynamic from 'next/dynamic';
import { type ReactNode, Suspense, useCallback, useEffect, useRef, useState } from 'react';
import { Icon } from '@/components/ui/icon';
import { RequestFailed } from '@/lib/query/http';
import { checkSession } from '@/lib/query/session';
import { KEY_HELP } from '@/lib/view/keys';
import { SEEN } from '@/lib/view/leave';
import { useFreshness } from './badge';
import { FindingsProvider } from './findings';
import { Notices } from './notices';
import { PageDataProvider, usePageData } from './page-data';
import { ServicesProvider, useServices } from './services';
import { BottomBar, Navigation, Rail, Sidebar, useMarks } from './sidebar';
import { Topbar } from './topbar';
import { useKeys } from './use-keys';
import { useTitle } from './use-title';

const loadPalette = () => import('./palette');
/** Fetched when the page has come to rest, so that it opens at once. */
const Palette = dynamic(loadPalette, { ssr: false });

function loginHref(): string {
  return `/login/?next=${encodeURIComponent(window.location.pathname + window.location.search)}`;
}

export function Workspace({ children }: { children: ReactNode }) {
  return (
    <Suspense fallback={<Blank />}>
      <Gate>
        <PageDataProvider>
          <FindingsProvider>
            <ServicesProvider>
              <Frame>{children}</Frame>
            </ServicesProvider>
          </FindingsProvider>
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
  const marks = useMarks();
  const [palette, setPalette] = useState<'unloaded' | 'closed' | 'open'>('unloaded');
  const keys = useRef<HTMLDialogElement>(null);
  const sheet = useRef<HTMLDialogElement>(null);
  const state = useFreshness();

  const openPalette = useCallback(() => {
    sheet.current?.close();
    setPalette('open');
  }, []);
  const openHelp = useCallback(() => keys.current?.showModal(), []);
  const openSheet = useCallback(() => sheet.current?.showModal(), []);
  useKeys({ palette: openPalette, help: openHelp });
  useTitle();
  useEffect(() => {
    const timer = window.setTimeout(() => setPalette((now) => (now === 'unloaded' ? 'closed' : now)), 2000);
    return () => window.clearTimeout(timer);
  }, []);

  if (page.sessionEnded) return <SessionEnded />;
  return (
    <div className="flex min-h-dvh" data-stale={state.kind === 'lost'}>
      <a
        href="#content"
        className="fixed top-2 left-2 z-40 -translate-y-16 rounded-control bg-raised px-3 py-2 focus:translate-y-0"
      >
        Skip to the content
      </a>
      <Sidebar services={services} envs={envs} marks={marks} onSearch={openPalette} />
      <Rail marks={marks} onSearch={openPalette} onServices={openSheet} />
      <div className="flex min-w-0 flex-1 flex-col max-tablet:pb-[calc(60px+env(safe-area-inset-bottom))]">
        <Topbar envs={envs} onMenu={openSheet} />
        <Notices />
        <main
          id="content"
          tabIndex={-1}
          className="mx-auto w-full max-w-[1680px] flex-1 px-6 py-5 outline-none max-tablet:px-3 max-tablet:py-3"
        >
          {children}
        </main>
      </div>
      <BottomBar marks={marks} />
      <dialog
        ref={sheet}
        aria-label="Menu"
        className="m-0 h-dvh max-h-none w-72 max-w-[85vw] border-line border-r bg-bg p-0 text-ink shadow-popover backdrop:bg-bg/60 open:flex open:flex-col"
      >
        <div className="flex h-13 shrink-0 items-center justify-between pr-2 pl-4 font-strong">
          peep
          <button
            type="button"
            aria-label="Close"
            className="grid size-11 place-items-center rounded-control text-ink2 hover:bg-hover"
            onClick={() => sheet.current?.close()}
          >
            <Icon name="close" />
          </button>
        </div>
        <Navigation
          services={services}
          marks={marks}
          onSearch={openPalette}
          onNavigate={() => sheet.current?.close()}
        />
      </dialog>
      {palette !== 'unloaded' && (
        <Palette open={palette === 'open'} onHelp={openHelp} onClose={() => setPalette('closed')} />
      )}
      <dialog
        ref={keys}
        aria-labelledby="keys-title"
        className="m-auto max-h-[90dvh] w-[520px] max-w-[92vw] rounded-card border border-line bg-raised p-0 text-ink shadow-popover backdrop:bg-bg/60"
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
        <KeyList />
      </dialog>
    </div>
  );
}

/** The list of keys; the settings show it too. */
export function KeyList() {
  return (
    <dl className="grid grid-cols-[max-content_1fr] gap-x-5 gap-y-1 px-4 pt-2 pb-4">
      {KEY_HELP.map((item) => (
        <div key={item.keys} className="contents">
          <dt>
            <kbd className="whitespace-nowrap rounded-kbd border border-line px-1.5 py-px font-sans text-12">
              {item.keys}
            </kbd>
          </dt>
          <dd className="text-ink2">{item.does}</dd>
        </div>
      ))}
    </dl>
  );
}
