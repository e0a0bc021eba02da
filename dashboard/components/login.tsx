'use client';

/** The door: a one-time token from the link's fragment, or a read key typed in. Either becomes a session cookie. */
import { useEffect, useRef, useState } from 'react';
import { Logo } from '@/components/ui/icon';
import { RequestFailed } from '@/lib/query/http';
import { openSession } from '@/lib/query/session';

/** Only a path of this origin: anything else would let a link send the reader elsewhere after login. */
export function safeNext(search: string): string {
  const next = new URLSearchParams(search).get('next') ?? '/';
  return /^\/(?![/\\])[^\\]*$/.test(next) ? next : '/';
}

function enter(): void {
  try {
    window.localStorage.setItem('peep.session', '1');
  } catch {
    // Without storage the page cannot tell an ended session from a first visit; it still works.
  }
  window.location.replace(safeNext(window.location.search));
}

/** The server's words begin small and end open, because they also stand inside of log lines. */
function sentence(words: string): string {
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${words.endsWith('.') ? '' : '.'}`;
}

function explain(cause: unknown, what: 'link' | 'key'): string {
  if (cause instanceof RequestFailed) {
    if (cause.status === 0) return 'peep does not answer. Is it running?';
    if (cause.status === 401 || cause.status === 403) {
      return what === 'link'
        ? 'This link was used before or has expired. Links work once.'
        : cause.status === 403
          ? sentence(cause.message)
          : 'peep does not know this key. It may be mistyped or revoked.';
    }
    return `${cause.message} (${cause.status} ${cause.code})`;
  }
  return 'The answer could not be read.';
}

export function Login() {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  const started = useRef(false);

  useEffect(() => {
    const token = new URLSearchParams(window.location.hash.slice(1)).get('token');
    if (token === null || started.current) return;
    started.current = true;
    // The secret leaves the address bar, and with it the history, before it is used.
    window.history.replaceState(null, '', window.location.pathname + window.location.search);
    setBusy(true);
    openSession({ token }).then(enter, (cause: unknown) => {
      setBusy(false);
      setProblem(explain(cause, 'link'));
      field.current?.focus();
    });
  }, []);

  const submit = () => {
    const value = field.current?.value.trim() ?? '';
    if (value === '') {
      setProblem('Paste a read key first.');
      return;
    }
    const token = /#token=([^&\s]+)/.exec(value)?.[1];
    setBusy(true);
    setProblem(null);
    openSession(token === undefined ? { key: value } : { token }).then(enter, (cause: unknown) => {
      setBusy(false);
      setProblem(explain(cause, token === undefined ? 'key' : 'link'));
      field.current?.focus();
    });
  };

  return (
    <main className="flex min-h-dvh items-center justify-center p-4">
      <form
        className="card w-full max-w-[420px] px-6 py-6"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <div className="flex items-center gap-2 text-15 font-strong">
          <Logo />
          peep
        </div>
        <h1 className="mt-4 text-20 font-strong">Log in</h1>
        <label htmlFor="secret" className="mt-4 block text-12 text-ink2">
          Read key or one-time link
        </label>
        <input
          ref={field}
          id="secret"
          name="secret"
          type="password"
          autoComplete="current-password"
          spellCheck={false}
          aria-describedby="help problem"
          aria-invalid={problem !== null}
          className="mt-1 h-9 w-full rounded-control border border-control bg-bg px-3 font-mono text-13"
        />
        <p id="problem" role="alert" className="mt-2 min-h-5 text-bad">
          {problem}
        </p>
        <button
          type="submit"
          disabled={busy}
          className="h-9 w-full rounded-control bg-ink font-strong text-bg disabled:opacity-60"
        >
          {busy ? 'Logging in' : 'Log in'}
        </button>
        <p id="help" className="mt-4 text-12 text-ink2">
          Run <code className="font-mono text-ink">peep key create --scope read</code>, or open the link that{' '}
          <code className="font-mono text-ink">make dev</code> printed. A read key looks; a link of{' '}
          <code className="font-mono text-ink">peep login-link</code> may also change keys and alerts.
        </p>
      </form>
    </main>
  );
}
