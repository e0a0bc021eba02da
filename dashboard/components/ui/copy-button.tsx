'use client';

/** Copies a text and says so in its own place, aloud as well. */
import { useEffect, useState } from 'react';
import { copyText } from '@/lib/view/copy';
import { Button } from './button';

interface Props {
  text: string;
  label?: string;
  tone?: 'primary' | 'plain';
  className?: string;
  onCopied?: () => void;
}

const SAID_MS = 2000;

export function CopyButton({ text, label = 'Copy', tone = 'plain', className = '', onCopied }: Props) {
  const [said, setSaid] = useState<'Copied' | 'Not allowed' | null>(null);
  useEffect(() => {
    if (said === null) return;
    const timer = window.setTimeout(() => setSaid(null), SAID_MS);
    return () => window.clearTimeout(timer);
  }, [said]);
  return (
    <Button
      tone={tone}
      className={className}
      onClick={() => {
        void copyText(text).then((copied) => {
          setSaid(copied ? 'Copied' : 'Not allowed');
          if (copied) onCopied?.();
        });
      }}
    >
      <span aria-live="polite">{said ?? label}</span>
    </Button>
  );
}
