import { Alerts } from '@/components/alerts/alerts';

export default function AlertsPage() {
  return <Alerts />;
}
