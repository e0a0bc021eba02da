/** What leaves the page as a file: tables as CSV (µs as integers, counts unrounded, times in ISO), pictures as PNG. */

export type Cell = string | number | null;

export function toCsv(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  return [head, ...rows].map((row) => row.map(field).join(',')).join('\r\n');
}

function field(value: Cell): string {
  if (value === null) return '';
  const text = String(value);
  // A leading = + - @ of foreign text would be a formula in a spreadsheet.
  const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Milliseconds as whole microseconds. */
export function micros(ms: number | null | undefined): number | null {
  return ms === null || ms === undefined ? null : Math.round(ms * 1000);
}

export function fileName(subject: string, fromMs: number, kind: string): string {
  const at = new Date(fromMs).toISOString().slice(0, 19).replaceAll(':', '');
  return `peep-${subject.replace(/[^\w.-]+/g, '_').slice(0, 60)}-${at}Z.${kind}`;
}

export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

export function downloadCsv(name: string, head: readonly string[], rows: readonly (readonly Cell[])[]): void {
  download(name, new Blob([toCsv(head, rows)], { type: 'text/csv;charset=utf-8' }));
}

/** All charts of the page under one another, with their names, as they look now. */
export function downloadPng(name: string): void {
  const cards = [...document.querySelectorAll<HTMLElement>('main section')]
    .map((section) => ({ title: section.getAttribute('aria-label') ?? '', canvas: largest(section) }))
    .filter((card): card is { title: string; canvas: HTMLCanvasElement } => card.canvas !== null);
  if (cards.length === 0) return;
  const ratio = window.devicePixelRatio || 1;
  const style = getComputedStyle(document.documentElement);
  const gap = 16 * ratio;
  const title = 24 * ratio;
  const sheet = document.createElement('canvas');
  sheet.width = Math.max(...cards.map((card) => card.canvas.width)) + 2 * gap;
  sheet.height = cards.reduce((sum, card) => sum + card.canvas.height + title + gap, gap);
  const context = sheet.getContext('2d');
  if (context === null) return;
  context.fillStyle = style.getPropertyValue('--surface').trim();
  context.fillRect(0, 0, sheet.width, sheet.height);
  let y = gap;
  for (const card of cards) {
    context.fillStyle = style.getPropertyValue('--ink').trim();
    context.font = `600 ${13 * ratio}px Geist, system-ui, sans-serif`;
    context.fillText(card.title, gap, y + 14 * ratio);
    context.drawImage(card.canvas, gap, y + title);
    y += card.canvas.height + title + gap;
  }
  sheet.toBlob((blob) => {
    if (blob !== null) download(name, blob);
  });
}

/** Sparklines and rulers are no charts of their own. */
function largest(section: HTMLElement): HTMLCanvasElement | null {
  const found = [...section.querySelectorAll('canvas')].filter((canvas) => canvas.clientHeight >= 100);
  return found[0] ?? null;
}
