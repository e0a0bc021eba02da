'use client';

/** The tab tells the worst, in its title and its icon, whichever page is open. */
import { useEffect } from 'react';
import { isolated } from '@/lib/format/isolate';
import { writeValue } from '@/lib/series/verdict';
import { useAttention } from './findings';

export function useTitle(): void {
  const worst = useAttention().findings.find((finding) => finding.recoveredMs === null);
  const name = isolated(worst?.service ?? '');
  const title =
    worst === undefined
      ? 'peep'
      : worst.kind === 'silent'
        ? `◌ ${name} silent · peep`
        : `${worst.kind === 'slower' ? '△' : '◆'} ${name} ${writeValue(worst.value, worst.unit)} · peep`;
  const icon =
    worst === undefined ? '/icon.svg' : worst.kind === 'slower' ? '/icon-slower.svg' : '/icon-failing.svg';
  useEffect(() => {
    document.title = title;
  }, [title]);
  useEffect(() => {
    document.querySelector('link[rel="icon"]')?.setAttribute('href', icon);
  }, [icon]);
}
