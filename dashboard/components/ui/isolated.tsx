/** A sentence with a name in it. Names may read from right to left; what stands around them does not turn with them. */
export function Isolated({ text, name }: { text: string; name: string | null }) {
  const at = name === null || name === '' ? -1 : text.indexOf(name);
  if (name === null || at === -1) return text;
  return (
    <>
      {text.slice(0, at)}
      <bdi>{name}</bdi>
      {text.slice(at + name.length)}
    </>
  );
}
