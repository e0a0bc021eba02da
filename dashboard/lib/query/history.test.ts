import { afterEach, expect, test, vi } from 'vitest';
import { fetchHistory } from './history';
import { RequestFailed } from './http';
import { fetchPast } from './past';
import { coarserStep, sentence } from './too-wide';

afterEach(() => vi.unstubAllGlobals());

const HOUR_MS = 3_600_000;

/** A server that keeps steps of at least this width. */
function keeping(stepMinMs: number): string[] {
  const steps: string[] = [];
  vi.stubGlobal('fetch', async (path: string) => {
    const step = new URLSearchParams(path.split('?')[1]).get('step');
    const range = { from_ms: 0, to_ms: HOUR_MS, error_bound: 0.001 };
    if (step === null) return Response.json({ ...range, rows: [], services: [], envs: [] });
    if (!steps.includes(step)) steps.push(step);
    const stepMs = Number.parseInt(step, 10) * 1000;
    if (stepMs >= stepMinMs) {
      return Response.json({
        ...range,
        step_ms: stepMs,
        t: [],
        groups: [],
        count: [],
        errors: [],
        latency_count: [],
        mean_ms: [],
        max_ms: [],
        status: {},
        quantiles_ms: {},
      });
    }
    return Response.json(
      { error: { code: 'step_too_fine', message: 'kept in buckets of 1m' } },
      { status: 422 },
    );
  });
  return steps;
}

const question = {
  filter: { env: null },
  groupBy: ['route'],
  stepMs: 10_000,
  window: { fromMs: 0, toMs: HOUR_MS },
};

test('an old window is drawn in the steps that are still kept', async () => {
  const steps = keeping(60_000);
  const view = await fetchHistory(question, 10 * HOUR_MS, new AbortController().signal);
  expect([view.stepMs, view.total.columns.t.length]).toEqual([60_000, 60]);
  expect(steps).toEqual(['10s', '60s']);
});

test('what is kept in nothing fit is said', async () => {
  keeping(2 * HOUR_MS);
  const asked = fetchHistory(question, 10 * HOUR_MS, new AbortController().signal);
  await expect(asked).rejects.toThrow('kept in buckets of 1m');
});

test('a version that is not counted by route is drawn as a whole', async () => {
  vi.stubGlobal('fetch', async (path: string) => {
    const query = new URLSearchParams(path.split('?')[1]);
    const range = { from_ms: 0, to_ms: HOUR_MS, error_bound: 0.001, origin: 'sampled', kept: 1204 };
    if ((query.get('group_by') ?? '') !== '')
      return Response.json({ error: { code: 'not_exact', message: 'not crossed' } }, { status: 422 });
    if (query.get('step') === null) return Response.json({ ...range, rows: [] });
    return Response.json({
      ...range,
      step_ms: 10_000,
      t: [],
      count: [],
      errors: [],
      latency_count: [],
      mean_ms: [],
      max_ms: [],
      status: {},
      quantiles_ms: {},
    });
  });
  const asked = { ...question, filter: { env: null, service: 'a', version: ['v2'] } };
  const view = await fetchHistory(asked, 10 * HOUR_MS, new AbortController().signal);
  expect([view.rows.length, view.kept]).toEqual([0, 1204]);
});

test('a question that is too wide may be asked in the steps the server names, else in hours', () => {
  const refused = (message: string, code = 'query_too_wide') => new RequestFailed(422, code, message, null);
  const named = refused('`step` would give 259200 points; use `step=6h` or a shorter range');
  const rows = refused('the range holds more rows than one answer may read; use a range of at most 2h');
  expect(coarserStep(named, 60_000, 720 * HOUR_MS)).toBe(6 * HOUR_MS);
  expect(coarserStep(rows, 300_000, 24 * HOUR_MS)).toBe(HOUR_MS);
  expect(coarserStep(rows, HOUR_MS, 168 * HOUR_MS)).toBeNull();
  expect(coarserStep(rows, 10_000, HOUR_MS)).toBeNull();
  expect(coarserStep(refused('no', 'step_too_fine'), 10_000, 24 * HOUR_MS)).toBeNull();
  expect(sentence(named.message)).toBe('Step would give 259200 points; use step=6h or a shorter range.');
});

test('a week ago is asked for in steps that are still kept, and not in finer ones first', async () => {
  const steps = keeping(60_000);
  const now = Date.now();
  const filter = { env: null };
  await fetchPast(filter, 'week', now - HOUR_MS, now, 10_000, now, new AbortController().signal);
  expect(steps).toEqual(['60s']);
});
