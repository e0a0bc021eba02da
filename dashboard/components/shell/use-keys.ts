'use client';

/** The keys of the page. What they do is what the buttons do; `lib/view/keys` tells the reader. */
import { useEffect, useRef } from 'react';
import { NBSP } from '@/lib/format/number';
import { belongsElsewhere } from '@/lib/view/keys';
import { prefs } from '@/lib/view/prefs';
import { toggleTheme } from '@/lib/view/theme';
import { toast } from '@/lib/view/toast';
import {
  DEFAULT_QUANTILES,
  DEFAULT_RANGE,
  hrefOf,
  neighbourRange,
  type Page,
  QUANTILES,
  RANGES,
  toHref,
  zoomedOut,
} from '@/lib/view/url';
import { zooms } from '@/lib/view/zooms';
import { type PageData, usePageData } from './page-data';

export interface Opens {
  palette: () => void;
  help: () => void;
}

/** `G` waits this long for its second letter. */
const SECOND_MS = 1500;
const GO: Record<string, Page> = {
  o: 'overview',
  r: 'requests',
  c: 'compare',
  a: 'alerts',
  l: 'ledger',
  k: 'settings',
};

export function useKeys(opens: Opens): void {
  const page = usePageData();
  const latest = useRef({ page, opens });
  latest.current = { page, opens };
  useEffect(() => {
    let goUntil = 0;
    const onKey = (event: KeyboardEvent) => {
      const { page: now, opens: open } = latest.current;
      if (event.defaultPrevented) return;
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        open.palette();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || belongsElsewhere(event)) return;
      if (event.key === 'Escape') {
        if (document.querySelector('dialog[open]') === null) clear(now);
        return;
      }
      if (!prefs().keys) return;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      if (goUntil > Date.now()) {
        goUntil = 0;
        const to = GO[key];
        if (to !== undefined) {
          event.preventDefault();
          now.visit(hrefOf(now.view, { page: to, service: null, ...(key === 'k' ? { tab: 'keys' } : {}) }));
          return;
        }
      }
      if (key === 'g') goUntil = Date.now() + SECOND_MS;
      else if (key === '?') open.help();
      else if (!act(key, now)) return;
      event.preventDefault();
    };
    window.addEventListener('keydown', onKey);
    return () => window.removeEventListener('keydown', onKey);
  }, []);
}

/** First the pinned cursor goes, then the selection. */
function clear(now: PageData): void {
  if (now.cursor.pinned()) now.cursor.unpin();
  else if (now.view.sel !== null) now.choose({ sel: null });
}

/** Whether the key meant anything. */
function act(key: string, now: PageData): boolean {
  const { view } = now;
  const range = RANGES[Number(key) - 1];
  if (range !== undefined) {
    now.choose({ range: range.name, frozen: null, sel: null });
    return true;
  }
  switch (key) {
    case ' ':
      if (now.mode !== 'history') now.setPaused(now.paused === null);
      return true;
    case 'l':
      goLive(now);
      return true;
    case 'z':
      undoZoom(now);
      return true;
    case '-':
      zoomOut(now);
      return true;
    case '[':
    case ']':
      shift(now, key === '[' ? -1 : 1);
      return true;
    case 't':
      return press('[data-opens=time]');
    case 'u':
      now.choose({ tz: view.tz === 'utc' ? 'local' : 'utc' });
      return true;
    case 'd':
      toggleTheme();
      return true;
    case 'v': {
      const bases = ['yesterday', 'week', 'off'];
      now.choose({ vs: bases[(bases.indexOf(view.vs) + 1) % bases.length] as string });
      return true;
    }
    case 'e':
      now.choose({ status: view.status.includes('5xx') ? [] : ['5xx'] });
      return true;
    case 'p':
      now.choose({ q: view.q.length === QUANTILES.length ? DEFAULT_QUANTILES : QUANTILES });
      return true;
    case 's':
      share(now);
      return true;
    case 'x':
      return press('[data-opens=export]');
    case '/':
      return press('[data-filter]') || press('[data-opens=palette]');
    case 'j':
    case 'k':
      moveRow(key === 'j' ? 1 : -1);
      return true;
    case 'Backspace':
      up(now);
      return true;
    default:
      return false;
  }
}

export function goLive(now: PageData): void {
  now.setPaused(false);
  if (now.mode === 'live') return;
  now.choose({ frozen: null, sel: null, range: now.mode === 'polled' ? DEFAULT_RANGE : now.view.range });
}

export function undoZoom(now: PageData): void {
  if (now.view.frozen !== null) now.choose({ ...zooms.back(now.view), sel: null });
}

export function zoomOut(now: PageData): void {
  const { frozen, range } = now.view;
  if (frozen !== null) now.choose({ frozen: zoomedOut(frozen.fromMs, frozen.toMs, Date.now()), sel: null });
  else now.choose({ range: neighbourRange(range, 1), sel: null });
}

/** One window back or forward; forward past the present is live again. */
export function shift(now: PageData, by: 1 | -1): void {
  const { frozen } = now.view;
  const length = now.windowMs;
  const toMs = (frozen?.toMs ?? now.data?.toMs ?? Date.now()) + by * length;
  const step = now.data?.stepMs ?? 10_000;
  if (by === 1 && (frozen === null || toMs >= Date.now() - 2 * step)) {
    if (frozen !== null) now.choose({ frozen: null, sel: null });
    return;
  }
  const end = Math.floor(toMs / step) * step;
  now.choose({ frozen: { fromMs: end - length, toMs: end }, sel: null });
}

/** The same view with its window frozen, as a link that shows this moment to whoever opens it. */
export function share(now: PageData): void {
  const { view, data } = now;
  const frozen =
    view.frozen ??
    (data === null ? null : { fromMs: data.fromMs, toMs: data.openT ?? data.lastT + data.stepMs });
  const link = `${window.location.origin}${toHref({ ...view, frozen })}`;
  const copied = navigator.clipboard?.writeText(link);
  if (copied === undefined) toast(link);
  else
    copied.then(
      () => toast(`Link to this moment copied, ${link.length}${NBSP}characters.`),
      () => toast(link),
    );
}

function up(now: PageData): void {
  const { view } = now;
  const narrowed = [view.route, view.method, view.status, view.host, view.version].some(
    (values) => values.length > 0,
  );
  if (view.page === 'service' && narrowed)
    now.choose({ route: [], method: [], status: [], host: [], version: [], sel: null });
  else if (view.page !== 'overview') now.visit(hrefOf(view, { page: 'overview', service: null }));
}

/** Presses what stands for a key, when it is on the screen. */
function press(selector: string): boolean {
  const found = [...document.querySelectorAll<HTMLElement>(selector)].find(
    (item) => item.offsetParent !== null,
  );
  found?.focus();
  found?.click();
  return found !== undefined;
}

function moveRow(by: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>('[data-row]')].filter(
    (row) => row.offsetParent !== null,
  );
  const at = rows.indexOf(document.activeElement as HTMLElement);
  const next = at === -1 ? (by === 1 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[next]?.focus();
}
