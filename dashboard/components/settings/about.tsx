'use client';

/** What runs here. */
import { useEffect, useState } from 'react';
import { CopyButton } from '@/components/ui/copy-button';
import { getJson, RequestFailed } from '@/lib/query/http';
import { usePoll } from '@/lib/query/use-poll';
import { object, textOrNull } from '@/lib/series/parse';
import { version as dashboardVersion } from '@/package.json';

interface Facts {
  server: string | null;
  project: string | null;
}

async function fetchFacts(signal: AbortSignal): Promise<Facts> {
  const session = object(await getJson('/v1/session', signal), 'session');
  let server: string | null = null;
  try {
    const api = object(await getJson('/v1/openapi.json', signal), 'openapi');
    server = textOrNull(object(api.info, 'info').version, 'info.version');
  } catch (cause) {
    if (!(cause instanceof RequestFailed)) throw cause;
  }
  return { server, project: textOrNull(session.project, 'project') };
}

export function About() {
  const facts = usePoll('about', fetchFacts, null);
  const [browser, setBrowser] = useState('');
  useEffect(() => setBrowser(navigator.userAgent), []);
  const rows: [string, string][] = [
    ['Dashboard', dashboardVersion],
    ...(facts.data?.server != null ? [['Server and API', facts.data.server] as [string, string]] : []),
    ...(facts.data?.project != null ? [['Project', facts.data.project] as [string, string]] : []),
    ['Address', typeof window === 'undefined' ? '' : window.location.origin],
    ['Browser', browser],
  ];
  return (
    <section aria-label="About" className="max-w-[720px]">
      <dl className="card grid grid-cols-[140px_1fr] gap-x-4 gap-y-2 px-4 py-4 max-tablet:grid-cols-1 max-tablet:gap-y-0.5">
        {rows.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-ink2">{name}</dt>
            <dd className="min-w-0 break-words max-tablet:mb-2">{value}</dd>
          </div>
        ))}
      </dl>
      <div className="mt-3 flex flex-wrap items-center gap-3">
        <CopyButton
          text={rows.map(([name, value]) => `${name}: ${value}`).join('\n')}
          label="Copy for a report"
        />
        <p className="text-12 text-ink2">peep is free software under the Apache License 2.0.</p>
      </div>
    </section>
  );
}
