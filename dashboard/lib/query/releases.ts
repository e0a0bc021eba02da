/** `GET /v1/releases`: the first event of each version of a service. Nothing has to be integrated for that. */
import { array, number, numberOrNull, object, text, textOrNull } from '@/lib/series/parse';
import { getJson, type Window, withQuery } from './http';

export interface Release {
  service: string;
  env: string | null;
  version: string;
  firstSeenMs: number;
  hosts: number | null;
  previous: string | null;
}

export async function fetchReleases(
  env: string | null,
  service: string | null,
  window: Window,
  signal: AbortSignal,
): Promise<Release[]> {
  const path = withQuery('/v1/releases', { env, service }, { from: window.from, to: window.to });
  const answer = object(await getJson(path, signal), 'releases');
  return array(answer.releases, 'releases').map((item, index) => {
    const at = `releases[${index}]`;
    const fields = object(item, at);
    return {
      service: text(fields.service, `${at}.service`),
      env: textOrNull(fields.env, `${at}.env`),
      version: text(fields.version, `${at}.version`),
      firstSeenMs: number(fields.first_seen_ms, `${at}.first_seen_ms`),
      hosts: numberOrNull(fields.hosts, `${at}.hosts`),
      previous: textOrNull(fields.previous, `${at}.previous`),
    };
  });
}
