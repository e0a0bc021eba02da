'use client';

/**
 * Everything by name: services, routes, pages, times, actions. Opens from data that is here already; a pasted trace id,
 * receipt or address of ours is recognised and offered first.
 */
import { useEffect, useId, useMemo, useRef, useState } from 'react';
import { Icon, type IconName } from '@/components/ui/icon';
import { Name } from '@/components/ui/name';
import { isolated } from '@/lib/format/isolate';
import { NBSP } from '@/lib/format/number';
import { moment } from '@/lib/format/time';
import { fetchSummary } from '@/lib/query/summary';
import { usePoll } from '@/lib/query/use-poll';
import { askRange } from '@/lib/view/ask';
import { leave } from '@/lib/view/leave';
import { matches, nearest, recognise } from '@/lib/view/match';
import { recents, remember } from '@/lib/view/prefs';
import { toggleTheme } from '@/lib/view/theme';
import { hrefOf, pageOf, parseView, RANGES, toHref } from '@/lib/view/url';
import { usePageData } from './page-data';
import { useServices } from './services';
import { ENTRIES, FOOT_ENTRIES } from './sidebar';
import { goLive, share, shift, zoomOut } from './use-keys';

interface Item {
  id: string;
  icon: IconName;
  name: string;
  /** Where it belongs, or its key. */
  note: string;
  mono?: boolean;
  run: () => void;
}

const MOST = 10;

interface Props {
  open: boolean;
  onHelp: () => void;
  onClose: () => void;
}

export default function Palette({ open, onHelp, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open) dialog.current?.close();
  }, [open]);
  return (
    <dialog
      ref={dialog}
      aria-label="Search or jump"
      className="appear mx-auto mt-[12vh] mb-auto w-[600px] max-w-[94vw] rounded-card border border-line bg-raised p-0 text-ink shadow-popover backdrop:bg-bg/60"
      onClose={onClose}
      onClick={(event) => {
        if (event.target === dialog.current) onClose();
      }}
      onKeyDown={(event) => {
        if (event.key === 'Escape') event.stopPropagation();
      }}
    >
      {open && <Body onHelp={onHelp} onClose={onClose} />}
    </dialog>
  );
}

function Body({ onHelp, onClose }: Omit<Props, 'open'>) {
  const page = usePageData();
  const { view, choose, visit, paused, setPaused, mode } = page;
  const { services, releases, envs } = useServices();
  const [text, setText] = useState('');
  const [active, setActive] = useState(0);
  const list = useId();
  const routes = usePoll(
    JSON.stringify(['routes', view.env]),
    (signal) =>
      fetchSummary({ env: view.env }, { from: '-1h', to: 'now' }, ['service', 'route', 'method'], signal),
    null,
  );

  // biome-ignore lint/correctness/useExhaustiveDependencies: made once an opening, and when routes arrive
  const all = useMemo((): Item[] => {
    const go = (href: string) => () => visit(href);
    return [
      ...services.map((item) => ({
        id: `service ${item.service}`,
        icon: 'chart' as const,
        name: item.service,
        note: 'service',
        run: go(hrefOf(view, { service: item.service })),
      })),
      ...[...ENTRIES, ...FOOT_ENTRIES].map((entry) => ({
        id: `page ${entry.page}`,
        icon: entry.icon,
        name: entry.name,
        note: 'page',
        run: go(hrefOf(view, { page: entry.page, service: null })),
      })),
      ...(routes.data?.rows ?? []).map(({ key }) => ({
        id: `route ${key.service} ${key.method} ${key.route}`,
        icon: 'requests' as const,
        name: `${key.method ?? ''}${key.method ? NBSP : ''}${isolated(key.route ?? '')}`,
        note: key.service ?? '',
        mono: true,
        run: go(
          hrefOf(view, {
            service: key.service ?? '',
            route: [key.route ?? ''],
            method: key.method ? [key.method] : [],
          }),
        ),
      })),
      ...RANGES.map((range, index) => ({
        id: `range ${range.name}`,
        icon: 'clock' as const,
        name: `Last ${range.label}`,
        note: String(index + 1),
        run: () => choose({ range: range.name, frozen: null, sel: null }),
      })),
      ...releases.map((release) => ({
        id: `since ${release.service} ${release.version}`,
        icon: 'clock' as const,
        name: `Since ${isolated(release.service)} ${isolated(release.version)}`,
        note: moment(release.firstSeenMs, view.tz, Date.now(), true),
        run: () => {
          const asked = askRange(`since ${release.version}`, view.tz, Date.now(), [release]);
          if (asked !== null) choose('range' in asked ? { ...asked, frozen: null } : asked);
        },
      })),
      ...envs.map((env) => ({
        id: `env ${env}`,
        icon: 'sliders' as const,
        name: `Environment ${isolated(env)}`,
        note: 'environment',
        run: () => choose({ env }),
      })),
      { id: 'live', icon: 'overview', name: 'Go live', note: 'L', run: () => goLive(page) },
      ...(mode === 'history'
        ? []
        : [
            {
              id: 'pause',
              icon: 'clock' as const,
              name: paused === null ? 'Pause' : 'Resume',
              note: 'Space',
              run: () => setPaused(paused === null),
            },
          ]),
      {
        id: 'share',
        icon: 'share',
        name: 'Share: copy a link to this moment',
        note: 'S',
        run: () => share(page),
      },
      { id: 'out', icon: 'zoomOut', name: 'Zoom out', note: '-', run: () => zoomOut(page) },
      { id: 'back', icon: 'clock', name: 'One range back', note: '[', run: () => shift(page, -1) },
      { id: 'theme', icon: 'sun', name: 'Dark or light', note: 'D', run: toggleTheme },
      {
        id: 'zone',
        icon: 'clock',
        name: view.tz === 'utc' ? 'Local time' : 'UTC',
        note: 'U',
        run: () => choose({ tz: view.tz === 'utc' ? 'local' : 'utc' }),
      },
      { id: 'keys', icon: 'keyboard', name: 'Keyboard', note: '?', run: onHelp },
      { id: 'leave', icon: 'leave', name: 'Log out', note: '', run: leave },
    ] satisfies Item[];
  }, [routes.data, services.length]);

  const wanted = text.trim();
  const shown = useMemo(() => {
    if (wanted === '') {
      const last = recents();
      const rank = (item: Item) => {
        const at = last.indexOf(item.id);
        return at === -1 ? last.length : at;
      };
      return [...all].sort((a, b) => rank(a) - rank(b)).slice(0, MOST);
    }
    const first: Item[] = [];
    const pasted = recognise(wanted, window.location.origin);
    if (pasted?.kind === 'address') {
      const [path = '/', query = ''] = pasted.href.split('?');
      const there = toHref(parseView(query.split('#')[0] ?? '', pageOf(path)).view);
      first.push({
        id: 'paste',
        icon: 'share',
        name: there,
        note: 'open',
        mono: true,
        run: () => visit(there),
      });
    } else if (pasted !== null) {
      const name = pasted.kind === 'trace' ? 'Requests of this trace' : 'What became of this receipt';
      first.push({
        id: 'paste',
        icon: 'search',
        name,
        note: `${wanted.slice(0, 12)}…`,
        run: () =>
          visit(
            hrefOf(view, {
              service: null,
              ...(pasted.kind === 'trace'
                ? { page: 'requests', trace: wanted.toLowerCase() }
                : { page: 'ledger', text: wanted }),
            }),
          ),
      });
    }
    const asked = askRange(wanted, view.tz, Date.now(), releases);
    if (asked !== null) {
      first.push({
        id: 'asked',
        icon: 'clock',
        name: `Show ${wanted}`,
        note: 'time',
        run: () => choose('range' in asked ? { ...asked, frozen: null, sel: null } : { ...asked, sel: null }),
      });
    }
    return [...first, ...matches(wanted, all, (item) => `${item.name} ${item.note}`)].slice(0, MOST);
  }, [wanted, all, view, releases, choose, visit]);
  const near =
    shown.length === 0
      ? nearest(
          wanted,
          services.map((item) => item.service),
        )
      : null;

  const take = (item: Item | undefined) => {
    if (item === undefined) return;
    onClose();
    if (item.id !== 'paste' && item.id !== 'asked') remember(item.id);
    item.run();
  };

  return (
    <>
      <div className="flex items-center gap-2 border-line border-b px-4">
        <Icon name="search" size={15} />
        <input
          // biome-ignore lint/a11y/noAutofocus: the dialog is opened to type
          autoFocus
          role="combobox"
          aria-label="Search or jump"
          aria-expanded="true"
          aria-controls={list}
          aria-activedescendant={shown[active] === undefined ? undefined : `${list}-${active}`}
          placeholder="A service, a route, a page, a time"
          spellCheck={false}
          className="h-12 min-w-0 flex-1 bg-transparent text-15 outline-none placeholder:text-ink3"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setActive(0);
          }}
          onKeyDown={(event) => {
            if (event.key === 'ArrowDown') setActive((at) => Math.min(shown.length - 1, at + 1));
            else if (event.key === 'ArrowUp') setActive((at) => Math.max(0, at - 1));
            else if (event.key === 'Enter') take(shown[active]);
            else return;
            event.preventDefault();
          }}
        />
      </div>
      <div id={list} role="listbox" aria-label="Found" className="p-1.5">
        {shown.map((item, index) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the combobox above holds the focus and the keys
          // biome-ignore lint/a11y/useFocusableInteractive: as above
          <div
            key={item.id}
            id={`${list}-${index}`}
            role="option"
            aria-selected={index === active}
            className={`flex min-h-9 cursor-pointer items-center gap-3 rounded-control px-2.5 max-tablet:min-h-11 ${index === active ? 'bg-hover' : ''}`}
            onPointerMove={() => setActive(index)}
            onClick={() => take(item)}
          >
            <span className="text-ink2">
              <Icon name={item.icon} size={15} />
            </span>
            <span className={`min-w-0 flex-1 truncate ${item.mono ? 'font-mono text-12' : ''}`}>
              <Name>{item.name}</Name>
            </span>
            <span className="text-12 text-ink2">{item.note}</span>
          </div>
        ))}
      </div>
      {shown.length === 0 && (
        <p className="px-4 pb-3 text-ink2">
          Nothing called “<Name>{wanted}</Name>”.
          {near !== null && (
            <>
              {' '}
              Nearest:{' '}
              <button
                type="button"
                className="font-strong text-focus underline underline-offset-2"
                onClick={() => take(all.find((item) => item.id === `service ${near}`))}
              >
                <Name>{near}</Name>
              </button>
              .
            </>
          )}
        </p>
      )}
    </>
  );
}
