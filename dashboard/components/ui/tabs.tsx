'use client';

/** Tabs as the pattern has them: one stop for Tab, arrows between them, the panel named by its tab. */
import { type ReactNode, useId, useRef } from 'react';

interface Props<Name extends string> {
  label: string;
  tabs: readonly { name: Name; title: string }[];
  current: Name;
  onChange: (name: Name) => void;
  children: ReactNode;
  className?: string;
}

export function Tabs<Name extends string>({
  label,
  tabs,
  current,
  onChange,
  children,
  className = '',
}: Props<Name>) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const move = (by: number) => {
    const at = tabs.findIndex((tab) => tab.name === current);
    const next = tabs[(at + by + tabs.length) % tabs.length];
    if (next === undefined) return;
    onChange(next.name);
    list.current?.querySelector<HTMLElement>(`[data-tab="${CSS.escape(next.name)}"]`)?.focus();
  };
  return (
    <div className={className}>
      <div
        ref={list}
        role="tablist"
        aria-label={label}
        className="flex gap-4 overflow-x-auto border-line border-b [scrollbar-width:none]"
      >
        {tabs.map((tab) => (
          <button
            key={tab.name}
            type="button"
            role="tab"
            id={`${id}-${tab.name}`}
            data-tab={tab.name}
            aria-selected={tab.name === current}
            aria-controls={`${id}-panel`}
            tabIndex={tab.name === current ? 0 : -1}
            className={`-mb-px h-9 shrink-0 border-b-2 outline-offset-[-2px] max-tablet:h-11 ${
              tab.name === current
                ? 'border-ink font-name text-ink'
                : 'border-transparent text-ink2 hover:text-ink'
            }`}
            onClick={() => onChange(tab.name)}
            onKeyDown={(event) => {
              if (event.key === 'ArrowRight') move(1);
              else if (event.key === 'ArrowLeft') move(-1);
              else return;
              event.preventDefault();
            }}
          >
            {tab.title}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${current}`}>
        {children}
      </div>
    </div>
  );
}
