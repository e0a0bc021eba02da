import { Service } from '@/components/service/service';

export default function ServicePage() {
  return <Service />;
}
