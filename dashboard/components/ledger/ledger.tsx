'use client';

/** Where is my event, is anything lost: the balance, the passport of one event, what was refused and why, and freshness. */
import { useEffect, useId, useRef, useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Button } from '@/components/ui/button';
import { INPUT } from '@/components/ui/field';
import { moment, zoneName } from '@/lib/format/time';
import { equation, type Part, unaccounted } from '@/lib/ledger/equation';
import { RequestFailed } from '@/lib/query/http';
import { fetchPassport, type Passport } from '@/lib/query/receipts';
import { type Books, fetchBooks } from '@/lib/query/reconcile';
import { usePoll } from '@/lib/query/use-poll';
import { Fresh } from './fresh';
import { PassportView } from './passport-view';
import { RejectsTable } from './rejects-table';

const EVERY_MS = 5000;

export function Ledger() {
  const { view, asked, mode, paused } = usePageData();
  const question = JSON.stringify(asked);
  const polled = usePoll(
    question,
    (signal) => fetchBooks(asked, signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  const books = polled.answered === question ? polled.data : null;
  // Between two ranges the old balance stays, dimmed.
  const last = useRef<Books | null>(null);
  if (books !== null) last.current = books;
  const told = books ?? last.current;
  return (
    <div className="flex flex-col gap-4">
      {told !== null ? (
        <Balance books={told} stale={books === null} />
      ) : polled.error !== null ? (
        <>
          <h1 className="sr-only">Ledger</h1>
          {polled.error.status === 403 ? (
            <p className="card px-4 py-3">{polled.error.message}</p>
          ) : (
            <BlockFailed what="the books" error={polled.error} retry={polled.retry} />
          )}
        </>
      ) : (
        <div className="h-[104px]" aria-busy="true">
          <h1 className="sr-only">Ledger</h1>
        </div>
      )}
      <WhereIsMyEvent key={view.text} zone={view.tz} wanted={view.text} />
      <RejectsTable />
      <Fresh />
    </div>
  );
}

function Balance({ books, stale }: { books: Books; stale: boolean }) {
  const { view } = usePageData();
  const { accepted, parts, words } = equation(books);
  const off = unaccounted(books);
  return (
    <header className={stale ? 'opacity-60' : ''}>
      <div className="flex flex-wrap items-center gap-x-3">
        {off === null ? (
          <p className="flex items-center gap-2 font-name">
            <svg
              width="16"
              height="16"
              viewBox="0 0 16 16"
              fill="none"
              aria-hidden="true"
              className="text-ok"
            >
              <path
                d="M3 8.5 6.5 12 13 4.5"
                stroke="currentColor"
                strokeWidth="2"
                strokeLinecap="round"
                strokeLinejoin="round"
              />
            </svg>
            Balanced
          </p>
        ) : (
          <p className="flex flex-wrap items-baseline gap-x-3 font-strong text-bad" role="alert">
            {off}
            <span className="font-regular text-ink">
              Run <code className="font-mono text-12">peep verify</code>: it counts the log again and names
              every difference.
            </span>
          </p>
        )}
        <p className="text-12 text-ink2">
          {moment(books.fromMs, view.tz, Date.now())} to {moment(books.toMs, view.tz, Date.now())}{' '}
          {zoneName(books.toMs, view.tz)}, by the time the log took them
        </p>
      </div>
      <h1
        aria-label={words}
        className="live-number mt-2 flex flex-wrap items-baseline gap-x-2 gap-y-1 text-20 font-strong"
      >
        <Term part={accepted} />
        {parts.map((part, index) => (
          <span key={part.name} className="flex items-baseline gap-x-2 whitespace-nowrap" aria-hidden="true">
            <span className="font-regular text-ink3">{index === 0 ? '=' : '+'}</span>
            <Term part={part} bad={part.name === 'dead-lettered' && books.deadLettered > 0} />
          </span>
        ))}
      </h1>
      {(off !== null || books.inFlightNote !== null) && (
        <ul className="mt-2 text-ink2">
          {books.differences.map((item) => (
            <li key={item.words}>
              {item.words}
              {item.partition !== null && ` Partition ${item.partition}.`}
            </li>
          ))}
          {books.inFlightNote !== null && <li>In flight: {books.inFlightNote}</li>}
        </ul>
      )}
    </header>
  );
}

function Term({ part, bad = false }: { part: Part; bad?: boolean }) {
  return (
    <span className="whitespace-nowrap" aria-hidden="true">
      {part.count}{' '}
      <span className={`text-15 font-regular ${bad ? 'text-warn' : 'text-ink2'}`}>{part.name}</span>
    </span>
  );
}

/** One field for a receipt or a trace id; the answer is its passport. `wanted` is looked up at once. */
function WhereIsMyEvent({ zone, wanted: given }: { zone: 'utc' | 'local'; wanted: string }) {
  const id = useId();
  const [value, setValue] = useState(given);
  const [state, setState] = useState<{ passport: Passport } | { problem: string } | 'asking' | null>(null);
  const serial = useRef(0);
  const look = () => {
    const wanted = value.trim();
    if (wanted === '') {
      setState({ problem: 'Paste a receipt (the answer to every batch carries one) or a trace id.' });
      return;
    }
    serial.current += 1;
    const mine = serial.current;
    setState('asking');
    fetchPassport(wanted, new AbortController().signal).then(
      (passport) => mine === serial.current && setState({ passport }),
      (cause: unknown) => {
        if (mine === serial.current)
          setState({
            problem: cause instanceof RequestFailed ? sentence(cause) : 'The answer could not be read.',
          });
      },
    );
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: once, for what the address names
  useEffect(() => {
    if (given !== '') look();
  }, []);
  return (
    <section aria-labelledby={`${id}-title`} className="card px-4 py-3">
      <h2 id={`${id}-title`} className="font-name">
        Where is my event?
      </h2>
      <form
        className="mt-2 flex flex-wrap gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          look();
        }}
      >
        <input
          aria-label="Receipt or trace id"
          aria-describedby={`${id}-says`}
          data-filter
          className={`${INPUT} min-w-0 flex-1 basis-64 font-mono text-12`}
          placeholder="r1.7.3.1595c.8d3f21aa or a trace id"
          spellCheck={false}
          autoComplete="off"
          autoCapitalize="off"
          value={value}
          onChange={(event) => setValue(event.target.value)}
        />
        <Button tone="primary" type="submit" className="h-9">
          {state === 'asking' ? 'Looking' : 'Look it up'}
        </Button>
      </form>
      <div id={`${id}-says`} role="status">
        {state !== null && state !== 'asking' && 'problem' in state && (
          <p className="mt-3">{state.problem}</p>
        )}
        {state !== null && state !== 'asking' && 'passport' in state && (
          <div className="mt-4 mb-1">
            <PassportView passport={state.passport} zone={zone} wide />
            <p className="mt-3 text-12 text-ink2">
              Times are {zoneName(Date.now(), zone)}. Receipt{' '}
              <code className="select-all break-all font-mono">{state.passport.receipt}</code>
            </p>
          </div>
        )}
      </div>
    </section>
  );
}

/** The server's words, made a sentence, and the remedy where it is not among them. */
function sentence(cause: RequestFailed): string {
  if (cause.status === 0) return 'peep does not answer. Is it running?';
  const words = `${cause.message.charAt(0).toUpperCase()}${cause.message.slice(1)}`;
  return words.endsWith('.') ? words : `${words}.`;
}
