/**
 * The way out of a question that was too wide. The server's sentence comes in; coarser steps that would be answered
 * leave: those it names, else whole hours, which are the coarsest rows it keeps.
 */
import { parseStep } from '@/lib/view/url';
import type { RequestFailed } from './http';

const HOUR_MS = 3_600_000;

export function coarserStep(error: RequestFailed, stepMs: number, windowMs: number): number | null {
  if (error.code !== 'query_too_wide') return null;
  const named = /`step=(\w+)`/.exec(error.message)?.[1];
  const coarser = (named === undefined ? null : parseStep(named)) ?? HOUR_MS;
  return coarser > stepMs && coarser * 2 <= windowMs ? coarser : null;
}

/** As a sentence of its own. */
export function sentence(message: string): string {
  const plain = message.replaceAll('`', '');
  return `${plain.charAt(0).toUpperCase()}${plain.slice(1)}${plain.endsWith('.') ? '' : '.'}`;
}
