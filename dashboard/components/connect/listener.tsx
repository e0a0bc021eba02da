'use client';

/**
 * Waits for the first event of a service. It hears of it from the live page at once, reads it back when it is stored, and
 * says what was refused with its fix. After a minute of silence it says what to try.
 */
import Link from 'next/link';
import { useEffect, useRef, useState } from 'react';
import { Sparkline } from '@/components/charts/sparkline';
import { useSecond } from '@/components/shell/badge';
import { usePageData } from '@/components/shell/page-data';
import { Button } from '@/components/ui/button';
import { CodeBlock } from '@/components/ui/code-block';
import { Glyph } from '@/components/ui/glyph';
import { Name } from '@/components/ui/name';
import { Ticked } from '@/components/ui/ticked';
import { keepKey } from '@/lib/connect/fresh-key';
import { exactCount, latency, NBSP, write } from '@/lib/format/number';
import { clock, milliseconds, zoneName } from '@/lib/format/time';
import { RequestFailed } from '@/lib/query/http';
import { fetchRejects, type RejectReason } from '@/lib/query/rejects';
import { fetchRequests, type OneRequest } from '@/lib/query/requests';
import { canSendTestEvent, sendTestEvent } from '@/lib/query/test-event';
import { usePoll } from '@/lib/query/use-poll';
import { hrefOf } from '@/lib/view/url';
import { Step } from './connect';

const EVERY_MS = 2000;
const SILENCE_MS = 60_000;

interface Props {
  service: string;
  env: string;
  url: string;
  keyId: string | null;
  curl: string;
}

export function Listener({ service, env, url, keyId, curl }: Props) {
  const { view, data, store } = usePageData();
  const now = useSecond();
  const [startedMs] = useState(() => Date.now());
  const [sentMs, setSentMs] = useState<number | null>(null);
  const [heard, setHeard] = useState<{ atMs: number; afterMs: number | null } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const canSend = usePoll('test event', canSendTestEvent, null).data === true;

  // The live page already carries every service: its row tells of an event the second it is counted.
  const row = data?.rows.find((one) => one.key.service === service) ?? null;
  const lastSeen = row?.lastSeenMs ?? null;
  const before = useRef<{ known: boolean; lastSeen: number | null }>({ known: false, lastSeen: null });
  useEffect(() => {
    if (data === null) return;
    if (!before.current.known) {
      before.current = { known: true, lastSeen };
      return;
    }
    if (lastSeen === null || lastSeen === before.current.lastSeen) return;
    before.current.lastSeen = lastSeen;
    setHeard((already) => {
      if (already !== null) return already;
      const atMs = Date.now();
      const afterMs = sentMs !== null ? atMs - sentMs : store === null ? null : store.serverNow() - lastSeen;
      return { atMs, afterMs: afterMs === null ? null : Math.max(0, afterMs) };
    });
  }, [data, lastSeen, sentMs, store]);

  const stored = usePoll(
    JSON.stringify([service, env, startedMs]),
    async (signal) => {
      const terms = [{ kind: 'field', field: 'service', value: service, negated: false }] as const;
      // Some room for clocks that do not agree; an older event of the service is recognised by its time.
      const window = { from: startedMs - 5000, to: 'now' };
      const answer = await fetchRequests({ env, terms, window, limit: 1 }, signal);
      return answer.rows[0] ?? null;
    },
    EVERY_MS,
  );
  const event = stored.data;
  const arrived = heard !== null || event !== null;
  const rejected = useRejected(startedMs, keyId);
  const used = arrived || rejected.length > 0;
  useEffect(() => {
    if (used) keepKey();
  }, [used]);
  const waitedMs = now - startedMs;

  return (
    <section aria-labelledby="connect-listen" className="card min-h-[356px] px-4 py-4">
      <Step n={3} id="connect-listen" title="See it arrive" />
      <div aria-live="polite" className="mt-3">
        {arrived ? (
          <Arrived
            service={service}
            event={event}
            heard={heard}
            sentHere={sentMs !== null}
            row={row?.columns.count ?? []}
          />
        ) : (
          <p className="flex items-center gap-2.5">
            <span className="live-dot size-2 shrink-0 rounded-full bg-ok" />
            <span className="font-name">Listening for your first event</span>
            <span aria-hidden="true" className="font-number text-ink2">
              {Math.max(0, Math.floor(waitedMs / 1000))}
              {NBSP}s
            </span>
          </p>
        )}
        {rejected.map((item) => (
          <div key={idOf(item)} className="mt-3 rounded-control border border-bad bg-bad-soft px-3 py-2">
            <p className="flex items-center gap-2 font-name">
              <Glyph state="failing" />
              Rejected {exactCount(item.count)} {item.count === 1 ? 'event' : 'events'}:{' '}
              <code className="font-mono text-12">{item.reason}</code>
            </p>
            <p className="mt-1">
              {item.meaning !== null && (
                <>
                  <Ticked words={item.meaning} />{' '}
                </>
              )}
              {item.fix !== null && <Ticked words={item.fix} />}
            </p>
          </div>
        ))}
      </div>
      {arrived ? (
        <Link
          href={hrefOf(view, { page: 'service', service, frozen: null, range: '15m' })}
          prefetch={false}
          className="mt-4 inline-flex h-8 items-center gap-1 rounded-control bg-ink px-3 font-strong text-bg hover:bg-ink2 max-tablet:h-11"
        >
          Open <Name>{service}</Name>
        </Link>
      ) : (
        canSend && (
          <Button
            className="mt-4"
            onClick={() => {
              setProblem(null);
              setSentMs(Date.now());
              sendTestEvent(service, env).catch((cause: unknown) => {
                setSentMs(null);
                setProblem(cause instanceof RequestFailed ? cause.message : 'The answer could not be read.');
              });
            }}
          >
            Send a test event from here
          </Button>
        )
      )}
      <p role="alert" className="mt-2 text-bad empty:hidden">
        {problem}
      </p>
      {!arrived && waitedMs > SILENCE_MS && (
        <div className="mt-4 border-line border-t pt-3">
          <p>
            Nothing yet. Is a firewall between the app and port {new URL(url).port || '443'}? Run this from
            the same machine:
          </p>
          <CodeBlock label="A check, to copy" code={curl} className="mt-2" onCopied={keepKey} />
        </div>
      )}
    </section>
  );
}

function Arrived(props: {
  service: string;
  event: OneRequest | null;
  heard: { afterMs: number | null } | null;
  sentHere: boolean;
  row: readonly (number | null)[];
}) {
  const { view } = usePageData();
  const { event, heard, sentHere } = props;
  const after = heard?.afterMs ?? null;
  return (
    <>
      <p className="flex items-center gap-2.5 font-name">
        <svg
          width="14"
          height="14"
          viewBox="0 0 16 16"
          fill="none"
          aria-hidden="true"
          className="shrink-0 text-ok"
        >
          <path
            d="M3 8.5 6.5 12 13 4.5"
            stroke="currentColor"
            strokeWidth="2.2"
            strokeLinecap="round"
            strokeLinejoin="round"
          />
        </svg>
        {after === null
          ? 'Received'
          : `Received ${write(latency(after, 2))} after ${sentHere ? 'you sent it' : 'it ended'}`}
      </p>
      <div className="mt-3 flex items-center justify-between gap-4 rounded-control border border-line bg-bg px-3 py-2">
        {event === null ? (
          <p className="text-ink2">Counted. The event itself is stored with the next flush.</p>
        ) : (
          <div className="min-w-0 text-12">
            <p className="truncate font-mono">
              <span className="text-ink2">{event.method || '–'}</span> <Name>{event.route || '(none)'}</Name>
            </p>
            <p className="text-ink2">
              {event.status ?? 'no status'},{' '}
              {event.durationMs === null ? 'no duration' : write(latency(event.durationMs, 4))},{' '}
              <Name>{event.env}</Name>
            </p>
            <p className="text-ink2">
              {clock(event.tsMs, view.tz, true)}.{milliseconds(event.tsMs)} {zoneName(event.tsMs, view.tz)}
            </p>
          </div>
        )}
        <Sparkline values={[...props.row]} token="rate" width={96} height={32} />
      </div>
    </>
  );
}

const idOf = (item: RejectReason) => `${item.stage}/${item.reason}/${item.key?.id ?? ''}`;

/** What was refused since the page was opened: what the counts have grown by. */
function useRejected(startedMs: number, keyId: string | null): RejectReason[] {
  const polled = usePoll(
    `rejects since ${startedMs}`,
    (signal) => fetchRejects({ from: startedMs - 60_000, to: 'now' }, signal),
    EVERY_MS,
  );
  const first = useRef<Map<string, number> | null>(null);
  if (polled.data === null) return [];
  first.current ??= new Map(polled.data.reasons.map((item) => [idOf(item), item.count]));
  const base = first.current;
  return polled.data.reasons.flatMap((item) => {
    const grown = item.count - (base.get(idOf(item)) ?? 0);
    const ours = item.key === null || keyId === null || item.key.id === keyId;
    return grown > 0 && ours ? [{ ...item, count: grown }] : [];
  });
}
