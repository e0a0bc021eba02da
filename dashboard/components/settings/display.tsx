'use client';

/** How the page looks on this machine. Theme, density and shortcuts stay here; the zone is part of the address. */
import { usePageData } from '@/components/shell/page-data';
import { KEY_HELP } from '@/lib/view/keys';
import { setPrefs, usePrefs } from '@/lib/view/prefs';
import { chooseTheme, useThemeChoice } from '@/lib/view/theme';

export function Display() {
  const { view, choose } = usePageData();
  const theme = useThemeChoice();
  const { keys, density } = usePrefs();
  return (
    <section aria-label="Display" className="flex max-w-[720px] flex-col gap-4">
      <div className="card divide-y divide-line">
        <Choice
          label="Theme"
          value={theme}
          options={[
            ['system', 'As the system'],
            ['dark', 'Dark'],
            ['light', 'Light'],
          ]}
          onChange={chooseTheme}
        />
        <Choice
          label="Time zone"
          note="Part of the address, so a shared link shows the same times."
          value={view.tz}
          options={[
            ['utc', 'UTC'],
            ['local', 'Local'],
          ]}
          onChange={(tz) => choose({ tz })}
        />
        <Choice
          label="Density"
          note="The height of rows in tables."
          value={density}
          options={[
            ['calm', 'Calm'],
            ['compact', 'Compact'],
          ]}
          onChange={(next) => setPrefs({ density: next })}
        />
        <Choice
          label="Keyboard shortcuts"
          note="Single keys. Ctrl K, Esc and arrows always work."
          value={keys ? 'on' : 'off'}
          options={[
            ['on', 'On'],
            ['off', 'Off'],
          ]}
          onChange={(next) => setPrefs({ keys: next === 'on' })}
        />
      </div>
      <div className={`card px-4 py-3 ${keys ? '' : 'opacity-60'}`}>
        <h2 className="font-name">Shortcuts</h2>
        <dl className="mt-2 grid grid-cols-[max-content_1fr] gap-x-4 gap-y-1 tablet:grid-cols-[max-content_1fr_max-content_1fr]">
          {KEY_HELP.map((item) => (
            <div key={item.keys} className="contents">
              <dt>
                <kbd className="whitespace-nowrap rounded-kbd border border-line px-1.5 py-px font-sans text-12">
                  {item.keys}
                </kbd>
              </dt>
              <dd className="pr-4 text-ink2">{item.does}</dd>
            </div>
          ))}
        </dl>
      </div>
    </section>
  );
}

function Choice<Value extends string>(props: {
  label: string;
  note?: string;
  value: Value;
  options: readonly (readonly [Value, string])[];
  onChange: (value: Value) => void;
}) {
  return (
    <fieldset className="flex flex-wrap items-center gap-x-6 gap-y-2 px-4 py-3">
      <legend className="sr-only">{props.label}</legend>
      <div className="min-w-40 flex-1" aria-hidden="true">
        <p className="font-name">{props.label}</p>
        {props.note !== undefined && <p className="text-12 text-ink2">{props.note}</p>}
      </div>
      <div className="flex rounded-control border border-line bg-bg p-0.5">
        {props.options.map(([value, title]) => (
          <label
            key={value}
            className={`grid h-7 cursor-pointer place-items-center rounded-kbd px-3 has-focus-visible:outline-2 has-focus-visible:outline-focus max-tablet:h-10 ${
              value === props.value ? 'bg-hover font-strong text-ink' : 'text-ink2 hover:text-ink'
            }`}
          >
            <input
              type="radio"
              name={props.label}
              value={value}
              checked={value === props.value}
              onChange={() => props.onChange(value)}
              className="sr-only"
            />
            {title}
          </label>
        ))}
      </div>
    </fieldset>
  );
}
