import { Connect } from '@/components/connect/connect';

export default function ConnectPage() {
  return <Connect />;
}
