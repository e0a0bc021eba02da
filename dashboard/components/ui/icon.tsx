/** Icons, drawn on a 16 px grid with one stroke width. They stand beside words or carry an accessible name outside. */
const PATHS = {
  overview: 'M1.5 8h3l2-5 3 10 2-5h3',
  requests: 'M2 4h12M2 8h12M2 12h8.5',
  compare: 'M5 13V3M2.2 5.8 5 3l2.8 2.8M11 3v10M8.2 10.2 11 13l2.8-2.8',
  alerts: 'M8 1.8a4 4 0 0 1 4 4c0 3.2 1.5 4.4 1.5 5.7h-11C2.5 10.2 4 9 4 5.8a4 4 0 0 1 4-4M6.5 14h3',
  ledger: 'M2.5 2.5h11v11h-11zM2.5 6h11M6 6v7.5',
  settings:
    'M8 5.7a2.3 2.3 0 1 1 0 4.6 2.3 2.3 0 0 1 0-4.6M8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M12.6 3.4l-1.4 1.4M4.8 11.2l-1.4 1.4',
  services: 'M2 4h12M2 8h12M2 12h12',
  menu: 'M2 4h12M2 8h12M2 12h12',
  check: 'M3 8.5 6.5 12 13 4.5',
  share: 'M6.5 9.5 13.5 2.5M9 2.5h4.5V7M12 9.5v4H2.5V4h4',
  zoomOut: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.5 10.5 14 14M5 7h4',
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9M10.5 10.5 14 14',
  close: 'M4 4l8 8M12 4l-8 8',
  chevronDown: 'M4.5 6.5 8 10l3.5-3.5',
  chevronRight: 'M6.5 4 10.5 8l-4 4',
  sun: 'M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6M8 1.2v1.4M8 13.4v1.4M1.2 8h1.4M13.4 8h1.4M3.2 3.2l1 1M11.8 11.8l1 1M12.8 3.2l-1 1M4.2 11.8l-1 1',
  moon: 'M13.2 9.6A5.6 5.6 0 0 1 6.4 2.8a5.6 5.6 0 1 0 6.8 6.8Z',
  keyboard: 'M1.5 4.5h13v7h-13zM4 7h.01M6.7 7h.01M9.3 7h.01M12 7h.01M5 9.3h6',
  leave: 'M6.5 2.5h-4v11h4M6.5 8h7.5M11 5l3 3-3 3',
  table: 'M2 3h12v10H2zM2 6.3h12M2 9.6h12M6.5 6.3V13',
  chart: 'M2 13.5h12M3.5 11 6.5 7l3 2.5 4-5.5',
  clock: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2M8 4.8V8l2.2 1.4',
  sliders: 'M2 5h7M12 5h2M2 11h2M7 11h7M9 3.2v3.6M4 9.2v3.6',
  plus: 'M8 3v10M3 8h10',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.4"
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      className="shrink-0"
    >
      <path d={PATHS[name]} />
    </svg>
  );
}

export function PauseIcon({ paused }: { paused: boolean }) {
  return (
    <svg width="12" height="12" viewBox="0 0 12 12" fill="currentColor" aria-hidden="true">
      {paused ? <path d="M3 1.5v9l7-4.5z" /> : <path d="M2.5 1.5h2.4v9H2.5zM7.1 1.5h2.4v9H7.1z" />}
    </svg>
  );
}

export function Logo() {
  return (
    <svg
      width="22"
      height="18"
      viewBox="0 0 22 18"
      fill="none"
      strokeWidth="2.2"
      strokeLinecap="round"
      aria-hidden="true"
    >
      <path className="stroke-ink" d="M2 8v2M6.5 5v8M15.5 5v8M20 8v2" />
      <path className="stroke-p99" d="M11 2v14" />
    </svg>
  );
}
