/**
 * One time chart, imperative: uPlot for scales, lines and cursor, with our gaps, open step, edge labels and patterns
 * drawn in its hooks. One instance lives as long as its chart; data goes in, nothing is re-created per update.
 *
 * Promised: no line crosses a gap; the step still filling is a 40 % stroke to a hollow point; colours follow the theme.
 */
import uPlot from 'uplot';
import { tickLabel, timeTicks, type Zone } from '@/lib/format/time';
import { CalmAxis, linearRange, linearTicks, logRange, logTicks, type Range } from '@/lib/series/axis';
import type { Column, Late } from '@/lib/series/types';
import type { CursorStore } from './cursor';
import { Flags, type PlacedMarker } from './flags';
import { color, dots, hatch, onThemeChange, type Token } from './tokens';

export type Fill = 'none' | 'soft' | 'plain' | 'hatch' | 'dots';

export interface LineSpec {
  color: Token;
  width: number;
  mark: 'line' | 'dots';
  fill: Fill;
  /** Written at the right edge, in ink. */
  edge?: string;
  /** Dashed: the compared past, which is never still filling. */
  dash?: readonly number[];
}

export interface PlotSpec {
  scale: 'linear' | 'log';
  lines: readonly LineSpec[];
  /** Each line fills down to the next one instead of to zero. */
  stacked: boolean;
  axisWidth: number;
  edgeWidth: number;
  /** Releases: named by a flag above the plot, drawn as a hairline only, or left out. */
  releases: 'flags' | 'lines' | 'none';
  tick: (value: number, end: number) => string;
  /** No value can be larger: a linear axis ends here at the latest. */
  most?: number;
}

export interface PlotData {
  t: readonly number[];
  lines: readonly Column[];
  /** Index of the step still filling, or -1. */
  open: number;
  gaps: readonly (readonly [number, number])[];
  /** Marked by a tick under the axis. */
  late: readonly Late[];
  stale: boolean;
  zone: Zone;
  markers: readonly Marker[];
}

/** Something that happened at one moment: the first event of a release. */
export interface Marker {
  t: number;
  label: string;
  /** Where a press on its flag leads. */
  href: string;
}

export interface PlotEvents {
  cursor: CursorStore;
  zoom(fromMs: number, toMs: number): void;
  /** Dragged with Shift: a stretch of time to look into, without zooming. */
  pick(fromMs: number, toMs: number): void;
  visit(href: string): void;
}

const FONT = '11px Geist, system-ui, sans-serif';
/** Room for flags above the plot. */
const FLAGS_HEIGHT = 22;

export class Plot {
  private readonly chart: uPlot;
  private readonly axis = new CalmAxis();
  private data: PlotData;
  private range: Range = [0, 1];
  private readonly unsubscribe: (() => void)[];
  private readonly flags: Flags | null;
  private shift = false;
  private following = false;
  /** A drag ends with a click; that one pins nothing. */
  private dragged = false;
  /** Steps selected by keyboard: where it began and where it is. */
  private chosen: { anchor: number; head: number } | null = null;

  constructor(
    root: HTMLElement,
    private readonly spec: PlotSpec,
    first: PlotData,
    private readonly events: PlotEvents,
    overlay: HTMLElement | null = null,
  ) {
    this.data = first;
    this.chart = new uPlot(
      this.options(root.clientWidth || 300, root.clientHeight || 150),
      this.columns(),
      root,
    );
    this.flags = spec.releases === 'flags' && overlay !== null ? new Flags(overlay, events.visit) : null;
    this.unsubscribe = [
      onThemeChange(() => this.chart.redraw()),
      events.cursor.subscribe(() => this.follow()),
    ];
    const over = this.chart.over;
    over.addEventListener('pointerdown', (event) => {
      this.shift = event.shiftKey;
      this.chosen = null;
    });
    over.addEventListener('click', (event) => {
      // Where it was clicked: the chart's own cursor stays where it is pinned.
      const at = this.chart.posToIdx(event.clientX - over.getBoundingClientRect().left);
      const t = this.data.t[at];
      if (!this.dragged && t !== undefined) events.cursor.pin(t);
      this.dragged = false;
    });
    this.update(first);
  }

  update(data: PlotData): void {
    this.data = data;
    this.range = this.axis.settle(this.wanted(), performance.now());
    const from = data.t[0];
    const to = data.t.at(-1);
    if (from === undefined || to === undefined) return;
    this.chart.batch(() => {
      this.chart.setData(this.columns(), false);
      this.chart.setScale('x', { min: from, max: to });
      this.chart.setScale('y', { min: this.range[0], max: this.range[1] });
    });
    if (this.events.cursor.pinned()) this.follow();
  }

  resize(width: number, height: number): void {
    if (width > 0 && (width !== this.chart.width || height !== this.chart.height))
      this.chart.setSize({ width, height });
  }

  /** Moves the shared cursor by steps; without one it starts at the newest closed step. `widen` selects on the way. */
  step(by: number, widen = false): void {
    const { t, open } = this.data;
    const { cursor } = this.events;
    const last = open === -1 ? t.length - 1 : open - 1;
    const now = cursor.get();
    const at = now === null ? -1 : t.indexOf(now);
    const next = at === -1 ? last : Math.min(t.length - 1, Math.max(0, at + by));
    const time = t[next];
    if (time === undefined) return;
    if (widen) this.chosen = { anchor: this.chosen?.anchor ?? (at === -1 ? last : at), head: next };
    else this.chosen = null;
    this.drawChosen();
    if (cursor.pinned()) cursor.unpin();
    cursor.set(time);
  }

  /** Zooms into what was selected by keyboard; pins the cursor when nothing was. */
  enter(): void {
    const chosen = this.chosen;
    const { t } = this.data;
    if (chosen === null) {
      const now = this.events.cursor.get();
      if (now !== null) this.events.cursor.pin(now);
      return;
    }
    const from = t[Math.min(chosen.anchor, chosen.head)];
    const to = t[Math.max(chosen.anchor, chosen.head)];
    this.chosen = null;
    this.drawChosen();
    if (from !== undefined && to !== undefined) this.events.zoom(from, to);
  }

  leave(): void {
    this.chosen = null;
    this.drawChosen();
    this.events.cursor.set(null);
  }

  private drawChosen(): void {
    const { t } = this.data;
    const chosen = this.chosen;
    const height = this.chart.over.clientHeight;
    const from = chosen === null ? undefined : t[Math.min(chosen.anchor, chosen.head)];
    const to = chosen === null ? undefined : t[Math.max(chosen.anchor, chosen.head)];
    const left = from === undefined ? 0 : this.chart.valToPos(from, 'x');
    const width = to === undefined ? 0 : this.chart.valToPos(to, 'x') - left;
    this.chart.setSelect({ left, top: 0, width, height: width > 0 ? height : 0 }, false);
  }

  /** Puts this chart's cursor where the page's is. */
  private follow(): void {
    const t = this.events.cursor.get();
    const first = this.data.t[0];
    const last = this.data.t.at(-1);
    const inside = t !== null && first !== undefined && last !== undefined && t >= first && t <= last;
    const left = inside ? this.chart.valToPos(t, 'x') : -10;
    if (Math.abs((this.chart.cursor.left ?? -10) - left) < 0.01) return;
    this.following = true;
    this.chart.setCursor({ left, top: inside ? 0 : -10 }, false);
    this.following = false;
  }

  destroy(): void {
    for (const stop of this.unsubscribe) stop();
    this.flags?.remove();
    this.chart.destroy();
  }

  /** The open step is kept out of the lines; it is drawn by hand. */
  private columns(): uPlot.AlignedData {
    const { t, lines, open } = this.data;
    return [
      t as number[],
      ...lines.map((line, lineIndex) =>
        open === -1 || this.spec.lines[lineIndex]?.dash !== undefined
          ? line
          : line.map((value, index) => (index === open ? null : value)),
      ),
    ] as uPlot.AlignedData;
  }

  private wanted(): Range {
    let min = Number.POSITIVE_INFINITY;
    let max = 0;
    this.data.lines.forEach((line) => {
      line.forEach((value, index) => {
        // The open step may not stretch the axis of the closed ones: it is partial.
        if (value === null || value === undefined || index === this.data.open) return;
        if (value > max) max = value;
        if (value > 0 && value < min) min = value;
      });
    });
    if (this.spec.scale === 'linear') {
      const [low, high] = linearRange(max);
      return [low, Math.min(high, this.spec.most ?? high)];
    }
    return max > 0 ? logRange(min, max) : [1, 1000];
  }

  private options(width: number, height: number): uPlot.Options {
    const { spec } = this;
    return {
      width,
      height,
      padding: [spec.releases === 'flags' ? FLAGS_HEIGHT : 8, spec.edgeWidth, 0, 0],
      legend: { show: false },
      cursor: {
        x: true,
        y: false,
        drag: { x: true, y: false, setScale: false },
        points: {
          size: 7,
          width: 1.5,
          fill: (_chart, index) => color(this.line(index).color),
          stroke: () => color('surface'),
        },
      },
      scales: {
        x: { time: false, auto: false },
        y: {
          auto: false,
          distr: spec.scale === 'log' ? 3 : 1,
          range: (_chart, min, max) => [min, max],
        },
      },
      axes: [
        {
          size: 22,
          gap: 5,
          font: FONT,
          stroke: () => color('ink3'),
          grid: { show: false },
          ticks: { show: true, size: 4, width: 1, stroke: () => color('line') },
          border: { show: false },
          splits: (chart) => this.timeSplits(chart),
          values: (_chart, splits) => {
            const step = splits[1] === undefined ? 60_000 : splits[1] - (splits[0] ?? 0);
            return splits.map((at) => tickLabel(at, step, this.data.zone));
          },
        },
        {
          size: spec.axisWidth,
          gap: 7,
          font: FONT,
          stroke: () => color('ink3'),
          grid: { show: true, width: 1, stroke: () => color('grid') },
          ticks: { show: false },
          border: { show: false },
          splits: () => (spec.scale === 'log' ? logTicks(this.range) : linearTicks(this.range[1])),
          values: (_chart, splits) => splits.map((value) => spec.tick(value, this.range[1])),
          filter: (_chart, splits) => splits,
        },
      ],
      series: [{}, ...spec.lines.map((line, index) => this.series(line, index))],
      bands: spec.stacked
        ? spec.lines.slice(1).map((_, index) => ({ series: [index + 1, index + 2] as [number, number] }))
        : [],
      hooks: {
        drawClear: [(chart) => this.drawGaps(chart)],
        draw: [
          (chart) => this.drawMarkers(chart),
          (chart) => this.drawOpen(chart),
          (chart) => this.drawLate(chart),
          (chart) => this.drawEdges(chart),
        ],
        setCursor: [
          (chart) => {
            if (this.following) return;
            if (this.events.cursor.pinned()) {
              this.follow();
              return;
            }
            const index = chart.cursor.idx;
            this.events.cursor.set(
              index === null || index === undefined || (chart.cursor.left ?? -1) < 0
                ? null
                : (this.data.t[index] ?? null),
            );
          },
        ],
        setSelect: [(chart) => this.selected(chart)],
      },
    };
  }

  private series(line: LineSpec, index: number): uPlot.Series {
    const isolated: uPlot.Series.Points.Filter = (chart, seriesIndex) => {
      const values = chart.data[seriesIndex] as Column;
      const alone: number[] = [];
      values.forEach((value, at) => {
        if (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null)
          alone.push(at);
      });
      return alone;
    };
    const isDots = line.mark === 'dots';
    return {
      scale: 'y',
      spanGaps: false,
      width: isDots ? 0 : line.width,
      stroke: () => color(line.color),
      ...(line.dash === undefined ? {} : { dash: [...line.dash] }),
      ...(line.fill === 'none' ? {} : { fill: () => fill(line) }),
      ...(isDots ? { paths: () => null } : {}),
      points: {
        show: true,
        size: isDots ? 2.5 : Math.max(3, line.width * 2),
        width: 0,
        stroke: () => 'transparent',
        fill: () => color(line.color, isDots ? 0.8 : 1),
        ...(isDots ? {} : { filter: isolated }),
      },
      label: String(index),
    };
  }

  private line(seriesIndex: number): LineSpec {
    return this.spec.lines[seriesIndex - 1] as LineSpec;
  }

  private timeSplits(chart: uPlot): number[] {
    const { t, zone } = this.data;
    const from = t[0];
    const to = t.at(-1);
    if (from === undefined || to === undefined) return [];
    const most = Math.max(2, Math.floor(chart.bbox.width / (window.devicePixelRatio || 1) / 64));
    return timeTicks(from, to, most, zone);
  }

  private drawGaps(chart: uPlot): void {
    const { t, gaps, open, stale } = this.data;
    const { top, height, left, width } = chart.bbox;
    const context = chart.ctx;
    const shade = (from: number, to: number) => {
      const x0 = Math.max(left, chart.valToPos(from, 'x', true));
      const x1 = Math.min(left + width, chart.valToPos(to, 'x', true));
      if (x1 <= x0) return;
      context.fillStyle = hatch('ink3', 0.35, 0.06);
      context.fillRect(x0, top, x1 - x0, height);
    };
    context.save();
    for (const [from, to] of gaps) {
      const a = t[Math.max(0, from - 1)];
      const b = t[Math.min(t.length - 1, to + 1)];
      if (a !== undefined && b !== undefined) shade(a, b);
    }
    const last = t.at(-1);
    if (stale && last !== undefined) {
      const span = last - (t[0] ?? last);
      shade(open === -1 ? last - span * 0.03 : Math.min(last - span * 0.03, t[open - 1] ?? last), last);
    }
    context.restore();
  }

  private drawOpen(chart: uPlot): void {
    const { t, lines, open } = this.data;
    if (open < 0) return;
    const context = chart.ctx;
    const ratio = window.devicePixelRatio || 1;
    const { left, top, width, height } = chart.bbox;
    context.save();
    context.beginPath();
    context.rect(left - 4 * ratio, top, width + 8 * ratio, height);
    context.clip();
    lines.forEach((values, index) => {
      const value = values[open] ?? null;
      if (value === null || (this.spec.scale === 'log' && value <= 0)) return;
      const line = this.spec.lines[index] as LineSpec;
      if (line.dash !== undefined) return;
      const before = values[open - 1] ?? null;
      const x = chart.valToPos(t[open] as number, 'x', true);
      const y = chart.valToPos(value, 'y', true);
      context.strokeStyle = color(line.color, 0.4);
      context.lineWidth = line.width * ratio;
      if (before !== null && line.mark === 'line') {
        context.beginPath();
        context.moveTo(chart.valToPos(t[open - 1] as number, 'x', true), chart.valToPos(before, 'y', true));
        context.lineTo(x, y);
        context.stroke();
      }
      context.strokeStyle = color(line.color, line.mark === 'dots' ? 0.5 : 0.75);
      context.lineWidth = 1.25 * ratio;
      context.fillStyle = color('surface');
      context.beginPath();
      context.arc(x, y, (line.mark === 'dots' ? 1.5 : 2.25) * ratio, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    });
    context.restore();
  }

  /** Releases in sight, as dashed hairlines; their flags lie above the plot as buttons. */
  private drawMarkers(chart: uPlot): void {
    if (this.spec.releases === 'none') return;
    const ratio = window.devicePixelRatio || 1;
    const { left, top, width, height } = chart.bbox;
    const context = chart.ctx;
    const placed: PlacedMarker[] = [];
    context.save();
    context.strokeStyle = color('ink2');
    context.lineWidth = ratio;
    context.setLineDash([3 * ratio, 3 * ratio]);
    for (const marker of this.data.markers) {
      const x = Math.round(chart.valToPos(marker.t, 'x', true)) + 0.5;
      if (x < left || x > left + width) continue;
      context.beginPath();
      context.moveTo(x, top);
      context.lineTo(x, top + height);
      context.stroke();
      placed.push({ ...marker, x: x / ratio });
    }
    context.restore();
    this.flags?.show(placed, left / ratio);
  }

  /** A small wedge under the axis, pointing at each step that late events revised. */
  private drawLate(chart: uPlot): void {
    const ratio = window.devicePixelRatio || 1;
    const { left, top, width, height } = chart.bbox;
    const context = chart.ctx;
    context.save();
    context.fillStyle = color('ink2');
    for (const { t } of this.data.late) {
      const x = chart.valToPos(t, 'x', true);
      if (x < left || x > left + width) continue;
      context.beginPath();
      context.moveTo(x, top + height + ratio);
      context.lineTo(x - 3 * ratio, top + height + 5 * ratio);
      context.lineTo(x + 3 * ratio, top + height + 5 * ratio);
      context.fill();
    }
    context.restore();
  }

  /** Names at the right edge, pushed apart where lines run close, never out of the plot. */
  private drawEdges(chart: uPlot): void {
    if (this.spec.edgeWidth === 0) return;
    const ratio = window.devicePixelRatio || 1;
    const { left, top, width, height } = chart.bbox;
    const lead = 13 * ratio;
    const marks = this.spec.lines
      .map((line, index) => {
        const values = this.data.lines[index] ?? [];
        const last = values.findLast((value, at) => value !== null && at !== this.data.open);
        return line.edge === undefined || last === undefined || last === null || last <= 0
          ? null
          : {
              text: line.edge,
              y: chart.valToPos(last, 'y', true),
              rank: index === 0 ? this.spec.lines.length : index,
            };
      })
      .filter((mark) => mark !== null)
      // Where lines are one, their names keep their order: the slowest, which is drawn first, then the deepest in the tail.
      .sort((a, b) => a.y - b.y || b.rank - a.rank);
    marks.forEach((mark, index) => {
      const above = marks[index - 1];
      mark.y = Math.max(mark.y, above === undefined ? top + lead / 2 : above.y + lead);
    });
    for (let index = marks.length - 1; index >= 0; index -= 1) {
      const mark = marks[index] as { y: number };
      const under = marks[index + 1];
      mark.y = Math.min(mark.y, under === undefined ? top + height - lead / 2 : under.y - lead);
    }
    const context = chart.ctx;
    context.save();
    context.font = `${11 * ratio}px Geist, system-ui, sans-serif`;
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    context.fillStyle = color('ink2');
    for (const mark of marks) context.fillText(mark.text, left + width + 7 * ratio, mark.y);
    context.restore();
  }

  private selected(chart: uPlot): void {
    const { left, width } = chart.select;
    if (width < 4) return;
    const from = chart.posToVal(left, 'x');
    const to = chart.posToVal(left + width, 'x');
    this.dragged = true;
    if (this.shift) {
      this.events.pick(from, to);
      return;
    }
    chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.events.zoom(from, to);
  }

  /** Takes the picked stretch off the plot again. */
  unpick(): void {
    this.chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }
}

function fill(line: LineSpec): CanvasPattern | string {
  switch (line.fill) {
    case 'soft':
      return color(line.color, 0.1);
    case 'plain':
      return color(line.color, 0.38);
    case 'hatch':
      return hatch(line.color, 0.42, 0.12);
    case 'dots':
      return dots(line.color, 0.85, 0.32);
    case 'none':
      return 'transparent';
  }
}
