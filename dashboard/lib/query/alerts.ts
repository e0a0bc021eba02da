/** `/v1/alerts`: the rules, whether they fire, what they would have done, and a test of who they tell. */
import { array, type Json, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import { getJson, send } from './http';

export type Target =
  | { kind: 'error_budget'; objective: number; periodDays: number }
  | { kind: 'latency'; quantile: number; limitMs: number }
  | { kind: 'latency_usual'; quantile: number; timesUsual: number }
  | { kind: 'silence'; forS: number };

/** What a rule says; the server adds what became of it. */
export interface Rule {
  name: string;
  service: string | null;
  env: string | null;
  target: Target;
  /** A new address, `null` for nobody, or none to keep the one there is: the server never shows an address in full. */
  receiver: { kind: 'webhook'; url?: string } | null;
  enabled: boolean;
}

export interface KnownRule extends Rule {
  id: string;
  receiverShown: string | null;
  /** As the server sent it: what this page does not know goes back unchanged. */
  raw: Json;
  state: 'ok' | 'pending' | 'firing' | 'unknown';
  sinceMs: number | null;
  sentence: string;
  burn: number | null;
  window: { fromMs: number; toMs: number } | null;
}

export interface Preview {
  days: number;
  times: number;
  minutes: number;
  episodes: { fromMs: number; toMs: number }[];
}

export interface TestAnswer {
  status: number;
  body: string;
  ms: number;
}

const JSON_HEADERS = { 'content-type': 'application/json', accept: 'application/json' };

export async function fetchAlerts(signal: AbortSignal): Promise<KnownRule[]> {
  const answer = object(await getJson('/v1/alerts', signal), 'alerts');
  return array(answer.rules, 'rules').map((item, index) => knownRule(item, `rules[${index}]`));
}

export async function fetchPresets(signal: AbortSignal): Promise<Rule[]> {
  const answer = object(await getJson('/v1/alerts/presets', signal), 'presets');
  return array(answer.presets, 'presets').map((item, index) => {
    const at = `presets[${index}]`;
    const fields = object(item, at);
    // A preset may be the rule itself, or say more around it.
    const rule = fields.rule === undefined ? fields : object(fields.rule, `${at}.rule`);
    return parseRule({ ...rule, name: rule.name ?? fields.name ?? fields.title }, at);
  });
}

export async function createAlert(rule: Rule): Promise<void> {
  await send('/v1/alerts', { method: 'POST', headers: JSON_HEADERS, body: JSON.stringify(toJson(rule)) });
}

export async function updateAlert(known: KnownRule, rule: Rule): Promise<void> {
  const changed = toJson(rule);
  // Of the same kind, the target may hold more than is asked here: its window, for example.
  if (known.raw.kind === changed.kind && known.target.kind === rule.target.kind)
    changed.target = { ...object(known.raw.target, 'target'), ...object(changed.target, 'target') };
  const body = JSON.stringify({ ...known.raw, ...changed });
  await send(`/v1/alerts/${encodeURIComponent(known.id)}`, { method: 'PUT', headers: JSON_HEADERS, body });
}

export async function deleteAlert(id: string): Promise<void> {
  await send(`/v1/alerts/${encodeURIComponent(id)}`, { method: 'DELETE', headers: JSON_HEADERS });
}

export async function previewAlert(rule: Rule, signal: AbortSignal): Promise<Preview> {
  const init = { method: 'POST', headers: JSON_HEADERS, body: JSON.stringify(toJson(rule)), signal };
  const answer = object(await send('/v1/alerts/preview', init), 'preview');
  return {
    days: number(answer.days, 'days'),
    times: number(answer.times, 'times'),
    minutes: number(answer.minutes, 'minutes'),
    episodes: array(answer.episodes ?? [], 'episodes').map((item, index) => {
      const fields = object(item, `episodes[${index}]`);
      return {
        fromMs: number(fields.from_ms, `episodes[${index}].from_ms`),
        toMs: number(fields.to_ms, `episodes[${index}].to_ms`),
      };
    }),
  };
}

/** Tries an address, or, without one, the address that a saved rule has. */
export async function testReceiver(url: string, id: string | null): Promise<TestAnswer> {
  const body = JSON.stringify(
    url === '' ? { id, receiver: { kind: 'webhook' } } : { receiver: { kind: 'webhook', url } },
  );
  const answer = object(
    await send('/v1/alerts/test', { method: 'POST', headers: JSON_HEADERS, body }),
    'test',
  );
  return {
    status: number(answer.status, 'status'),
    body: textOrNull(answer.body, 'body') ?? '',
    ms: number(answer.ms, 'ms'),
  };
}

/** As the API takes it. */
export function toJson(rule: Rule): Record<string, unknown> {
  const { target } = rule;
  return {
    name: rule.name,
    service: rule.service,
    env: rule.env,
    kind: target.kind === 'latency_usual' ? 'latency' : target.kind,
    target:
      target.kind === 'error_budget'
        ? { objective: target.objective, period_days: target.periodDays }
        : target.kind === 'latency'
          ? { quantile: target.quantile, limit_ms: target.limitMs }
          : target.kind === 'latency_usual'
            ? { quantile: target.quantile, times_usual: target.timesUsual }
            : { for_s: target.forS },
    receiver: rule.receiver,
    enabled: rule.enabled,
  };
}

export function parseRule(value: unknown, at: string): Rule {
  const fields = object(value, at);
  return {
    name: textOrNull(fields.name, `${at}.name`) ?? '',
    service: textOrNull(fields.service, `${at}.service`),
    env: textOrNull(fields.env, `${at}.env`),
    target: target(text(fields.kind, `${at}.kind`), object(fields.target, `${at}.target`), `${at}.target`),
    receiver: fields.receiver === null || fields.receiver === undefined ? null : { kind: 'webhook' },
    enabled: fields.enabled !== false,
  };
}

function target(kind: string, fields: Json, at: string): Target {
  if (kind === 'error_budget')
    return {
      kind,
      objective: number(fields.objective, `${at}.objective`),
      periodDays: number(fields.period_days, `${at}.period_days`),
    };
  if (kind === 'silence') return { kind, forS: number(fields.for_s, `${at}.for_s`) };
  if (kind !== 'latency') throw new Error(`${at}: a rule of kind ${kind} is not known to this page`);
  const quantile = number(fields.quantile, `${at}.quantile`);
  const limitMs = numberOrNull(fields.limit_ms, `${at}.limit_ms`);
  return limitMs === null
    ? { kind: 'latency_usual', quantile, timesUsual: number(fields.times_usual, `${at}.times_usual`) }
    : { kind, quantile, limitMs };
}

function knownRule(value: unknown, at: string): KnownRule {
  const fields = object(value, at);
  const receiver =
    fields.receiver === null || fields.receiver === undefined
      ? null
      : object(fields.receiver, `${at}.receiver`);
  const window =
    fields.window === null || fields.window === undefined ? null : object(fields.window, `${at}.window`);
  const state = fields.state;
  return {
    ...parseRule(fields, at),
    id: String(fields.id),
    raw: fields,
    receiverShown: receiver === null ? null : textOrNull(receiver.url_shown, `${at}.receiver.url_shown`),
    state: state === 'ok' || state === 'pending' || state === 'firing' ? state : 'unknown',
    sinceMs: numberOrNull(fields.since_ms, `${at}.since_ms`),
    sentence: textOrNull(fields.sentence, `${at}.sentence`) ?? '',
    burn: numberOrNull(fields.burn, `${at}.burn`),
    window:
      window === null
        ? null
        : {
            fromMs: number(window.from_ms, `${at}.window.from_ms`),
            toMs: number(window.to_ms, `${at}.window.to_ms`),
          },
  };
}
