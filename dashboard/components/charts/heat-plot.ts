/**
 * The heatmap, imperative: two canvases, one for the cells and axes, one for what moves (cursor, selection). Cells are
 * an image of one pixel each that is drawn enlarged, so a redraw costs the same however large the picture is.
 *
 * Promised: a single request is visible; a gap is hatched and no line crosses it; rows and columns touch; the frame of
 * the selection lies on whole cells. Not done here: asking, naming, React.
 */
import { axisLatency } from '@/lib/format/number';
import { tickLabel, timeTicks, type Zone } from '@/lib/format/time';
import type { Heatmap } from '@/lib/query/heatmap';
import { rowsTo } from '@/lib/series/axis';
import { findGaps } from '@/lib/series/gaps';
import { heat, RAMP, type Ramp, ramp } from '@/lib/series/heat';
import type { Column } from '@/lib/series/types';
import { currentTheme } from '@/lib/view/theme';
import type { Selection } from '@/lib/view/url';
import { Flags, type PlacedMarker } from './flags';
import type { Marker } from './plot';
import { color, hatch, onThemeChange } from './tokens';

export interface HeatData {
  heatmap: Heatmap;
  /** Start of the first step on the screen, and of the one after the last complete one. */
  fromMs: number;
  endMs: number;
  zone: Zone;
  markers: readonly Marker[];
  stale: boolean;
}

export interface HeatEvents {
  cursor(t: number | null): void;
  cell(cell: CellText | null): void;
  select(selection: Selection): void;
  visit(href: string): void;
}

export interface CellText {
  t: number;
  us0: number;
  us1: number;
  count: number;
}

const LEFT = 52;
const RIGHT = 38;
const TOP = 22;
const BOTTOM = 22;
const ROW_HEIGHT_MIN = 4;
const HANDLE = 3.5;
const GRAB = 8;
const LONG_PRESS_MS = 400;
/** Two labels nearer than this touch. */
const LABEL_APART = 12;
const FONT = 'Geist, system-ui, sans-serif';

/** A place among the cells. */
interface Cell {
  column: number;
  row: number;
}

export class HeatPlot {
  private width = 0;
  private height = 0;
  private colours: Ramp;
  private readonly image = document.createElement('canvas');
  private readonly flags: Flags;
  private readonly stops: (() => void)[] = [];
  /** First and last row on the screen, and how many are drawn as one. */
  private rows = { low: 0, high: 1, merge: 1 };
  private max = 0;
  private subject = '';
  private cursorT: number | null = null;
  private selection: Selection | null = null;
  /** While dragging or selecting by keyboard. */
  private drag: { anchor: Cell; head: Cell } | null = null;
  private keyCell: Cell | null = null;

  constructor(
    private readonly base: HTMLCanvasElement,
    private readonly over: HTMLCanvasElement,
    overlay: HTMLElement,
    private data: HeatData,
    private readonly events: HeatEvents,
  ) {
    this.colours = ramp(currentTheme());
    this.flags = new Flags(overlay, events.visit);
    this.stops.push(
      onThemeChange(() => {
        this.colours = ramp(currentTheme());
        this.draw();
      }),
      this.listen(),
    );
  }

  destroy(): void {
    for (const stop of this.stops) stop();
    this.flags.remove();
  }

  /** The largest cell that the colours reach to. */
  get maximum(): number {
    return this.max;
  }

  /** `subject` names the question: within one, the colours only ever reach further. */
  update(data: HeatData, subject: string): void {
    this.data = data;
    if (subject !== this.subject) {
      this.subject = subject;
      this.max = 0;
      this.rows = { low: Number.POSITIVE_INFINITY, high: -1, merge: 1 };
    }
    this.measure();
    this.draw();
  }

  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.measure();
    this.draw();
  }

  setCursor(t: number | null): void {
    this.cursorT = t;
    this.drawOver();
  }

  setSelection(selection: Selection | null): void {
    this.selection = selection;
    this.drawOver();
  }

  /** Moves by cells; with `widen` the rectangle grows from where it began. */
  move(columns: number, rows: number, widen: boolean): void {
    const last = this.columns() - 1;
    const start = this.keyCell ?? { column: last, row: Math.round((this.rows.low + this.rows.high) / 2) };
    const next = {
      column: Math.min(last, Math.max(0, start.column + columns)),
      row: Math.min(this.rows.high, Math.max(this.rows.low, start.row + rows * this.rows.merge)),
    };
    if (widen) this.drag = { anchor: this.drag?.anchor ?? start, head: next };
    else this.drag = null;
    this.keyCell = next;
    this.tell(next);
    this.drawOver();
  }

  /** Selects what was widened by keyboard. */
  enter(): void {
    if (this.drag !== null) this.finish();
  }

  /** Whether there was something begun to give up. */
  leave(): boolean {
    const begun = this.drag !== null;
    this.drag = null;
    this.keyCell = null;
    this.tell(null);
    this.drawOver();
    return begun;
  }

  private columns(): number {
    return Math.max(1, Math.round((this.data.endMs - this.data.fromMs) / this.data.heatmap.stepMs));
  }

  private box(): { left: number; top: number; width: number; height: number } {
    return {
      left: LEFT,
      top: TOP,
      width: Math.max(1, this.width - LEFT - RIGHT),
      height: Math.max(1, this.height - TOP - BOTTOM),
    };
  }

  /** Which rows hold anything, and the largest cell. Both only grow within one question. */
  private measure(): void {
    const { heatmap } = this.data;
    let { low, high } = this.rows;
    let max = this.max;
    heatmap.cells.forEach((cells) => {
      if (cells === null) return;
      for (let row = 0; row < cells.length; row += 1) {
        const n = cells[row] ?? 0;
        if (n === 0) continue;
        if (row < low) low = row;
        if (row > high) high = row;
        if (n > max) max = n;
      }
    });
    if (high < low) return;
    const most = Math.max(1, Math.floor(this.box().height / ROW_HEIGHT_MIN));
    this.rows = { low, high, merge: Math.max(1, Math.ceil((high - low + 1) / most)) };
    this.max = Math.max(max, this.rows.merge > 1 ? this.mergedMax() : 0);
  }

  /** The largest cell when several rows are drawn as one. */
  private mergedMax(): number {
    let max = 0;
    for (const cells of this.data.heatmap.cells) {
      if (cells === null) continue;
      for (let row = this.rows.low; row <= this.rows.high; row += this.rows.merge)
        max = Math.max(max, this.sum(cells, row));
    }
    return max;
  }

  private sum(cells: readonly number[], row: number): number {
    let n = 0;
    for (let at = row; at < row + this.rows.merge; at += 1) n += cells[at] ?? 0;
    return n;
  }

  private lines(): number {
    return Math.max(1, Math.ceil((this.rows.high - this.rows.low + 1) / this.rows.merge));
  }

  private xOf(t: number): number {
    const { left, width } = this.box();
    return left + ((t - this.data.fromMs) / (this.data.endMs - this.data.fromMs)) * width;
  }

  /** Rows are equally high. */
  private yOf(us: number): number {
    const { top, height } = this.box();
    const { low, merge } = this.rows;
    const part = (rowsTo(us, this.data.heatmap.rowUs) - low) / (this.lines() * merge);
    return top + height - part * height;
  }

  private draw(): void {
    const context = this.base.getContext('2d');
    if (context === null || this.width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    if (this.rows.high >= 0) {
      this.drawCells(context);
      const p50 = this.drawLine(context, this.data.heatmap.p50);
      const p99 = this.drawLine(context, this.data.heatmap.p99);
      this.nameLines(context, p50, p99);
    }
    this.drawAxes(context);
    this.drawMarkers(context);
    this.drawOver();
  }

  private drawCells(context: CanvasRenderingContext2D): void {
    const { heatmap, fromMs } = this.data;
    const columns = this.columns();
    const lines = this.lines();
    const { left, top, width, height } = this.box();
    this.image.width = columns;
    this.image.height = lines;
    const small = this.image.getContext('2d');
    if (small === null) return;
    const pixels = small.createImageData(columns, lines);
    const totals = new Array<number | null>(columns).fill(null);
    heatmap.t.forEach((t, index) => {
      const column = Math.round((t - fromMs) / heatmap.stepMs);
      const cells = heatmap.cells[index] ?? null;
      if (column < 0 || column >= columns || cells === null) return;
      let total = 0;
      for (let line = 0; line < lines; line += 1) {
        const n = this.sum(cells, this.rows.low + line * this.rows.merge);
        total += n;
        const at = heat(n, this.max);
        if (at === null) continue;
        const from = Math.round(at * (RAMP - 1)) * 3;
        const to = ((lines - 1 - line) * columns + column) * 4;
        pixels.data[to] = this.colours[from] ?? 0;
        pixels.data[to + 1] = this.colours[from + 1] ?? 0;
        pixels.data[to + 2] = this.colours[from + 2] ?? 0;
        pixels.data[to + 3] = 255;
      }
      totals[column] = total;
    });
    small.putImageData(pixels, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.image, left, top, width, height);
    const cell = width / columns;
    const shade = (from: number, to: number) => {
      // Patterns are made in device pixels.
      const ratio = window.devicePixelRatio || 1;
      context.save();
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.fillStyle = hatch('ink3', 0.35, 0.06);
      context.fillRect((left + from * cell) * ratio, top * ratio, (to - from) * cell * ratio, height * ratio);
      context.restore();
    };
    for (const [from, to] of findGaps(totals, columns).ranges) shade(from, to + 1);
    if (this.data.stale) shade(columns - Math.max(1, columns * 0.03), columns);
  }

  /** A percentile on top: ink with a halo of the ground, so that it reads on every colour. Answers how high it ends. */
  private drawLine(context: CanvasRenderingContext2D, values: Column): number | null {
    const { heatmap, fromMs, endMs } = this.data;
    const { left, top, width, height } = this.box();
    const half = heatmap.stepMs / 2;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.beginPath();
    let isDown = false;
    let lastT = 0;
    let last: number | null = null;
    heatmap.t.forEach((t, index) => {
      const value = values[index] ?? null;
      if (value === null || value <= 0 || t < fromMs || t >= endMs) {
        isDown = false;
        return;
      }
      const joined = isDown && t - lastT === heatmap.stepMs;
      const x = this.xOf(t + half);
      const y = this.yOf(value * 1000);
      if (joined) context.lineTo(x, y);
      else {
        // The line begins and ends with its cells, so that a lone step is a dash.
        context.moveTo(x - 1, y);
        context.lineTo(x, y);
      }
      isDown = true;
      lastT = t;
      last = y;
    });
    context.lineJoin = 'round';
    context.strokeStyle = color('surface');
    context.lineWidth = 4;
    context.stroke();
    context.strokeStyle = color('ink');
    context.lineWidth = 1.5;
    context.stroke();
    context.restore();
    return last;
  }

  /** Behind the last cell; where the lines are close, one above the other. */
  private nameLines(context: CanvasRenderingContext2D, p50: number | null, p99: number | null): void {
    const { left, top, width, height } = this.box();
    context.font = `11px ${FONT}`;
    context.fillStyle = color('ink2');
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    const between = p50 === null || p99 === null ? LABEL_APART : p50 - p99;
    const apart = Math.max(0, LABEL_APART - between) / 2;
    const name = (text: string, y: number | null) => {
      if (y !== null)
        context.fillText(text, left + width + 7, Math.min(top + height - 6, Math.max(top + 6, y)));
    };
    name('p99', p99 === null ? null : p99 - apart);
    name('p50', p50 === null ? null : p50 + apart);
  }

  private drawAxes(context: CanvasRenderingContext2D): void {
    const { fromMs, endMs, zone, heatmap } = this.data;
    const { left, top, width, height } = this.box();
    context.font = `11px ${FONT}`;
    context.fillStyle = color('ink3');
    context.textBaseline = 'top';
    context.textAlign = 'center';
    const ticks = timeTicks(fromMs, endMs, Math.max(2, Math.floor(width / 84)), zone);
    const step = ticks[1] === undefined ? 60_000 : ticks[1] - (ticks[0] ?? 0);
    for (const at of ticks) context.fillText(tickLabel(at, step, zone), this.xOf(at), top + height + 7);
    if (this.rows.high < 0) return;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    // Durations are whole microseconds; the first row begins at 0.
    const bottomUs = Math.max(1, heatmap.rowUs[this.rows.low] ?? 1);
    const topUs = heatmap.rowUs[Math.min(heatmap.rowUs.length - 1, this.rows.high + 1)] ?? bottomUs * 10;
    const decade = height / Math.max(0.5, Math.log10(topUs / bottomUs));
    // Decades first: where two labels would touch, the rounder number stays.
    const placed: number[] = [];
    for (const mantissa of decade >= 60 ? [1, 5, 2] : [1]) {
      for (let base = 10 ** Math.floor(Math.log10(bottomUs)); base <= topUs; base *= 10) {
        const us = base * mantissa;
        if (us < bottomUs || us > topUs) continue;
        const y = Math.min(top + height - 4, Math.max(top + 4, this.yOf(us)));
        if (placed.some((other) => Math.abs(other - y) < LABEL_APART)) continue;
        placed.push(y);
        context.fillText(axisLatency(us / 1000), left - 7, y);
      }
    }
  }

  private drawMarkers(context: CanvasRenderingContext2D): void {
    const { left, top, width, height } = this.box();
    const placed: PlacedMarker[] = [];
    context.save();
    context.strokeStyle = color('ink2');
    context.lineWidth = 1;
    context.setLineDash([3, 3]);
    for (const marker of this.data.markers) {
      const x = Math.round(this.xOf(marker.t)) + 0.5;
      if (x < left || x > left + width) continue;
      context.beginPath();
      context.moveTo(x, top);
      context.lineTo(x, top + height);
      context.stroke();
      placed.push({ ...marker, x });
    }
    context.restore();
    this.flags.show(placed, left);
  }

  private drawOver(): void {
    const context = this.over.getContext('2d');
    if (context === null || this.width === 0) return;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const { left, top, width, height } = this.box();
    const frame = this.frame();
    if (frame !== null) {
      const { x, y, w, h } = frame;
      context.save();
      context.beginPath();
      context.rect(left, top, width, height);
      context.rect(x, y, w, h);
      context.fillStyle = color('surface', 0.22);
      context.fill('evenodd');
      context.restore();
      context.strokeStyle = color('ink');
      context.lineWidth = 1.5;
      context.strokeRect(x, y, w, h);
      context.fillStyle = color('ink');
      for (const [hx, hy] of corners(frame))
        context.fillRect(hx - HANDLE / 2 - 0.75, hy - HANDLE / 2 - 0.75, 5, 5);
    }
    const t = this.cursorT;
    if (t !== null && t >= this.data.fromMs && t < this.data.endMs) {
      const x = Math.round(this.xOf(t + this.data.heatmap.stepMs / 2)) + 0.5;
      context.strokeStyle = color('ink2');
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x, top);
      context.lineTo(x, top + height);
      context.stroke();
    }
    if (this.keyCell !== null && frame === null) {
      const box = this.cellBox(this.keyCell, this.keyCell);
      context.strokeStyle = color('ink');
      context.lineWidth = 1.5;
      context.strokeRect(box.x, box.y, box.w, box.h);
    }
  }

  /** The rectangle on the screen: the one being drawn, else the selected one, cut to what is in sight. */
  private frame(): Box | null {
    if (this.drag !== null) return this.cellBox(this.drag.anchor, this.drag.head);
    const selection = this.selection;
    if (selection === null || this.rows.high < 0) return null;
    const { left, top, width, height } = this.box();
    const clampX = (x: number) => Math.min(left + width, Math.max(left, x));
    const clampY = (y: number) => Math.min(top + height, Math.max(top, y));
    const x = clampX(this.xOf(selection.fromMs));
    const w = clampX(this.xOf(selection.toMs)) - x;
    const y = clampY(this.yOf(selection.us1));
    const h = clampY(this.yOf(selection.us0)) - y;
    return w <= 0 || h <= 0 ? null : { x, y, w, h };
  }

  private cellBox(a: Cell, b: Cell): Box {
    const { left, top, width, height } = this.box();
    const cell = width / this.columns();
    const line = height / this.lines();
    const lineOf = (row: number) => Math.floor((row - this.rows.low) / this.rows.merge);
    const x = left + Math.min(a.column, b.column) * cell;
    const right = left + (Math.max(a.column, b.column) + 1) * cell;
    const high = Math.max(lineOf(a.row), lineOf(b.row));
    const low = Math.min(lineOf(a.row), lineOf(b.row));
    const y = top + height - (high + 1) * line;
    return { x, y, w: right - x, h: (high - low + 1) * line };
  }

  private cellAt(x: number, y: number): Cell {
    const { left, top, width, height } = this.box();
    const columns = this.columns();
    const lines = this.lines();
    const column = Math.min(columns - 1, Math.max(0, Math.floor(((x - left) / width) * columns)));
    const line = Math.min(lines - 1, Math.max(0, Math.floor(((top + height - y) / height) * lines)));
    return { column, row: Math.min(this.rows.high, this.rows.low + line * this.rows.merge) };
  }

  private tell(cell: Cell | null): void {
    if (cell === null || this.rows.high < 0) {
      this.events.cursor(null);
      this.events.cell(null);
      return;
    }
    const { heatmap, fromMs } = this.data;
    const t = fromMs + cell.column * heatmap.stepMs;
    const index = heatmap.t.indexOf(t);
    const cells = heatmap.cells[index] ?? null;
    this.events.cursor(t);
    this.events.cell({
      t,
      us0: heatmap.rowUs[cell.row] ?? 0,
      us1: this.upper(cell.row),
      count: cells === null ? 0 : this.sum(cells, cell.row),
    });
  }

  private upper(row: number): number {
    const { rowUs } = this.data.heatmap;
    return rowUs[Math.min(rowUs.length - 1, row + this.rows.merge)] ?? 0;
  }

  private finish(): void {
    const drag = this.drag;
    this.drag = null;
    this.keyCell = null;
    if (drag === null) return;
    const { heatmap, fromMs } = this.data;
    const low = Math.min(drag.anchor.row, drag.head.row);
    const high = Math.max(drag.anchor.row, drag.head.row);
    const first = Math.min(drag.anchor.column, drag.head.column);
    const last = Math.max(drag.anchor.column, drag.head.column);
    this.events.select({
      fromMs: fromMs + first * heatmap.stepMs,
      toMs: fromMs + (last + 1) * heatmap.stepMs,
      us0: Math.floor(heatmap.rowUs[low] ?? 0),
      us1: Math.ceil(this.upper(high)),
    });
  }

  /** Pointers: hover tells, drag selects, a corner can be taken again; a finger selects after a long press. */
  private listen(): () => void {
    const over = this.over;
    let press: number | null = null;
    let start: { x: number; y: number } | null = null;
    const at = (event: PointerEvent) => {
      const box = over.getBoundingClientRect();
      return { x: event.clientX - box.left, y: event.clientY - box.top };
    };
    const inside = ({ x, y }: { x: number; y: number }) => {
      const box = this.box();
      return x >= box.left && x <= box.left + box.width && y >= box.top && y <= box.top + box.height;
    };
    const begin = (point: { x: number; y: number }) => {
      const cell = this.cellAt(point.x, point.y);
      const frame = this.frame();
      const taken =
        frame === null
          ? -1
          : corners(frame).findIndex(([x, y]) => Math.hypot(point.x - x, point.y - y) <= GRAB);
      const opposite = frame === null || taken === -1 ? undefined : corners(frame)[3 - taken];
      if (opposite === undefined || frame === null) return { anchor: cell, head: cell };
      // A hair inside of the frame, so that the opposite corner names its own cell.
      const x = opposite[0] + (opposite[0] > frame.x ? -0.5 : 0.5);
      const y = opposite[1] + (opposite[1] > frame.y ? -0.5 : 0.5);
      return { anchor: this.cellAt(x, y), head: cell };
    };
    const stopPress = () => {
      if (press !== null) window.clearTimeout(press);
      press = null;
    };
    const down = (event: PointerEvent) => {
      const point = at(event);
      if (!inside(point) || event.button !== 0 || this.rows.high < 0) return;
      start = point;
      if (event.pointerType === 'touch') {
        press = window.setTimeout(() => {
          press = null;
          this.drag = begin(point);
          this.drawOver();
        }, LONG_PRESS_MS);
        return;
      }
      over.setPointerCapture(event.pointerId);
    };
    const moveTo = (event: PointerEvent) => {
      const point = at(event);
      if (start !== null && press !== null && Math.hypot(point.x - start.x, point.y - start.y) > 8)
        stopPress();
      if (start !== null && event.pointerType !== 'touch' && this.drag === null) {
        if (Math.hypot(point.x - start.x, point.y - start.y) > 4) this.drag = begin(start);
      }
      if (this.drag !== null) this.drag.head = this.cellAt(point.x, point.y);
      this.keyCell = null;
      if (inside(point) || this.drag !== null) this.tell(this.cellAt(point.x, point.y));
      else this.tell(null);
      const frame = this.frame();
      over.style.cursor =
        frame !== null && corners(frame).some(([x, y]) => Math.hypot(point.x - x, point.y - y) <= GRAB)
          ? 'nwse-resize'
          : 'crosshair';
      this.drawOver();
    };
    const up = (event: PointerEvent) => {
      stopPress();
      if (this.drag !== null) this.finish();
      else if (start !== null && event.pointerType === 'touch') this.tell(this.cellAt(start.x, start.y));
      start = null;
      this.drawOver();
    };
    const cancel = () => {
      stopPress();
      start = null;
      this.drag = null;
      this.drawOver();
    };
    const out = () => {
      if (this.drag === null) this.tell(null);
    };
    // Once a finger selects, the page must not scroll under it.
    const noScroll = (event: TouchEvent) => {
      if (this.drag !== null) event.preventDefault();
    };
    over.addEventListener('pointerdown', down);
    over.addEventListener('pointermove', moveTo);
    over.addEventListener('pointerup', up);
    over.addEventListener('pointercancel', cancel);
    over.addEventListener('pointerleave', out);
    over.addEventListener('touchmove', noScroll, { passive: false });
    return () => {
      stopPress();
      over.removeEventListener('pointerdown', down);
      over.removeEventListener('pointermove', moveTo);
      over.removeEventListener('pointerup', up);
      over.removeEventListener('pointercancel', cancel);
      over.removeEventListener('pointerleave', out);
      over.removeEventListener('touchmove', noScroll);
    };
  }
}

interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** In an order in which the corner opposite to `i` is `3 - i`. */
function corners({ x, y, w, h }: Box): [number, number][] {
  return [
    [x, y],
    [x + w, y],
    [x, y + h],
    [x + w, y + h],
  ];
}
