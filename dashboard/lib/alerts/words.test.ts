import { expect, describe as group, it } from 'vitest';
import { type KnownRule, parseRule, type Rule, toJson } from '@/lib/query/alerts';
import { burn, describe, PRESETS, previewSentence, problemOf, targetProblem } from './words';

const plain = (text: string | null) => (text ?? '').replaceAll('\u00a0', ' ');

group('a rule', () => {
  it('says what it promises', () => {
    expect(PRESETS.map((rule) => plain(rule.name))).toEqual([
      '99.9 % of requests succeed over 30 days',
      'p99 stays under 2× its usual',
      'No requests for 2 minutes',
    ]);
    expect(plain(describe({ kind: 'latency', quantile: 0.999, limitMs: 1500 }))).toBe(
      'p99.9 stays under 1.50 s',
    );
  });

  it('comes back from what it is sent as', () => {
    for (const rule of [
      ...PRESETS,
      { ...(PRESETS[1] as Rule), target: { kind: 'latency', quantile: 0.95, limitMs: 500 } } as Rule,
    ]) {
      expect(parseRule(toJson(rule), 'rule')).toEqual(rule);
    }
  });

  it('names the number that is empty or not whole in the words of its field', () => {
    expect(targetProblem({ kind: 'error_budget', objective: Number.NaN, periodDays: 30 })?.field).toBe(
      'objective',
    );
    expect(targetProblem({ kind: 'error_budget', objective: 0.999, periodDays: 7.5 })).toEqual({
      field: 'periodDays',
      words: 'Whole days, 7 to 90.',
    });
    expect(targetProblem({ kind: 'silence', forS: 60.5 })?.words).toMatch(/^Whole seconds/);
    expect(targetProblem({ kind: 'latency', quantile: 0.999, limitMs: 0.5 })).toBeNull();
  });

  it('is checked before it is sent', () => {
    const rule = PRESETS[0] as Rule;
    expect(problemOf(rule)).toBeNull();
    expect(problemOf({ ...rule, name: ' ' })).toMatch(/name/);
    expect(problemOf({ ...rule, target: { kind: 'error_budget', objective: 1, periodDays: 30 } })).toMatch(
      /share from 50/,
    );
    expect(problemOf({ ...rule, target: { kind: 'silence', forS: 3 } })).toMatch(/20 to 86,400/);
    expect(problemOf({ ...rule, receiver: { kind: 'webhook', url: 'javascript:alert(1)' } })).toMatch(
      /https/,
    );
    expect(problemOf({ ...rule, receiver: { kind: 'webhook', url: 'hooks.example' } })).toMatch(/https/);
    expect(problemOf({ ...rule, receiver: { kind: 'webhook', url: 'https://hooks.example/x' } })).toBeNull();
  });
});

group('a preview', () => {
  const preview = { days: 7, times: 2, minutes: 31, episodes: [] };
  it('says how often and how long', () => {
    expect(plain(previewSentence(preview))).toBe('Would have fired 2 times in the last 7 days, for 31 min.');
    expect(plain(previewSentence({ ...preview, times: 1, minutes: 0.5 }))).toBe(
      'Would have fired once in the last 7 days, for less than 1 min.',
    );
    expect(plain(previewSentence({ ...preview, times: 0, minutes: 0 }))).toBe(
      'Would not have fired in the last 7 days.',
    );
    expect(plain(previewSentence({ ...preview, minutes: 150 }))).toMatch(/for 2 h 30 min\.$/);
  });
});

group('a burn', () => {
  it('names its window', () => {
    const rule = { burn: 14.4, window: { fromMs: 0, toMs: 3_600_000 } } as KnownRule;
    expect(plain(burn(rule))).toBe('14.4× for 1 h');
    expect(plain(burn({ ...rule, window: { fromMs: 0, toMs: 300_000 } }))).toBe('14.4× for 5 min');
    expect(burn({ ...rule, burn: null })).toBeNull();
  });
});
