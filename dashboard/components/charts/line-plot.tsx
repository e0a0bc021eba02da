'use client';

/** The React side of a chart: it owns the element and its size, hands data over, and moves the cursor by keyboard. */
import { useEffect, useRef } from 'react';
import type { CursorStore } from './cursor';
import { Plot, type PlotData, type PlotSpec } from './plot';

interface Props {
  spec: PlotSpec;
  data: PlotData;
  cursor: CursorStore;
  /** A sentence that says what the picture shows. */
  label: string;
  className: string;
  onZoom: (fromMs: number, toMs: number) => void;
}

export function LinePlot({ spec, data, cursor, label, className, onZoom }: Props) {
  const root = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const latest = useRef({ data, onZoom });
  latest.current = { data, onZoom };

  useEffect(() => {
    const element = root.current;
    if (element === null) return;
    const made = new Plot(element, spec, latest.current.data, {
      cursor,
      zoom: (from, to) => latest.current.onZoom(from, to),
    });
    plot.current = made;
    const observer = new ResizeObserver(() => made.resize(element.clientWidth, element.clientHeight));
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [spec, cursor]);

  useEffect(() => {
    plot.current?.update(data);
  }, [data]);

  return (
    <div
      ref={root}
      role="img"
      aria-label={label}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the cursor must be movable without a mouse
      tabIndex={0}
      className={`w-full overflow-hidden rounded-data outline-offset-0 ${className}`}
      onKeyDown={(event) => {
        if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
          event.preventDefault();
          plot.current?.step(event.key === 'ArrowLeft' ? -1 : 1);
        }
        if (event.key === 'Escape') plot.current?.leave();
      }}
      onBlur={() => plot.current?.leave()}
    />
  );
}
