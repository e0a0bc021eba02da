'use client';

/** Who may send and who may look. A key's text is shown once, when it is made; after that only its beginning is known. */
import { useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Button } from '@/components/ui/button';
import { Name } from '@/components/ui/name';
import { Num } from '@/components/ui/num';
import { useNarrow } from '@/components/ui/use-narrow';
import { isolated } from '@/lib/format/isolate';
import { count } from '@/lib/format/number';
import { age, day, type Zone } from '@/lib/format/time';
import { type ApiKey, fetchKeys } from '@/lib/query/keys';
import { usePoll } from '@/lib/query/use-poll';
import { CreateKey } from './create-key';
import { RevokeKey } from './revoke-key';

const EVERY_MS = 5000;
const KEPT_MS = 30 * 86_400_000;

export function Keys() {
  const { view } = usePageData();
  const narrow = useNarrow();
  const polled = usePoll('keys', fetchKeys, EVERY_MS);
  const [creating, setCreating] = useState(false);
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const [all, setAll] = useState(false);
  if (polled.data === null) {
    if (polled.error === null) return <div className="card h-64" aria-busy="true" />;
    if (polled.error.status === 404)
      return (
        <p className="text-ink2">
          This server keeps its keys on the command line:{' '}
          <code className="font-mono text-ink">peep key create --scope ingest</code>,{' '}
          <code className="font-mono text-ink">peep key list</code>,{' '}
          <code className="font-mono text-ink">peep key revoke</code>.
        </p>
      );
    if (polled.error.status === 403) return <p className="card px-4 py-3">{polled.error.message}</p>;
    return <BlockFailed what="the keys" error={polled.error} retry={polled.retry} />;
  }
  const now = Date.now();
  const kept = polled.data.filter((key) => key.revokedMs === null || now - key.revokedMs < KEPT_MS);
  const active = kept.filter((key) => key.revokedMs === null);
  const revoked = kept.filter((key) => key.revokedMs !== null);
  // Keys that were made by looking at a page and never used are not worth a line each.
  const told = revoked.filter((key) => key.lastUsedMs !== null);
  const shown = [...active, ...(all ? revoked : told)];
  const props = { keys: shown, zone: view.tz, nowMs: now, onRevoke: setRevoking };
  return (
    <section aria-label="Keys">
      <div className="mb-3 flex flex-wrap items-center gap-3">
        <p className="min-w-0 flex-1 text-ink2">
          {active.length === 0
            ? 'No key works now. Make one to send events or to read them.'
            : `${active.length} ${active.length === 1 ? 'key works' : 'keys work'}. A revoked key gets 401 within 5 s and stays listed for 30 days.`}
        </p>
        <Button tone="primary" onClick={() => setCreating(true)}>
          Create a key
        </Button>
      </div>
      {shown.length > 0 && (
        <div className="card overflow-hidden">
          {narrow ? <NarrowKeys {...props} /> : <WideKeys {...props} />}
        </div>
      )}
      {revoked.length > told.length && (
        <button
          type="button"
          aria-expanded={all}
          className="mt-3 min-h-6 text-12 text-ink2 hover:text-ink max-tablet:min-h-11"
          onClick={() => setAll(!all)}
        >
          {all ? 'Hide' : 'Show'} {revoked.length - told.length} revoked and never used
        </button>
      )}
      {creating && (
        <CreateKey
          onClose={() => {
            setCreating(false);
            polled.retry();
          }}
        />
      )}
      {revoking !== null && (
        <RevokeKey
          apiKey={revoking}
          onClose={() => {
            setRevoking(null);
            polled.retry();
          }}
        />
      )}
    </section>
  );
}

interface ListProps {
  keys: readonly ApiKey[];
  zone: Zone;
  nowMs: number;
  onRevoke: (key: ApiKey) => void;
}

function lastUsed(key: ApiKey, zone: Zone, nowMs: number): string {
  return key.lastUsedMs === null ? 'never' : age(key.lastUsedMs, nowMs, zone);
}

function scopeOf(key: ApiKey): string {
  return key.origins.length > 0 ? `${key.scope}, web pages` : key.scope;
}

function WideKeys({ keys, zone, nowMs, onRevoke }: ListProps) {
  return (
    <table className="w-full table-fixed">
      <thead>
        <tr className="h-9 border-line border-b text-left text-ink2">
          <th scope="col" className="pl-4 font-regular">
            Name
          </th>
          <th scope="col" className="w-48 font-regular">
            Key
          </th>
          <th scope="col" className="w-36 font-regular">
            Scope
          </th>
          <th scope="col" className="w-32 font-regular max-desktop:hidden">
            Environment
          </th>
          <th scope="col" className="w-24 font-regular max-desktop:hidden">
            Created
          </th>
          <th scope="col" className="w-32 font-regular">
            Last used
          </th>
          <th scope="col" className="w-28 text-right font-regular max-desktop:hidden">
            Events today
          </th>
          <th scope="col" className="w-32 pr-4">
            <span className="sr-only">Revoke</span>
          </th>
        </tr>
      </thead>
      <tbody>
        {keys.map((key) => {
          const gone = key.revokedMs !== null;
          return (
            <tr
              key={key.id}
              className={`h-(--row) border-line border-b last:border-b-0 ${gone ? 'text-ink3' : ''}`}
            >
              <td className={`truncate pr-4 pl-4 font-name ${gone ? 'line-through' : ''}`} title={key.name}>
                <Name>{key.name || '–'}</Name>
              </td>
              <td className={`truncate pr-3 font-mono text-12 ${gone ? 'line-through' : ''}`}>
                {key.prefix}
              </td>
              <td className="truncate pr-3" title={key.origins.join(', ') || undefined}>
                {scopeOf(key)}
              </td>
              <td className="truncate pr-3 max-desktop:hidden">
                {key.env ?? <span className={gone ? '' : 'text-ink2'}>any</span>}
              </td>
              <td className="whitespace-nowrap max-desktop:hidden">{day(key.createdMs, zone)}</td>
              <td
                className="whitespace-nowrap"
                title={key.hosts.length > 0 ? `by ${key.hosts.map(isolated).join(', ')}` : undefined}
              >
                {lastUsed(key, zone, nowMs)}
              </td>
              <td className="text-right max-desktop:hidden">
                {key.scope === 'read' ? '' : <Num written={count(key.eventsToday)} />}
              </td>
              <td className="pr-3 text-right">
                {gone ? (
                  <span className="whitespace-nowrap">revoked {day(key.revokedMs ?? 0, zone)}</span>
                ) : (
                  <button
                    type="button"
                    aria-label={`Revoke ${isolated(key.name) || key.prefix}`}
                    className="h-7 rounded-control px-2 text-ink2 hover:bg-bad-soft hover:text-bad"
                    onClick={() => onRevoke(key)}
                  >
                    Revoke
                  </button>
                )}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function NarrowKeys({ keys, zone, nowMs, onRevoke }: ListProps) {
  return (
    <ul className="divide-y divide-line">
      {keys.map((key) => {
        const gone = key.revokedMs !== null;
        return (
          <li key={key.id} className={`flex items-center gap-3 px-3 py-2 ${gone ? 'text-ink3' : ''}`}>
            <div className="min-w-0 flex-1">
              <p className={`truncate font-name ${gone ? 'line-through' : ''}`}>{key.name || '–'}</p>
              <p className="truncate text-12">
                <span className="font-mono">{key.prefix}</span> {scopeOf(key)}
                {key.env === null ? '' : `, ${isolated(key.env)}`}
              </p>
              <p className="text-12 text-ink2">
                {gone ? `revoked ${day(key.revokedMs ?? 0, zone)}` : `used ${lastUsed(key, zone, nowMs)}`}
              </p>
            </div>
            {!gone && (
              <Button aria-label={`Revoke ${isolated(key.name) || key.prefix}`} onClick={() => onRevoke(key)}>
                Revoke
              </Button>
            )}
          </li>
        );
      })}
    </ul>
  );
}
