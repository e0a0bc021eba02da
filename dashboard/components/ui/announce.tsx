'use client';

/** Says a changing sentence to screen readers, at most every 30 s: politely, and not with every number. */
import { useEffect, useRef, useState } from 'react';

const PAUSE_MS = 30_000;

export function Announce({ text }: { text: string }) {
  const [said, setSaid] = useState('');
  const saidAt = useRef(Number.NEGATIVE_INFINITY);
  useEffect(() => {
    const wait = Math.max(0, saidAt.current + PAUSE_MS - Date.now());
    const timer = window.setTimeout(() => {
      saidAt.current = Date.now();
      setSaid(text);
    }, wait);
    return () => window.clearTimeout(timer);
  }, [text]);
  return (
    <p className="sr-only" aria-live="polite">
      {said}
    </p>
  );
}
