/**
 * The one queue of the SDK: lines waiting to be sent, bounded in bytes.
 *
 * Arrives: lines. Leaves: batches, oldest first, whose bytes never change once they were first sent. Promised: never
 * more than `bytesMax` held, whatever the server does; when there is no room the newest event is dropped and counted;
 * adding a line never waits. Lines are bytes in a chunk from the beginning, so that what is held is what was counted, and the
 * garbage collector has nothing to follow. Not done: sending, retrying, anything with time.
 */

import type { Identity } from './identity.js';

export interface Limits {
  /** All that is held. */
  bytesMax: number;
  /** One batch, before compression. */
  batchBytesMax: number;
  batchEventsMax: number;
}

export interface Batch {
  body: Uint8Array;
  events: number;
  /** Given when it is first sent. */
  identity?: Identity;
  encoding?: 'gzip';
  /** Settles when the body has its final form. */
  ready?: Promise<void>;
  firstSentMs?: number;
  failures: number;
}

/** UTF-8 needs up to three bytes for each unit of a string. */
const BYTES_PER_UNIT = 3;

/** An idle process holds no chunk, a quiet one a small one. */
const CHUNK_BYTES_MIN = 8 * 1024;

export class Queue {
  readonly #encoder = new TextEncoder();
  #chunk: Uint8Array | undefined;
  #used = 0;
  /** Of the open batch. */
  #events = 0;
  #sealed: Batch[] = [];
  #sealedBytes = 0;
  #sealedEvents = 0;
  /** What the last batch came to: the next one will be alike, and to let it grow there costs half as much as to write its lines. */
  #lastBytes = 0;

  constructor(readonly limits: Limits) {}

  /** Bytes held now. */
  get bytes(): number {
    return this.#sealedBytes + (this.#chunk?.length ?? 0);
  }

  /** Events held now. */
  get events(): number {
    return this.#sealedEvents + this.#events;
  }

  get isEmpty(): boolean {
    return this.#events === 0 && this.#sealed.length === 0;
  }

  /** False: there is no room, the event is dropped. */
  push(line: string): boolean {
    // It fits as it is, or after growing, or into a new chunk.
    for (let pass = 0; pass < 3; pass += 1) {
      if (this.#chunk !== undefined && this.#write(this.#chunk, line)) return true;
      if (!this.#makeRoom(line.length, line.length * BYTES_PER_UNIT)) return false;
    }
    return false;
  }

  /** A chunk that has `bytes` free from `used` on, for a line of at most so many; then `commit`. Undefined: the event is dropped. */
  reserve(bytes: number): Uint8Array | undefined {
    for (let pass = 0; pass < 3; pass += 1) {
      const chunk = this.#chunk;
      if (
        chunk !== undefined &&
        chunk.length - this.#used >= bytes &&
        this.#events < this.limits.batchEventsMax
      )
        return chunk;
      if (!this.#makeRoom(bytes, bytes)) return undefined;
    }
    return undefined;
  }

  get used(): number {
    return this.#used;
  }

  /** One event more, whose line ends at `end`. */
  commit(end: number): void {
    this.#used = end;
    this.#events += 1;
  }

  /** Closes the open batch, however small it is. */
  seal(): Batch | undefined {
    const chunk = this.#chunk;
    if (chunk === undefined || this.#events === 0) return undefined;
    // A mostly empty chunk is copied, so that many small batches do not hold many large chunks.
    const body = this.#used > chunk.length / 2 ? chunk.subarray(0, this.#used) : chunk.slice(0, this.#used);
    const batch: Batch = { body, events: this.#events, failures: 0 };
    this.#lastBytes = this.#used;
    this.#sealed.push(batch);
    this.#sealedBytes += body.buffer.byteLength;
    this.#sealedEvents += batch.events;
    this.#chunk = undefined;
    this.#used = 0;
    this.#events = 0;
    return batch;
  }

  /** The oldest batch; it stays until it is removed. */
  first(): Batch | undefined {
    return this.#sealed[0];
  }

  get sealed(): readonly Batch[] {
    return this.#sealed;
  }

  /** Puts a smaller form of the body in its place. Only before it was first sent. */
  replaceBody(batch: Batch, body: Uint8Array, encoding: 'gzip'): void {
    if (batch.identity !== undefined || !this.#sealed.includes(batch)) return;
    this.#sealedBytes += body.buffer.byteLength - batch.body.buffer.byteLength;
    batch.body = body;
    batch.encoding = encoding;
  }

  remove(batch: Batch): void {
    const index = this.#sealed.indexOf(batch);
    if (index < 0) return;
    this.#sealed.splice(index, 1);
    this.#sealedBytes -= batch.body.buffer.byteLength;
    this.#sealedEvents -= batch.events;
  }

  #write(chunk: Uint8Array, line: string): boolean {
    const free = chunk.length - this.#used;
    if (line.length > free || this.#events >= this.limits.batchEventsMax) return false;
    const { read, written } = this.#encoder.encodeInto(line, chunk.subarray(this.#used));
    if (read < line.length) return false;
    this.#used += written;
    this.#events += 1;
    return true;
  }

  /**
   * A larger chunk for the open batch, or a new one for a new batch, with room for `least` bytes and better for `most`. False: the budget is
   * used up.
   */
  #makeRoom(least: number, most: number): boolean {
    const { batchBytesMax, batchEventsMax, bytesMax } = this.limits;
    const chunk = this.#chunk;
    const wanted = Math.max(CHUNK_BYTES_MIN, most);
    if (chunk !== undefined && chunk.length < batchBytesMax && this.#events < batchEventsMax) {
      const larger = Math.min(Math.max(chunk.length * 2, this.#used + wanted), batchBytesMax);
      if (this.#sealedBytes + larger > bytesMax) return false;
      const grown = new Uint8Array(larger);
      grown.set(chunk.subarray(0, this.#used));
      this.#chunk = grown;
      return true;
    }
    if (least > batchBytesMax) return false;
    const kept = chunk === undefined ? 0 : this.#used > chunk.length / 2 ? chunk.length : this.#used;
    const free = bytesMax - this.#sealedBytes - kept;
    const fresh = Math.min(wanted, batchBytesMax);
    if (fresh > free) return false;
    this.seal();
    const usual = Math.min(this.#lastBytes + CHUNK_BYTES_MIN, batchBytesMax);
    this.#chunk = new Uint8Array(usual > free ? fresh : Math.max(fresh, usual));
    return true;
  }
}
