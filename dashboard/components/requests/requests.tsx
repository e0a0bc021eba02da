'use client';

/** Which requests exactly: a filter, one line of counts, and the rows, newest first. */
import { useCallback, useMemo, useRef, useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Button } from '@/components/ui/button';
import { useNarrow } from '@/components/ui/use-narrow';
import { exactCount } from '@/lib/format/number';
import { clock, moment, zoneName } from '@/lib/format/time';
import { RequestFailed } from '@/lib/query/http';
import { type Requests as Answer, fetchCounted, fetchRequests, type OneRequest } from '@/lib/query/requests';
import { usePoll } from '@/lib/query/use-poll';
import { countsSentence } from '@/lib/requests/counts';
import { sayTerm, type Term, termsOf, viewOf, writeTerm } from '@/lib/requests/terms';
import { Drawer } from './drawer';
import { DurationHistogram } from './duration-histogram';
import { FilterBar } from './filter-bar';
import { NarrowRows, WideRows } from './requests-table';

const PAGE = 100;
const EVERY_MS = 5000;
/** More than this many rows are no list anybody reads; a narrower filter is. */
const ROWS_MAX = 2000;

interface Shown {
  question: string;
  rows: OneRequest[];
  next: string | null;
}

const identity = (row: OneRequest): string => JSON.stringify(row.raw);

export function Requests() {
  const page = usePageData();
  const { view, choose, asked, mode, paused } = page;
  const narrow = useNarrow();
  const terms = useMemo(() => termsOf(view), [view]);
  const question = JSON.stringify([view.env, terms, asked]);
  const polled = usePoll(
    question,
    (signal) => fetchCounted({ env: view.env, terms, window: asked, limit: PAGE }, signal),
    mode === 'history' || paused !== null ? null : EVERY_MS,
  );
  const answer = polled.answered === question ? polled.data : null;
  const [shown, setShown] = useState<Shown | null>(null);
  const [open, setOpen] = useState<OneRequest | null>(null);

  // The first answer to a question is shown; later ones wait until they are asked for.
  const current = shown?.question === question ? shown : null;
  if (answer !== null && (current === null || (current.rows.length === 0 && answer.rows.length > 0))) {
    setShown({ question, rows: answer.rows, next: answer.next });
  }
  const waiting = useMemo(() => {
    if (answer === null || current === null || mode === 'history') return 0;
    const known = new Set(current.rows.slice(0, PAGE).map(identity));
    return answer.rows.filter((row) => !known.has(identity(row))).length;
  }, [answer, current, mode]);

  const setTerms = useCallback((next: readonly Term[]) => choose(viewOf(next)), [choose]);
  const rows = current?.rows ?? [];
  const oneIn = rows.reduce((most, row) => Math.max(most, row.weight), 1);
  // The old rows stay while another filter is being asked for, so that nothing blinks.
  const last = useRef<Answer | null>(null);
  if (answer !== null) last.current = answer;
  const told = answer ?? last.current;
  const services = view.service === null;

  return (
    <div className="flex min-w-0 flex-col gap-4 overflow-x-clip">
      <FilterBar terms={terms} env={view.env} onChange={setTerms} />
      {polled.error !== null && answer === null ? (
        <>
          <h1 className="sr-only">Requests</h1>
          <BlockFailed what="the requests" error={polled.error} retry={polled.retry} />
        </>
      ) : told === null ? (
        <Waiting />
      ) : answer !== null && answer.rows.length === 0 ? (
        <Nothing terms={terms} onRemove={setTerms} />
      ) : (
        <>
          <div className="flex flex-wrap items-end gap-x-8 gap-y-3">
            <Counts answer={told} oneIn={oneIn} filtered={terms.length > 0} />
            {told.durations !== null && (
              <div className="w-[420px] max-tablet:w-full">
                <DurationHistogram
                  histogram={told.durations}
                  onSelect={(fromMs, toMs) => setTerms(narrowed(terms, fromMs, toMs))}
                />
              </div>
            )}
          </div>
          <section
            aria-label="Requests, newest first"
            className={`card overflow-clip ${current === null ? 'opacity-60' : ''}`}
          >
            {waiting > 0 && current !== null && answer !== null && (
              <div className="sticky top-13 z-10 border-line border-b bg-surface">
                <button
                  type="button"
                  className="flex h-9 w-full items-center justify-center bg-focus-soft font-name text-focus max-tablet:h-11"
                  onClick={() => setShown({ question, rows: answer.rows, next: answer.next })}
                >
                  {waiting >= PAGE ? `More than ${PAGE} new` : `${waiting} new`}, show
                </button>
              </div>
            )}
            {narrow ? (
              <NarrowRows rows={rows} zone={view.tz} services={services} onOpen={setOpen} />
            ) : (
              <WideRows rows={rows} zone={view.tz} services={services} onOpen={setOpen} />
            )}
          </section>
          {current !== null && (
            <Older
              current={current}
              ask={(cursor, signal) =>
                fetchRequests({ env: view.env, terms, window: asked, limit: PAGE, cursor }, signal)
              }
              onRows={(more) =>
                setShown((before) =>
                  before?.question === question
                    ? { ...before, rows: [...before.rows, ...more.rows], next: more.next }
                    : before,
                )
              }
            />
          )}
        </>
      )}
      {open !== null && (
        <Drawer
          request={open}
          zone={view.tz}
          onClose={() => setOpen(null)}
          onFilter={(next) => {
            setOpen(null);
            setTerms(next);
          }}
        />
      )}
    </div>
  );
}

function narrowed(terms: readonly Term[], fromMs: number, toMs: number): Term[] {
  const tidy = (ms: number) => Number(ms.toPrecision(3));
  return [
    ...terms.filter((term) => term.kind !== 'min' && term.kind !== 'max'),
    { kind: 'min', ms: tidy(fromMs) },
    { kind: 'max', ms: tidy(toMs) },
  ];
}

function Counts({ answer, oneIn, filtered }: { answer: Answer; oneIn: number; filtered: boolean }) {
  const { matched, total, sampled } = answer;
  const words = countsSentence({ matched, total, sampled, oneIn, filtered });
  // The first sentence is the answer, the second says what it rests on.
  const at = words.indexOf('. ');
  const [what, how] =
    at === -1 ? ['Requests, newest first', words] : [words.slice(0, at), words.slice(at + 2)];
  return (
    <div className="min-w-64 flex-1">
      <h1 className="live-number text-20 font-strong">{what}</h1>
      <p className="mt-1 text-ink2">{how}</p>
    </div>
  );
}

function Waiting() {
  return (
    <div aria-busy="true">
      <h1 className="sr-only">Requests</h1>
      <div className="h-[60px]" />
      <div className="card h-[600px]" />
    </div>
  );
}

/** Nothing matches: name the filter whose removal brings most back. */
function Nothing({ terms, onRemove }: { terms: readonly Term[]; onRemove: (terms: Term[]) => void }) {
  const { view, asked, windowMs } = usePageData();
  const question = JSON.stringify([view.env, terms, asked]);
  const counted = usePoll(
    terms.length === 0 ? null : question,
    async (signal) => {
      const without = await Promise.all(
        terms.slice(0, 6).map(async (term) => {
          const rest = terms.filter((one) => one !== term);
          const answer = await fetchRequests({ env: view.env, terms: rest, window: asked, limit: 1 }, signal);
          return { term, brings: answer.matched ?? answer.rows.length };
        }),
      );
      return without.reduce((best, one) => (one.brings > best.brings ? one : best));
    },
    null,
  );
  const toMs = view.frozen?.toMs ?? Date.now();
  const fromMs = view.frozen?.fromMs ?? toMs - windowMs;
  const stretch = `between ${moment(fromMs, view.tz, toMs)} and ${clock(toMs, view.tz)} ${zoneName(toMs, view.tz)}`;
  if (terms.length === 0)
    return (
      <div className="py-10">
        <h1 className="text-20 font-strong">No requests {stretch}</h1>
        <p className="mt-1 text-ink2">
          Single requests appear a few seconds after they are counted. Choose a longer range to look further
          back.
        </p>
      </div>
    );
  const best = counted.data;
  return (
    <div className="py-10">
      <h1 className="text-20 font-strong">No request matches {list(terms.map(sayTerm))}</h1>
      <p className="mt-1 text-ink2">{stretch[0]?.toUpperCase() + stretch.slice(1)}.</p>
      <div className="mt-4 flex flex-wrap gap-2">
        {best !== null && best.brings > 0 && (
          <Button
            tone="primary"
            onClick={() => onRemove(terms.filter((term) => writeTerm(term) !== writeTerm(best.term)))}
          >
            Remove {sayTerm(best.term)}
          </Button>
        )}
        <Button onClick={() => onRemove([])}>Remove all filters</Button>
      </div>
      {best !== null && best.brings > 0 && (
        <p className="mt-2 text-12 text-ink2">Without it {exactCount(best.brings)} match.</p>
      )}
    </div>
  );
}

function list(items: readonly string[]): string {
  if (items.length < 2) return items.join('');
  return `${items.slice(0, -1).join(', ')} and ${items.at(-1)}`;
}

function Older(props: {
  current: Shown;
  ask: (cursor: string, signal: AbortSignal) => Promise<Answer>;
  onRows: (answer: Answer) => void;
}) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const { next, rows } = props.current;
  if (next === null)
    return (
      <p className="text-12 text-ink2">
        {exactCount(rows.length)} rows, the oldest of this window is the last.
      </p>
    );
  if (rows.length >= ROWS_MAX)
    return (
      <p className="text-12 text-ink2">
        {exactCount(rows.length)} rows. Narrow the filter or the range to see older ones.
      </p>
    );
  return (
    <div className="flex items-center gap-3">
      <Button
        disabled={busy}
        onClick={() => {
          setBusy(true);
          setProblem(null);
          props
            .ask(next, new AbortController().signal)
            .then(props.onRows, (cause: unknown) =>
              setProblem(cause instanceof RequestFailed ? cause.message : 'The answer could not be read.'),
            )
            .finally(() => setBusy(false));
        }}
      >
        {busy ? 'Asking' : `Show ${PAGE} older`}
      </Button>
      <p role="status" className="text-12 text-ink2">
        {problem ?? `${exactCount(rows.length)} rows`}
      </p>
    </div>
  );
}
