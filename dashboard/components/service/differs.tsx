'use client';

/** What the selected requests have in common that the rest has not, ranked by the difference of shares. */
import { usePageData } from '@/components/shell/page-data';
import { BlockFailed } from '@/components/shell/states';
import { Name } from '@/components/ui/name';
import { isolated } from '@/lib/format/isolate';
import { exactCount, latency, NBSP, requestNoun, share, write } from '@/lib/format/number';
import { moment } from '@/lib/format/time';
import { type Difference, fetchDiffers } from '@/lib/query/differs';
import type { Heatmap } from '@/lib/query/heatmap';
import { usePoll } from '@/lib/query/use-poll';
import { toast } from '@/lib/view/toast';
import { hrefOf, type ViewState } from '@/lib/view/url';

export function Differs({ heatmap }: { heatmap: Heatmap | null }) {
  const { view, data, filter, asked, mode, paused, windowMs, choose, visit } = usePageData();
  const { sel } = view;
  // The selection stays while the window moves on; it is asked about in the window that holds it.
  const window =
    view.frozen === null && data !== null
      ? {
          from: Math.min(data.fromMs, sel?.fromMs ?? data.fromMs),
          to: Math.max(data.openT ?? data.toMs, sel?.toMs ?? 0),
        }
      : asked;
  const question = JSON.stringify([filter, windowMs, view.frozen, sel]);
  const polled = usePoll(
    sel === null ? null : question,
    (signal) => fetchDiffers(filter, window, sel as NonNullable<typeof sel>, signal),
    null,
  );
  const ends = sel !== null && data !== null && sel.toMs >= (data.openT ?? data.toMs) && mode !== 'history';
  const missing = polled.error?.status === 404;
  const toSlowest = () => {
    const p99 = data?.total.window.quantilesMs['0.99'] ?? null;
    const top = heatmap === null ? undefined : heatmap.rowUs.at(-1);
    if (p99 === null || data === null || top === undefined) {
      toast('No request of this window carried a duration.');
      return;
    }
    choose({
      sel: {
        fromMs: data.fromMs,
        toMs: data.openT ?? data.lastT + data.stepMs,
        us0: Math.round(p99 * 1000),
        us1: Math.ceil(Math.max(top, p99 * 1000 + 1)),
      },
    });
  };
  const answer = sel === null || polled.answered !== question ? null : polled.data;
  return (
    <section aria-label="What differs" className="card flex min-w-0 flex-col px-4 pt-3 pb-3" aria-live="off">
      <div className="flex items-center gap-2">
        <h2 className="flex-1 truncate font-name">
          {sel === null ? 'What differs' : 'What differs in the selection'}
        </h2>
        {sel !== null && (
          <button
            type="button"
            className="min-h-6 text-12 text-ink2 hover:text-ink max-tablet:min-h-11"
            onClick={() => choose({ sel: null })}
          >
            Esc clears
          </button>
        )}
      </div>
      {sel === null ? (
        <div className="mt-1">
          <p className="text-ink2">
            Drag a rectangle over the heatmap. peep ranks what is different inside it.
          </p>
          <button type="button" className="control mt-3 text-ink max-tablet:h-11" onClick={toSlowest}>
            Select the slowest 1{NBSP}%
          </button>
        </div>
      ) : (
        <p className="mt-1 border-line border-b pb-2 text-12 text-ink2">
          <span className="font-strong text-ink">{answer === null ? '–' : exactCount(answer.count)}</span>{' '}
          {requestNoun(answer?.count ?? 0)}, {moment(sel.fromMs, view.tz, Date.now(), true)} to{' '}
          {ends && paused === null ? 'now' : moment(sel.toMs, view.tz, Date.now(), true)},{' '}
          {write(latency(sel.us0 / 1000))} to {write(latency(sel.us1 / 1000))}
        </p>
      )}
      {missing && sel !== null && <p className="mt-2 text-ink2">This server cannot rank differences yet.</p>}
      {polled.error !== null && !missing && sel !== null && (
        <div className="mt-3">
          <BlockFailed block what="what differs" error={polled.error} retry={polled.retry} />
        </div>
      )}
      {answer !== null && answer.dimensions.length === 0 && (
        <p className="mt-2 text-ink2">Nothing to compare: the selection holds no request.</p>
      )}
      <ul className="divide-y divide-line">
        {(answer?.dimensions ?? []).map((item) => (
          <DifferenceRow key={item.name} item={item} view={view} choose={choose} visit={visit} />
        ))}
      </ul>
      {answer !== null && (
        <p className="mt-auto flex items-center gap-4 border-line border-t pt-3 text-12 text-ink2">
          <span className="flex items-center gap-1.5">
            <span className="h-[3px] w-2.5 rounded-data bg-p99" /> selection
          </span>
          <span className="flex items-center gap-1.5">
            <span className="h-[3px] w-2.5 rounded-data bg-was" /> the rest
          </span>
          <span className="flex-1 text-right text-ink3">
            {answer.kept !== null &&
              answer.dimensions.some((item) => !item.exact) &&
              `${sampledNames(answer.dimensions)} from ${exactCount(answer.kept)} sampled`}
          </span>
        </p>
      )}
    </section>
  );
}

function sampledNames(dimensions: readonly Difference[]): string {
  const names = [...new Set(dimensions.filter((item) => !item.exact).map((item) => item.name.split('.')[0]))];
  return names.join(', ');
}

interface RowProps {
  item: Difference;
  view: ViewState;
  choose: (patch: Partial<ViewState>) => void;
  visit: (href: string) => void;
}

function DifferenceRow({ item, view, choose, visit }: RowProps) {
  const { name, value } = item;
  if (value === null) {
    return (
      <li className="flex min-h-10 items-center gap-2 text-ink2">
        <span className="w-21 shrink-0 truncate text-12" title={name}>
          {name}
        </span>
        no difference{item.distinct !== null && item.distinct > 1 && ` across ${exactCount(item.distinct)}`}
      </li>
    );
  }
  const press = () => {
    const patch = filterFor(name, value);
    if (patch !== null) choose({ ...patch, sel: null });
    else
      visit(
        hrefOf(view, {
          page: 'requests',
          service: view.service,
          frozen: view.frozen,
          text: `${name.replace(/^attrs?\./, 'attr.')}:${JSON.stringify(value)}`,
        }),
      );
  };
  return (
    <li>
      <button
        type="button"
        onClick={press}
        title={`Show only ${isolated(name)} ${isolated(value)}`}
        className="-mx-2 grid w-[calc(100%+16px)] grid-cols-[84px_minmax(0,1fr)] gap-x-2 rounded-control px-2 py-2.5 text-left hover:bg-hover"
      >
        <span className="truncate text-12 leading-5 text-ink2" title={name}>
          {name}
        </span>
        <span className="min-w-0">
          <span className="flex items-baseline gap-2">
            <span
              className={`min-w-0 flex-1 truncate ${name === 'route' ? 'font-mono text-12' : 'font-name'}`}
            >
              <Name>{name.startsWith('attr') ? `"${value}"` : value}</Name>
            </span>
            <span className="whitespace-nowrap text-12 text-ink2">
              <span className="font-strong text-ink">{write(share(item.share, 1))}</span> of{' '}
              {write(share(item.restShare, 1))}
            </span>
          </span>
          <span className="mt-1 block h-1 overflow-hidden rounded-data">
            <span className="block h-full rounded-data bg-p99" style={{ width: `${item.share * 100}%` }} />
          </span>
          <span className="mt-0.5 block h-1 overflow-hidden rounded-data">
            <span
              className="block h-full rounded-data bg-was"
              style={{ width: `${item.restShare * 100}%` }}
            />
          </span>
        </span>
      </button>
    </li>
  );
}

/** The chip that a value becomes; `null` for what no chart can be narrowed by. */
function filterFor(name: string, value: string): Partial<ViewState> | null {
  switch (name) {
    case 'route': {
      const [method = '', ...rest] = value.split(' ');
      return rest.length === 0
        ? { route: [value] }
        : { route: [rest.join(' ')], method: method === '' ? [] : [method] };
    }
    case 'status':
      return { status: [value] };
    case 'version':
      return { version: [value] };
    case 'host':
      return { host: [value] };
    default:
      return null;
  }
}
