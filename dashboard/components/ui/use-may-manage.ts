'use client';

/** Whether this session may change keys and rules. Until that is known, the page is that of somebody who may. */
import { useEffect, useState } from 'react';
import { mayManage } from '@/lib/query/session';

export function useMayManage(): boolean {
  const [may, setMay] = useState(true);
  useEffect(() => {
    let isGone = false;
    void mayManage().then((answer) => {
      if (!isGone) setMay(answer);
    });
    return () => {
      isGone = true;
    };
  }, []);
  return may;
}
