'use client';

/**
 * The latency ruler: one shared logarithmic axis for all rows. Band from p50 to p95, deeper band to p99 with a bar,
 * hairline to the slowest. Tails of fifty services can be compared without reading a number.
 */
import { useCallback } from 'react';
import { axisLatency } from '@/lib/format/number';
import type { Totals } from '@/lib/series/types';
import { Canvas } from './canvas';
import { color } from './tokens';

export interface RulerAxis {
  lowMs: number;
  highMs: number;
}

/** 0.5 ms to 10 s, widened by whole decades when a value leaves it. */
export function rulerAxis(rows: readonly { window: Totals }[]): RulerAxis {
  let lowMs = 0.5;
  let highMs = 10_000;
  for (const { window } of rows) {
    const low = window.quantilesMs['0.5'];
    if (low !== null && low !== undefined && low > 0) while (low < lowMs && lowMs > 0.0005) lowMs /= 10;
    if (window.maxMs !== null) while (window.maxMs > highMs && highMs < 3_600_000) highMs *= 10;
  }
  return { lowMs, highMs };
}

/** Whole decades on the axis. */
export function rulerTicks({ lowMs, highMs }: RulerAxis): number[] {
  const ticks: number[] = [];
  for (let at = 10 ** Math.ceil(Math.log10(lowMs)); at <= highMs * 1.001; at *= 10) ticks.push(at);
  return ticks;
}

/** Those of them that are named: where there are many, every other one, counted from 1 ms. */
export function rulerLabels(axis: RulerAxis): number[] {
  const ticks = rulerTicks(axis);
  return ticks.length <= 6 ? ticks : ticks.filter((ms) => Math.round(Math.log10(ms)) % 2 === 0);
}

export function rulerX({ lowMs, highMs }: RulerAxis, ms: number, width: number): number {
  const part = Math.log(Math.max(ms, lowMs) / lowMs) / Math.log(highMs / lowMs);
  return 2 + Math.min(1, part) * (width - 4);
}

export function Ruler({
  window: totals,
  axis,
  width,
  usualP99 = null,
  height = 24,
}: {
  window: Totals;
  axis: RulerAxis;
  width: number;
  /** Marked with a triangle when it is far from the p99 of now. */
  usualP99?: number | null;
  height?: number;
}) {
  const p50 = totals.quantilesMs['0.5'] ?? null;
  const p95 = totals.quantilesMs['0.95'] ?? null;
  const p99 = totals.quantilesMs['0.99'] ?? null;
  const max = totals.maxMs;
  const { lowMs, highMs } = axis;
  const draw = useCallback(
    (context: CanvasRenderingContext2D) => {
      const shared = { lowMs, highMs };
      context.fillStyle = color('grid');
      for (const tick of rulerTicks(shared))
        context.fillRect(Math.round(rulerX(shared, tick, width)), 0, 1, height);
      if (p50 === null || p95 === null || p99 === null) return;
      const x = (ms: number) => rulerX(shared, ms, width);
      const middle = height / 2;
      if (max !== null) {
        context.fillStyle = color('p95', 0.55);
        context.fillRect(x(p99), middle - 0.75, Math.max(0, x(max) - x(p99)), 1.5);
        context.fillRect(x(max) - 0.75, middle - 3.5, 1.5, 7);
      }
      context.fillStyle = color('p50');
      context.fillRect(x(p50), middle - 3.5, Math.max(1, x(p95) - x(p50)), 7);
      context.fillRect(x(p50) - 1, middle - 6, 2, 12);
      context.fillStyle = color('p95');
      context.fillRect(x(p95), middle - 3.5, Math.max(0, x(p99) - x(p95)), 7);
      context.fillStyle = color('p99');
      context.fillRect(x(p99) - 1.25, middle - 6.5, 2.5, 13);
      if (usualP99 !== null && isFar(usualP99, p99)) {
        const at = x(usualP99);
        context.fillStyle = color('ink2');
        context.beginPath();
        context.moveTo(at, middle + 6);
        context.lineTo(at + 4, middle + 13);
        context.lineTo(at - 4, middle + 13);
        context.fill();
      }
    },
    [usualP99, p50, p95, p99, max, lowMs, highMs, width, height],
  );
  return <Canvas width={width} height={height} draw={draw} />;
}

/** Half as much again, either way: nearer than that, the eye compares nothing. */
function isFar(usual: number, now: number): boolean {
  return usual > 0 && (now / usual >= 1.5 || usual / now >= 1.5);
}

/** A tick's label; only the ends of a unit carry it, as on a real ruler. */
export function rulerLabel(ms: number): string {
  return ms === 10 || ms === 100 ? String(ms) : axisLatency(ms);
}
