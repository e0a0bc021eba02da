'use client';

/** A button and what it opens. Esc and a press outside close it; focus returns to the button; time is held meanwhile. */
import { type ReactNode, useCallback, useEffect, useRef, useState } from 'react';
import { usePageData } from '@/components/shell/page-data';

interface Props {
  label: string;
  /** What stands on the button. */
  button: ReactNode;
  buttonClass: string;
  align?: 'left' | 'right';
  panelClass?: string;
  /** A key of the page may open it: whatever is written here is found by `data-opens`. */
  opens?: string;
  children: (close: () => void) => ReactNode;
}

export function Popover({
  label,
  button,
  buttonClass,
  align = 'right',
  panelClass = '',
  opens,
  children,
}: Props) {
  const { hold } = usePageData();
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const trigger = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const close = useCallback(() => {
    setOpen(false);
    trigger.current?.focus();
  }, []);

  useEffect(() => {
    if (!open) return;
    hold(true);
    panel.current?.querySelector<HTMLElement>('[data-first], button, input, a')?.focus();
    const outside = (event: PointerEvent) => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    return () => {
      document.removeEventListener('pointerdown', outside);
      hold(false);
    };
  }, [open, hold]);

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Esc closes from anywhere inside
    <div
      ref={root}
      className="relative"
      onKeyDown={(event) => {
        if (event.key === 'Escape' && open) {
          event.stopPropagation();
          event.preventDefault();
          close();
        }
      }}
    >
      <button
        ref={trigger}
        type="button"
        aria-label={label}
        aria-expanded={open}
        data-opens={opens}
        className={buttonClass}
        onClick={() => setOpen(!open)}
      >
        {button}
      </button>
      {open && (
        <div
          ref={panel}
          role="dialog"
          aria-label={label}
          className={`appear absolute top-full z-30 mt-1.5 rounded-card border border-line bg-raised shadow-popover ${align === 'right' ? 'right-0' : 'left-0'} ${panelClass}`}
        >
          {children(close)}
        </div>
      )}
    </div>
  );
}

export function MenuItem(props: { onClick: () => void; current?: boolean; children: ReactNode }) {
  return (
    <button
      type="button"
      onClick={props.onClick}
      aria-pressed={props.current}
      className={`flex min-h-8 w-full items-center gap-2 rounded-control px-2 text-left hover:bg-hover ${props.current ? 'font-name text-ink' : 'text-ink2 hover:text-ink'}`}
    >
      {props.children}
    </button>
  );
}
