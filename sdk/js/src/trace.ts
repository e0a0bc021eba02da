/**
 * The trace that a request belongs to, from its `traceparent` header (W3C Trace Context, level 1 and 2).
 *
 * In: the header's value as the framework has it; two headers arrive joined by a comma, which makes them invalid, as the
 * standard wants. Out: the trace id, or nothing. Nothing is started or sent on: this SDK counts requests, it is no
 * tracer. Vectors: `sdk/fixtures/traceparent.json`.
 */

const FORM = /^[\t ]*([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?[\t ]*$/;
const NO_TRACE = '00000000000000000000000000000000';
const NO_SPAN = '0000000000000000';

export function traceIdOf(header: unknown): string | undefined {
  if (typeof header !== 'string') return undefined;
  const parts = FORM.exec(header);
  if (parts === null) return undefined;
  const [, version, trace, span, rest] = parts;
  if (version === 'ff' || trace === NO_TRACE || span === NO_SPAN) return undefined;
  // Only later versions may have more fields.
  if (version === '00' && rest !== undefined) return undefined;
  return trace;
}
