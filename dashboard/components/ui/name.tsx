import { closed } from '@/lib/format/isolate';

/**
 * A name among words of ours. It may read from right to left; what stands around it does not turn with it, not even when
 * the name holds what would end an element's isolation. Where no element can stand: `isolated` of `lib/format/isolate`.
 */
export function Name({ children }: { children: string }) {
  return <bdi>{closed(children)}</bdi>;
}
