import { Requests } from '@/components/requests/requests';

export default function RequestsPage() {
  return <Requests />;
}
