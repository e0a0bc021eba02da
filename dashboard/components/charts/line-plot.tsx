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
  onPick: (fromMs: number, toMs: number) => void;
  /** What `onPick` told is looked into; when it is not any more, the plot takes it off. */
  picked: boolean;
  onUndo: () => void;
  onVisit: (href: string) => void;
}

export function LinePlot(props: Props) {
  const { spec, data, cursor, label, className, picked } = props;
  const root = useRef<HTMLDivElement>(null);
  const overlay = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = root.current;
    if (element === null) return;
    const made = new Plot(
      element,
      spec,
      latest.current.data,
      {
        cursor,
        zoom: (from, to) => latest.current.onZoom(from, to),
        pick: (from, to) => latest.current.onPick(from, to),
        visit: (href) => latest.current.onVisit(href),
      },
      overlay.current,
    );
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
  useEffect(() => {
    if (!picked) plot.current?.unpick();
  }, [picked]);

  return (
    <div className={`relative ${className}`}>
      <div
        ref={root}
        role="img"
        aria-label={label}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the cursor must be movable without a mouse
        tabIndex={0}
        className="h-full w-full overflow-hidden rounded-data outline-offset-0"
        onDoubleClick={() => latest.current.onUndo()}
        onKeyDown={(event) => {
          if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
            event.preventDefault();
            plot.current?.step(event.key === 'ArrowLeft' ? -1 : 1, event.shiftKey);
          }
          if (event.key === 'Enter') {
            event.preventDefault();
            plot.current?.enter();
          }
          if (event.key === 'Escape') plot.current?.leave();
        }}
        onBlur={() => plot.current?.leave()}
      />
      {spec.releases === 'flags' && (
        <div ref={overlay} className="pointer-events-none absolute inset-x-0 top-0 h-5 overflow-visible" />
      )}
    </div>
  );
}
