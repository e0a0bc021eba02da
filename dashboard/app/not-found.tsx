export default function NotFound() {
  return (
    <main className="grid min-h-dvh place-items-center p-6">
      <h1 className="text-20 font-strong">
        There is no such page.{' '}
        <a className="text-focus underline underline-offset-4" href="/">
          Go to the overview
        </a>
      </h1>
    </main>
  );
}
