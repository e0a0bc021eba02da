/** `GET /v1/services`: what each service did in one window, and the environments to choose from. */
import { array, number, numberOrNull, object, text, textOrNull, texts, totals } from '@/lib/series/parse';
import type { Totals } from '@/lib/series/types';
import { getJson, type Window, withQuery } from './http';

export interface ServiceTotals {
  service: string;
  window: Totals;
  lastSeenMs: number | null;
  /** Newest version seen in the window, and how many; `null` from a server that does not say. */
  version: string | null;
  versions: number | null;
  hosts: number | null;
}

export interface Services {
  errorBound: number;
  envs: string[];
  services: ServiceTotals[];
}

export async function fetchServices(
  env: string | null,
  window: Window,
  signal: AbortSignal,
): Promise<Services> {
  const path = withQuery('/v1/services', { env }, { from: window.from, to: window.to });
  const answer = object(await getJson(path, signal), 'services');
  return {
    errorBound: number(answer.error_bound, 'error_bound'),
    envs: texts(answer.envs, 'envs'),
    services: array(answer.services, 'services').map((item, index) => {
      const fields = object(item, `services[${index}]`);
      return {
        service: text(fields.service, `services[${index}].service`),
        window: totals(fields, `services[${index}]`),
        lastSeenMs: numberOrNull(fields.last_seen_ms, `services[${index}].last_seen_ms`),
        version: textOrNull(fields.version, `services[${index}].version`),
        versions: numberOrNull(fields.versions, `services[${index}].versions`),
        hosts: numberOrNull(fields.hosts, `services[${index}].hosts`),
      };
    }),
  };
}
