/** What a rule says in words, what it would have done, and why a receiver was refused. */
import { latency, NBSP, write } from '@/lib/format/number';
import type { KnownRule, Preview, Rule, Target } from '@/lib/query/alerts';

export const KIND_NAMES: Readonly<Record<Target['kind'], string>> = {
  error_budget: 'Error budget',
  latency: 'Latency over a limit',
  latency_usual: 'Latency over its usual',
  silence: 'Silence',
};

/** A share as people say it: `99.9 %`, never `99.90000000000001 %`. */
function percent(x: number): string {
  return `${Number((x * 100).toPrecision(6))}${NBSP}%`;
}

export function percentile(quantile: number): string {
  return `p${Number((quantile * 100).toPrecision(6))}`;
}

export function seconds(s: number): string {
  if (s % 3600 === 0) return `${s / 3600}${NBSP}${s === 3600 ? 'hour' : 'hours'}`;
  if (s % 60 === 0) return `${s / 60}${NBSP}${s === 60 ? 'minute' : 'minutes'}`;
  return `${s}${NBSP}seconds`;
}

/** What the rule promises. */
export function describe(target: Target): string {
  switch (target.kind) {
    case 'error_budget':
      return `${percent(target.objective)} of requests succeed over ${target.periodDays}${NBSP}days`;
    case 'latency':
      return `${percentile(target.quantile)} stays under ${write(latency(target.limitMs))}`;
    case 'latency_usual':
      return `${percentile(target.quantile)} stays under ${Number(target.timesUsual.toPrecision(4))}× its usual`;
    case 'silence':
      return `No requests for ${seconds(target.forS)}`;
  }
}

/** The name of a rule that nobody named: what it promises, in blanks that a search finds. */
export function nameOf(target: Target): string {
  return describe(target).replaceAll(NBSP, ' ');
}

/** The three rules offered when a server names none. */
export const PRESETS: readonly Rule[] = [
  { kind: 'error_budget', objective: 0.999, periodDays: 30 } as const,
  { kind: 'latency_usual', quantile: 0.99, timesUsual: 2 } as const,
  { kind: 'silence', forS: 120 } as const,
].map((target) => ({
  name: nameOf(target),
  service: null,
  env: null,
  target,
  receiver: null,
  enabled: true,
}));

/** `14.4× for 1 h`: how much faster than allowed the budget is spent. */
export function burn(rule: KnownRule): string | null {
  if (rule.burn === null) return null;
  const factor = `${Number(rule.burn.toPrecision(3))}×`;
  if (rule.window === null) return factor;
  const minutes = Math.round((rule.window.toMs - rule.window.fromMs) / 60_000);
  return `${factor} for ${minutes % 60 === 0 ? `${minutes / 60}${NBSP}h` : `${minutes}${NBSP}min`}`;
}

export function previewSentence(preview: Preview): string {
  const days = `in the last ${preview.days}${NBSP}${preview.days === 1 ? 'day' : 'days'}`;
  if (preview.times === 0) return `Would not have fired ${days}.`;
  const times = preview.times === 1 ? 'once' : `${preview.times} times`;
  return `Would have fired ${times} ${days}, for ${length(preview.minutes)}.`;
}

function length(minutes: number): string {
  if (minutes < 1) return `less than 1${NBSP}min`;
  const whole = Math.round(minutes);
  if (whole < 120) return `${whole}${NBSP}min`;
  const hours = Math.floor(whole / 60);
  return whole % 60 === 0 ? `${hours}${NBSP}h` : `${hours}${NBSP}h ${whole % 60}${NBSP}min`;
}

export type TargetField = 'objective' | 'periodDays' | 'quantile' | 'limitMs' | 'timesUsual' | 'forS';

/** The first number of a target that no rule can have, in the words of its field, or `null`. The bounds are the server's. */
export function targetProblem(target: Target): { field: TargetField; words: string } | null {
  const within = (value: number, low: number, high: number) => value >= low && value <= high;
  const whole = (value: number, low: number, high: number) =>
    Number.isInteger(value) && within(value, low, high);
  switch (target.kind) {
    case 'error_budget':
      if (!within(target.objective, 0.5, 0.99999))
        return { field: 'objective', words: 'A share from 50 to 99.999 %.' };
      return whole(target.periodDays, 7, 90) ? null : { field: 'periodDays', words: 'Whole days, 7 to 90.' };
    case 'silence':
      return whole(target.forS, 20, 86_400)
        ? null
        : { field: 'forS', words: 'Whole seconds, 20 to 86,400, which is a day.' };
    default:
      if (!within(target.quantile, 0.01, 0.9999))
        return { field: 'quantile', words: 'A percentile from 1 to 99.99.' };
      if (target.kind === 'latency')
        return within(target.limitMs, 0.001, 3_600_000)
          ? null
          : { field: 'limitMs', words: 'Milliseconds, 0.001 to 3,600,000.' };
      return within(target.timesUsual, 1.01, 1000)
        ? null
        : { field: 'timesUsual', words: 'A factor from 1.01 to 1,000.' };
  }
}

/** What is wrong with a rule before the server has to say it, or `null`. */
export function problemOf(rule: Rule): string | null {
  const wrong = targetProblem(rule.target);
  if (wrong !== null) return wrong.words;
  if (rule.name.trim() === '') return 'Give the rule a name.';
  if (rule.receiver?.url !== undefined) {
    try {
      const { protocol } = new URL(rule.receiver.url);
      if (protocol !== 'https:' && protocol !== 'http:')
        return 'A webhook is an address that begins with https://.';
    } catch {
      return 'A webhook is an address that begins with https://.';
    }
  }
  return null;
}
