/** The one client of a process, also when the package is loaded twice, as a module and as CommonJS. */

import type { Client } from './client.js';

const KEY = Symbol.for('peep.sdk.client');
const place = globalThis as { [KEY]?: Client | undefined };

export function shared(make: () => Client): Client {
  place[KEY] ??= make();
  return place[KEY];
}

/** Ends it, if there is one. It stays: what comes later is counted as dropped, and not sent by a successor. */
export async function endShared(timeoutMs?: number): Promise<void> {
  await place[KEY]?.shutdown(timeoutMs);
}
