'use client';

/** One rule: what it promises, for whom, who is told, and what it would have done in the last week before it is saved. */
import { useEffect, useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { useServices } from '@/components/shell/services';
import { Button } from '@/components/ui/button';
import { Field, INPUT } from '@/components/ui/field';
import { Modal } from '@/components/ui/modal';
import { Ticked } from '@/components/ui/ticked';
import {
  KIND_NAMES,
  nameOf,
  previewSentence,
  problemOf,
  type TargetField,
  targetProblem,
} from '@/lib/alerts/words';
import { isolated } from '@/lib/format/isolate';
import { day, moment, type Zone } from '@/lib/format/time';
import {
  createAlert,
  deleteAlert,
  type Preview,
  previewAlert,
  type Rule,
  type Target,
  testReceiver,
  updateAlert,
} from '@/lib/query/alerts';
import { RequestFailed } from '@/lib/query/http';
import { ONLY_READS } from '@/lib/query/session';
import { usePoll } from '@/lib/query/use-poll';
import type { Draft } from './alerts';

const STARTS: Readonly<Record<Target['kind'], Target>> = {
  error_budget: { kind: 'error_budget', objective: 0.999, periodDays: 30 },
  latency: { kind: 'latency', quantile: 0.99, limitMs: 500 },
  latency_usual: { kind: 'latency_usual', quantile: 0.99, timesUsual: 2 },
  silence: { kind: 'silence', forS: 120 },
};
const KINDS = Object.keys(STARTS) as Target['kind'][];

const said = (cause: unknown) =>
  cause instanceof RequestFailed ? cause.message : 'The answer could not be read.';

export function Editor({
  draft,
  readOnly,
  onClose,
  onSaved,
}: {
  draft: Draft;
  /** The session may look at the rule and not change it. */
  readOnly: boolean;
  onClose: () => void;
  onSaved: (words: string) => void;
}) {
  const { view } = usePageData();
  const { services, envs } = useServices();
  const [rule, change] = useState<Rule>(draft.rule);
  const [url, changeUrl] = useState('');
  const [busy, setBusy] = useState(false);
  // What the server said of what was sent; it is about that, and goes when something is changed.
  const [problem, setProblem] = useState<string | null>(null);
  const [tried, setTried] = useState(false);
  const [asking, setAsking] = useState(false);
  // A name that was never touched follows what the rule says.
  const [named, setNamed] = useState(draft.known !== null && draft.rule.name !== nameOf(draft.rule.target));
  const shown = draft.known?.receiverShown ?? null;

  const setRule = (next: Rule) => {
    setProblem(null);
    change(next);
  };
  const setUrl = (next: string) => {
    setProblem(null);
    changeUrl(next);
  };
  const numbers = targetProblem(rule.target);
  // While a number is half typed, the name stays what it was.
  const [own, setOwn] = useState(() => nameOf(draft.rule.target));
  const follows = numbers === null ? nameOf(rule.target) : own;
  if (follows !== own) setOwn(follows);

  const complete: Rule = {
    ...rule,
    name: named ? rule.name : follows,
    receiver: url.trim() === '' ? draft.rule.receiver : { kind: 'webhook', url: url.trim() },
  };
  const wrong = problemOf(complete);
  const target = (next: Target) => setRule({ ...rule, target: next });

  const run = (work: Promise<void>, words: string) => {
    setBusy(true);
    setProblem(null);
    work.then(
      () => onSaved(words),
      (cause: unknown) => {
        setBusy(false);
        setProblem(said(cause));
      },
    );
  };

  return (
    <Modal kind="drawer" title={draft.known === null ? 'New rule' : 'Rule'} onClose={onClose}>
      <form
        className="flex flex-col gap-4"
        onSubmit={(event) => {
          event.preventDefault();
          setTried(true);
          if (wrong !== null) return;
          if (draft.known === null) run(createAlert(complete), `${isolated(complete.name)}: watching.`);
          else run(updateAlert(draft.known, complete), `${isolated(complete.name)}: saved.`);
        }}
      >
        <Field label="What is watched">
          {(ids) => (
            <select
              {...ids}
              className={INPUT}
              value={rule.target.kind}
              onChange={(event) => {
                const kind = KINDS.find((one) => one === event.target.value);
                if (kind !== undefined) target(STARTS[kind]);
              }}
            >
              {KINDS.map((kind) => (
                <option key={kind} value={kind}>
                  {KIND_NAMES[kind]}
                </option>
              ))}
            </select>
          )}
        </Field>
        <TargetFields target={rule.target} problem={numbers} onChange={target} />
        <div className="grid grid-cols-2 gap-3">
          <Field label="Service">
            {(ids) => (
              <select
                {...ids}
                className={INPUT}
                value={rule.service ?? ''}
                onChange={(event) => setRule({ ...rule, service: event.target.value || null })}
              >
                <option value="">all services, each by itself</option>
                {rule.service !== null && !services.some((item) => item.service === rule.service) && (
                  <option value={rule.service}>{isolated(rule.service)}</option>
                )}
                {services.map((item) => (
                  <option key={item.id} value={item.service}>
                    {isolated(item.service)}
                  </option>
                ))}
              </select>
            )}
          </Field>
          <Field label="Environment">
            {(ids) => (
              <select
                {...ids}
                className={INPUT}
                value={rule.env ?? ''}
                onChange={(event) => setRule({ ...rule, env: event.target.value || null })}
              >
                <option value="">all environments</option>
                {rule.env !== null && !envs.includes(rule.env) && (
                  <option value={rule.env}>{isolated(rule.env)}</option>
                )}
                {envs.map((env) => (
                  <option key={env} value={env}>
                    {isolated(env)}
                  </option>
                ))}
              </select>
            )}
          </Field>
        </div>
        <Field label="Name">
          {(ids) => (
            <input
              {...ids}
              className={INPUT}
              value={named ? rule.name : follows}
              maxLength={128}
              onChange={(event) => {
                setNamed(true);
                setRule({ ...rule, name: event.target.value });
              }}
            />
          )}
        </Field>
        <Receiver
          url={url}
          shown={shown}
          id={draft.known?.id ?? null}
          readOnly={readOnly}
          onChange={setUrl}
        />
        {wrong === null && !readOnly && <PreviewBlock rule={complete} zone={view.tz} />}
        <p role="alert" className="text-bad empty:hidden">
          {/* A wrong number is told at its field. */}
          {problem ?? (tried && numbers === null ? wrong : null)}
        </p>
        {readOnly && <p className="text-ink2">{ONLY_READS}</p>}
        <div className="flex flex-wrap items-center gap-2 border-line border-t pt-4">
          <Button tone="primary" type="submit" disabled={busy || readOnly}>
            {busy ? 'Saving' : 'Save'}
          </Button>
          <Button onClick={onClose}>Cancel</Button>
          <span className="flex-1" />
          {draft.known !== null &&
            (asking ? (
              <Button
                tone="danger"
                disabled={busy}
                onClick={() => run(deleteAlert(draft.known?.id ?? ''), `${rule.name}: deleted.`)}
              >
                Delete it for good
              </Button>
            ) : (
              <Button disabled={readOnly} onClick={() => setAsking(true)}>
                Delete
              </Button>
            ))}
        </div>
      </form>
    </Modal>
  );
}

/** A number that may be half typed; it leaves as a number only when it is one. */
function NumberInput(props: {
  label: string;
  value: number;
  unit?: string;
  problem: string | null;
  onChange: (value: number) => void;
}) {
  const [text, setText] = useState(String(props.value));
  return (
    <Field
      label={props.unit === undefined ? props.label : `${props.label}, ${props.unit}`}
      problem={props.problem}
    >
      {(ids) => (
        <input
          {...ids}
          className={INPUT}
          inputMode="decimal"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            const value = Number(event.target.value.replace(',', '.'));
            props.onChange(event.target.value.trim() === '' || Number.isNaN(value) ? Number.NaN : value);
          }}
        />
      )}
    </Field>
  );
}

const tidy = (x: number) => Number(x.toPrecision(8));

function TargetFields({
  target,
  problem,
  onChange,
}: {
  target: Target;
  problem: { field: TargetField; words: string } | null;
  onChange: (target: Target) => void;
}) {
  const of = (field: TargetField) => (problem?.field === field ? problem.words : null);
  switch (target.kind) {
    case 'error_budget':
      return (
        <div key={target.kind} className="grid grid-cols-2 gap-3">
          <NumberInput
            label="Requests that succeed"
            unit="%"
            problem={of('objective')}
            value={tidy(target.objective * 100)}
            onChange={(percent) => onChange({ ...target, objective: tidy(percent / 100) })}
          />
          <NumberInput
            label="Over"
            unit="days"
            problem={of('periodDays')}
            value={target.periodDays}
            onChange={(periodDays) => onChange({ ...target, periodDays })}
          />
        </div>
      );
    case 'latency':
    case 'latency_usual':
      return (
        <div key={target.kind} className="grid grid-cols-2 gap-3">
          <NumberInput
            label="Percentile"
            problem={of('quantile')}
            value={tidy(target.quantile * 100)}
            onChange={(percent) => onChange({ ...target, quantile: tidy(percent / 100) })}
          />
          {target.kind === 'latency' ? (
            <NumberInput
              label="Limit"
              unit="ms"
              problem={of('limitMs')}
              value={target.limitMs}
              onChange={(limitMs) => onChange({ ...target, limitMs })}
            />
          ) : (
            <NumberInput
              label="Times its usual"
              problem={of('timesUsual')}
              value={target.timesUsual}
              onChange={(timesUsual) => onChange({ ...target, timesUsual })}
            />
          )}
        </div>
      );
    case 'silence':
      return (
        <NumberInput
          key={target.kind}
          label="No requests for"
          unit="seconds"
          problem={of('forS')}
          value={target.forS}
          onChange={(forS) => onChange({ ...target, forS })}
        />
      );
  }
}

/** Who is told. The address of a saved receiver is never shown in full, because it is a secret of its owner. */
function Receiver(props: {
  url: string;
  shown: string | null;
  id: string | null;
  readOnly: boolean;
  onChange: (url: string) => void;
}) {
  const [answer, setAnswer] = useState<{ ok: boolean; words: string; body: string } | null>(null);
  const [busy, setBusy] = useState(false);
  return (
    <div>
      <Field
        label={props.shown === null ? 'Webhook, optional' : `Webhook, now ${props.shown}`}
        hint="Gets a POST with JSON when the rule begins to fire and when it ends."
      >
        {(ids) => (
          <input
            {...ids}
            className={`${INPUT} font-mono text-12`}
            type="url"
            placeholder={props.shown === null ? 'https://hooks.example/…' : 'leave empty to keep it'}
            autoComplete="off"
            spellCheck={false}
            value={props.url}
            onChange={(event) => {
              setAnswer(null);
              props.onChange(event.target.value);
            }}
          />
        )}
      </Field>
      <div className="mt-2 flex flex-wrap items-center gap-x-3 gap-y-1">
        <Button
          disabled={busy || props.readOnly || (props.url.trim() === '' && props.shown === null)}
          onClick={() => {
            setBusy(true);
            testReceiver(props.url.trim(), props.id)
              .then(
                ({ status, body, ms }) =>
                  setAnswer({
                    ok: status >= 200 && status < 300,
                    words: `It answered ${status} after ${Math.round(ms)} ms.`,
                    body,
                  }),
                (cause: unknown) => setAnswer({ ok: false, words: said(cause), body: '' }),
              )
              .finally(() => setBusy(false));
          }}
        >
          {busy ? 'Sending' : 'Send a test'}
        </Button>
        <p role="status" className={`min-w-0 flex-1 ${answer?.ok === false ? 'text-bad' : ''}`}>
          {answer !== null && <Ticked words={answer.words} />}
        </p>
      </div>
      {answer !== null && answer.body !== '' && (
        <pre className="mt-2 max-h-32 overflow-auto rounded-control border border-line bg-bg px-3 py-2 font-mono text-12">
          {answer.body}
        </pre>
      )}
    </div>
  );
}

const SETTLED_MS = 300;
const DAY_MS = 86_400_000;

function PreviewBlock({ rule, zone }: { rule: Rule; zone: Zone }) {
  const wanted = JSON.stringify([rule.service, rule.env, rule.target]);
  const [question, setQuestion] = useState(wanted);
  useEffect(() => {
    const timer = window.setTimeout(() => setQuestion(wanted), SETTLED_MS);
    return () => window.clearTimeout(timer);
  }, [wanted]);
  const asked = usePoll(question, (signal) => previewAlert({ ...rule, receiver: null }, signal), null);
  const data = asked.answered === wanted ? asked.data : null;
  return (
    <div className="min-h-24 rounded-card border border-line bg-bg px-4 py-3" aria-live="polite">
      {data !== null ? (
        <>
          <p className="font-name">{previewSentence(data)}</p>
          <Days preview={data} zone={zone} />
        </>
      ) : asked.error !== null ? (
        <p className="text-ink2">No preview: {asked.error.message}</p>
      ) : (
        <p className="text-ink3">Looking at the last 7 days</p>
      )}
    </div>
  );
}

/** The days before now as a strip; where the rule would have fired, it is filled. */
function Days({ preview, zone }: { preview: Preview; zone: Zone }) {
  const toMs = Date.now();
  const fromMs = toMs - preview.days * DAY_MS;
  const at = (ms: number) => ((ms - fromMs) / (toMs - fromMs)) * 100;
  return (
    <div className="mt-3" aria-hidden="true">
      <div className="relative h-6 rounded-data bg-hover">
        {preview.episodes.map((episode) => (
          <span
            key={episode.fromMs}
            title={`${moment(episode.fromMs, zone, toMs)} to ${moment(episode.toMs, zone, toMs)}`}
            className="absolute inset-y-0 min-w-[3px] rounded-data bg-bad"
            style={{
              left: `${Math.max(0, at(episode.fromMs))}%`,
              width: `${Math.min(100, at(episode.toMs)) - Math.max(0, at(episode.fromMs))}%`,
            }}
          />
        ))}
      </div>
      <div className="mt-1 flex justify-between text-11 text-ink2">
        <span>{day(fromMs, zone)}</span>
        <span>now</span>
      </div>
    </div>
  );
}
