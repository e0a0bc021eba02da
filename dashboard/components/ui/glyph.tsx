import type { State } from '@/lib/series/verdict';

/**
 * A state as a shape first and a colour second: failing is a filled diamond, slower a hollow triangle, silent a dashed
 * ring, recovered a tick, fine a small dot.
 */
export function Glyph({ state, size = 14 }: { state: State; size?: number }) {
  if (state === 'fine') {
    return (
      <svg
        className="glyph shrink-0 text-s2"
        width={size}
        height={size}
        viewBox="0 0 14 14"
        aria-hidden="true"
      >
        <circle cx="7" cy="7" r="2.25" fill="currentColor" />
      </svg>
    );
  }
  return (
    <svg
      className={`glyph shrink-0 ${TONE[state]}`}
      width={size}
      height={size}
      viewBox="0 0 14 14"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.5"
      strokeLinecap="round"
      strokeLinejoin="round"
      role="img"
      aria-label={state}
    >
      {SHAPE[state]}
    </svg>
  );
}

type Marked = Exclude<State, 'fine'>;

const TONE: Record<Marked, string> = {
  failing: 'text-bad',
  silent: 'text-bad',
  slower: 'text-warn',
  recovered: 'text-ink2',
};

const SHAPE: Record<Marked, React.ReactNode> = {
  failing: (
    <>
      <rect
        x="2.4"
        y="2.4"
        width="9.2"
        height="9.2"
        rx="1.2"
        fill="currentColor"
        stroke="none"
        transform="rotate(45 7 7)"
      />
      <path d="M7 4v3.6" stroke="var(--surface)" />
      <circle cx="7" cy="9.7" r="0.9" fill="var(--surface)" stroke="none" />
    </>
  ),
  silent: <circle cx="7" cy="7" r="5" strokeDasharray="2.6 2.6" />,
  slower: (
    <>
      <path d="M7 1.9 13 12.3H1Z" strokeWidth="1.3" />
      <path d="M7 5.8v2.9" strokeWidth="1.3" />
      <circle cx="7" cy="10.5" r="0.75" fill="currentColor" stroke="none" />
    </>
  ),
  recovered: <path d="M2.5 7.5 5.5 10.5 11.5 3.5" strokeWidth="1.6" />,
};
