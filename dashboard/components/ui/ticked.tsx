/** Words of the server, with what it put in backticks set as code. */
export function Ticked({ words }: { words: string }) {
  return words.split('`').map((part, index) =>
    index % 2 === 1 ? (
      // biome-ignore lint/suspicious/noArrayIndexKey: parts of one sentence have no other identity
      <code key={index} className="font-mono text-12 text-ink">
        {part}
      </code>
    ) : (
      part
    ),
  );
}
