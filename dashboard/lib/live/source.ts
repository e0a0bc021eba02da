/**
 * One live subscription, framework-free. It opens a WebSocket, falls back to Server-Sent Events after two failed
 * sockets in a row, and reconnects with full jitter for as long as it is wanted.
 *
 * Arrives: the address of the subscription and a platform (sockets, tickets, timers, chance), so tests need no network.
 * Leaves: parsed messages through `onMessage`, the state of the link through `onState`.
 * Promised: messages arrive in order; after every (re)connect the first one is a snapshot; the last seen id is sent
 * as `since`; each socket is opened with a ticket of its own, because the session's cookie opens none; when the server
 * says when to come back, that is when. Not done here: merging, freshness, drawing.
 */
import { backoffMs } from './backoff';
import { type LiveMessage, parseMessage } from './message';

export type Transport = 'websocket' | 'sse';

export type LinkState =
  | { kind: 'connecting' }
  | { kind: 'open'; transport: Transport }
  | { kind: 'waiting'; retryAtMs: number; restarting: boolean }
  | { kind: 'unauthorized' }
  | { kind: 'refused'; message: string }
  | { kind: 'closed' };

/** Something that delivers text until it closes; both transports look like this from here. */
export interface Channel {
  close(): void;
}

export interface ChannelEvents {
  text(payload: string): void;
  /** With the reason of the close, if there is one. */
  closed(reason?: string): void;
}

export type Verdict = 'ok' | 'unauthorized' | 'unreachable' | { refused: string };

export interface Platform {
  /** A secret that opens one socket within half a minute; `null` when there is none to be had. */
  ticket(): Promise<string | null>;
  open(transport: Transport, path: string, events: ChannelEvents): Channel;
  /** Browsers hide why a handshake failed, so the status is asked for separately. */
  diagnose(path: string): Promise<Verdict>;
  now(): number;
  random(): number;
  setTimer(run: () => void, afterMs: number): number;
  clearTimer(timer: number): void;
}

/** The server speaks at least once a second; ten silent seconds mean the connection is dead, whatever TCP believes. */
export const SILENCE_MS = 10_000;
const SOCKET_FAILURES_BEFORE_SSE = 2;
/** A restart takes seconds; after so many attempts in vain, half a minute, it is something else. */
const RESTART_ATTEMPTS = 8;

export class LiveSource {
  private channel: Channel | null = null;
  private timer: number | null = null;
  private attempt = 0;
  private socketFailures = 0;
  private lastId: string | null = null;
  private generation = 0;
  private wanted = false;
  private restarting = false;

  constructor(
    private readonly platform: Platform,
    private readonly path: string,
    private readonly onMessage: (message: LiveMessage) => void,
    private readonly onState: (state: LinkState) => void,
  ) {}

  start(): void {
    if (this.wanted) return;
    this.wanted = true;
    this.connect();
  }

  stop(): void {
    if (!this.wanted) return;
    this.wanted = false;
    this.drop();
    this.onState({ kind: 'closed' });
  }

  /** Skips the wait that is under way. */
  retryNow(): void {
    if (!this.wanted || this.channel !== null) return;
    this.connect();
  }

  private connect(): void {
    this.drop();
    const generation = this.generation;
    const transport: Transport = this.socketFailures >= SOCKET_FAILURES_BEFORE_SSE ? 'sse' : 'websocket';
    this.onState({ kind: 'connecting' });
    this.watch();
    if (transport === 'sse') {
      this.open(transport, this.address([]));
      return;
    }
    void this.platform.ticket().then((ticket) => {
      if (!this.wanted || generation !== this.generation) return;
      // Says nothing about sockets: without a ticket there would be no stream of events either.
      if (ticket === null) this.fail(false, 'sse');
      else this.open(transport, this.address([`ticket=${encodeURIComponent(ticket)}`]));
    });
  }

  private open(transport: Transport, path: string): void {
    const generation = this.generation;
    let spoke = false;
    this.channel = this.platform.open(transport, path, {
      text: (payload) => {
        if (generation !== this.generation) return;
        let message: LiveMessage | null;
        try {
          message = parseMessage(payload);
        } catch (error) {
          // A message we cannot read is a defect, not weather: the next snapshot may be readable, so start over.
          console.error('live message refused', error);
          this.lastId = null;
          this.fail(spoke, transport);
          return;
        }
        this.watch();
        if (!spoke) {
          spoke = true;
          this.attempt = 0;
          this.restarting = false;
          if (transport === 'websocket') this.socketFailures = 0;
          this.onState({ kind: 'open', transport });
        }
        if (message === null) return;
        this.lastId = message.id;
        this.onMessage(message);
      },
      closed: (reason) => {
        if (generation !== this.generation) return;
        // Attempts in vain are what a restart looks like from here; only a link that spoke says anything new.
        if (spoke) this.restarting = reason?.endsWith('; the service restarts') ?? false;
        this.fail(spoke, transport, retryMs(reason));
      },
    });
  }

  private address(more: readonly string[]): string {
    const since = this.lastId === null ? [] : [`since=${encodeURIComponent(this.lastId)}`];
    const parameters = [...since, ...more].join('&');
    if (parameters === '') return this.path;
    return `${this.path}${this.path.includes('?') ? '&' : '?'}${parameters}`;
  }

  private watch(): void {
    if (this.timer !== null) this.platform.clearTimer(this.timer);
    const generation = this.generation;
    this.timer = this.platform.setTimer(() => {
      if (generation === this.generation) this.fail(false, 'websocket');
    }, SILENCE_MS);
  }

  private fail(spoke: boolean, transport: Transport, askedMs = 0): void {
    this.drop();
    if (!this.wanted) return;
    if (!spoke && transport === 'websocket') this.socketFailures += 1;
    const wait = askedMs + backoffMs(this.attempt, () => this.platform.random());
    this.attempt += 1;
    if (this.attempt > RESTART_ATTEMPTS) this.restarting = false;
    const generation = this.generation;
    this.onState({ kind: 'waiting', retryAtMs: this.platform.now() + wait, restarting: this.restarting });
    this.timer = this.platform.setTimer(() => {
      if (generation === this.generation && this.wanted) this.connect();
    }, wait);
    if (spoke) return;
    void this.platform.diagnose(this.path).then((verdict) => {
      if (!this.wanted || generation !== this.generation) return;
      if (verdict === 'unauthorized') {
        this.drop();
        this.onState({ kind: 'unauthorized' });
      } else if (typeof verdict === 'object') {
        this.drop();
        this.onState({ kind: 'refused', message: verdict.refused });
      }
    });
  }

  private drop(): void {
    this.generation += 1;
    if (this.timer !== null) this.platform.clearTimer(this.timer);
    this.timer = null;
    const channel = this.channel;
    this.channel = null;
    channel?.close();
  }
}

/** A close that is not ours says `retry=7; …`: come back in seven seconds, not sooner. */
function retryMs(reason = ''): number {
  const seconds = /^retry=(\d{1,3})(?:;|$)/.exec(reason)?.[1];
  return seconds === undefined ? 0 : Number(seconds) * 1000;
}
