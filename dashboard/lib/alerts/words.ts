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

/** What is wrong with a rule before the server has to say it, or `null`. */
export function problemOf(rule: Rule): string | null {
  const { target } = rule;
  if (rule.name.trim() === '') return 'Give the rule a name.';
  if (target.kind === 'error_budget') {
    if (!(target.objective > 0 && target.objective < 1))
      return 'The objective lies between 0 and 100 %, both excluded.';
    if (!(target.periodDays >= 1 && target.periodDays <= 90)) return 'The period is 1 to 90 days.';
  } else if (target.kind === 'silence') {
    if (!(target.forS >= 10 && target.forS <= 86_400)) return 'Silence lasts 10 seconds to a day.';
  } else {
    if (!(target.quantile > 0 && target.quantile < 1))
      return 'The percentile lies between 0 and 100, both excluded.';
    if (target.kind === 'latency' && !(target.limitMs > 0)) return 'The limit is more than 0.';
    if (target.kind === 'latency_usual' && !(target.timesUsual > 1)) return 'Times the usual is more than 1.';
  }
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
