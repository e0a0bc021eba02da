/**
 * The key in the snippets. One is made when the page of the first event is opened and lives as long as the tab; one that
 * was neither copied nor shown to have arrived is revoked when the reader leaves, so that looking leaves nothing behind.
 */
import { createKey, type NewKey, revokeKey } from '@/lib/query/keys';

let held: NewKey | null = null;
let asking: Promise<NewKey> | null = null;
let wanted = false;
let gone = false;

export function freshKey(name: string): Promise<NewKey> {
  gone = false;
  if (held !== null) return Promise.resolve(held);
  asking ??= createKey({ name, scope: 'ingest', env: null, origins: [] }).then(
    (made) => {
      held = made;
      asking = null;
      if (gone) leaveKey();
      return made;
    },
    (cause: unknown) => {
      asking = null;
      throw cause;
    },
  );
  return asking;
}

/** Somebody took it: it stays. */
export function keepKey(): void {
  wanted = true;
}

/** The reader leaves the page. */
export function leaveKey(): void {
  gone = true;
  if (held === null || wanted) return;
  const { id } = held;
  held = null;
  // Nobody waits for it; if it fails, the key is in the settings, marked as never used.
  revokeKey(id, true).catch(() => undefined);
}
