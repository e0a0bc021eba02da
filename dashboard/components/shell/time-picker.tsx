'use client';

/** Any other time: a longer range, since a release, from one moment to another, and the windows looked at before. */
import { useId, useState } from 'react';
import { Name } from '@/components/ui/name';
import { MenuItem } from '@/components/ui/popover';
import { moment, zoneName } from '@/lib/format/time';
import { askRange, writeMoment } from '@/lib/view/ask';
import { usePageData } from './page-data';
import { useServices } from './services';

const MORE = [
  { range: '30m', words: 'Last 30 minutes' },
  { range: '3h', words: 'Last 3 hours' },
  { range: '12h', words: 'Last 12 hours' },
  { range: '30d', words: 'Last 30 days' },
];
const RECENT = 'peep.windows';

interface Span {
  fromMs: number;
  toMs: number;
}

function recentWindows(): Span[] {
  try {
    const stored: unknown = JSON.parse(window.localStorage.getItem(RECENT) ?? '[]');
    if (!Array.isArray(stored)) return [];
    return stored.filter(
      (item): item is Span => typeof item?.fromMs === 'number' && typeof item?.toMs === 'number',
    );
  } catch {
    return [];
  }
}

/** Three are kept: what one goes back and forth between. */
export function rememberWindow(span: Span): void {
  try {
    const rest = recentWindows().filter((item) => item.fromMs !== span.fromMs || item.toMs !== span.toMs);
    window.localStorage.setItem(RECENT, JSON.stringify([span, ...rest].slice(0, 3)));
  } catch {
    // Nothing is remembered then.
  }
}

export function TimePicker({ close }: { close: () => void }) {
  const { view, data, choose } = usePageData();
  const { releases } = useServices();
  const [from, setFrom] = useState(() => writeMoment(data?.fromMs ?? Date.now() - 900_000, view.tz));
  const [to, setTo] = useState(() => writeMoment(data?.toMs ?? Date.now(), view.tz));
  const [problem, setProblem] = useState('');
  const id = useId();
  const zone = zoneName(Date.now(), view.tz);
  const relevant = releases
    .filter((release) => view.page !== 'service' || release.service === view.service)
    .slice(-3)
    .reverse();

  const freeze = (span: Span) => {
    rememberWindow(span);
    choose({ frozen: span, sel: null });
    close();
  };
  const field =
    'mt-1 h-8 w-full rounded-control border border-control bg-bg px-2 font-mono text-12 max-tablet:h-11';
  return (
    <div className="p-2">
      <form
        className="px-2 pt-1 pb-2"
        onSubmit={(event) => {
          event.preventDefault();
          const asked = askRange(`${from} to ${to}`, view.tz, Date.now(), releases);
          if (asked !== null && 'frozen' in asked) freeze(asked.frozen);
          else setProblem('Write two times such as 14:20 or 2026-11-20 14:20, the first before the second.');
        }}
      >
        <div className="grid grid-cols-2 gap-2 max-[360px]:grid-cols-1">
          <label className="text-12 text-ink2">
            From, {zone}
            <input
              data-first
              className={field}
              value={from}
              spellCheck={false}
              autoComplete="off"
              aria-describedby={id}
              onChange={(event) => setFrom(event.target.value)}
            />
          </label>
          <label className="text-12 text-ink2">
            To
            <input
              className={field}
              value={to}
              spellCheck={false}
              autoComplete="off"
              aria-describedby={id}
              onChange={(event) => setTo(event.target.value)}
            />
          </label>
        </div>
        <p id={id} role="alert" className="text-12 text-bad">
          {problem}
        </p>
        <button
          type="submit"
          className="mt-2 h-8 w-full rounded-control bg-ink font-strong text-bg max-tablet:h-11"
        >
          Show
        </button>
      </form>
      <div className="grid grid-cols-2 border-line border-t pt-1">
        {MORE.map((item) => (
          <MenuItem
            key={item.range}
            current={view.frozen === null && view.range === item.range}
            onClick={() => {
              choose({ range: item.range, frozen: null, sel: null });
              close();
            }}
          >
            {item.words}
          </MenuItem>
        ))}
      </div>
      {relevant.length > 0 && (
        <div className="mt-1 border-line border-t pt-1">
          {relevant.map((release) => (
            <MenuItem
              key={`${release.service} ${release.version}`}
              onClick={() => {
                const asked = askRange(`since ${release.version}`, view.tz, Date.now(), [release]);
                if (asked !== null && 'range' in asked)
                  choose({ range: asked.range, frozen: null, sel: null });
                close();
              }}
            >
              <span className="min-w-0 flex-1 truncate">
                Since{' '}
                {view.page !== 'service' && (
                  <>
                    <Name>{release.service}</Name>{' '}
                  </>
                )}
                <Name>{release.version}</Name>
              </span>
              <span className="text-12 text-ink3">
                {moment(release.firstSeenMs, view.tz, Date.now(), true)}
              </span>
            </MenuItem>
          ))}
        </div>
      )}
      {recentWindows().length > 0 && (
        <div className="mt-1 border-line border-t pt-1">
          {recentWindows().map((span) => (
            <MenuItem key={`${span.fromMs} ${span.toMs}`} onClick={() => freeze(span)}>
              {moment(span.fromMs, view.tz, Date.now(), true)} to{' '}
              {moment(span.toMs, view.tz, Date.now(), true)}
            </MenuItem>
          ))}
        </div>
      )}
    </div>
  );
}
