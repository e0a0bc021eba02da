'use client';

import { useEffect, useRef, useState } from 'react';

/** The width of an element in whole pixels, for drawings that fill it. */
export function useWidth(initial: number): { ref: React.RefObject<HTMLDivElement | null>; width: number } {
  const ref = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(initial);
  useEffect(() => {
    const element = ref.current;
    if (element === null) return;
    const read = () => setWidth(Math.max(200, Math.floor(element.clientWidth)));
    read();
    const watch = new ResizeObserver(read);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  return { ref, width };
}
