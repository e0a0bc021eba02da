/** `GET /v1/events`: single requests, newest first. */
import { array, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import { type Filter, getJson, type Window, withQuery } from './http';

export interface RequestEvent {
  tsMs: number;
  service: string;
  route: string;
  method: string;
  status: number | null;
  durationMs: number | null;
  error: string | null;
  host: string | null;
  version: string | null;
  traceId: string | null;
}

export interface Events {
  events: RequestEvent[];
  sampled: boolean;
}

export async function fetchEvents(
  filter: Filter,
  window: Window,
  limit: number,
  signal: AbortSignal,
): Promise<Events> {
  const path = withQuery('/v1/events', filter, { from: window.from, to: window.to, limit });
  const answer = object(await getJson(path, signal), 'events');
  return {
    sampled: answer.sampled === true,
    events: array(answer.events, 'events').map((item, index) => {
      const at = `events[${index}]`;
      const fields = object(item, at);
      return {
        tsMs: number(fields.ts_ms, `${at}.ts_ms`),
        service: text(fields.service, `${at}.service`),
        route: textOrNull(fields.route, `${at}.route`) ?? '',
        method: textOrNull(fields.method, `${at}.method`) ?? '',
        status: numberOrNull(fields.status, `${at}.status`),
        durationMs: numberOrNull(fields.duration_ms, `${at}.duration_ms`),
        error: textOrNull(fields.error, `${at}.error`),
        host: textOrNull(fields.host, `${at}.host`),
        version: textOrNull(fields.version, `${at}.version`),
        traceId: textOrNull(fields.trace_id, `${at}.trace_id`),
      };
    }),
  };
}
