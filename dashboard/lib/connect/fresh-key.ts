/**
 * The key in the snippets. One is made when the page of the first event is opened and lives as long as the tab; one that
 * was neither copied nor shown to have arrived is revoked when the reader leaves, so that looking leaves nothing behind.
 */
import { createKey, type NewKey, revokeKey } from '@/lib/query/keys';

let held: NewKey | null = null;
let asking: Promise<NewKey> | null = null;
let wanted = false;

export function freshKey(name: string): Promise<NewKey> {
  if (held !== null) return Promise.resolve(held);
  asking ??= createKey({ name, scope: 'ingest', env: null, origins: [] }).then(
    (made) => {
      held = made;
      asking = null;
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

/** The reader leaves the page; `true` when a key is on its way out. */
export function leaveKey(): boolean {
  if (held === null || wanted) return false;
  const { id } = held;
  held = null;
  // Nobody waits for it; if it fails, the key is in the settings, marked as never used.
  revokeKey(id, true).catch(() => undefined);
  return true;
}
