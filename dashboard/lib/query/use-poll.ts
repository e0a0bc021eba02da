'use client';

/**
 * Asks again every so often while the page is visible. The old answer stays until the new one is in; an answer to an
 * older question is dropped. A failed question is asked again at the same pace, and at once by `retry`.
 */
import { useCallback, useEffect, useRef, useState } from 'react';
import { RequestFailed } from './http';

export interface Polled<T> {
  data: T | null;
  /** The question `data` answers, so a reader can tell a stale answer from a fitting one. */
  answered: string | null;
  error: RequestFailed | null;
  atMs: number | null;
  retry: () => void;
}

interface State<T> {
  data: T | null;
  answered: string | null;
  error: RequestFailed | null;
  atMs: number | null;
}

/** `question` identifies what is asked; `null` asks nothing. `everyMs` null asks once. */
export function usePoll<T>(
  question: string | null,
  ask: (signal: AbortSignal) => Promise<T>,
  everyMs: number | null,
): Polled<T> {
  const [state, setState] = useState<State<T>>({ data: null, answered: null, error: null, atMs: null });
  const [attempt, setAttempt] = useState(0);
  const latest = useRef(ask);
  latest.current = ask;
  const done = useRef<{ question: string; attempt: number } | null>(null);

  useEffect(() => {
    if (question === null) return;
    // Asked once, and answered: whoever stops the clock does not want another picture.
    if (everyMs === null && done.current?.question === question && done.current.attempt === attempt) return;
    const stop = new AbortController();
    let timer: number | null = null;

    const run = async () => {
      timer = null;
      try {
        const data = await latest.current(stop.signal);
        if (stop.signal.aborted) return;
        done.current = { question, attempt };
        setState({ data, answered: question, error: null, atMs: Date.now() });
      } catch (cause) {
        if (stop.signal.aborted) return;
        const error =
          cause instanceof RequestFailed
            ? cause
            : new RequestFailed(
                200,
                'unreadable_answer',
                cause instanceof Error ? cause.message : String(cause),
                null,
              );
        setState((before) => ({ ...before, error }));
        // An ended session is told elsewhere; what is not there, or not for this key, will not be in a moment either.
        if ([401, 403, 404].includes(error.status)) return;
      }
      const wait = everyMs ?? null;
      if (wait !== null && !document.hidden) timer = window.setTimeout(run, wait);
    };
    const onVisible = () => {
      if (!document.hidden && timer === null && everyMs !== null) void run();
    };
    void run();
    document.addEventListener('visibilitychange', onVisible);
    return () => {
      stop.abort();
      if (timer !== null) window.clearTimeout(timer);
      document.removeEventListener('visibilitychange', onVisible);
    };
  }, [question, everyMs, attempt]);

  const retry = useCallback(() => setAttempt((n) => n + 1), []);
  return { ...state, retry };
}

/**
 * The answer while it is about the same subject: between two windows of one thing the old picture stays, but what was
 * said about another service is not shown as this one's. The question begins with its subject.
 */
export function about<T>(polled: Polled<T>, subject: string): T | null {
  return polled.answered?.startsWith(`${subject}\n`) === true ? polled.data : null;
}
