/**
 * Every knob, where it comes from and what it means. Code comes before environment, environment before default.
 */

export interface Options {
  /** Origin of ingest, such as `http://127.0.0.1:4318`. `PEEP_INGEST_URL`. Without it nothing is sent. */
  url?: string;
  /** A key of scope ingest. `PEEP_INGEST_KEY`. Without it nothing is sent. */
  key?: string;
  /** `PEEP_SERVICE`; default `unknown_service`. */
  service?: string;
  /** `PEEP_ENV`; default: the key's environment. */
  env?: string;
  /** Release of the service. `PEEP_VERSION`. */
  version?: string;
  /** Instance. `PEEP_HOST`; default: the host's name, where there is one. */
  host?: string;
  /** The longest an event waits for others, milliseconds. Default 1000. */
  flushIntervalMs?: number;
  /** Most events of a batch. Default 1000, at most 5000. */
  batchEvents?: number;
  /** Most bytes of a batch before compression. Default 256 KiB, at least 4 KiB, at most 4 MiB. */
  batchBytes?: number;
  /** Most bytes that wait to be sent, compressed where they are. Beyond it the newest are dropped. Default 3 MiB. */
  bufferBytes?: number;
  /** One try, from connecting to the end of the answer, milliseconds. Default 15 000. */
  attemptTimeoutMs?: number;
  /** Ceiling of the first pause after a failure, which doubles with each; milliseconds. Default 200. */
  backoffFirstMs?: number;
  /** Ceiling of all pauses that the server did not ask for, milliseconds. Default 15 000. */
  backoffMaxMs?: number;
  /** A batch that has failed for so long is dropped, milliseconds. Default 6 hours: well within a producer's memory. */
  giveUpAfterMs?: number;
  /** A producer is replaced when it is this old, milliseconds. Default 24 hours. */
  producerAgeMs?: number;
  /** The longest a shutdown waits for what is left, milliseconds. Default 5000. */
  shutdownTimeoutMs?: number;
  /**
   * The longest a process that is ended by `process.exit()`, or by an error that nobody caught, waits for what is left; milliseconds. The
   * thread is blocked meanwhile. 0: not at all. Default 1000.
   */
  exitTimeoutMs?: number;
  /**
   * Share of the events that keep trace ids, sizes and attributes, 0 to 1. Errors always do, and every event is sent
   * and counted: counts and percentiles stay exact. Default 1.
   */
  detail?: number;
  /** Compress batches; to an ingest on the same machine only those that have to wait. Default true where the runtime can. */
  gzip?: boolean;
  /**
   * Send what is left on SIGTERM and SIGINT, where nobody else handles them, and then let them end the process. The first process of a
   * container is not ended by them; it goes on, and so does the counting. Default true.
   */
  onSignal?: boolean;
  /** Where the SDK says what is wrong: seldom, one line. Default `console.warn`. */
  log?: (message: string) => void;
}

/** Complete and within bounds. */
export interface Settings {
  url: string;
  key: string;
  service: string;
  env: string | undefined;
  version: string | undefined;
  host: string | undefined;
  flushIntervalMs: number;
  batchEvents: number;
  batchBytes: number;
  bufferBytes: number;
  attemptTimeoutMs: number;
  backoffFirstMs: number;
  backoffMaxMs: number;
  giveUpAfterMs: number;
  producerAgeMs: number;
  shutdownTimeoutMs: number;
  exitTimeoutMs: number;
  detail: number;
  gzip: boolean;
  onSignal: boolean;
  log: (message: string) => void;
}

type Environment = Record<string, string | undefined>;

/** The settings, and why nothing can be sent with them, if so. Never throws, whatever it is given. */
export function resolve(
  options: Options,
  env: Environment,
): { settings: Settings; missing: string | undefined } {
  const text = (given: unknown, name: string): string => {
    const value = typeof given === 'string' ? given : env[name];
    return (value ?? '').trim();
  };
  const number = (given: unknown, fallback: number, least: number, most: number): number =>
    typeof given === 'number' && !Number.isNaN(given) ? Math.min(Math.max(given, least), most) : fallback;
  const day = 24 * 3600 * 1000;

  const url = text(options.url, 'PEEP_INGEST_URL').replace(/\/+$/, '');
  const key = text(options.key, 'PEEP_INGEST_KEY');
  const batchBytes = Math.floor(number(options.batchBytes, 256 * 1024, 4 * 1024, 4 * 1024 * 1024));
  const settings: Settings = {
    url,
    key,
    service: text(options.service, 'PEEP_SERVICE') || 'unknown_service',
    env: text(options.env, 'PEEP_ENV') || undefined,
    version: text(options.version, 'PEEP_VERSION') || undefined,
    host: text(options.host, 'PEEP_HOST') || undefined,
    flushIntervalMs: number(options.flushIntervalMs, 1000, 1, 60_000),
    batchEvents: Math.floor(number(options.batchEvents, 1000, 1, 5000)),
    batchBytes,
    bufferBytes: Math.floor(number(options.bufferBytes, 3 * 1024 * 1024, batchBytes, 1024 * 1024 * 1024)),
    attemptTimeoutMs: number(options.attemptTimeoutMs, 15_000, 10, 120_000),
    backoffFirstMs: number(options.backoffFirstMs, 200, 1, 60_000),
    backoffMaxMs: number(options.backoffMaxMs, 15_000, 1, 600_000),
    giveUpAfterMs: number(options.giveUpAfterMs, day / 4, 1, day / 2),
    producerAgeMs: number(options.producerAgeMs, day, 1, day),
    shutdownTimeoutMs: number(options.shutdownTimeoutMs, 5000, 0, 60_000),
    exitTimeoutMs: number(options.exitTimeoutMs, 1000, 0, 60_000),
    detail: number(options.detail, 1, 0, 1),
    gzip: options.gzip !== false,
    onSignal: options.onSignal !== false,
    log: typeof options.log === 'function' ? options.log : (message) => console.warn(message),
  };
  return { settings, missing: missing(url, key) };
}

function missing(url: string, key: string): string | undefined {
  if (url === '') return 'PEEP_INGEST_URL is not set';
  if (key === '') return 'PEEP_INGEST_KEY is not set';
  if (!/^https?:$/.test(protocolOf(url))) return 'PEEP_INGEST_URL is not an http or https address';
  // What cannot be in a header cannot be a key; saying so here is better than failing with every batch.
  if (!/^[\x21-\x7e]+$/.test(key)) return 'PEEP_INGEST_KEY has characters that no key has';
  return undefined;
}

function protocolOf(url: string): string {
  try {
    return new URL(url).protocol;
  } catch {
    return '';
  }
}
