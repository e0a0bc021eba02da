'use client';

/** A label above, the control, and below it what is wrong or what is meant. */
import { type ReactNode, useId } from 'react';

export const INPUT =
  'h-9 w-full rounded-control border border-control bg-bg px-3 text-13 max-tablet:h-11 max-tablet:text-15 aria-invalid:border-bad';

interface Props {
  label: string;
  hint?: ReactNode;
  problem?: string | null;
  className?: string;
  children: (ids: { id: string; 'aria-describedby': string; 'aria-invalid': boolean }) => ReactNode;
}

export function Field({ label, hint, problem = null, className = '', children }: Props) {
  const id = useId();
  return (
    <div className={className}>
      <label htmlFor={id} className="mb-1 block text-12 text-ink2">
        {label}
      </label>
      {children({ id, 'aria-describedby': `${id}-says`, 'aria-invalid': problem !== null })}
      <p
        id={`${id}-says`}
        className={`mt-1 text-12 empty:hidden ${problem === null ? 'text-ink3' : 'text-bad'}`}
      >
        {problem ?? hint}
      </p>
    </div>
  );
}
