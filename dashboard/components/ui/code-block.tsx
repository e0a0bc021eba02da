'use client';

/** One block to copy. Code is the only thing on a page that may scroll sideways. */
import { CopyButton } from './copy-button';

interface Props {
  label: string;
  code: string;
  className?: string;
  onCopied?: () => void;
}

export function CodeBlock({ label, code, className = '', onCopied }: Props) {
  return (
    <div className={`relative rounded-control border border-line bg-bg ${className}`}>
      <section
        className="overflow-x-auto px-3 py-2.5 pr-20"
        aria-label={label}
        onCopy={onCopied}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it may scroll sideways and must be reachable
        tabIndex={0}
      >
        <pre className="font-mono text-12">{code}</pre>
      </section>
      <CopyButton
        text={code}
        className="absolute top-1.5 right-1.5 h-7 px-2.5 max-tablet:h-9"
        {...(onCopied === undefined ? {} : { onCopied })}
      />
    </div>
  );
}
