'use client';

/** Which rows of a long table are near the window: only those are made. Rows have one height, the page scrolls. */
import { type RefObject, useEffect, useState } from 'react';

const SPARE = 10;

export interface Slice {
  from: number;
  to: number;
}

export function useVirtual(
  body: RefObject<HTMLElement | null>,
  rows: number,
  rowHeight: number,
  above: number,
): Slice {
  const [slice, setSlice] = useState<Slice>({ from: 0, to: above });
  const on = rows > above;
  useEffect(() => {
    if (!on) return;
    let asked = false;
    const measure = () => {
      asked = false;
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const from = Math.max(0, Math.floor(-top / rowHeight) - SPARE);
      const to = Math.min(rows, Math.ceil((window.innerHeight - top) / rowHeight) + SPARE);
      setSlice((now) => (now.from === from && now.to === to ? now : { from, to: Math.max(from + 1, to) }));
    };
    const ask = () => {
      if (asked) return;
      asked = true;
      window.requestAnimationFrame(measure);
    };
    measure();
    window.addEventListener('scroll', ask, { passive: true });
    window.addEventListener('resize', ask);
    return () => {
      window.removeEventListener('scroll', ask);
      window.removeEventListener('resize', ask);
    };
  }, [body, rows, rowHeight, on]);
  return on ? slice : { from: 0, to: rows };
}
