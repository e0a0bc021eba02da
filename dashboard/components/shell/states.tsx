'use client';

/** What a page says when it has nothing to draw: cause, then remedy. */
import { useEffect, useState } from 'react';
import { Icon } from '@/components/ui/icon';
import { span } from '@/lib/format/time';
import type { RequestFailed } from '@/lib/query/http';

/** Grey blocks in the final sizes, without shimmer. Nothing shows for the first 150 ms, so a fast answer never blinks. */
export function LoadingBlocks({ heads, windowMs }: { heads: number; windowMs: number }) {
  const [passed, setPassed] = useState(0);
  useEffect(() => {
    const timers = [150, 3000].map((after) => window.setTimeout(() => setPassed(after), after));
    return () => timers.forEach(window.clearTimeout);
  }, []);
  return (
    <div className={`flex flex-col gap-4 ${passed === 0 ? 'invisible' : ''}`} aria-busy="true">
      <div className="h-[50px]">
        {passed >= 3000 ? (
          <h1 className="text-22 font-strong">Still asking for {span(windowMs)} of data.</h1>
        ) : (
          <>
            <h1 className="sr-only">Loading</h1>
            <div className="h-7 w-80 max-w-full rounded-card bg-hover" />
          </>
        )}
      </div>
      <div className="grid grid-cols-1 gap-4 tablet:grid-cols-3">
        {Array.from({ length: heads }, (_, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: identical blocks that never move
          <div key={index} className="card h-[254px]" />
        ))}
      </div>
      <div className="card h-[415px]" />
    </div>
  );
}

/** The server understood and said no; its own sentence says why. */
export function Refused({ message }: { message: string }) {
  return <h1 className="text-20 font-strong">{message}</h1>;
}

export function BlockFailed({
  what,
  error,
  retry,
}: {
  what: string;
  error: RequestFailed;
  retry: () => void;
}) {
  return (
    <div role="alert" className="card px-4 py-3">
      <p>
        Could not load {what} ({error.status === 0 ? 'no answer' : `${error.status} ${error.code}`}).{' '}
        {error.message}{' '}
        <button type="button" onClick={retry} className="font-strong text-focus underline underline-offset-2">
          Try again
        </button>
      </p>
      {error.requestId !== null && (
        <p className="mt-1 text-12 text-ink2">
          Request <code className="select-all font-mono">{error.requestId}</code>
        </p>
      )}
    </div>
  );
}

const DASHBOARD_PORT = 8080;
const INGEST_PORT = 4318;

/** No event ever: the shortest way to the first one. */
export function FirstEvent() {
  const [copied, setCopied] = useState(false);
  const { hostname, port } = window.location;
  // All ports of a stack are moved together, so ours tells where ingest listens.
  const ingest = port === '' ? INGEST_PORT : Number(port) - DASHBOARD_PORT + INGEST_PORT;
  const line = [
    `curl -X POST http://${hostname}:${ingest}/v1/events \\`,
    "  -H 'Authorization: Bearer YOUR_INGEST_KEY' \\",
    "  -H 'Content-Type: application/json' \\",
    `  -d '{"service":"checkout","route":"/buy","method":"POST","status":200,"duration_ms":12.5}'`,
  ].join('\n');
  return (
    <section className="mx-auto mt-16 w-[640px] max-w-full max-tablet:mt-4">
      <h1 className="text-22 font-strong">No events yet</h1>
      <p className="mt-1 text-ink2">
        Send the first one; this page shows it within a second. The ingest key was printed when peep started;
        another one comes from{' '}
        <code className="font-mono text-12 text-ink">peep key create --scope ingest</code>.
      </p>
      <div className="card relative mt-4 px-4 py-3">
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it may scroll sideways and must be reachable */}
        <pre className="overflow-x-auto pr-16 font-mono text-12" tabIndex={0}>
          {line}
        </pre>
        <button
          type="button"
          className="control absolute top-2 right-2 h-7"
          onClick={() => {
            void navigator.clipboard?.writeText(line).then(() => setCopied(true));
          }}
        >
          {copied ? 'Copied' : 'Copy'}
        </button>
      </div>
      <p className="mt-4 flex items-center gap-2 text-12 text-ink2">
        <Icon name="clock" size={14} />
        Listening for your first event.
      </p>
    </section>
  );
}
