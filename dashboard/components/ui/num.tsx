/** A written number: the value in full, its unit one size down, a no-break space between. */
import { NBSP, type Written } from '@/lib/format/number';

interface Props {
  written: Written;
  className?: string;
  unitClass?: string;
  title?: string | undefined;
}

export function Num({ written, className = '', unitClass = 'text-12 text-ink2', title }: Props) {
  return (
    <span className={`live-number font-number whitespace-nowrap ${className}`} title={title}>
      {written.value}
      {written.unit !== '' && (
        <span className={unitClass}>
          {NBSP}
          {written.unit}
        </span>
      )}
    </span>
  );
}
