/** The buttons of forms and dialogs. One primary at most in sight; what cannot be undone is red and never first. */
import type { ButtonHTMLAttributes } from 'react';

type Tone = 'primary' | 'plain' | 'danger';

const TONES: Record<Tone, string> = {
  primary: 'border-transparent bg-ink text-bg font-strong hover:bg-ink2',
  plain: 'border-line bg-surface text-ink hover:bg-hover',
  danger: 'border-bad bg-transparent text-bad font-strong hover:bg-bad-soft',
};

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  tone?: Tone;
}

export function Button({ tone = 'plain', className = '', type = 'button', ...rest }: Props) {
  return (
    <button
      type={type}
      className={`inline-flex h-8 shrink-0 items-center justify-center gap-2 whitespace-nowrap rounded-control border px-3 disabled:cursor-default disabled:opacity-50 max-tablet:h-11 ${TONES[tone]} ${className}`}
      {...rest}
    />
  );
}
