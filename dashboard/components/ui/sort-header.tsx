'use client';

/** A column head that sorts: once down, again up, a third time back to the order of the table. */
import type { Sort, SortColumn } from '@/lib/view/url';

interface Props {
  column: SortColumn;
  sort: Sort | null;
  onSort: (sort: Sort | null) => void;
  align?: 'left' | 'right';
  /** The order of the table while nobody chose another. */
  isDefault?: boolean;
  className?: string;
  children: React.ReactNode;
}

export function SortHeader({
  column,
  sort,
  onSort,
  align = 'right',
  isDefault = false,
  className = '',
  children,
}: Props) {
  const active =
    sort?.column === column ? sort : sort === null && isDefault ? { column, descending: true } : null;
  const firstDown = align === 'right';
  const next = (): Sort | null => {
    if (active === null) return { column, descending: firstDown };
    return active.descending === firstDown ? { column, descending: !firstDown } : null;
  };
  return (
    <th
      scope="col"
      aria-sort={active === null ? 'none' : active.descending ? 'descending' : 'ascending'}
      className={`px-0 font-regular ${align === 'right' ? 'text-right' : 'text-left'} ${className}`}
    >
      <button
        type="button"
        onClick={() => onSort(next())}
        className={`h-9 ${active === null ? 'text-ink2' : 'font-strong text-ink'} hover:text-ink`}
      >
        {children}
        {active !== null && (
          <svg
            className="ml-1 inline"
            width="8"
            height="8"
            viewBox="0 0 8 8"
            fill="none"
            stroke="currentColor"
            strokeWidth="1.4"
            aria-hidden="true"
          >
            <path d={active.descending ? 'M4 1v6M1.5 4.5 4 7l2.5-2.5' : 'M4 7V1M1.5 3.5 4 1l2.5 2.5'} />
          </svg>
        )}
      </button>
    </th>
  );
}

export function sortValue(
  window: {
    rate: number;
    errorRate: number;
    maxMs: number | null;
    quantilesMs: Readonly<Record<string, number | null>>;
  },
  column: SortColumn,
): number {
  switch (column) {
    case 'rate':
      return window.rate;
    case 'errors':
      return window.errorRate;
    case 'p50':
      return window.quantilesMs['0.5'] ?? -1;
    case 'p95':
      return window.quantilesMs['0.95'] ?? -1;
    case 'p99':
      return window.quantilesMs['0.99'] ?? -1;
    case 'max':
      return window.maxMs ?? -1;
    default:
      return 0;
  }
}
