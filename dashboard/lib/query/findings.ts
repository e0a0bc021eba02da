/** `GET /v1/findings`: what is wrong now, against what is usual. One rule for the page, the command line and the API. */
import { array, number, numberOrNull, object, text, textOrNull, texts } from '@/lib/series/parse';
import { getJson, type Window, withQuery } from './http';

export type FindingKind = 'failing' | 'silent' | 'slower';

export type Where =
  | { dimension: 'route' | 'host' | 'version'; value: string; share: number }
  | { dimension: 'spread'; routes: number };

export interface Finding {
  kind: FindingKind;
  service: string;
  env: string | null;
  title: string;
  value: number | null;
  usual: number | null;
  unit: string;
  sinceMs: number | null;
  after: { version: string; ms: number } | null;
  where: Where | null;
  status: number | null;
  affected: number;
  perSecond: number;
  recoveredMs: number | null;
  /** The alert that covers it; `alone` when nothing else has found it, so that it began when the alert fired. */
  alert: { id: string; name: string; alone: boolean } | null;
}

export interface Findings {
  atMs: number;
  usual: { kind: string; fromMs: number; toMs: number } | null;
  services: number;
  findings: Finding[];
  /** New services: nothing to compare with yet, so nothing is said about them. */
  noUsual: string[];
}

const KINDS: readonly FindingKind[] = ['failing', 'silent', 'slower'];

function where(value: unknown, path: string): Where | null {
  if (value === null || value === undefined) return null;
  const fields = object(value, path);
  if (fields.dimension === 'spread')
    return { dimension: 'spread', routes: number(fields.routes, `${path}.routes`) };
  const dimension = (['route', 'host', 'version'] as const).find((name) => name === fields.dimension);
  // A dimension this build does not know is no reason to hide the finding.
  if (dimension === undefined) return null;
  return {
    dimension,
    value: text(fields.value, `${path}.value`),
    share: number(fields.share, `${path}.share`),
  };
}

function alertOf(value: unknown, path: string): Finding['alert'] {
  if (value === null || value === undefined) return null;
  const fields = object(value, path);
  return {
    id: text(fields.id, `${path}.id`),
    name: text(fields.name, `${path}.name`),
    alone: fields.alone === true,
  };
}

function finding(value: unknown, path: string): Finding | null {
  const fields = object(value, path);
  const kind = KINDS.find((name) => name === fields.kind);
  if (kind === undefined) return null;
  const after =
    fields.after === null || fields.after === undefined ? null : object(fields.after, `${path}.after`);
  return {
    kind,
    service: text(fields.service, `${path}.service`),
    env: textOrNull(fields.env, `${path}.env`),
    title: text(fields.title, `${path}.title`),
    value: numberOrNull(fields.value, `${path}.value`),
    usual: numberOrNull(fields.usual, `${path}.usual`),
    unit: text(fields.unit, `${path}.unit`),
    sinceMs: numberOrNull(fields.since_ms, `${path}.since_ms`),
    after:
      after === null
        ? null
        : {
            version: text(after.version, `${path}.after.version`),
            ms: number(after.ms, `${path}.after.ms`),
          },
    where: where(fields.where, `${path}.where`),
    status: numberOrNull(fields.status, `${path}.status`),
    affected: numberOrNull(fields.affected, `${path}.affected`) ?? 0,
    perSecond: numberOrNull(fields.per_second, `${path}.per_second`) ?? 0,
    recoveredMs: numberOrNull(fields.recovered_ms, `${path}.recovered_ms`),
    alert: alertOf(fields.alert, `${path}.alert`),
  };
}

export function parseFindings(value: unknown): Findings {
  const answer = object(value, 'findings');
  const usual = answer.usual === null || answer.usual === undefined ? null : object(answer.usual, 'usual');
  return {
    atMs: number(answer.at_ms, 'at_ms'),
    usual:
      usual === null
        ? null
        : {
            kind: text(usual.kind, 'usual.kind'),
            fromMs: number(usual.from_ms, 'usual.from_ms'),
            toMs: number(usual.to_ms, 'usual.to_ms'),
          },
    services: number(answer.services, 'services'),
    findings: array(answer.findings, 'findings')
      .map((item, index) => finding(item, `findings[${index}]`))
      .filter((item) => item !== null),
    noUsual: answer.no_usual === undefined ? [] : texts(answer.no_usual, 'no_usual'),
  };
}

/** Without a window the server judges the last five minutes. */
export async function fetchFindings(
  env: string | null,
  window: Window | null,
  signal: AbortSignal,
): Promise<Findings> {
  const range = window === null ? {} : { from: window.from, to: window.to };
  return parseFindings(await getJson(withQuery('/v1/findings', { env }, range), signal));
}
