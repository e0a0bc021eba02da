import { Name } from './name';

/** Hostile routes exist: the middle gives way, the end stays, the whole is on hover and for screen readers. */
export function RouteName({ route }: { route: string }) {
  const tail = route.slice(-14);
  const head = route.slice(0, -14);
  if (route.length <= 14)
    return (
      <span className="font-mono text-12">
        <Name>{route}</Name>
      </span>
    );
  return (
    <span className="flex min-w-0 font-mono text-12" title={route}>
      <span className="truncate">
        <Name>{head}</Name>
      </span>
      <span className="shrink-0">
        <Name>{tail}</Name>
      </span>
    </span>
  );
}
