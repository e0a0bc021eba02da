/**
 * The SDK in web pages: page loads, web vitals and the page's own operations, as events.
 *
 * It needs a key for pages, bound to their origins (`peep key create --scope ingest --origin …`); any other is refused.
 * While the page lives, batches go out as everywhere, with identity and retries. When it is left, what was never sent goes
 * out as a beacon: once, without identity and without an answer, so it is counted at most once and booked as
 * `unconfirmed`. Never sent: addresses, queries, referrers, user agents. A page's route is what the application says it is.
 */

import { Client } from './client.js';
import { fetchPlatform } from './edge.js';
import type { Event } from './event.js';
import type { Options } from './options.js';
import { observeVitals, type Vital } from './vitals.js';

export type { Client, Stats } from './client.js';
export type { Event } from './event.js';
export { guessRoute } from './route.js';

export interface BrowserOptions extends Options {
  /** The template of the page that is shown (`/products/{id}`). Asked for with each event of the page. Default none. */
  route?: string | (() => string | undefined);
  /** The load of the page as an event. Default true. */
  pageLoad?: boolean;
  /** TTFB, FCP, LCP, INP and CLS as events. Default true. */
  vitals?: boolean;
}

/** What all keepalive requests and beacons of a page may hold together is 64 KiB. */
const BATCH_BYTES = 48 * 1024;

export function createClient(options: BrowserOptions = {}): Client {
  const limits = {
    flushIntervalMs: 5000,
    batchBytes: BATCH_BYTES,
    bufferBytes: 256 * 1024,
    ...options,
    gzip: false,
  };
  limits.batchBytes = Math.min(limits.batchBytes, BATCH_BYTES);
  const request: RequestInit = {
    keepalive: true,
    credentials: 'omit',
    cache: 'no-store',
    referrerPolicy: 'origin',
  };
  return new Client(limits, { ...fetchPlatform(request), environment: {} });
}

/** Starts counting; to be called once, early. Returns the client, for events of the page's own. */
export function peepBrowser(options: BrowserOptions = {}): Client {
  const client = createClient(options);
  if (!client.enabled || typeof document === 'undefined') return client;
  const routeOf = () => {
    try {
      return (typeof options.route === 'function' ? options.route() : options.route) ?? '(none)';
    } catch {
      return '(none)';
    }
  };
  const vitals = options.vitals === false ? undefined : observeVitals();
  let isReported = false;
  const report = () => {
    if (isReported) return;
    isReported = true;
    const route = routeOf();
    if (options.pageLoad !== false) recordLoad(client, route);
    for (const vital of vitals?.() ?? []) client.record(vitalEvent(vital, route));
  };
  // Hidden is the last that a page is told for certain; its figures are final then. It may well live on.
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState !== 'hidden') return;
    report();
    void client.flush();
  });
  addEventListener('pagehide', () => {
    report();
    client.handOver((body) => {
      // The key in the query, because a beacon has no headers; text, because anything else would need a preflight.
      const address = `${client.settings.url}/v1/events?key=${encodeURIComponent(client.settings.key)}`;
      return navigator.sendBeacon(address, new TextDecoder().decode(body));
    });
  });
  return client;
}

function recordLoad(client: Client, route: string): void {
  const [entry] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
  if (entry === undefined) return;
  const event: Event = { route, method: 'GET', attrs: { type: entry.type } };
  // A page that is left before it has loaded is counted, without a duration that would be made up.
  if (entry.loadEventEnd > 0) event.durationMs = entry.loadEventEnd;
  const { responseStatus } = entry as { responseStatus?: number };
  if (responseStatus) event.status = responseStatus;
  client.record(event);
}

/** Durations are durations; the layout shift is a score, and has no place among percentiles of time. */
function vitalEvent({ name, value }: Vital, route: string): Event {
  const event: Event = { route: `${route} ${name}`, attrs: { vital: name } };
  if (name === 'CLS') return { ...event, attrs: { vital: name, score: Math.round(value * 10_000) / 10_000 } };
  return { ...event, durationMs: value };
}
