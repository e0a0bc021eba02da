/**
 * What to paste to send the first event, for each way in: at most eight lines, with the address and the key in it, and
 * without a time, because an event without one ended when it arrived.
 */
export const TABS = ['curl', 'Rust', 'Express', 'Fastify', 'Next.js', 'nginx', 'OpenTelemetry'] as const;
export type Tab = (typeof TABS)[number];

export interface Place {
  url: string;
  key: string;
  service: string;
  /** `null` when the key decides it, or when it is to be `default`. */
  env: string | null;
}

export interface Snippet {
  /** What it needs, or where it goes. */
  note: string;
  code: string;
}

/** What names a service or an environment: the alphabet that ingest takes. */
export function nameProblem(what: string, name: string): string | null {
  if (name === '') return `The ${what} needs a name.`;
  if (name.length > 128) return `A name has at most 128 characters.`;
  return /^[A-Za-z0-9._/-]+$/.test(name) ? null : `Letters, digits and . _ / - only.`;
}

export function snippet(tab: Tab, place: Place): Snippet {
  const { url, key, service, env } = place;
  const options = [
    `url: '${url}'`,
    `key: '${key}'`,
    `service: '${service}'`,
    ...(env === null ? [] : [`env: '${env}'`]),
  ];
  switch (tab) {
    case 'curl':
      return {
        note: 'Run it in any shell. Each run is one request.',
        code: [
          `curl -sS ${url}/v1/events \\`,
          `  -H 'Authorization: Bearer ${key}' \\`,
          `  -H 'Content-Type: application/json' \\`,
          `  -d '${event(place)}'`,
        ].join('\n'),
      };
    case 'Rust':
      return {
        note: 'With peep-sdk, for axum and any other tower service.',
        code: [
          `let peep = peep_sdk::Client::new(peep_sdk::Config {`,
          `    url: "${url}".into(),`,
          `    key: "${key}".into(),`,
          `    service: "${service}".into(),`,
          ...(env === null ? [] : [`    env: "${env}".into(),`]),
          `    ..peep_sdk::Config::from_env()`,
          `});`,
          `let app = app.layer(peep_sdk::PeepLayer::new(peep));`,
        ].join('\n'),
      };
    case 'Express':
      return {
        note: 'Anywhere before the application listens.',
        code: [
          `import { peepExpressApp } from '@peep/sdk/express';`,
          '',
          `peepExpressApp(app, {`,
          ...options.map((option) => `  ${option},`),
          `});`,
        ].join('\n'),
      };
    case 'Fastify':
      return {
        note: 'Before the routes are declared.',
        code: [
          `import { peepFastify } from '@peep/sdk/fastify';`,
          '',
          `await app.register(peepFastify({`,
          ...options.map((option) => `  ${option},`),
          `}));`,
        ].join('\n'),
      };
    case 'Next.js':
      return {
        note: 'In instrumentation.ts, beside the folder app.',
        code: [
          `export async function register() {`,
          `  if (process.env.NEXT_RUNTIME !== 'nodejs') return;`,
          `  const { register: peep } = await import('@peep/sdk/next');`,
          `  peep({`,
          `    url: '${url}', key: '${key}',`,
          `    service: '${service}',${env === null ? '' : ` env: '${env}',`}`,
          `  });`,
          `}`,
        ].join('\n'),
      };
    case 'nginx':
      return {
        note: 'Reads the access log you already have and follows it through rotations.',
        code: [
          `export PEEP_INGEST_URL=${url}`,
          `export PEEP_INGEST_KEY=${key}`,
          `peep ship --follow --service ${service}${env === null ? '' : ` --env ${env}`} /var/log/nginx/access.log`,
        ].join('\n'),
      };
    case 'OpenTelemetry':
      return {
        note: 'For any OpenTelemetry SDK; start the application in the same shell.',
        code: [
          `export OTEL_SERVICE_NAME=${service}`,
          `export OTEL_EXPORTER_OTLP_ENDPOINT=${url}`,
          `export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf`,
          `export OTEL_EXPORTER_OTLP_HEADERS=peep-key=${key}`,
          `export OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none`,
          ...(env === null ? [] : [`export OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=${env}`]),
        ].join('\n'),
      };
  }
}

function event({ service, env }: Place): string {
  return JSON.stringify({
    service,
    ...(env === null ? {} : { env }),
    route: '/cart/{id}',
    method: 'POST',
    status: 201,
    duration_ms: 38.4,
  });
}

/** A file for a process: what it needs to send, and nothing else. */
export function envFile(url: string, key: string): string {
  return `PEEP_INGEST_URL=${url}\nPEEP_INGEST_KEY=${key}\n`;
}

/** The same for a key that reads. */
export function readEnvFile(url: string, key: string): string {
  return `PEEP_URL=${url}\nPEEP_READ_KEY=${key}\n`;
}

const DASHBOARD_PORT = 8080;
const INGEST_PORT = 4318;

/**
 * Where ingest listens, as seen from a browser. All ports of a stack are moved together, so the port of the page tells;
 * behind a proxy on a usual port ingest keeps its own.
 */
export function ingestUrl(location: { protocol: string; hostname: string; port: string }): string {
  const moved = location.port === '' ? 0 : Number(location.port) - DASHBOARD_PORT;
  const port = moved < 0 ? INGEST_PORT : INGEST_PORT + moved;
  return `${location.protocol}//${location.hostname}:${port}`;
}
