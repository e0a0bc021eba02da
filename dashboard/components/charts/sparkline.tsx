'use client';

/** The shape of one column in 80 × 24 px: from 0, own scale, gaps stay gaps, the newest value as a dot. */
import { useCallback, useRef } from 'react';
import type { Column } from '@/lib/series/types';
import { Canvas } from './canvas';
import { color, type Token } from './tokens';

interface Props {
  values: Column;
  token: Token;
  fill?: boolean;
  width?: number;
  height?: number;
}

export function Sparkline({ values: given, token, fill = false, width = 80, height = 24 }: Props) {
  const values = useSame(given);
  const draw = useCallback(
    (context: CanvasRenderingContext2D) => {
      const top = Math.max(0, ...values.map((value) => value ?? 0));
      const n = values.length;
      const x = (index: number) => 1 + (index / Math.max(1, n - 1)) * (width - 5);
      const y = (value: number) => height - 3 - (top === 0 ? 0 : (value / top) * (height - 7));
      context.strokeStyle = color(token);
      context.fillStyle = color(token, 0.18);
      context.lineWidth = 1.25;
      context.lineJoin = 'round';
      for (const [from, to] of runs(values)) {
        context.beginPath();
        for (let index = from; index <= to; index += 1) {
          const value = values[index] ?? 0;
          if (index === from) context.moveTo(x(index), y(value));
          else context.lineTo(x(index), y(value));
        }
        if (from === to) context.lineTo(x(from) + 0.5, y(values[from] ?? 0));
        context.stroke();
        if (fill) {
          context.lineTo(x(to), height - 3);
          context.lineTo(x(from), height - 3);
          context.fill();
        }
      }
      const last = values.findLastIndex((value) => value !== null);
      if (last !== -1) {
        context.fillStyle = color(token);
        context.beginPath();
        context.arc(x(last), y(values[last] ?? 0), 1.9, 0, 2 * Math.PI);
        context.fill();
      }
    },
    [values, token, fill, width, height],
  );
  return <Canvas width={width} height={height} draw={draw} />;
}

/** The array of before while its content is the same: most of the time only the step still filling has changed. */
function useSame(values: Column): Column {
  const kept = useRef(values);
  const before = kept.current;
  if (before.length !== values.length || values.some((value, index) => value !== before[index])) {
    kept.current = values;
  }
  return kept.current;
}

/** Index ranges without a null in between. */
function runs(values: Column): [number, number][] {
  const found: [number, number][] = [];
  values.forEach((value, index) => {
    if (value === null) return;
    const last = found.at(-1);
    if (last !== undefined && last[1] === index - 1) last[1] = index;
    else found.push([index, index]);
  });
  return found;
}
