/**
 * The client: events in, batches out, and books that balance.
 *
 * Arrives: finished requests and operations, from the frameworks or from the application. Leaves: batches to ingest.
 * Promised: no method throws or waits (flushing is a promise that never rejects); the queue is bounded in bytes; a batch
 * keeps its bytes and its identity until there is a final answer, so a retry is never counted twice; every event ends in
 * exactly one column of `stats()`. Not done: anything of one runtime alone, which is the `Platform`'s.
 */

import { type Counted, judge, type Reply } from './answer.js';
import { pauseMs, retryAfterMs } from './backoff.js';
import { Encoder, type Event, nameOf, sizeOf, TAIL_BYTES_MAX } from './event.js';
import { Producer } from './identity.js';
import { type Options, resolve, type Settings } from './options.js';
import { type Batch, Queue } from './queue.js';
import { traceIdOf } from './trace.js';

/** What a runtime has to bring. */
export interface Platform {
  environment: Record<string, string | undefined>;
  hostName: () => string | undefined;
  random: (bytes: Uint8Array<ArrayBuffer>) => void;
  /** Rejects or resolves within the time; reads no more of an answer than it must. */
  post: (request: Request, timeoutMs: number) => Promise<Reply>;
  gzip: ((bytes: Uint8Array) => Promise<Uint8Array>) | undefined;
  /** A timer that does not keep the process alive. */
  after: (ms: number, call: () => void) => Timer;
  /** A timer that does. */
  deadline: (ms: number, call: () => void) => Timer;
}

export interface Request {
  url: string;
  headers: Record<string, string>;
  body: Uint8Array;
}

export interface Timer {
  cancel: () => void;
}

/** The books: recorded = accepted + rejected + unconfirmed + all that was dropped + held. */
export interface Stats {
  /** False: nothing is sent, because something is not configured. */
  enabled: boolean;
  recorded: number;
  /** Durable, by ingest's word. */
  accepted: number;
  /** Judged by ingest one by one and refused. */
  rejected: number;
  /** Handed to a page's beacon, which is sent once and says nothing. */
  unconfirmed: number;
  dropped: {
    /** No room. */
    full: number;
    /** A whole batch was refused for good. */
    refused: number;
    /** A batch failed for longer than `giveUpAfterMs`. */
    expired: number;
    /** Left over at a shutdown, or recorded after it. */
    shutdown: number;
    /** Could not be written down. */
    invalid: number;
  };
  /** Waiting, or on the way. */
  held: number;
  heldBytes: number;
  /** Requests to ingest, tries included. */
  requests: number;
  retried: number;
  bytesSent: number;
}

/** A request, until it is a line. */
interface Note {
  route: string;
  method: string;
  status: number;
  durationMs: number;
  endedAt: number;
  bytesIn: unknown;
  bytesOut: unknown;
  traceparent: unknown;
}

/** So many lines are written in some ten microseconds. */
const NOTES_MAX = 64;

/** Less than this is sent as it is: compression would save less than a packet. */
const GZIP_BYTES_MIN = 1024;

/** The longest pause while somebody waits for a flush. */
const URGENT_PAUSE_MS = 250;

/** One complaint of each kind in this time. */
const SAY_INTERVAL_MS = 60_000;

export class Client {
  readonly settings: Settings;
  readonly enabled: boolean;
  readonly #platform: Platform;
  readonly #encoder: Encoder;
  readonly #queue: Queue;
  readonly #producer: Producer;
  readonly #isLocal: boolean;
  readonly #said = new Map<string, number>();
  readonly #stats = {
    recorded: 0,
    accepted: 0,
    rejected: 0,
    unconfirmed: 0,
    requests: 0,
    retried: 0,
    bytesSent: 0,
  };
  readonly #dropped: Stats['dropped'] = { full: 0, refused: 0, expired: 0, shutdown: 0, invalid: 0 };
  /** The same objects over and over: nothing is left behind for the garbage collector. */
  readonly #notes: Note[] = Array.from({ length: NOTES_MAX }, () => ({
    route: '',
    method: '',
    status: 0,
    durationMs: 0.1,
    endedAt: 0.1,
    bytesIn: undefined,
    bytesOut: undefined,
    traceparent: undefined,
  }));
  #noted = 0;
  #timer: Timer | undefined;
  #isRunning = false;
  readonly #waiters = new Set<{ batch: Batch; resolve: () => void }>();
  #compressing = Promise.resolve();
  #wake: (() => void) | undefined;
  /** How many wait for a flush. */
  #urgent = 0;
  #closed = false;
  #shutdown: Promise<Stats> | undefined;
  /** Refusals in a row: a wrong key is tried seldom, not with every batch. */
  #refusals = 0;

  constructor(options: Options, platform: Platform) {
    this.#platform = platform;
    const { settings, missing } = resolve(options, platform.environment);
    this.settings = settings;
    this.enabled = missing === undefined;
    settings.host ??= attempt(platform.hostName);
    settings.service = nameOf(settings.service, 128);
    if (settings.env !== undefined) settings.env = nameOf(settings.env, 64);
    this.#encoder = new Encoder(settings);
    this.#queue = new Queue({
      bytesMax: settings.bufferBytes,
      batchBytesMax: settings.batchBytes,
      batchEventsMax: settings.batchEvents,
    });
    this.#isLocal = /^https?:\/\/(?:localhost|127\.[\d.]+|\[::1\])(?:[:/]|$)/.test(settings.url);
    this.#producer = new Producer(platform.random, settings.producerAgeMs);
    if (missing !== undefined) this.say('off', `${missing}; no events are sent`);
    else if (settings.service === 'unknown_service')
      this.say('service', 'PEEP_SERVICE is not set; the service is called unknown_service');
  }

  /** Any timed operation. */
  record(event: Event): void {
    if (!this.enabled) return;
    try {
      const detail = this.#wantsDetail(Boolean(event.error) || Number(event.status) >= 500);
      this.#take(this.#encoder.event(event, Date.now(), detail));
    } catch {
      this.#lose();
    }
  }

  /**
   * A finished request: the way of the frameworks. `route` is a template or '' where there is none; sizes below zero are
   * unknown; `traceparent` is the header's value, if any.
   */
  request(
    route: string,
    method: string,
    status: number,
    durationMs: number,
    bytesIn = -1,
    bytesOut = -1,
    traceparent: unknown = undefined,
  ): void {
    if (this.enabled) {
      this.note(route, method, status, durationMs, performance.now(), bytesIn, bytesOut, traceparent);
    }
  }

  /**
   * The same for somebody who has just looked at the clock (`performance.now()`). What was noted is written down some dozens at a time:
   * in the middle of a request every line of code has to be fetched from far away, in a loop only the first time.
   */
  note(
    route: string,
    method: string,
    status: number,
    durationMs: number,
    endedAt: number,
    bytesIn: unknown,
    bytesOut: unknown,
    traceparent: unknown,
  ): void {
    if (this.#closed) {
      this.#admits();
      return;
    }
    const note = this.#notes[this.#noted] as Note;
    note.route = route;
    note.method = method;
    note.status = status;
    note.durationMs = durationMs;
    note.endedAt = endedAt;
    note.bytesIn = bytesIn;
    note.bytesOut = bytesOut;
    note.traceparent = traceparent;
    this.#noted += 1;
    if (this.#noted === NOTES_MAX) this.#writeDown();
    else if (this.#timer === undefined) this.#startTimer();
  }

  /** Sends what there is now. True when all of it has its final answer within the time. Never rejects. */
  async flush(timeoutMs: number = this.settings.shutdownTimeoutMs): Promise<boolean> {
    this.#seal();
    const last = this.#queue.sealed.at(-1);
    if (last === undefined) return true;
    this.#urgent += 1;
    this.#wake?.();
    await new Promise<void>((resolve) => {
      const waiter = { batch: last, resolve: done };
      const timer = this.#platform.deadline(timeoutMs, done);
      this.#waiters.add(waiter);
      const waiters = this.#waiters;
      function done(): void {
        timer.cancel();
        waiters.delete(waiter);
        resolve();
      }
    });
    this.#urgent -= 1;
    return !this.#queue.sealed.includes(last);
  }

  /** Sends what is left, for at most so long, and ends. What cannot be sent is counted. Never rejects. */
  shutdown(timeoutMs: number = this.settings.shutdownTimeoutMs): Promise<Stats> {
    this.#shutdown ??= this.#end(Date.now() + timeoutMs);
    return this.#shutdown;
  }

  /**
   * Hands over what was never sent, for a way out that has no answers: a page's beacon. What `take` does not want stays. A batch that was sent
   * once stays too: without its identity it might be counted twice.
   */
  handOver(take: (body: Uint8Array, events: number) => boolean): void {
    this.#seal();
    for (const batch of [...this.#queue.sealed]) {
      if (batch.identity !== undefined || batch.encoding !== undefined) continue;
      if (attempt(() => take(batch.body, batch.events)) !== true) continue;
      this.#stats.unconfirmed += batch.events;
      this.#remove(batch);
    }
  }

  /**
   * Sends what is left where only something that blocks can: `send` gets the requests, oldest first, and says of each what was answered before it
   * returns. Then the client is at its end, and what has no final answer is counted as lost.
   */
  sendBlocking(send: (requests: Request[], answered: (index: number, reply: Reply) => void) => void): void {
    this.#seal();
    this.#closed = true;
    const batches = [...this.#queue.sealed];
    if (batches.length === 0) return;
    attempt(() => {
      for (const batch of batches) batch.identity ??= this.#producer.next(Date.now());
      send(
        batches.map((batch) => this.#requestOf(batch)),
        (index, reply) => this.#answeredAtLast(batches[index], reply),
      );
    });
    this.#loseTheRest();
  }

  #answeredAtLast(batch: Batch | undefined, reply: Reply): void {
    if (batch === undefined) return;
    this.#stats.requests += 1;
    this.#stats.bytesSent += batch.body.length;
    if (batch.firstSentMs !== undefined) this.#stats.retried += 1;
    const verdict = judge(reply, batch.events);
    if (verdict.kind === 'counted') this.#count(batch, verdict);
    else if (verdict.kind === 'final') this.#refuse(batch, verdict.reason);
  }

  stats(): Stats {
    this.#writeDown();
    return {
      enabled: this.enabled,
      ...this.#stats,
      dropped: { ...this.#dropped },
      held: this.#queue.events,
      heldBytes: this.#queue.bytes,
    };
  }

  /** One line to the log, and no second one of the same kind for a while. */
  say(kind: string, message: string): void {
    const now = Date.now();
    const last = this.#said.get(kind);
    if (last !== undefined && now - last < SAY_INTERVAL_MS) return;
    this.#said.set(kind, now);
    try {
      this.settings.log(`peep: ${message}`);
    } catch {
      // A log that throws is nobody's reason to fail.
    }
  }

  #wantsDetail(isError: boolean): boolean {
    const share = this.settings.detail;
    return share >= 1 || isError || Math.random() < share;
  }

  #take(line: string): void {
    if (!this.#admits()) return;
    const sealed = this.#queue.sealed.length;
    if (this.#queue.push(line)) {
      this.#taken(sealed);
    } else {
      this.#dropped.full += 1;
      if (this.#dropped.full % 1000 === 1) this.#sayFull();
    }
  }

  /** Books an event that was handed in. */
  #admits(): boolean {
    this.#stats.recorded += 1;
    if (this.#closed) this.#dropped.shutdown += 1;
    return !this.#closed;
  }

  #sayFull(): void {
    this.say(
      'full',
      `the buffer is full; ${this.#dropped.full} events were dropped so far. Is ingest at ${this.settings.url}?`,
    );
  }

  /** An event is in the queue, where there were so many complete batches before. */
  #taken(sealed: number): void {
    if (this.#queue.sealed.length > sealed) this.#sealed(this.#queue.sealed.at(-1));
    if (this.#timer === undefined) this.#startTimer();
  }

  /** Makes lines of what was noted. */
  #writeDown(): void {
    const count = this.#noted;
    if (count === 0) return;
    this.#noted = 0;
    // The clock on the wall is looked at once; the one that requests are measured with has the rest.
    const wallMs = Date.now() - performance.now();
    const { full } = this.#dropped;
    for (let index = 0; index < count; index += 1) {
      const note = this.#notes[index] as Note;
      try {
        this.#write(note, wallMs);
      } catch {
        this.#lose();
      }
      note.bytesIn = note.bytesOut = note.traceparent = undefined;
    }
    // Said at the end: the log is the application's, and may itself be something that notes a request.
    if (this.#dropped.full > full) this.#sayFull();
  }

  #write(note: Note, wallMs: number): void {
    const { status, traceparent } = note;
    const detail = this.#wantsDetail(status >= 500);
    const prefix = this.#encoder.prefix(note.route, note.method, status);
    if (!this.#admits()) return;
    const queue = this.#queue;
    const sealed = queue.sealed.length;
    const chunk = queue.reserve(prefix.length + TAIL_BYTES_MAX);
    if (chunk === undefined) {
      this.#dropped.full += 1;
      return;
    }
    const trace = detail && traceparent !== undefined ? traceIdOf(traceparent) : undefined;
    const bytesIn = detail ? sizeOf(note.bytesIn) : -1;
    const bytesOut = detail ? sizeOf(note.bytesOut) : -1;
    const ended = Math.floor(wallMs + note.endedAt);
    queue.commit(
      this.#encoder.request(chunk, queue.used, prefix, note.durationMs, ended, bytesIn, bytesOut, trace),
    );
    this.#taken(sealed);
  }

  #holdsAny(): boolean {
    this.#writeDown();
    return !this.#queue.isEmpty;
  }

  #startTimer(): void {
    this.#timer = this.#platform.after(this.settings.flushIntervalMs, () => {
      this.#timer = undefined;
      this.#seal();
    });
  }

  #lose(): void {
    this.#stats.recorded += 1;
    this.#dropped.invalid += 1;
  }

  #seal(): void {
    this.#writeDown();
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sealed(this.#queue.seal());
  }

  /** A batch is complete: compress it, see that somebody sends it. */
  #sealed(batch: Batch | undefined): void {
    if (batch === undefined) return;
    const { gzip } = this.#platform;
    // To the same machine only what has to wait is compressed: it is less to hold, but nothing to save on the way.
    const pays = !this.#isLocal || this.#queue.sealed.length > 1;
    if (this.settings.gzip && pays && gzip !== undefined && batch.body.length >= GZIP_BYTES_MIN) {
      // One after the other: a compressor needs some 270 KiB.
      this.#compressing = this.#compressing.then(async () => {
        try {
          const body = await gzip(batch.body);
          if (body.length < batch.body.length) this.#queue.replaceBody(batch, body, 'gzip');
        } catch {
          // Then it is sent as it is.
        }
      });
      batch.ready = this.#compressing;
    }
    if (!this.#isRunning) void this.#run();
  }

  async #end(untilMs: number): Promise<Stats> {
    // Requests that end while the rest is on its way still get in; later ones are counted as dropped.
    while (this.#holdsAny() && Date.now() < untilMs) await this.flush(untilMs - Date.now());
    this.#seal();
    this.#closed = true;
    this.#loseTheRest();
    return this.stats();
  }

  #loseTheRest(): void {
    for (const batch of [...this.#queue.sealed]) {
      this.#dropped.shutdown += batch.events;
      this.#remove(batch);
    }
    this.#wake?.();
    if (this.#dropped.shutdown > 0)
      this.say('shutdown', `${this.#dropped.shutdown} events could not be sent before the end`);
  }

  /** Sends batch after batch until none is left. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let batch = this.#queue.first(); batch !== undefined; batch = this.#queue.first()) {
      try {
        await batch.ready;
        // Somebody may have taken it meanwhile.
        if (this.#queue.sealed.includes(batch)) await this.#try(batch);
      } catch {
        // Nothing in there throws; should it, the batch must not be tried forever.
        this.#drop(batch, 'refused');
      }
    }
    this.#isRunning = false;
  }

  async #try(batch: Batch): Promise<void> {
    const { settings } = this;
    const now = Date.now();
    batch.identity ??= this.#producer.next(now);
    batch.firstSentMs ??= now;
    this.#stats.requests += 1;
    this.#stats.bytesSent += batch.body.length;
    if (batch.failures > 0) this.#stats.retried += 1;
    let reply: Reply | undefined;
    let verdict: ReturnType<typeof judge>;
    try {
      reply = await this.#platform.post(this.#requestOf(batch), settings.attemptTimeoutMs);
      verdict = judge(reply, batch.events);
    } catch (error) {
      verdict = {
        kind: 'retry',
        reason: `ingest does not answer (${error instanceof Error ? error.message : error})`,
      };
    }
    // A shutdown may have given it up meanwhile, and booked it.
    if (!this.#queue.sealed.includes(batch)) return;
    switch (verdict.kind) {
      case 'counted':
        this.#refusals = 0;
        this.#count(batch, verdict);
        return;
      case 'final':
        this.#refusals += 1;
        this.#refuse(batch, verdict.reason);
        await this.#pause(this.#refusals, undefined);
        return;
      case 'retry': {
        batch.failures += 1;
        if (Date.now() - batch.firstSentMs >= settings.giveUpAfterMs) {
          this.#drop(batch, 'expired');
          this.say('expired', `${batch.events} events were dropped: ${verdict.reason}, for too long`);
          return;
        }
        this.say('retry', `${verdict.reason}; trying again`);
        await this.#pause(batch.failures, retryAfterMs(reply?.retryAfter, Date.now()));
      }
    }
  }

  #count(batch: Batch, { accepted, rejected, example }: Counted): void {
    this.#remove(batch);
    this.#stats.accepted += accepted;
    this.#stats.rejected += rejected;
    if (rejected > 0) this.say('rejected', `ingest rejected ${rejected} events, the first as ${example}`);
  }

  #refuse(batch: Batch, reason: string): void {
    this.#drop(batch, 'refused');
    this.say('refused', `${batch.events} events were dropped: ${reason}`);
  }

  #drop(batch: Batch, why: 'refused' | 'expired'): void {
    this.#dropped[why] += batch.events;
    this.#remove(batch);
  }

  #requestOf(batch: Batch): Request {
    const identity = batch.identity;
    const headers: Record<string, string> = {
      'Peep-Key': this.settings.key,
      'Content-Type': 'application/x-ndjson',
      'Peep-Producer': identity?.producer ?? '',
      'Peep-Seq': String(identity?.seq ?? 0),
    };
    if (batch.encoding !== undefined) headers['Content-Encoding'] = batch.encoding;
    return { url: `${this.settings.url}/v1/events`, headers, body: batch.body };
  }

  #remove(batch: Batch): void {
    this.#queue.remove(batch);
    for (const waiter of this.#waiters) if (waiter.batch === batch) waiter.resolve();
  }

  /**
   * Waits before the next try. Somebody who flushes with a deadline does not sit out a pause that only the SDK wanted;
   * what the server asked for stands.
   */
  #pause(failures: number, asked: number | undefined): Promise<void> {
    const { backoffFirstMs: firstMs, backoffMaxMs: maxMs } = this.settings;
    let ms = pauseMs({ firstMs, maxMs }, failures, asked, Math.random());
    if (this.#urgent > 0 && asked === undefined) ms = Math.min(ms, URGENT_PAUSE_MS);
    return new Promise((resolve) => {
      const done = () => {
        timer.cancel();
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#platform.after(ms, done);
      if (asked === undefined) this.#wake = done;
    });
  }
}

function attempt<T>(call: () => T | undefined): T | undefined {
  try {
    return call();
  } catch {
    return undefined;
  }
}
