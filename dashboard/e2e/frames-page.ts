/**
 * The page that `frames.mjs` measures: twelve of our charts with five lines each over 15 minutes, fed like a live page
 * is, by absolute values of the newest steps twice a second. Nothing here is shipped.
 */
import { CursorStore } from '@/components/charts/cursor';
import { Plot, type PlotData, type PlotSpec } from '@/components/charts/plot';

const CHARTS = 12;
const STEP_MS = 10_000;
const STEPS = 90;
const EVERY_MS = 500;

const SPEC: PlotSpec = {
  scale: 'log',
  lines: [
    { color: 'pmax', width: 1, mark: 'dots', fill: 'none', edge: 'max' },
    { color: 'p50', width: 1.75, mark: 'line', fill: 'none', edge: 'p50' },
    { color: 'p95', width: 1.5, mark: 'line', fill: 'none', edge: 'p95' },
    { color: 'p99', width: 2, mark: 'line', fill: 'none', edge: 'p99' },
    { color: 'was', width: 1.25, mark: 'line', fill: 'none', dash: [3, 3] },
  ],
  stacked: false,
  axisWidth: 52,
  edgeWidth: 38,
  releases: 'lines',
  tick: (value) => String(value),
};

function dataAt(nowMs: number, chart: number): PlotData {
  const last = Math.floor(nowMs / STEP_MS) * STEP_MS;
  const t = Array.from({ length: STEPS }, (_, index) => last - (STEPS - 1 - index) * STEP_MS);
  const lines = [4000, 15, 110, 410, 300].map((base, line) =>
    t.map((time) => base * (1 + 0.1 * Math.sin(time / 70_000 + chart + line)) * (1 + 0.05 * Math.random())),
  );
  return { t, lines, open: STEPS - 1, gaps: [[30, 31]], late: [], stale: false, zone: 'utc', markers: [] };
}

const cursor = new CursorStore();
const scripting: number[] = [];
const plots = Array.from({ length: CHARTS }, (_, chart) => {
  const root = document.createElement('div');
  root.className = 'chart';
  document.body.append(root);
  return new Plot(root, SPEC, dataAt(Date.now(), chart), {
    cursor,
    zoom: () => undefined,
    pick: () => undefined,
    visit: () => undefined,
  });
});

window.setInterval(() => {
  window.requestAnimationFrame(() => {
    const before = performance.now();
    plots.forEach((plot, chart) => {
      plot.update(dataAt(Date.now(), chart));
    });
    // uPlot draws in a microtask: what is queued after it sees the work done.
    queueMicrotask(() => queueMicrotask(() => scripting.push(performance.now() - before)));
  });
}, EVERY_MS);

Object.assign(window, { scripting });
