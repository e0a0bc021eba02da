'use client';

/**
 * A dialog over the page, or a drawer at its right edge. Open as long as it is rendered; whoever renders it decides what
 * Esc and a press beside it mean, so that nothing is lost without a question.
 */
import { type ReactNode, useEffect, useId, useRef } from 'react';
import { Icon } from './icon';

interface Props {
  title: ReactNode;
  onClose: () => void;
  kind?: 'dialog' | 'drawer';
  className?: string;
  children: ReactNode;
}

export function Modal({ title, onClose, kind = 'dialog', className = '', children }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (dialog !== null && !dialog.open) dialog.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  const shape =
    kind === 'dialog'
      ? 'm-auto w-[480px] max-w-[calc(100vw-24px)] max-h-[calc(100dvh-24px)] rounded-card border'
      : 'mr-0 ml-auto my-0 h-dvh max-h-none w-[520px] max-w-full border-l';
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Esc is the key, and arrives as `cancel`
    <dialog
      ref={element}
      aria-labelledby={id}
      className={`${shape} appear overflow-hidden border-line bg-raised p-0 text-ink shadow-popover backdrop:bg-bg/60 open:flex open:flex-col ${className}`}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === event.currentTarget) onClose();
      }}
    >
      <div className="flex shrink-0 items-start gap-3 px-5 pt-4 pb-2">
        <h2 id={id} className="min-w-0 flex-1 text-15 font-strong">
          {title}
        </h2>
        <button
          type="button"
          aria-label="Close"
          className="-mt-1.5 -mr-2 grid size-8 shrink-0 place-items-center rounded-control text-ink2 hover:bg-hover hover:text-ink max-tablet:size-11"
          onClick={onClose}
        >
          <Icon name="close" />
        </button>
      </div>
      <div className="min-h-0 flex-1 overflow-y-auto px-5 pb-5">{children}</div>
    </dialog>
  );
}
