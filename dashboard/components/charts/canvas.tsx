'use client';

/** A small canvas of fixed size that draws when its input changes, when the theme does, and never otherwise. */
import { useEffect, useRef } from 'react';
import { onThemeChange } from './tokens';

interface Props {
  width: number;
  height: number;
  draw: (context: CanvasRenderingContext2D, width: number, height: number) => void;
}

export function Canvas({ width, height, draw }: Props) {
  const element = useRef<HTMLCanvasElement>(null);

  useEffect(() => {
    const paint = () => {
      const canvas = element.current;
      const context = canvas?.getContext('2d');
      if (!canvas || !context) return;
      const ratio = window.devicePixelRatio || 1;
      const pixels = [Math.round(width * ratio), Math.round(height * ratio)] as const;
      if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) {
        canvas.width = pixels[0];
        canvas.height = pixels[1];
      }
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      draw(context, width, height);
    };
    paint();
    return onThemeChange(paint);
  }, [width, height, draw]);

  // The number beside it says the same, so the picture is silent for screen readers.
  return (
    <span aria-hidden="true" className="block">
      <canvas ref={element} className="block" style={{ width, height }} />
    </span>
  );
}
