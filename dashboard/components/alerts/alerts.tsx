'use client';

/** What will wake us, and what is firing: the firing rules first, then all of them, and the way to a new one. */
import Link from 'next/link';
import { useState } from 'react';
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Button } from '@/components/ui/button';
import { Glyph } from '@/components/ui/glyph';
import { Icon } from '@/components/ui/icon';
import { Name } from '@/components/ui/name';
import { useMayManage } from '@/components/ui/use-may-manage';
import { burn, describe, nameOf, PRESETS } from '@/lib/alerts/words';
import { isolated } from '@/lib/format/isolate';
import { age, moment, zoneName } from '@/lib/format/time';
import { fetchAlerts, fetchPresets, type KnownRule, type Rule, updateAlert } from '@/lib/query/alerts';
import { RequestFailed } from '@/lib/query/http';
import { ONLY_READS } from '@/lib/query/session';
import { usePoll } from '@/lib/query/use-poll';
import { toast } from '@/lib/view/toast';
import { hrefOf } from '@/lib/view/url';
import { Editor } from './editor';

const EVERY_MS = 5000;

export interface Draft {
  rule: Rule;
  known: KnownRule | null;
}

export function Alerts() {
  const { view } = usePageData();
  const polled = usePoll('alerts', fetchAlerts, EVERY_MS);
  const presets = usePoll('presets', fetchPresets, null);
  const [draft, setDraft] = useState<Draft | null>(null);
  const may = useMayManage();
  if (polled.data === null) {
    if (polled.error === null) return <Loading />;
    if (polled.error.status === 404)
      return (
        <>
          <h1 className="text-22 font-strong">This server has no alerts</h1>
          <p className="mt-1 text-ink2">It needs a newer peep.</p>
        </>
      );
    return (
      <>
        <h1 className="sr-only">Alerts</h1>
        <BlockFailed what="the alerts" error={polled.error} retry={polled.retry} />
      </>
    );
  }
  const rules = polled.data;
  const firing = rules.filter((rule) => rule.state === 'firing' && rule.enabled);
  const pending = rules.filter((rule) => rule.state === 'pending' && rule.enabled);
  const start = (rule: Rule) =>
    setDraft({ rule: { ...rule, service: view.service, env: view.env }, known: null });
  return (
    <div className="flex flex-col gap-4">
      <header className="flex flex-wrap items-start gap-x-4 gap-y-2">
        <div className="min-w-0 flex-1">
          <h1 className="text-22 font-strong max-tablet:text-20">{headline(rules, firing)}</h1>
          <p className="mt-1 text-ink2">
            {rules.length === 0
              ? 'Start from one of these; each can be changed before it is saved.'
              : pending.length > 0
                ? `${pending.length} about to fire: ${pending.map((rule) => rule.name).join('; ')}.`
                : 'Each rule is judged from the same counts that the pages show.'}
          </p>
          {!may && <p className="mt-1 text-ink2">{ONLY_READS}</p>}
        </div>
        {rules.length > 0 && (
          <Button tone="primary" disabled={!may} onClick={() => start(PRESETS[0] as Rule)}>
            New rule
          </Button>
        )}
      </header>

      {firing.length > 0 && (
        <ul aria-label="Firing" className="card divide-y divide-line overflow-hidden">
          {firing.map((rule) => (
            <Firing key={rule.id} rule={rule} />
          ))}
        </ul>
      )}

      {rules.length > 0 && (
        <section aria-label="Rules" className="card overflow-hidden">
          <h2 className="px-4 pt-3 pb-2 font-name max-tablet:px-3">Rules</h2>
          <RulesTable
            rules={rules}
            readOnly={!may}
            onEdit={(rule) => setDraft({ rule, known: rule })}
            onChanged={polled.retry}
          />
        </section>
      )}

      <section aria-label="Presets">
        <h2 className={rules.length > 0 ? 'mb-2 font-name' : 'sr-only'}>Add another</h2>
        <ul className="grid grid-cols-1 gap-3 tablet:grid-cols-3">
          {(presets.data ?? PRESETS).map((preset) => (
            <li key={describe(preset.target)}>
              <button
                type="button"
                disabled={!may}
                className="card flex h-full w-full items-center gap-3 px-4 py-3 text-left enabled:hover:bg-hover disabled:opacity-50"
                onClick={() => start({ ...preset, name: preset.name || nameOf(preset.target) })}
              >
                <span className="text-ink2">
                  <Icon name="plus" />
                </span>
                <span className="font-name">{describe(preset.target)}</span>
              </button>
            </li>
          ))}
        </ul>
      </section>

      {draft !== null && (
        <Editor
          draft={draft}
          readOnly={!may}
          onClose={() => setDraft(null)}
          onSaved={(words) => {
            setDraft(null);
            toast(words);
            polled.retry();
          }}
        />
      )}
    </div>
  );
}

function headline(rules: readonly KnownRule[], firing: readonly KnownRule[]): string {
  if (rules.length === 0) return 'Nothing wakes anybody yet';
  const watching = rules.filter((rule) => rule.enabled).length;
  if (firing.length === 0)
    return `No alert is firing, ${watching} ${watching === 1 ? 'rule watches' : 'rules watch'}`;
  return `${firing.length} of ${watching} ${watching === 1 ? 'rule' : 'rules'} ${firing.length === 1 ? 'is' : 'are'} firing`;
}

function Loading() {
  return (
    <div aria-busy="true">
      <h1 className="sr-only">Alerts</h1>
      <div className="h-[66px]" />
      <div className="card h-[300px]" />
    </div>
  );
}

/** The address of exactly what a rule looked at. */
function windowHref(view: ReturnType<typeof usePageData>['view'], rule: KnownRule): string {
  const frozen =
    rule.window ?? (rule.sinceMs === null ? null : { fromMs: rule.sinceMs - 15 * 60_000, toMs: Date.now() });
  return hrefOf(view, {
    page: rule.service === null ? 'overview' : 'service',
    service: rule.service,
    env: rule.env ?? view.env,
    frozen,
  });
}

function Firing({ rule }: { rule: KnownRule }) {
  const { view } = usePageData();
  const burning = burn(rule);
  return (
    <li className="flex flex-wrap items-center gap-x-6 gap-y-1 px-4 py-3.5 max-tablet:px-3">
      <Glyph state="failing" size={16} />
      <div className="min-w-64 flex-1">
        <p className="font-name">{rule.sentence || rule.name}</p>
        {rule.sentence !== '' && (
          <p className="text-12 text-ink2">
            <Name>{rule.name}</Name>
          </p>
        )}
      </div>
      {burning !== null && (
        <p className="whitespace-nowrap">
          burn <span className="font-strong text-bad">{burning}</span>
        </p>
      )}
      {rule.sinceMs !== null && (
        <p className="whitespace-nowrap">
          since <span className="font-name">{moment(rule.sinceMs, view.tz, Date.now(), true)}</span>{' '}
          <span className="text-ink2">{zoneName(rule.sinceMs, view.tz)}</span>
        </p>
      )}
      <Link
        href={windowHref(view, rule)}
        prefetch={false}
        className="font-strong whitespace-nowrap text-focus underline-offset-2 hover:underline max-tablet:py-2"
      >
        Open its window
      </Link>
    </li>
  );
}

function State({ rule }: { rule: KnownRule }) {
  const { view } = usePageData();
  if (!rule.enabled) return <span className="text-ink3">off</span>;
  const since = rule.sinceMs === null ? '' : `, ${age(rule.sinceMs, Date.now(), view.tz)}`;
  if (rule.state === 'firing') return <span className="font-strong text-bad">firing</span>;
  if (rule.state === 'pending') return <span className="font-strong text-warn">pending{since}</span>;
  return <span className="text-ink2">{rule.state === 'ok' ? 'ok' : '–'}</span>;
}

interface RulesProps {
  rules: readonly KnownRule[];
  readOnly: boolean;
  onEdit: (rule: KnownRule) => void;
  onChanged: () => void;
}

const RANK = { firing: 0, pending: 1, ok: 2, unknown: 3 } as const;

function RulesTable({ rules, readOnly, onEdit, onChanged }: RulesProps) {
  const sorted = [...rules].sort(
    (a, b) =>
      Number(b.enabled) - Number(a.enabled) || RANK[a.state] - RANK[b.state] || (a.name < b.name ? -1 : 1),
  );
  return (
    <table className="w-full table-fixed">
      <thead>
        <tr className="h-9 border-line border-y text-left text-ink2">
          <th scope="col" className="w-10 pl-4 max-tablet:w-8 max-tablet:pl-3">
            <span className="sr-only">Glyph</span>
          </th>
          <th scope="col" className="font-regular">
            Rule
          </th>
          <th scope="col" className="w-40 font-regular max-tablet:hidden">
            Service
          </th>
          <th scope="col" className="w-56 font-regular max-desktop:hidden">
            Receiver
          </th>
          <th scope="col" className="w-36 font-regular max-tablet:w-20">
            State
          </th>
          <th scope="col" className="w-20 pr-4 text-right font-regular max-tablet:w-14 max-tablet:pr-3">
            On
          </th>
        </tr>
      </thead>
      <tbody>
        {sorted.map((rule) => (
          <tr key={rule.id} className="relative h-12 border-line border-b last:border-b-0 hover:bg-hover">
            <td className="pl-4 max-tablet:pl-3">
              <Glyph
                state={
                  !rule.enabled
                    ? 'fine'
                    : rule.state === 'firing'
                      ? 'failing'
                      : rule.state === 'pending'
                        ? 'slower'
                        : 'fine'
                }
                size={15}
              />
            </td>
            <td className="py-1.5 pr-4">
              <button
                type="button"
                data-row
                className={`block max-w-full truncate text-left font-name after:absolute after:inset-0 focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-offset-[-2px] focus-visible:after:outline-focus ${rule.enabled ? '' : 'text-ink2'}`}
                title={rule.name}
                onClick={() => onEdit(rule)}
              >
                <Name>{rule.name}</Name>
              </button>
              {nameOf(rule.target) !== rule.name && (
                <span className="block truncate text-12 text-ink2">{describe(rule.target)}</span>
              )}
              <span className="block truncate text-12 text-ink2 tablet:hidden">
                {rule.service ?? 'all services'}
              </span>
            </td>
            <td className="truncate pr-3 max-tablet:hidden">
              {rule.service === null ? (
                <span className="text-ink2">all services</span>
              ) : (
                <Name>{rule.service}</Name>
              )}
              {rule.env !== null && (
                <span className="ml-2 text-ink2">
                  <Name>{rule.env}</Name>
                </span>
              )}
            </td>
            <td className="truncate pr-3 font-mono text-12 text-ink2 max-desktop:hidden">
              {rule.receiverShown ?? <span className="font-sans text-13">only this page</span>}
            </td>
            <td>
              <State rule={rule} />
            </td>
            <td className="pr-4 text-right max-tablet:pr-3">
              <Switch rule={rule} readOnly={readOnly} onChanged={onChanged} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Switch({
  rule,
  readOnly,
  onChanged,
}: {
  rule: KnownRule;
  readOnly: boolean;
  onChanged: () => void;
}) {
  const [busy, setBusy] = useState(false);
  return (
    <button
      type="button"
      role="switch"
      aria-checked={rule.enabled}
      aria-label={`${isolated(rule.name)}: on`}
      disabled={busy || readOnly}
      title={readOnly ? ONLY_READS : undefined}
      className={`relative inline-grid h-6 w-10 place-items-center max-tablet:h-11 ${readOnly ? 'opacity-50' : ''}`}
      onClick={() => {
        setBusy(true);
        updateAlert(rule, { ...rule, enabled: !rule.enabled })
          .then(onChanged, (cause: unknown) =>
            toast(cause instanceof RequestFailed ? cause.message : 'The answer could not be read.'),
          )
          .finally(() => setBusy(false));
      }}
    >
      <span
        className={`relative h-4 w-7 rounded-full border ${rule.enabled ? 'border-ink bg-ink' : 'border-control bg-transparent'}`}
      >
        <span
          className={`absolute top-[2px] size-2.5 rounded-full ${rule.enabled ? 'right-[2px] bg-surface' : 'left-[2px] bg-control'}`}
        />
      </span>
    </button>
  );
}
