/**
 * The colours of the heatmap. Nine stops a theme, mixed in OKLab, turned into bytes once; a count finds its place on a
 * curve that keeps a single request visible beside a cell of thousands.
 */
type Stop = readonly [lightness: number, chroma: number, hue: number];

const DARK: readonly Stop[] = [
  [0.26, 0.045, 262],
  [0.34, 0.075, 260],
  [0.43, 0.1, 256],
  [0.53, 0.115, 248],
  [0.63, 0.12, 238],
  [0.73, 0.115, 226],
  [0.83, 0.095, 212],
  [0.91, 0.07, 195],
  [0.97, 0.035, 170],
];
const LIGHT: readonly Stop[] = [
  [0.945, 0.022, 230],
  [0.89, 0.048, 230],
  [0.82, 0.08, 234],
  [0.73, 0.11, 238],
  [0.64, 0.13, 243],
  [0.55, 0.142, 249],
  [0.455, 0.14, 256],
  [0.36, 0.115, 262],
  [0.26, 0.075, 268],
];

/** Entries of a ramp; finer than any eye and any count. */
export const RAMP = 256;

/** `[r, g, b]` triples in a row. */
export type Ramp = Uint8ClampedArray;

/** Where a count lies on the ramp, 0 to 1; `null` for nothing, which has no colour. */
export function heat(n: number, max: number): number | null {
  if (n <= 0) return null;
  if (max <= 1) return 1;
  return FLOOR + (1 - FLOOR) * (Math.log(Math.min(n, max)) / Math.log(max)) ** 1.55;
}

/** Where a single request lies: 1.4 : 1 against white in the light theme needs this much of the ramp. */
const FLOOR = 0.14;

export function ramp(theme: 'dark' | 'light'): Ramp {
  const stops = (theme === 'dark' ? DARK : LIGHT).map(([l, c, h]): Lab => {
    const angle = (h * Math.PI) / 180;
    return [l, c * Math.cos(angle), c * Math.sin(angle)];
  });
  const out = new Uint8ClampedArray(RAMP * 3);
  for (let index = 0; index < RAMP; index += 1) {
    const at = (index / (RAMP - 1)) * (stops.length - 1);
    const from = Math.min(stops.length - 2, Math.floor(at));
    const part = at - from;
    const a = stops[from] as Lab;
    const b = stops[from + 1] as Lab;
    const mixed: Lab = [
      a[0] + (b[0] - a[0]) * part,
      a[1] + (b[1] - a[1]) * part,
      a[2] + (b[2] - a[2]) * part,
    ];
    out.set(toRgb(mixed), index * 3);
  }
  return out;
}

type Lab = readonly [number, number, number];

/** OKLab to 8-bit sRGB, clipped. */
function toRgb([lightness, a, b]: Lab): [number, number, number] {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((x) => {
    const clipped = Math.min(1, Math.max(0, x));
    return 255 * (clipped <= 0.0031308 ? 12.92 * clipped : 1.055 * clipped ** (1 / 2.4) - 0.055);
  }) as [number, number, number];
}
