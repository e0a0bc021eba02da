/**
 * One live subscription, framework-free. It opens a WebSocket, falls back to Server-Sent Events after two failed
 * sockets in a row, and reconnects with full jitter for as long as it is wanted.
 *
 * Arrives: the address of the subscription and a platform (sockets, timers, chance), so tests need no network.
 * Leaves: parsed messages through `onMessage`, the state of the link through `onState`.
 * Promised: messages arrive in order; after every (re)connect the first one is a snapshot; the last seen id is sent
 * as `since`. Not done here: merging, freshness, drawing.
 */
import { backoffMs } from './backoff';
import { type LiveMessage, parseMessage } from './message';

export type Transport = 'websocket' | 'sse';

export type LinkState =
  | { kind: 'connecting' }
  | { kind: 'open'; transport: Transport }
  | { kind: 'waiting'; retryAtMs: number }
  | { kind: 'unauthorized' }
  | { kind: 'refused'; message: string }
  | { kind: 'closed' };

/** Something that delivers text until it closes; both transports look like this from here. */
export interface Channel {
  close(): void;
}

export interface ChannelEvents {
  text(payload: string): void;
  closed(): void;
}

export type Verdict = 'ok' | 'unauthorized' | 'unreachable' | { refused: string };

export interface Platform {
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

export class LiveSource {
  private channel: Channel | null = null;
  private timer: number | null = null;
  private attempt = 0;
  private socketFailures = 0;
  private lastId: string | null = null;
  private generation = 0;
  private wanted = false;

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
    let spoke = false;
    this.onState({ kind: 'connecting' });
    this.watch();
    this.channel = this.platform.open(transport, this.address(), {
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
          if (transport === 'websocket') this.socketFailures = 0;
          this.onState({ kind: 'open', transport });
        }
        if (message === null) return;
        this.lastId = message.id;
        this.onMessage(message);
      },
      closed: () => {
        if (generation === this.generation) this.fail(spoke, transport);
      },
    });
  }

  private address(): string {
    if (this.lastId === null) return this.path;
    return `${this.path}${this.path.includes('?') ? '&' : '?'}since=${encodeURIComponent(this.lastId)}`;
  }

  private watch(): void {
    if (this.timer !== null) this.platform.clearTimer(this.timer);
    const generation = this.generation;
    this.timer = this.platform.setTimer(() => {
      if (generation === this.generation) this.fail(false, 'websocket');
    }, SILENCE_MS);
  }

  private fail(spoke: boolean, transport: Transport): void {
    this.drop();
    if (!this.wanted) return;
    if (!spoke && transport === 'websocket') this.socketFailures += 1;
    const wait = backoffMs(this.attempt, () => this.platform.random());
    this.attempt += 1;
    const generation = this.generation;
    this.onState({ kind: 'waiting', retryAtMs: this.platform.now() + wait });
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
