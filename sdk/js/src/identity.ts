/**
 * Who sends, and the how-manieth batch it is: what makes a retry recognisable.
 *
 * Leaves: a pair (producer, seq) for each batch, given once, when the batch is first sent. A producer is a UUIDv7 that
 * this process made up; it is replaced after a day, because peep forgets producers a day after their last batch.
 */

export interface Identity {
  producer: string;
  seq: number;
}

export class Producer {
  #id = '';
  #seq = 0;
  #bornMs = 0;

  constructor(
    private readonly random: (bytes: Uint8Array<ArrayBuffer>) => void,
    private readonly ageMsMax: number,
  ) {}

  next(nowMs: number): Identity {
    // A clock that was set back makes the age negative; a new producer is never wrong.
    if (this.#id === '' || nowMs - this.#bornMs >= this.ageMsMax || nowMs < this.#bornMs) {
      this.#id = uuidV7(nowMs, this.random);
      this.#bornMs = nowMs;
      this.#seq = 0;
    }
    const identity = { producer: this.#id, seq: this.#seq };
    this.#seq += 1;
    return identity;
  }
}

/** RFC 9562: 48 bits of Unix milliseconds, version and variant, 74 random bits. */
export function uuidV7(nowMs: number, random: (bytes: Uint8Array<ArrayBuffer>) => void): string {
  const bytes = new Uint8Array(16);
  random(bytes);
  let time = Math.floor(nowMs);
  for (let index = 5; index >= 0; index -= 1) {
    bytes[index] = time % 256;
    time = Math.floor(time / 256);
  }
  bytes[6] = 0x70 | ((bytes[6] as number) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] as number) & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
