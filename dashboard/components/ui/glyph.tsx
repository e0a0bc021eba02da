import type { State } from '@/lib/series/verdict';

/** A state as a shape first and a colour second: failing is a filled diamond, recovered a tick, fine a small dot. */
export function Glyph({ state, size = 14 }: { state: State; size?: number }) {
  if (state === 'recovered') {
    return (
      <svg
        className="glyph text-ink2"
        width={size}
        height={size}
        viewBox="0 0 14 14"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.6"
        strokeLinecap="round"
        strokeLinejoin="round"
        role="img"
        aria-label="recovered"
      >
        <path d="M2.5 7.5 5.5 10.5 11.5 3.5" />
      </svg>
    );
  }
  if (state === 'fine') {
    return (
      <svg className="glyph text-s2" width={size} height={size} viewBox="0 0 14 14" aria-hidden="true">
        <circle cx="7" cy="7" r="2.25" fill="currentColor" />
      </svg>
    );
  }
  return (
    <svg
      className="glyph text-bad"
      width={size}
      height={size}
      viewBox="0 0 14 14"
      role="img"
      aria-label="failing"
    >
      <rect
        x="2.4"
        y="2.4"
        width="9.2"
        height="9.2"
        rx="1.2"
        fill="currentColor"
        transform="rotate(45 7 7)"
      />
      <path d="M7 4v3.6" stroke="var(--surface)" strokeWidth="1.5" strokeLinecap="round" />
      <circle cx="7" cy="9.7" r="0.9" fill="var(--surface)" />
    </svg>
  );
}
