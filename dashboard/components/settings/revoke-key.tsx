'use client';

/** Ends a key for good, after its name was typed. */
import { useState } from 'react';
import { Button } from '@/components/ui/button';
import { Field, INPUT } from '@/components/ui/field';
import { Modal } from '@/components/ui/modal';
import { isolated } from '@/lib/format/isolate';
import { NBSP } from '@/lib/format/number';
import { RequestFailed } from '@/lib/query/http';
import { type ApiKey, revokeKey } from '@/lib/query/keys';

const HOUR_MS = 3_600_000;

export function RevokeKey({ apiKey, onClose }: { apiKey: ApiKey; onClose: () => void }) {
  const [typed, setTyped] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const name = apiKey.name || apiKey.prefix;
  const recently = apiKey.lastUsedMs !== null && Date.now() - apiKey.lastUsedMs < HOUR_MS;
  const fits = typed.trim() === name;
  return (
    <Modal title={`Revoke ${isolated(name)}`} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (!fits) return;
          setBusy(true);
          revokeKey(apiKey.id).then(onClose, (cause: unknown) => {
            setBusy(false);
            setProblem(cause instanceof RequestFailed ? cause.message : 'The answer could not be read.');
          });
        }}
      >
        <p>
          Clients with this key get 401 within 5{NBSP}s. {usedBy(apiKey, recently)}
        </p>
        <Field label={`Type ${isolated(name)} to revoke it`} className="mt-4" problem={problem}>
          {(ids) => (
            <input
              {...ids}
              className={INPUT}
              autoComplete="off"
              spellCheck={false}
              value={typed}
              onChange={(event) => setTyped(event.target.value)}
            />
          )}
        </Field>
        <div className="mt-4 flex gap-2">
          <Button tone="danger" type="submit" disabled={!fits || busy}>
            {busy ? 'Revoking' : 'Revoke'}
          </Button>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </form>
    </Modal>
  );
}

function usedBy(key: ApiKey, recently: boolean): string {
  if (key.lastUsedMs === null) return 'It was never used.';
  if (!recently) return 'Nobody used it in the last hour.';
  if (key.hosts.length === 0) return 'It was used in the last hour.';
  const noun = key.hosts.length === 1 ? 'host' : 'hosts';
  const some = key.hosts.slice(0, 5).map(isolated).join(', ');
  return `${key.hosts.length} ${noun} used it in the last hour: ${some}${key.hosts.length > 5 ? ` and ${key.hosts.length - 5} more` : ''}.`;
}
