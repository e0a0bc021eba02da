'use client';

/** The first event in a minute: what it is called, what to paste, and a listener that shows it, or why it was refused. */
import { useEffect, useRef, useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { CodeBlock } from '@/components/ui/code-block';
import { Field, INPUT } from '@/components/ui/field';
import { Tabs } from '@/components/ui/tabs';
import { freshKey, keepKey, leaveKey } from '@/lib/connect/fresh-key';
import { ingestUrl, nameProblem, snippet, TABS, type Tab } from '@/lib/connect/snippets';
import { clock, day } from '@/lib/format/time';
import { RequestFailed } from '@/lib/query/http';
import type { NewKey } from '@/lib/query/keys';
import { Listener } from './listener';

const PLACEHOLDER = 'YOUR_INGEST_KEY';
const NAME_PLACEHOLDER = 'YOUR_SERVICE';

export function Connect() {
  const { view, data } = usePageData();
  const { services, envs } = useServices();
  const [name, setName] = useState<string | null>(null);
  const [env, setEnv] = useState<string | null>(null);
  const [tab, setTab] = useState<Tab>('curl');
  const key = useFreshKey();
  const [url] = useState(() => ingestUrl(window.location));

  // What is proposed stays, also when its first event makes it a service like others.
  const proposed = useRef<string | null>(null);
  if (data !== null) proposed.current ??= unused(services.map((item) => item.service));
  const service = name ?? proposed.current ?? '';
  const chosenEnv = env ?? view.env ?? envs[0] ?? 'default';
  const problems = {
    service: nameProblem('service', service),
    env: nameProblem('environment', chosenEnv),
  };
  const good = problems.service === null && problems.env === null;
  const place = {
    url,
    key: key.made?.key ?? PLACEHOLDER,
    service: problems.service === null ? service : NAME_PLACEHOLDER,
    // `default` is what an event without an environment is in.
    env: chosenEnv === 'default' || problems.env !== null ? null : chosenEnv,
  };
  const shown = snippet(tab, place);
  return (
    <div>
      <h1 className="text-22 font-strong max-tablet:text-20">Send your first event</h1>
      <p className="mt-1 text-ink2">One event is one finished request. It is on this page within a second.</p>
      <div className="mt-5 grid grid-cols-1 items-start gap-4 desktop:grid-cols-[240px_minmax(0,1fr)_360px]">
        <section aria-labelledby="connect-name" className="card px-4 py-4">
          <Step n={1} id="connect-name" title="Name it" />
          <Field label="Service" problem={problems.service} className="mt-3">
            {(ids) => (
              <input
                {...ids}
                className={INPUT}
                value={service}
                spellCheck={false}
                autoComplete="off"
                autoCapitalize="off"
                onChange={(event) => setName(event.target.value.trim())}
              />
            )}
          </Field>
          <Field label="Environment" problem={problems.env} className="mt-3">
            {(ids) => (
              <input
                {...ids}
                list="connect-envs"
                className={INPUT}
                value={chosenEnv}
                spellCheck={false}
                autoComplete="off"
                autoCapitalize="off"
                onChange={(event) => setEnv(event.target.value.trim())}
              />
            )}
          </Field>
          <datalist id="connect-envs">
            {envs.map((one) => (
              <option key={one} value={one} />
            ))}
          </datalist>
          <KeyNote state={key} />
        </section>
        <section aria-labelledby="connect-paste" className="card min-w-0 px-4 py-4">
          <Step n={2} id="connect-paste" title="Paste it" />
          <Tabs
            label="Ways to send"
            className="mt-1"
            tabs={TABS.map((one) => ({ name: one, title: one }))}
            current={tab}
            onChange={setTab}
          >
            <p className="mt-3 mb-2 text-ink2">{shown.note}</p>
            <CodeBlock
              label={`${tab}, to copy`}
              code={shown.code}
              onCopied={keepKey}
              className="min-h-[178px]"
            />
            <p className="mt-3 text-12 text-ink2">
              Without a time an event ended when it arrived. <code className="font-mono">route</code> is the
              template, never the path; without <code className="font-mono">duration_ms</code> a request is
              counted, but in no percentile.
            </p>
          </Tabs>
        </section>
        {good && (
          // Another name is another question: the listener starts again.
          <Listener
            key={`${service}/${chosenEnv}`}
            service={service}
            env={chosenEnv}
            url={url}
            keyId={key.made?.id ?? null}
            curl={snippet('curl', place).code}
          />
        )}
      </div>
    </div>
  );
}

export function Step({ n, id, title }: { n: number; id: string; title: string }) {
  return (
    <h2 id={id} className="flex items-center gap-2 font-name">
      <span className="grid size-5 place-items-center rounded-full border border-control text-11 text-ink2">
        {n}
      </span>
      {title}
    </h2>
  );
}

/** A name that nobody sends under yet, so that the first event is really the first. */
function unused(taken: readonly string[]): string {
  for (const name of ['checkout', 'my-app', 'my-service']) if (!taken.includes(name)) return name;
  let n = 2;
  while (taken.includes(`my-app-${n}`)) n += 1;
  return `my-app-${n}`;
}

interface KeyState {
  made: NewKey | null;
  problem: RequestFailed | null;
}

function useFreshKey(): KeyState {
  const [state, setState] = useState<KeyState>({ made: null, problem: null });
  useEffect(() => {
    let gone = false;
    const now = Date.now();
    freshKey(`first event, ${day(now, 'utc')} ${clock(now, 'utc')}`.replaceAll('\u00a0', ' ')).then(
      (made) => {
        if (!gone) setState({ made, problem: null });
      },
      (cause: unknown) => {
        if (gone) return;
        const problem =
          cause instanceof RequestFailed
            ? cause
            : new RequestFailed(200, 'unreadable_answer', String(cause), null);
        setState({ made: null, problem });
      },
    );
    window.addEventListener('pagehide', leaveKey);
    return () => {
      gone = true;
      window.removeEventListener('pagehide', leaveKey);
      leaveKey();
    };
  }, []);
  return state;
}

function KeyNote({ state }: { state: KeyState }) {
  if (state.problem !== null)
    return (
      <p className="mt-4 text-12 text-ink2">
        {state.problem.status === 403
          ? 'This session may not make keys: it was opened with a read key.'
          : state.problem.status === 404
            ? 'This server makes no keys from here.'
            : `No key was made: ${state.problem.message}`}{' '}
        Put yours in place of <code className="font-mono text-ink">{PLACEHOLDER}</code>; another one comes
        from <code className="font-mono text-ink">peep key create --scope ingest</code>.
      </p>
    );
  if (state.made === null) return <p className="mt-4 text-12 text-ink2">Making a key for it</p>;
  return (
    <p className="mt-4 text-12 text-ink2">
      The key <code className="font-mono text-ink">{state.made.prefix}</code> was made for this page and is in
      every snippet. It cannot be shown again; if you do not copy it, it is revoked when you leave.
    </p>
  );
}
