import { Compare } from '@/components/compare/compare';

export default function ComparePage() {
  return <Compare />;
}
