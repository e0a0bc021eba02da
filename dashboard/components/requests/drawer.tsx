'use client';

/** Everything about one request: fields, attributes, the passport of its batch, and ways on from here. */
import { PassportView } from '@/components/ledger/passport-view';
import { Button } from '@/components/ui/button';
import { CopyButton } from '@/components/ui/copy-button';
import { Modal } from '@/components/ui/modal';
import { Name } from '@/components/ui/name';
import { bytes, exactCount, latency, NBSP, requests, write } from '@/lib/format/number';
import { clock, day, milliseconds, type Zone, zoneName } from '@/lib/format/time';
import { fetchPassport } from '@/lib/query/receipts';
import type { OneRequest } from '@/lib/query/requests';
import { usePoll } from '@/lib/query/use-poll';
import type { Term } from '@/lib/requests/terms';

interface Props {
  request: OneRequest;
  zone: Zone;
  onClose: () => void;
  onFilter: (terms: Term[]) => void;
}

const field = (name: 'service' | 'route' | 'method' | 'status' | 'trace', value: string): Term => ({
  kind: 'field',
  field: name,
  value,
  negated: false,
});

export function Drawer({ request, zone, onClose, onFilter }: Props) {
  const failed = request.error !== null || (request.status ?? 0) >= 500;
  const attrs = attributes(request.raw.attrs);
  return (
    <Modal
      kind="drawer"
      onClose={onClose}
      title={
        <span className="flex min-w-0 flex-wrap items-baseline gap-x-2">
          <span className="font-mono text-13 text-ink2">{request.method || 'no method'}</span>
          <span className="min-w-0 break-all font-mono text-13">{request.route || '(none)'}</span>
        </span>
      }
    >
      <p className="flex flex-wrap items-baseline gap-x-3 text-20 font-strong">
        <span className={failed ? 'text-bad' : ''}>{request.status ?? 'no status'}</span>
        <span>{write(latency(request.durationMs, 4))}</span>
      </p>
      <p className="text-12 text-ink2">
        {day(request.tsMs, zone)} {clock(request.tsMs, zone, true)}.{milliseconds(request.tsMs)}
        {NBSP}
        {zoneName(request.tsMs, zone)}, <Name>{request.service}</Name>
      </p>
      {request.error !== null && <p className="mt-2 break-words text-bad">{request.error}</p>}

      <div className="mt-4 flex flex-wrap gap-2">
        {request.traceId !== null && (
          <Button onClick={() => onFilter([field('trace', request.traceId ?? '')])}>Same trace</Button>
        )}
        <Button
          onClick={() =>
            onFilter([
              field('service', request.service),
              ...(request.route === '' ? [] : [field('route', request.route)]),
              ...(request.method === '' ? [] : [field('method', request.method)]),
              ...(request.status === null ? [] : [field('status', String(request.status))]),
            ])
          }
        >
          Same route and status
        </Button>
        <CopyButton text={JSON.stringify(request.raw, null, 2)} label="Copy as JSON" />
      </div>

      <Section title="Fields">
        <Pairs pairs={fields(request)} />
      </Section>
      {attrs.length > 0 && (
        <Section title="Attributes">
          <Pairs pairs={attrs} />
        </Section>
      )}
      {request.receipt !== null && <Receipt receipt={request.receipt} zone={zone} />}
    </Modal>
  );
}

function Section({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <section className="mt-5">
      <h3 className="border-line border-b pb-1.5 font-name">{title}</h3>
      {children}
    </section>
  );
}

function Pairs({ pairs }: { pairs: readonly (readonly [string, string])[] }) {
  return (
    <dl className="grid grid-cols-[minmax(96px,max-content)_1fr] gap-x-5 gap-y-1 pt-2">
      {pairs.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-ink2">{name}</dt>
          <dd className="min-w-0 select-all break-words font-mono text-12 leading-5">{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The fields that are set, in the order of the contract, then whatever else the server sent. */
const ORDER = [
  'service',
  'env',
  'route',
  'method',
  'status',
  'duration_ms',
  'host',
  'version',
  'bytes_in',
  'bytes_out',
  'trace_id',
  'span_id',
  'source',
  'receipt',
];
const ELSEWHERE = new Set(['ts_ms', 'attrs', 'error', 'weight']);

function fields(request: OneRequest): [string, string][] {
  const { raw } = request;
  const names = [
    ...ORDER.filter((name) => name in raw),
    ...Object.keys(raw).filter((name) => !ORDER.includes(name) && !ELSEWHERE.has(name)),
  ];
  const pairs = names.flatMap((name): [string, string][] => {
    const value = raw[name];
    if (value === null || value === undefined || value === '') return [];
    if ((name === 'bytes_in' || name === 'bytes_out') && typeof value === 'number')
      return [[name, `${exactCount(value)} (${write(bytes(value))})`]];
    return [[name, typeof value === 'object' ? JSON.stringify(value) : String(value)]];
  });
  if (request.weight > 1) pairs.push(['stands for', `${requests(Math.round(request.weight))} like it`]);
  return pairs;
}

function attributes(value: unknown): [string, string][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  return Object.entries(value).map(([name, item]) => [
    name,
    typeof item === 'string' ? item : JSON.stringify(item),
  ]);
}

function Receipt({ receipt, zone }: { receipt: string; zone: Zone }) {
  const asked = usePoll(receipt, (signal) => fetchPassport(receipt, signal), null);
  if (asked.error?.status === 404) return null;
  return (
    <Section title="Passport of its batch">
      <div className="min-h-40 pt-3">
        {asked.data !== null && asked.answered === receipt && (
          <PassportView passport={asked.data} zone={zone} />
        )}
        {asked.error !== null && <p className="text-ink2">{asked.error.message}</p>}
      </div>
    </Section>
  );
}
