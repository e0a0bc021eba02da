/**
 * What a live page knows, outside React. Messages come in; once per animation frame at most, one immutable `View`
 * leaves to the listeners.
 *
 * Promised: values are absolute and replace by (key, t); a count that goes backwards is taken only from a snapshot or
 * under a new epoch; the window slides with the server's clock; memory is rows × window, however long the tab stays open.
 * Not done here: connecting (source), judging (verdict), drawing.
 */
import { type Columns, EMPTY_TOTALS, type Row, type View } from '@/lib/series/types';
import type { LiveData, LiveMessage, LiveRow } from './message';
import { Ring } from './ring';

interface Held {
  row: LiveRow;
  ring: Ring;
  /** The row as last shown; the same object again when neither it nor the window has changed. */
  shown: { fromMs: number; toMs: number; row: Row } | null;
}

export interface StoreClock {
  now(): number;
  /** Runs once, before the next paint; never while the page is hidden. */
  schedule(run: () => void): void;
}

const TOTAL_ID = '';
/** A step counts as closed only when its last events had time to arrive here; otherwise every step would begin as a dip. */
const SETTLE_MS = 1500;
/** What events need on a normal day from their end to this store. */
const TRANSIT_MS = 500;
const IDLE_MS = 900;
/** So long after the end of its step an event is late; until then it is only on its way. */
const LATE_MS = 5000;
/** The server speaks every second; after two without a word the window waits for it. */
const SILENT_MS = 2000;
/** Ages are told twice a second: at most 600 of them are kept. */
export const LAGS_KEPT_MS = 300_000;
const PACE_OVER_MS = 30_000;
const GAPS_MIN = 3;

export class LiveStore {
  private readonly rows = new Map<string, Held>();
  private total: Held | null = null;
  private shape: LiveData | null = null;
  private epoch = '';
  private newestEventMs: number | null = null;
  private envs: readonly string[] = [];
  private readonly late = new Map<number, number>();
  private clockOffsetMs = 0;
  private lastMessageAt: number | null = null;
  private lags: { at: number; lag: number }[] = [];
  private told: { epoch: string; version: number; atMs: number } | null = null;
  private skipped = 0;
  private gaps: { at: number; ms: number }[] = [];
  private view: View | null = null;
  private scheduled = false;
  private paused = false;
  private derivedAt = 0;
  private heldEndMs: number | null = null;
  private readonly listeners = new Set<() => void>();

  constructor(private readonly clock: StoreClock) {}

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** The same object until something changed, as `useSyncExternalStore` asks. */
  readonly getView = (): View | null => this.view;

  receive(message: LiveMessage): void {
    const now = this.clock.now();
    this.lastMessageAt = now;
    this.clockOffsetMs = message.atMs - now;
    this.newestEventMs = message.newestEventMs;
    // The probe measures the whole way; without one, the newest event of a frame is the best there is.
    const newest = message.type === 'frame' ? message.newestEventMs : null;
    const lag = message.probeMs ?? (newest === null ? null : message.atMs - newest);
    if (lag !== null) {
      this.lags.push({ at: now, lag: Math.max(0, lag) });
      const old = this.lags.findIndex((entry) => entry.at > now - LAGS_KEPT_MS);
      if (old > 0) this.lags.splice(0, old);
    }
    // What a slow reader is told late was not late itself: only what changed since the last message can be.
    const shownUntilMs = this.follow(message, now);
    if (message.type !== 'heartbeat') this.merge(message, shownUntilMs);
    this.touch();
  }

  /**
   * Versions that were not told one by one, and how much time lies between those that were. Leaves when the message
   * before this one was made, if nothing was told between the two.
   */
  private follow(message: LiveMessage, now: number): number | null {
    const before = this.told;
    const told = versionOf(message.id);
    this.told = told === null ? null : { ...told, atMs: message.atMs };
    if (told === null || before === null || message.type === 'snapshot' || told.epoch !== before.epoch)
      return null;
    const missed = Math.max(0, told.version - before.version - 1);
    this.skipped += missed;
    // Whoever skips is slow to read; that says nothing about how often the server speaks.
    if (missed === 0) this.gaps.push({ at: now, ms: message.atMs - before.atMs });
    const old = this.gaps.findIndex((gap) => gap.at > now - PACE_OVER_MS);
    if (old > 0) this.gaps.splice(0, old);
    return missed === 0 ? before.atMs : null;
  }

  /** The server's clock as far as the last message tells. */
  serverNow(): number {
    return this.clock.now() + this.clockOffsetMs;
  }

  /** Local time since anything arrived, or `null` before the first message. */
  silenceMs(): number | null {
    return this.lastMessageAt === null ? null : this.clock.now() - this.lastMessageAt;
  }

  /** Median age over the last 10 s; `null` when nothing told it. */
  lagMs(): number | null {
    return this.lagQuantile(0.5, 10_000);
  }

  /** A quantile of the age over the last so many milliseconds. */
  lagQuantile(q: number, overMs: number): number | null {
    const horizon = this.clock.now() - overMs;
    const recent = this.lags.filter((entry) => entry.at > horizon).map((entry) => entry.lag);
    if (recent.length === 0) return null;
    recent.sort((a, b) => a - b);
    return recent[Math.min(recent.length - 1, Math.floor(recent.length * q))] as number;
  }

  /** Versions this page was not sent one by one, because it or the way to it was slow. */
  skippedFrames(): number {
    return this.skipped;
  }

  /** Median time between what the server says, by its own clock; `null` when that cannot be told yet. */
  paceMs(): number | null {
    const recent = this.gaps.filter((gap) => gap.at > this.clock.now() - PACE_OVER_MS).map((gap) => gap.ms);
    if (recent.length < GAPS_MIN) return null;
    recent.sort((a, b) => a - b);
    return recent[Math.floor(recent.length / 2)] as number;
  }

  newestMs(): number | null {
    return this.newestEventMs;
  }

  /** Paused: data keeps arriving and is merged, the view stays. Where there is none yet, the first one is shown. */
  setPaused(paused: boolean): void {
    this.paused = paused;
    if (!paused) this.touch();
  }

  /** Held (a pointer rests on a chart): numbers go on, the range stays. */
  setHeld(held: boolean): void {
    this.heldEndMs = held ? (this.view?.lastT ?? null) : null;
    this.touch();
  }

  /** Lets the window slide when nothing arrives. Frames that did arrive have moved it already. */
  tick(): void {
    if (this.clock.now() - this.derivedAt >= IDLE_MS) this.touch();
  }

  private merge(data: LiveData, shownUntilMs: number | null): void {
    const reshaped =
      this.shape === null ||
      this.shape.stepMs !== data.stepMs ||
      this.shape.windowMs !== data.windowMs ||
      this.shape.quantiles.join() !== data.quantiles.join();
    if (reshaped || (data.type === 'snapshot' && !data.resumed)) {
      this.rows.clear();
      this.total = null;
      this.late.clear();
    }
    const free = data.type === 'snapshot' || data.epoch !== this.epoch;
    this.shape = data;
    this.epoch = data.epoch;
    this.envs = data.envs;
    if (data.total !== null) {
      const overBeforeMs = shownUntilMs === null ? null : shownUntilMs - LATE_MS - data.stepMs;
      this.total = this.mergeRow(this.total, data.total, data, free, (t, more) => {
        if (overBeforeMs !== null && t <= overBeforeMs) this.late.set(t, (this.late.get(t) ?? 0) + more);
      });
    }
    for (const row of data.rows) {
      this.rows.set(row.id, this.mergeRow(this.rows.get(row.id) ?? null, row, data, free));
    }
    for (const id of data.gone) this.rows.delete(id);
  }

  private mergeRow(
    held: Held | null,
    row: LiveRow,
    data: LiveData,
    free: boolean,
    grown: (t: number, more: number) => void = () => undefined,
  ): Held {
    const ring = held?.ring ?? new Ring(data.stepMs, data.windowMs, data.quantiles);
    ring.merge(row.columns, (t, before, next) => {
      if (!free && next !== null && next > (before ?? 0)) grown(t, next - (before ?? 0));
      return free || before === null || (next !== null && next >= before);
    });
    return { row, ring, shown: null };
  }

  private touch(): void {
    if (this.scheduled || this.isStill()) return;
    this.scheduled = true;
    this.clock.schedule(() => {
      this.scheduled = false;
      if (this.isStill()) return;
      this.derivedAt = this.clock.now();
      this.view = this.derive();
      for (const listener of this.listeners) listener();
    });
  }

  private isStill(): boolean {
    return this.paused && this.view !== null;
  }

  private derive(): View | null {
    const shape = this.shape;
    if (shape === null) return null;
    // Without messages time stands still here: a step that nobody tells us about must not close as if it were empty.
    const toldUntil = (this.lastMessageAt ?? Number.POSITIVE_INFINITY) + SILENT_MS;
    const now = Math.min(this.clock.now(), toldUntil) + this.clockOffsetMs;
    const liveOpenT = Math.floor((now - SETTLE_MS) / shape.stepMs) * shape.stepMs;
    const openT = this.heldEndMs ?? liveOpenT;
    // As many steps as the server counts, the open one included.
    const fromMs = openT - shape.windowMs + shape.stepMs;
    const filling = openT === liveOpenT;
    for (const t of this.late.keys()) if (t < liveOpenT - shape.windowMs) this.late.delete(t);
    return {
      stepMs: shape.stepMs,
      fromMs,
      toMs: filling ? now : openT + shape.stepMs,
      lastT: openT,
      openT: filling ? openT : null,
      openElapsedMs: filling ? Math.max(0, Math.min(shape.stepMs, now - openT - TRANSIT_MS)) : 0,
      errorBound: shape.errorBound,
      kept: null,
      newestEventMs: this.newestEventMs,
      late: [...this.late]
        .map(([t, count]) => ({ t, count }))
        .filter(({ t }) => t >= fromMs && t < openT)
        .sort((a, b) => a.t - b.t),
      envs: this.envs,
      total:
        this.total === null ? emptyTotal(fromMs, openT, shape) : freeze(TOTAL_ID, this.total, fromMs, openT),
      rows: [...this.rows].map(([id, held]) => freeze(id, held, fromMs, openT)),
    };
  }
}

/** An id is the epoch and a version. */
function versionOf(id: string): { epoch: string; version: number } | null {
  const parts = /^(.+)-(\d+)$/.exec(id);
  return parts === null ? null : { epoch: parts[1] as string, version: Number(parts[2]) };
}

/** Columns are made when someone looks: of 5,000 rows, few are on the screen. */
function freeze(id: string, held: Held, fromMs: number, toMs: number): Row {
  if (held.shown?.fromMs === fromMs && held.shown.toMs === toMs) return held.shown.row;
  let columns: Columns | null = null;
  const row: Row = {
    id,
    key: held.row.key,
    lastSeenMs: held.row.lastSeenMs,
    window: held.row.window,
    get columns() {
      columns ??= held.ring.columns(fromMs, toMs);
      return columns;
    },
  };
  held.shown = { fromMs, toMs, row };
  return row;
}

function emptyTotal(fromMs: number, toMs: number, shape: LiveData): Row {
  return {
    id: TOTAL_ID,
    key: {},
    lastSeenMs: null,
    window: EMPTY_TOTALS,
    columns: new Ring(shape.stepMs, shape.windowMs, shape.quantiles).columns(fromMs, toMs),
  };
}
