import { beforeEach, describe, expect, it, vi } from 'vitest';
import { backoffMs, LONGEST_MS } from './backoff';
import { type Facts, freshness } from './freshness';
import { parseMessage } from './message';
import {
  type Channel,
  type ChannelEvents,
  type LinkState,
  LiveSource,
  type Platform,
  SILENCE_MS,
  type Transport,
  type Verdict,
} from './source';
import { LiveStore } from './store';

const T0 = 1_763_683_200_000;

interface Slot {
  t: number;
  count: number;
  errors?: number;
}

function rowOf(key: Record<string, string>, slots: Slot[]) {
  const each = (value: (slot: Slot) => number) => slots.map(value);
  const count = slots.reduce((sum, slot) => sum + slot.count, 0);
  return {
    key,
    last_seen_ms: T0,
    window: {
      count,
      errors: 0,
      rate: count / 900,
      error_rate: 0,
      latency_count: count,
      mean_ms: 5,
      max_ms: 9,
      quantiles_ms: { '0.5': 4, '0.95': 7, '0.99': 8 },
    },
    t: each((slot) => slot.t),
    count: each((slot) => slot.count),
    errors: each((slot) => slot.errors ?? 0),
    latency_count: each((slot) => slot.count),
    mean_ms: each(() => 5),
    max_ms: each(() => 9),
    status: { '2xx': each((slot) => slot.count) },
    quantiles_ms: { '0.5': each(() => 4), '0.95': each(() => 7), '0.99': each(() => 8) },
  };
}

function message(type: 'snapshot' | 'frame', slots: Slot[], more: Record<string, unknown> = {}): string {
  return JSON.stringify({
    type,
    id: 'e1-7',
    at_ms: T0,
    step_ms: 10_000,
    window_ms: 900_000,
    error_bound: 0.001,
    newest_event_ms: T0 - 400,
    epoch: 'e1',
    quantiles: ['0.5', '0.95', '0.99'],
    envs: ['default'],
    total: rowOf({}, slots),
    rows: [rowOf({ service: 'checkout' }, slots)],
    ...more,
  });
}

describe('messages', () => {
  it('are refused with the path of what was wrong', () => {
    expect(() => parseMessage('{')).toThrow('message: expected JSON');
    expect(() => parseMessage(message('snapshot', [], { at_ms: 'now' }))).toThrow(
      'at_ms: expected a finite number',
    );
    const short = JSON.parse(message('snapshot', [{ t: T0, count: 1 }])) as { rows: { errors: number[] }[] };
    if (short.rows[0]) short.rows[0].errors = [];
    expect(() => parseMessage(JSON.stringify(short))).toThrow('rows[0].errors: expected 1 values, as in t');
  });

  it('of an unknown type are passed over', () => {
    expect(parseMessage('{"type":"poem"}')).toBeNull();
  });

  it('carry an unknown status as an empty label', () => {
    const parsed = parseMessage(
      message('frame', [], { rows: [{ ...rowOf({}, []), key: { status: null } }] }),
    );
    expect(parsed?.type === 'frame' && parsed.rows[0]?.key).toEqual({ status: '' });
  });
});

describe('the store', () => {
  let now = T0;
  let pending: (() => void)[] = [];
  let store: LiveStore;
  const paint = () => {
    const run = pending;
    pending = [];
    for (const each of run) each();
  };
  const receive = (payload: string) => {
    const parsed = parseMessage(payload);
    if (parsed !== null) store.receive(parsed);
    paint();
  };
  const heartbeat = () =>
    receive(JSON.stringify({ type: 'heartbeat', id: 'e1-8', at_ms: now, newest_event_ms: null }));
  const countAt = (t: number) => {
    const columns = store.getView()?.rows[0]?.columns;
    return columns?.count[columns.t.indexOf(t)];
  };

  beforeEach(() => {
    now = T0 + 5000;
    pending = [];
    store = new LiveStore({ now: () => now, schedule: (run) => pending.push(run) });
  });

  const at = (offset: number) => T0 + offset;

  it('replaces by key and time with absolute values', () => {
    receive(message('snapshot', [{ t: at(-20_000), count: 5 }], { at_ms: at(5000) }));
    receive(message('frame', [{ t: at(-20_000), count: 8 }], { at_ms: at(5000) }));
    expect(countAt(at(-20_000))).toBe(8);
    expect(countAt(at(-30_000))).toBeNull();
  });

  it('takes a count that goes backwards only under a new epoch or from a snapshot', () => {
    receive(message('snapshot', [{ t: at(-20_000), count: 8 }], { at_ms: at(5000) }));
    receive(message('frame', [{ t: at(-20_000), count: 3 }], { at_ms: at(5000) }));
    expect(countAt(at(-20_000))).toBe(8);
    receive(message('frame', [{ t: at(-20_000), count: 3 }], { at_ms: at(5000), epoch: 'e2' }));
    expect(countAt(at(-20_000))).toBe(3);
  });

  it('drops rows that are gone and everything at a full snapshot, but keeps it at a resumed one', () => {
    receive(message('snapshot', [{ t: at(-20_000), count: 8 }], { at_ms: at(5000) }));
    receive(message('snapshot', [{ t: at(-10_000), count: 2 }], { at_ms: at(5000), resumed: true }));
    expect(countAt(at(-20_000))).toBe(8);
    receive(message('snapshot', [{ t: at(-10_000), count: 2 }], { at_ms: at(5000) }));
    expect(countAt(at(-20_000))).toBeNull();
    receive(message('frame', [], { rows: [], gone: [{ service: 'checkout' }], at_ms: at(5000) }));
    expect(store.getView()?.rows).toEqual([]);
  });

  it('takes its age from the probe where there is one, else from the newest event', () => {
    receive(message('frame', [], { at_ms: at(5000), newest_event_ms: at(3000) }));
    expect(store.lagMs()).toBe(2000);
    now += 20_000;
    receive(message('frame', [], { at_ms: at(25_000), newest_event_ms: at(3000), probe_ms: 400 }));
    expect(store.lagMs()).toBe(400);
    expect(store.lagQuantile(1, 60_000)).toBe(2000);
    now += 11_000;
    expect(store.lagMs()).toBeNull();
  });

  it('slides with the server clock and forgets what left the window', () => {
    receive(message('snapshot', [{ t: at(-890_000), count: 8 }], { at_ms: at(5000) }));
    expect(countAt(at(-890_000))).toBe(8);
    now += 20_000;
    heartbeat();
    expect(store.getView()?.rows[0]?.columns.t.includes(at(-890_000))).toBe(false);
    expect(store.getView()?.rows[0]?.columns.t.length).toBe(90);
  });

  it('lets time stand still while nobody speaks, so that no step closes half full', () => {
    receive(message('snapshot', [{ t: T0, count: 8 }], { at_ms: at(5000) }));
    now += 60_000;
    store.tick();
    paint();
    expect(store.getView()?.lastT).toBe(T0);
    expect(store.getView()?.openT).toBe(T0);
  });

  it('marks the step that is still filling, and gives a closed one time to arrive', () => {
    receive(message('snapshot', [], { at_ms: at(5000) }));
    expect(store.getView()?.openT).toBe(T0);
    now = T0 + 10_500;
    heartbeat();
    expect(store.getView()?.openT).toBe(T0);
    now = T0 + 12_000;
    heartbeat();
    expect(store.getView()?.openT).toBe(T0 + 10_000);
  });

  it('shows the first picture of a view opened while paused, and keeps it', () => {
    store.setPaused(true);
    receive(message('snapshot', [{ t: T0, count: 1 }], { at_ms: at(5000) }));
    const first = store.getView();
    expect(countAt(T0)).toBe(1);
    receive(message('frame', [{ t: T0, count: 4 }], { at_ms: at(6000) }));
    expect(store.getView()).toBe(first);
  });

  it('keeps the view while paused and the range while held', () => {
    receive(message('snapshot', [{ t: T0, count: 1 }], { at_ms: at(5000) }));
    const before = store.getView();
    store.setPaused(true);
    receive(message('frame', [{ t: T0, count: 4 }], { at_ms: at(6000) }));
    expect(store.getView()).toBe(before);
    store.setPaused(false);
    store.setHeld(true);
    paint();
    now += 60_000;
    heartbeat();
    expect(store.getView()?.lastT).toBe(T0);
    expect(countAt(T0)).toBe(4);
  });

  it('tells late events from those of a slow reader, and forgets them with their step', () => {
    const frame = (version: number, atMs: number, slots: Slot[]) =>
      receive(message('frame', slots, { id: `e1-${version}`, at_ms: atMs }));
    receive(message('snapshot', [{ t: at(-20_000), count: 5 }], { at_ms: at(3000) }));
    frame(8, at(4000), [{ t: at(-20_000), count: 9 }]);
    expect(store.getView()?.late).toEqual([{ t: at(-20_000), count: 4 }]);
    // Its step had ended four seconds before the last message: on its way.
    frame(9, at(5000), [{ t: at(-10_000), count: 3 }]);
    frame(10, at(6000), [
      { t: at(-20_000), count: 10 },
      { t: at(-10_000), count: 4 },
    ]);
    expect(store.getView()?.late).toEqual([
      { t: at(-20_000), count: 5 },
      { t: at(-10_000), count: 1 },
    ]);
    // Versions 11 to 19 were never seen: in one of them this was in time.
    frame(20, at(40_000), [{ t: at(10_000), count: 7 }]);
    expect(store.getView()?.late.length).toBe(2);
    now += 1_000_000;
    heartbeat();
    expect(store.getView()?.late).toEqual([]);
  });

  it('counts the versions it was not told, and how often the server speaks, by its own clock', () => {
    const frame = (version: number, atMs: number) => {
      now += 1000;
      receive(message('frame', [], { id: `e1-${version}`, at_ms: atMs }));
    };
    receive(message('snapshot', [], { at_ms: at(0) }));
    frame(8, at(5000));
    frame(9, at(10_000));
    expect(store.paceMs()).toBeNull();
    frame(10, at(15_000));
    expect(store.paceMs()).toBe(5000);
    // Three missed: the way here is slow, which says nothing about the server.
    frame(14, at(40_000));
    expect([store.skippedFrames(), store.paceMs()]).toEqual([3, 5000]);
    receive(message('snapshot', [], { id: 'e2-90', epoch: 'e2', at_ms: at(90_000) }));
    expect([store.skippedFrames(), store.paceMs()]).toEqual([3, 5000]);
    now += 31_000;
    expect(store.paceMs()).toBeNull();
  });

  it('draws at most once a frame, however many messages arrive', () => {
    const listener = vi.fn();
    store.subscribe(listener);
    for (let count = 1; count <= 5; count += 1) {
      const parsed = parseMessage(message('frame', [{ t: T0, count }]));
      if (parsed !== null) store.receive(parsed);
    }
    expect(pending.length).toBe(1);
    paint();
    expect(listener).toHaveBeenCalledTimes(1);
  });
});

describe('the source', () => {
  interface Opened {
    transport: Transport;
    path: string;
    events: ChannelEvents;
    closed: boolean;
  }
  let now = 0;
  let opened: Opened[];
  let timers: Map<number, { run: () => void; at: number }>;
  let states: LinkState[];
  let verdict: Verdict;
  let tickets: (string | null)[];
  let source: LiveSource;

  const platform: Platform = {
    ticket: () => Promise.resolve(tickets.length > 1 ? (tickets.shift() ?? null) : (tickets[0] ?? null)),
    open(transport, path, events): Channel {
      const entry = { transport, path, events, closed: false };
      opened.push(entry);
      return {
        close: () => {
          entry.closed = true;
        },
      };
    },
    diagnose: () => Promise.resolve(verdict),
    now: () => now,
    random: () => 1,
    setTimer(run, after) {
      const id = timers.size + 1 + Math.floor(now);
      timers.set(id, { run, at: now + after });
      return id;
    },
    clearTimer: (id) => timers.delete(id),
  };
  /** Lets promises that are settled be heard. */
  const settle = async () => {
    for (let turn = 0; turn < 4; turn += 1) await Promise.resolve();
  };
  const pass = async (ms: number) => {
    now += ms;
    for (const [id, timer] of [...timers]) {
      if (timer.at > now || !timers.has(id)) continue;
      timers.delete(id);
      timer.run();
    }
    await settle();
  };
  const last = () => opened.at(-1) as Opened;

  beforeEach(async () => {
    now = 0;
    opened = [];
    timers = new Map();
    states = [];
    verdict = 'unreachable';
    tickets = ['t1'];
    source = new LiveSource(platform, '/v1/live?window=15m', vi.fn(), (state) => states.push(state));
    source.start();
    await settle();
  });

  it('falls back to server-sent events after two failed sockets', async () => {
    last().events.closed();
    await pass(500);
    expect(last().transport).toBe('websocket');
    last().events.closed();
    await pass(1000);
    expect(last().transport).toBe('sse');
    expect(last().path).toBe('/v1/live?window=15m');
  });

  it('opens each socket with a ticket of its own', async () => {
    expect(last().path).toBe('/v1/live?window=15m&ticket=t1');
    tickets = ['t2/+'];
    last().events.closed();
    await pass(500);
    expect(last().path).toBe('/v1/live?window=15m&ticket=t2%2F%2B');
  });

  it('opens no socket without a ticket, and does not take that for a failed socket', async () => {
    last().events.text(message('snapshot', []));
    tickets = [null];
    last().events.closed();
    await pass(500);
    await pass(500);
    await pass(1000);
    expect(opened.length).toBe(1);
    expect(states.at(-1)?.kind).toBe('waiting');
    tickets = ['t2'];
    await pass(2000);
    expect(opened.length).toBe(2);
    expect(last().transport).toBe('websocket');
  });

  it('forgets a ticket that comes after it was stopped', async () => {
    last().events.closed();
    now += 500;
    source.retryNow();
    source.stop();
    await settle();
    expect(opened.length).toBe(1);
    expect(states.at(-1)?.kind).toBe('closed');
  });

  it('knows a restart by what the server says of it, until it is back or it takes too long', async () => {
    const restarting = () => {
      const state = states.at(-1);
      return state?.kind === 'waiting' && state.restarting;
    };
    last().events.text(message('snapshot', []));
    last().events.closed('retry=7; this view is more than the connection takes');
    expect(restarting()).toBe(false);
    await pass(7500);
    last().events.text(message('snapshot', []));
    last().events.closed('retry=3; the service restarts');
    expect(restarting()).toBe(true);
    await pass(3500);
    last().events.closed();
    expect(restarting()).toBe(true);
    await pass(1000);
    last().events.text(message('snapshot', []));
    last().events.closed();
    expect(restarting()).toBe(false);
    await pass(500);
    last().events.text(message('snapshot', []));
    last().events.closed('retry=3; the service restarts');
    for (let attempt = 0; attempt < 8; attempt += 1) {
      expect(restarting()).toBe(true);
      await pass(18_000);
      last().events.closed();
    }
    expect(restarting()).toBe(false);
  });

  it('comes back when the server asks it to, and not sooner', async () => {
    last().events.text(message('snapshot', []));
    last().events.closed('retry=7; this view is more than the connection takes');
    await pass(7000);
    expect(opened.length).toBe(1);
    await pass(500);
    expect(opened.length).toBe(2);
  });

  it('sends what it saw last when it comes back', async () => {
    last().events.text(message('snapshot', []));
    last().events.closed();
    await pass(500);
    expect(last().path).toBe('/v1/live?window=15m&since=e1-7&ticket=t1');
    expect(last().transport).toBe('websocket');
  });

  it('waits longer after each failure, never longer than the limit', () => {
    expect([0, 1, 2, 5, 20].map((attempt) => backoffMs(attempt, () => 1))).toEqual([
      500,
      1000,
      2000,
      LONGEST_MS,
      LONGEST_MS,
    ]);
    expect(backoffMs(5, () => 0)).toBe(0);
  });

  it('treats ten silent seconds as a dead connection', async () => {
    last().events.text(message('snapshot', []));
    const first = last();
    await pass(SILENCE_MS);
    expect(first.closed).toBe(true);
    expect(states.at(-1)?.kind).toBe('waiting');
  });

  it('stops and says so when the session is over', async () => {
    verdict = 'unauthorized';
    last().events.closed();
    await settle();
    expect(states.at(-1)?.kind).toBe('unauthorized');
    await pass(60_000);
    expect(opened.length).toBe(1);
  });

  it('starts over when a message cannot be read', () => {
    const silent = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    last().events.text('{"type":"snapshot"}');
    expect(states.at(-1)?.kind).toBe('waiting');
    silent.mockRestore();
  });

  it('ignores a channel it has given up', async () => {
    const first = last();
    first.events.closed();
    await pass(500);
    const count = states.length;
    first.events.closed();
    expect(states.length).toBe(count);
  });
});

describe('the badge', () => {
  const facts: Facts = {
    mode: 'live',
    nowMs: T0,
    link: { kind: 'open', transport: 'websocket' },
    silenceMs: 300,
    lagMs: 400,
    paceMs: 1000,
    pausedAtMs: null,
    heldSinceMs: null,
    pollEveryMs: null,
    newestMs: T0,
    zone: 'utc',
  };
  const words = (more: Partial<Facts>) => {
    const state = freshness({ ...facts, ...more });
    return `${state.kind}: ${state.word} ${state.detail}`.trim().replaceAll('\u00a0', ' ');
  };

  it('has a word for every state', () => {
    expect(words({})).toBe('live: Live 0.4 s');
    expect(words({ lagMs: null })).toBe('live: Live, no traffic');
    expect(words({ silenceMs: 4000 })).toBe('behind: Behind 4 s');
    expect(words({ silenceMs: 4000, paceMs: 5000 })).toBe('behind: Every 5 s: the server is busy');
    expect(words({ silenceMs: 12_000, paceMs: 5000 })).toBe('lost: No data for 12 s. Reconnecting.');
    expect(
      words({ silenceMs: 12_000, link: { kind: 'waiting', restarting: false, retryAtMs: T0 + 3000 } }),
    ).toBe('lost: No data for 12 s. Reconnecting in 3 s.');
    expect(words({ pausedAtMs: T0 - 37_000 })).toBe('paused: Paused at 23:59:23, 37 s behind.');
    expect(words({ heldSinceMs: T0 - 6000 })).toBe('held: Holding, 6 s');
    expect(words({ mode: 'history' })).toBe('history: History');
    expect(words({ mode: 'polled', pollEveryMs: 30_000 })).toBe('history: Every 30 s');
    expect(words({ silenceMs: null })).toBe('connecting: Connecting');
  });
});
