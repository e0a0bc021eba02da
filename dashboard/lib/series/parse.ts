/**
 * Runtime parsing at the network edge. JSON of unknown origin comes in; typed values leave, or a `ParseError` that
 * names the path of the first thing that was not as promised. Nothing past this module checks shapes again.
 */
import { type Column, type Columns, type Key, STATUS_CLASSES, type StatusClass, type Totals } from './types';

export class ParseError extends Error {
  constructor(path: string, expected: string) {
    super(`${path}: expected ${expected}`);
    this.name = 'ParseError';
  }
}

export type Json = Readonly<Record<string, unknown>>;

export function object(value: unknown, path: string): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ParseError(path, 'an object');
  return value as Json;
}

export function array(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new ParseError(path, 'an array');
  return value;
}

export function text(value: unknown, path: string): string {
  if (typeof value !== 'string') throw new ParseError(path, 'a string');
  return value;
}

export function number(value: unknown, path: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new ParseError(path, 'a finite number');
  return value;
}

export function numberOrNull(value: unknown, path: string): number | null {
  return value === null || value === undefined ? null : number(value, path);
}

export function textOrNull(value: unknown, path: string): string | null {
  return value === null || value === undefined ? null : text(value, path);
}

export function texts(value: unknown, path: string): string[] {
  return array(value, path).map((item, index) => text(item, `${path}[${index}]`));
}

/** A column of `length` numbers or nulls. */
export function column(value: unknown, length: number, path: string): Column {
  const items = array(value, path);
  if (items.length !== length) throw new ParseError(path, `${length} values, as in t`);
  return items.map((item, index) => numberOrNull(item, `${path}[${index}]`));
}

/** Key fields may arrive as numbers (a status code); they leave as text. */
export function key(value: unknown, path: string): Key {
  const fields: Record<string, string> = {};
  for (const [name, field] of Object.entries(object(value, path))) {
    fields[name] = typeof field === 'number' ? String(field) : (textOrNull(field, `${path}.${name}`) ?? '');
  }
  return fields;
}

export function quantiles(value: unknown, path: string): Record<string, number | null> {
  const parsed: Record<string, number | null> = {};
  for (const [name, item] of Object.entries(object(value, path)))
    parsed[name] = numberOrNull(item, `${path}.${name}`);
  return parsed;
}

export function totals(value: unknown, path: string): Totals {
  const fields = object(value, path);
  const count = number(fields.count, `${path}.count`);
  const errors = number(fields.errors, `${path}.errors`);
  return {
    count,
    errors,
    rate: number(fields.rate, `${path}.rate`),
    errorRate: numberOrNull(fields.error_rate, `${path}.error_rate`) ?? (count === 0 ? 0 : errors / count),
    latencyCount: number(fields.latency_count, `${path}.latency_count`),
    meanMs: numberOrNull(fields.mean_ms, `${path}.mean_ms`),
    maxMs: numberOrNull(fields.max_ms, `${path}.max_ms`),
    quantilesMs: quantiles(fields.quantiles_ms, `${path}.quantiles_ms`),
  };
}

/** The columns of one row; `t` is either the row's own or shared by all groups of an answer. */
export function columns(fields: Json, t: number[], path: string): Columns {
  const length = t.length;
  const status = object(fields.status, `${path}.status`);
  const quantileFields = object(fields.quantiles_ms, `${path}.quantiles_ms`);
  const quantilesMs: Record<string, Column> = {};
  for (const [name, item] of Object.entries(quantileFields))
    quantilesMs[name] = column(item, length, `${path}.quantiles_ms.${name}`);
  return {
    t,
    count: column(fields.count, length, `${path}.count`),
    errors: column(fields.errors, length, `${path}.errors`),
    latencyCount: column(fields.latency_count, length, `${path}.latency_count`),
    meanMs: column(fields.mean_ms, length, `${path}.mean_ms`),
    maxMs: column(fields.max_ms, length, `${path}.max_ms`),
    status: Object.fromEntries(
      STATUS_CLASSES.map((name) => [
        name,
        name in status
          ? column(status[name], length, `${path}.status.${name}`)
          : new Array(length).fill(null),
      ]),
    ) as Record<StatusClass, Column>,
    quantilesMs,
  };
}

export function times(value: unknown, path: string): number[] {
  const parsed = array(value, path).map((item, index) => number(item, `${path}[${index}]`));
  for (let index = 1; index < parsed.length; index += 1) {
    if ((parsed[index] as number) <= (parsed[index - 1] as number))
      throw new ParseError(path, 'ascending times');
  }
  return parsed;
}
