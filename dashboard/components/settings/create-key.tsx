'use client';

/** Makes a key and shows it once. Closing without having taken it asks first. */
import { useState } from 'react';
import { useServices } from '@/components/shell/services';
import { Button } from '@/components/ui/button';
import { CopyButton } from '@/components/ui/copy-button';
import { Field, INPUT } from '@/components/ui/field';
import { Modal } from '@/components/ui/modal';
import { envFile, ingestUrl, nameProblem, readEnvFile } from '@/lib/connect/snippets';
import { RequestFailed } from '@/lib/query/http';
import { createKey, type NewKey } from '@/lib/query/keys';
import { saveFile } from '@/lib/view/copy';

type Use = 'ingest' | 'pages' | 'read';

export function CreateKey({ onClose }: { onClose: () => void }) {
  const [made, setMade] = useState<{ key: NewKey; use: Use } | null>(null);
  if (made !== null) return <Made made={made.key} use={made.use} onClose={onClose} />;
  return <Wish onClose={onClose} onMade={(key, use) => setMade({ key, use })} />;
}

function Wish({ onClose, onMade }: { onClose: () => void; onMade: (key: NewKey, use: Use) => void }) {
  const { envs } = useServices();
  const [name, setName] = useState('');
  const [use, setUse] = useState<Use>('ingest');
  const [env, setEnv] = useState('');
  const [origins, setOrigins] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const listed = origins.split(/[\s,]+/).filter((origin) => origin !== '');

  const check = (): string | null => {
    if (name.trim() === '') return 'Give it a name: it is all that tells keys apart later.';
    if (use !== 'read' && env !== '') {
      const wrong = nameProblem('environment', env);
      if (wrong !== null) return wrong;
    }
    if (use === 'pages') {
      if (listed.length === 0) return 'A key for web pages lists the origins it works from.';
      const bad = listed.find((origin) => !/^https?:\/\/[^/\s]+$/.test(origin));
      if (bad !== undefined) return `${bad} is no origin. Write https://shop.example, without a path.`;
    }
    return null;
  };

  return (
    <Modal title="Create a key" onClose={onClose}>
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          const wrong = check();
          setProblem(wrong);
          if (wrong !== null) return;
          setBusy(true);
          createKey({
            name: name.trim(),
            scope: use === 'read' ? 'read' : 'ingest',
            env: use === 'read' || env === '' ? null : env,
            origins: use === 'pages' ? listed : [],
          }).then(
            (key) => onMade(key, use),
            (cause: unknown) => {
              setBusy(false);
              setProblem(cause instanceof RequestFailed ? cause.message : 'The answer could not be read.');
            },
          );
        }}
      >
        <Field label="Name">
          {(ids) => (
            <input
              {...ids}
              className={INPUT}
              placeholder="checkout servers"
              maxLength={128}
              autoComplete="off"
              value={name}
              onChange={(event) => setName(event.target.value)}
            />
          )}
        </Field>
        <fieldset>
          <legend className="mb-1 text-12 text-ink2">What it is for</legend>
          <div className="flex flex-col gap-1">
            {(
              [
                ['ingest', 'Sending events from servers', 'scope ingest; a secret'],
                [
                  'pages',
                  'Sending events from web pages',
                  'scope ingest; everybody can read it, so it works from its origins alone',
                ],
                ['read', 'Reading: scripts, this dashboard', 'scope read; sees the whole project'],
              ] as const
            ).map(([value, title, note]) => (
              <label
                key={value}
                className="flex cursor-pointer gap-3 rounded-control px-2 py-1.5 hover:bg-hover max-tablet:py-2.5"
              >
                <input
                  type="radio"
                  name="use"
                  value={value}
                  checked={use === value}
                  onChange={() => setUse(value)}
                  className="mt-1 accent-(--ink)"
                />
                <span>
                  {title}
                  <span className="block text-12 text-ink2">{note}</span>
                </span>
              </label>
            ))}
          </div>
        </fieldset>
        {use !== 'read' && (
          <Field label="Environment" hint="Empty: events of any environment. Named: only events of this one.">
            {(ids) => (
              <>
                <input
                  {...ids}
                  className={INPUT}
                  list="create-envs"
                  placeholder="any"
                  autoComplete="off"
                  spellCheck={false}
                  value={env}
                  onChange={(event) => setEnv(event.target.value.trim())}
                />
                <datalist id="create-envs">
                  {envs.map((one) => (
                    <option key={one} value={one} />
                  ))}
                </datalist>
              </>
            )}
          </Field>
        )}
        {use === 'pages' && (
          <Field label="Origins">
            {(ids) => (
              <input
                {...ids}
                className={`${INPUT} font-mono text-12`}
                placeholder="https://shop.example https://*.shop.example"
                autoComplete="off"
                spellCheck={false}
                value={origins}
                onChange={(event) => setOrigins(event.target.value)}
              />
            )}
          </Field>
        )}
        <p role="alert" className="text-bad empty:hidden">
          {problem}
        </p>
        <div className="flex gap-2">
          <Button tone="primary" type="submit" disabled={busy}>
            {busy ? 'Creating' : 'Create'}
          </Button>
          <Button onClick={onClose}>Cancel</Button>
        </div>
      </form>
    </Modal>
  );
}

function Made({ made, use, onClose }: { made: NewKey; use: Use; onClose: () => void }) {
  const [taken, setTaken] = useState(false);
  const [asking, setAsking] = useState(false);
  const file =
    use === 'read'
      ? readEnvFile(window.location.origin, made.key)
      : envFile(ingestUrl(window.location), made.key);
  return (
    <Modal
      title="Your new key"
      onClose={() => {
        if (taken || asking) onClose();
        else setAsking(true);
      }}
    >
      <p className="text-ink2">It is shown this once. peep keeps only a hash of it.</p>
      <p
        className="mt-3 select-all break-all rounded-control border border-line bg-bg px-3 py-2.5 font-mono text-13"
        onCopy={() => setTaken(true)}
      >
        {made.key}
      </p>
      <div className="mt-3 flex flex-wrap gap-2">
        <CopyButton text={made.key} tone="primary" onCopied={() => setTaken(true)} />
        {use !== 'pages' && (
          <Button
            onClick={() => {
              saveFile('peep.env', file);
              setTaken(true);
            }}
          >
            Download .env
          </Button>
        )}
        <span className="flex-1" />
        <Button
          onClick={() => {
            if (taken) onClose();
            else setAsking(true);
          }}
        >
          Done
        </Button>
      </div>
      {asking && !taken && (
        <div role="alert" className="mt-4 rounded-control border border-warn bg-warn-soft px-3 py-2.5">
          <p className="font-name">You have not copied the key. It cannot be shown again.</p>
          <div className="mt-2 flex gap-2">
            <Button onClick={() => setAsking(false)}>Go back</Button>
            <Button tone="danger" onClick={onClose}>
              Close without it
            </Button>
          </div>
        </div>
      )}
    </Modal>
  );
}
