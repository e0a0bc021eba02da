'use client';

/** What a page says when it has nothing to draw: cause, then remedy. */
import Link from 'next/link';
import { useEffect, useState } from 'react';
import { Icon } from '@/components/ui/icon';
import { span } from '@/lib/format/time';
import type { RequestFailed } from '@/lib/query/http';
import { coarserStep, sentence } from '@/lib/query/too-wide';
import { toast } from '@/lib/view/toast';
import { DEFAULT_RANGE, hrefOf } from '@/lib/view/url';
import { usePageData } from './page-data';

/** Grey blocks in the final sizes, without shimmer. Nothing shows for the first 150 ms, so a fast answer never blinks. */
export function LoadingBlocks({ heads, windowMs }: { heads: number; windowMs: number }) {
  const { choose } = usePageData();
  const [passed, setPassed] = useState(0);
  useEffect(() => {
    const timers = [150, 3000].map((after) => window.setTimeout(() => setPassed(after), after));
    return () => timers.forEach(window.clearTimeout);
  }, []);
  const hidden = passed === 0 ? 'invisible' : '';
  return (
    <div className="flex flex-col gap-4" aria-busy="true">
      {/* From the first moment: a page without a heading tells a screen reader nothing. */}
      {passed < 3000 && <h1 className="sr-only">Loading</h1>}
      <div className={`h-[50px] ${hidden}`}>
        {passed >= 3000 ? (
          <h1 className="text-22 font-strong">
            Still asking for {span(windowMs)} of data.{' '}
            <button
              type="button"
              className="text-focus underline underline-offset-4"
              onClick={() => choose({ range: DEFAULT_RANGE, frozen: null })}
            >
              Stop
            </button>
          </h1>
        ) : (
          <div className="h-7 w-80 max-w-full rounded-card bg-hover" />
        )}
      </div>
      <div className={`grid grid-cols-1 gap-4 tablet:grid-cols-3 ${hidden}`}>
        {Array.from({ length: heads }, (_, index) => (
          // biome-ignore lint/suspicious/noArrayIndexKey: identical blocks that never move
          <div key={index} className="card h-[254px]" />
        ))}
      </div>
      <div className={`card h-[415px] ${hidden}`} />
    </div>
  );
}

/** The server understood and said no; its own sentence says why. */
export function Refused({ message }: { message: string }) {
  return <h1 className="text-20 font-strong">{message}</h1>;
}

interface FailedProps {
  what: string;
  error: RequestFailed;
  retry: () => void;
  /** Whether it is one block of a page whose rest goes on. */
  block?: boolean;
  /** Whether coarser steps would make the question smaller. */
  inSteps?: boolean;
}

export function BlockFailed({ what, error, retry, block = false, inSteps = false }: FailedProps) {
  const { mode, choose, stepMs, windowMs } = usePageData();
  const { requestId } = error;
  const coarser = inSteps ? coarserStep(error, stepMs, windowMs) : null;
  if (error.code === 'query_too_wide') {
    return (
      <div role="alert" className="card px-4 py-3">
        <p>
          {sentence(error.message)}{' '}
          {coarser !== null && (
            <button
              type="button"
              onClick={() => choose({ step: coarser })}
              className="font-strong text-focus underline underline-offset-2"
            >
              Use {span(coarser)} steps
            </button>
          )}
        </p>
      </div>
    );
  }
  return (
    <div role="alert" className="card px-4 py-3">
      <p>
        Could not load {what} ({error.status === 0 ? 'no answer' : `${error.status} ${error.code}`}).{' '}
        {block && mode === 'live' ? 'The rest of the page is live. ' : `${error.message} `}
        <button type="button" onClick={retry} className="font-strong text-focus underline underline-offset-2">
          Try again
        </button>
      </p>
      {requestId !== null && (
        <p className="mt-1 text-12 text-ink2">
          Request <code className="select-all font-mono">{requestId}</code>{' '}
          <button
            type="button"
            className="underline underline-offset-2"
            onClick={() => {
              void navigator.clipboard?.writeText(requestId).then(() => toast('Copied.'));
            }}
          >
            Copy
          </button>
        </p>
      )}
    </div>
  );
}

/** No event ever: the way to the first one. */
export function FirstEvent() {
  const { view } = usePageData();
  return (
    <section className="mx-auto mt-16 w-[640px] max-w-full max-tablet:mt-4">
      <h1 className="text-22 font-strong">No events yet</h1>
      <p className="mt-1 text-ink2">
        Send the first one; it takes about a minute.{' '}
        <Link
          href={hrefOf(view, { page: 'connect', service: null })}
          prefetch={false}
          className="font-strong text-focus underline underline-offset-2"
        >
          Connect an app
        </Link>
      </p>
      <p className="mt-4 flex items-center gap-2 text-12 text-ink2">
        <Icon name="clock" size={14} />
        Listening. This page shows it within a second.
      </p>
    </section>
  );
}
