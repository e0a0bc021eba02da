/**
 * The recent steps of one row, as a ring of columns. A step's place is `t / step mod length` and its stamp says which
 * `t` lies there, so the window slides without moving or deleting anything and memory is fixed from the first frame.
 */
import { type Column, type Columns, STATUS_CLASSES, type StatusClass } from '@/lib/series/types';

const PLAIN = ['count', 'errors', 'latencyCount', 'meanMs', 'maxMs'] as const;

export class Ring {
  private readonly length: number;
  private readonly stamps: Float64Array;
  /** `NaN` stands for null inside; it never leaves this class. */
  private readonly values = new Map<string, Float64Array>();

  constructor(
    private readonly stepMs: number,
    windowMs: number,
    private readonly quantiles: readonly string[],
  ) {
    this.length = Math.ceil(windowMs / stepMs) + 2;
    this.stamps = new Float64Array(this.length).fill(Number.NaN);
    const names = [
      ...PLAIN,
      ...STATUS_CLASSES.map((name) => `s:${name}`),
      ...quantiles.map((name) => `q:${name}`),
    ];
    for (const name of names) this.values.set(name, new Float64Array(this.length).fill(Number.NaN));
  }

  /** Absolute values replace what lies at the same `t`. `accept` may refuse a step (see the store on going backwards). */
  merge(
    columns: Columns,
    accept: (t: number, countNow: number | null, countNext: number | null) => boolean,
  ): void {
    for (let index = 0; index < columns.t.length; index += 1) {
      const t = columns.t[index] as number;
      const place = this.place(t);
      const stamp = this.stamps[place] as number;
      if (stamp > t) continue; // older than the whole window
      const current = stamp === t ? this.read('count', place) : null;
      if (!accept(t, current, columns.count[index] ?? null)) continue;
      this.stamps[place] = t;
      for (const name of PLAIN) this.write(name, place, columns[name][index]);
      for (const name of STATUS_CLASSES) this.write(`s:${name}`, place, columns.status[name][index]);
      for (const name of this.quantiles) this.write(`q:${name}`, place, columns.quantilesMs[name]?.[index]);
    }
  }

  /** Dense columns for every step of `[fromT, toT]`, both on the grid; `null` where nothing is known. */
  columns(fromT: number, toT: number): Columns {
    const t: number[] = [];
    const places: number[] = [];
    for (let at = fromT; at <= toT; at += this.stepMs) {
      const place = this.place(at);
      t.push(at);
      places.push(this.stamps[place] === at ? place : -1);
    }
    const take = (name: string): Column =>
      places.map((place) => (place === -1 ? null : this.read(name, place)));
    return {
      t,
      count: take('count'),
      errors: take('errors'),
      latencyCount: take('latencyCount'),
      meanMs: take('meanMs'),
      maxMs: take('maxMs'),
      status: Object.fromEntries(STATUS_CLASSES.map((name) => [name, take(`s:${name}`)])) as Record<
        StatusClass,
        Column
      >,
      quantilesMs: Object.fromEntries(this.quantiles.map((name) => [name, take(`q:${name}`)])),
    };
  }

  private place(t: number): number {
    const at = Math.round(t / this.stepMs) % this.length;
    return at < 0 ? at + this.length : at;
  }

  private read(name: string, place: number): number | null {
    const value = this.values.get(name)?.[place] ?? Number.NaN;
    return Number.isNaN(value) ? null : value;
  }

  private write(name: string, place: number, value: number | null | undefined): void {
    const column = this.values.get(name);
    if (column !== undefined) column[place] = value ?? Number.NaN;
  }
}
