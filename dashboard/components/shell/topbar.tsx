'use client';

/** Where, over which window, in which zone, and whether it moves. */
import Link from 'next/link';
import { Icon, Logo, PauseIcon } from '@/components/ui/icon';
import { zoneName } from '@/lib/format/time';
import { toggleTheme, useTheme } from '@/lib/view/theme';
import { DEFAULT_RANGE, RANGES, type RangeName } from '@/lib/view/url';
import { Badge } from './badge';
import { usePageData } from './page-data';
import { EnvPicker, hrefOf } from './sidebar';

export function Topbar({ envs }: { envs: readonly string[] }) {
  const { view, mode, choose, paused, setPaused } = usePageData();
  const theme = useTheme();
  return (
    <header className="sticky top-0 z-20 flex h-13 items-center gap-2 border-line border-b bg-bg px-6 max-tablet:px-3">
      <Link
        href={hrefOf(view, { service: null })}
        prefetch={false}
        aria-label="peep, overview"
        className="grid size-8 place-items-center tablet:hidden"
      >
        <Logo />
      </Link>
      <div className="tablet:hidden">
        <EnvPicker envs={envs} />
      </div>
      <Breadcrumb />
      <div className="flex-1" />
      <Ranges />
      <button
        type="button"
        className="control max-tablet:hidden"
        aria-label={`Time zone ${zoneName(Date.now(), view.tz)}. Switch to ${view.tz === 'utc' ? 'local time' : 'UTC'}`}
        onClick={() => choose({ tz: view.tz === 'utc' ? 'local' : 'utc' })}
      >
        {zoneName(Date.now(), view.tz)}
      </button>
      <button
        type="button"
        className="control w-[30px] justify-center px-0 max-tablet:hidden"
        aria-label={theme === 'dark' ? 'Light theme' : 'Dark theme'}
        onClick={toggleTheme}
      >
        <Icon name={theme === 'dark' ? 'sun' : 'moon'} size={15} />
      </button>
      {mode !== 'history' && (
        <button
          type="button"
          className="control w-[30px] justify-center px-0 text-ink max-tablet:hidden"
          aria-label={paused === null ? 'Pause' : 'Resume'}
          aria-pressed={paused !== null}
          onClick={() => setPaused(paused === null)}
        >
          <PauseIcon paused={paused !== null} />
        </button>
      )}
      <span className="max-tablet:hidden">
        <Badge />
      </span>
      <span className="tablet:hidden">
        <Badge compact />
      </span>
    </header>
  );
}

function Breadcrumb() {
  const { view } = usePageData();
  if (view.service === null) return <span className="font-name max-tablet:hidden">Overview</span>;
  const service = (
    <span className="min-w-0 truncate font-name" aria-current={view.route === null ? 'page' : undefined}>
      {view.route === null ? (
        view.service
      ) : (
        <Link href={hrefOf(view, {})} prefetch={false} className="text-ink2 hover:text-ink">
          {view.service}
        </Link>
      )}
    </span>
  );
  return (
    <nav aria-label="Breadcrumb" className="flex min-w-0 items-center gap-2 max-tablet:hidden">
      <Link href={hrefOf(view, { service: null })} prefetch={false} className="text-ink2 hover:text-ink">
        Overview
      </Link>
      <span className="text-ink3">/</span>
      {service}
      {view.route !== null && (
        <>
          <span className="text-ink3">/</span>
          <span className="min-w-0 truncate font-mono text-12" aria-current="page">
            {view.method} {view.route}
          </span>
        </>
      )}
    </nav>
  );
}

function Ranges() {
  const { view, choose } = usePageData();
  const current = view.frozen === null ? view.range : null;
  const select = (name: RangeName) => choose({ range: name, frozen: null });
  return (
    <>
      <fieldset
        aria-label="Range"
        className="flex h-[30px] items-center rounded-control border border-line bg-surface p-0.5 max-tablet:hidden"
      >
        {RANGES.map((range) => (
          <button
            key={range.name}
            type="button"
            aria-pressed={current === range.name}
            onClick={() => select(range.name)}
            className={`h-6 rounded-kbd px-2.5 ${
              current === range.name ? 'bg-hover font-strong text-ink' : 'text-ink2 hover:text-ink'
            }`}
          >
            {range.label}
          </button>
        ))}
      </fieldset>
      <span className="relative tablet:hidden">
        <select
          aria-label="Range"
          className="control h-9 appearance-none pr-7 text-ink"
          value={current ?? ''}
          onChange={(event) =>
            select(RANGES.find((range) => range.name === event.target.value)?.name ?? DEFAULT_RANGE)
          }
        >
          {current === null && <option value="">Frozen</option>}
          {RANGES.map((range) => (
            <option key={range.name} value={range.name}>
              {range.label}
            </option>
          ))}
        </select>
        <span className="pointer-events-none absolute top-2.5 right-2">
          <Icon name="chevronDown" size={14} />
        </span>
      </span>
    </>
  );
}
