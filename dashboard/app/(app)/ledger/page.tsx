import { Ledger } from '@/components/ledger/ledger';

export default function LedgerPage() {
  return <Ledger />;
}
