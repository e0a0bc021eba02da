/**
 * Colours for canvases. Canvas cannot read `var()`, so the meaning's name is looked up in the page's own tokens, once
 * a theme. Patterns (status classes and gaps must not rely on colour) are made once a theme and pixel ratio.
 */
export type Token =
  | 'ink'
  | 'ink2'
  | 'ink3'
  | 'surface'
  | 'grid'
  | 'line'
  | 'p50'
  | 'p90'
  | 'p95'
  | 'p99'
  | 'p999'
  | 'pmax'
  | 'bad'
  | 'warn'
  | 'focus'
  | 'rate'
  | 'was'
  | 's2'
  | 's3'
  | 's4'
  | 's5';

let cache = new Map<string, string>();
let patterns = new Map<string, CanvasPattern>();
const listeners = new Set<() => void>();

/** An `oklch()` colour of the current theme, optionally translucent. */
export function color(token: Token, alpha = 1): string {
  const id = `${token}/${alpha}`;
  const known = cache.get(id);
  if (known !== undefined) return known;
  const base = getComputedStyle(document.documentElement).getPropertyValue(`--${token}`).trim();
  const made = alpha === 1 ? base : base.replace(/\)$/, ` / ${alpha})`);
  cache.set(id, made);
  return made;
}

/** Diagonal lines 6 px apart over a soft ground: errors, 5xx, gaps. */
export function hatch(token: Token, lineAlpha: number, groundAlpha: number): CanvasPattern | string {
  return pattern(`hatch/${token}/${lineAlpha}/${groundAlpha}`, 6, (context, size) => {
    ground(context, size, token, groundAlpha);
    context.strokeStyle = color(token, lineAlpha);
    context.lineWidth = size / 6;
    context.beginPath();
    for (const shift of [-size, 0, size]) {
      context.moveTo(shift - 1, size + 1);
      context.lineTo(shift + size + 1, -1);
    }
    context.stroke();
  });
}

/** Dots 4 px apart: 4xx. */
export function dots(token: Token, dotAlpha: number, groundAlpha: number): CanvasPattern | string {
  return pattern(`dots/${token}/${dotAlpha}/${groundAlpha}`, 4, (context, size) => {
    ground(context, size, token, groundAlpha);
    context.fillStyle = color(token, dotAlpha);
    context.beginPath();
    context.arc(size / 2, size / 2, size / 4, 0, 2 * Math.PI);
    context.fill();
  });
}

function ground(context: CanvasRenderingContext2D, size: number, token: Token, alpha: number): void {
  if (alpha === 0) return;
  context.fillStyle = color(token, alpha);
  context.fillRect(0, 0, size, size);
}

function pattern(
  id: string,
  cssSize: number,
  draw: (context: CanvasRenderingContext2D, size: number) => void,
): CanvasPattern | string {
  const ratio = window.devicePixelRatio || 1;
  const name = `${id}/${ratio}`;
  const known = patterns.get(name);
  if (known !== undefined) return known;
  const tile = document.createElement('canvas');
  const size = Math.max(2, Math.round(cssSize * ratio));
  tile.width = size;
  tile.height = size;
  const context = tile.getContext('2d');
  if (context === null) return 'transparent';
  draw(context, size);
  const made = context.createPattern(tile, 'repeat');
  if (made === null) return 'transparent';
  patterns.set(name, made);
  return made;
}

/** Called by whoever changes the theme, after the attribute is set. */
export function themeChanged(): void {
  cache = new Map();
  patterns = new Map();
  for (const listener of listeners) listener();
}

export function onThemeChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
