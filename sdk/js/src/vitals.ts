/**
 * Web vitals of the page, from the browser's own observers.
 *
 * Leaves: a function that says what has been seen up to now; it is asked once, when the page is hidden. A browser
 * that does not know an entry type leaves its vital out. The definitions are those of the Web Vitals initiative.
 */

export interface Vital {
  name: 'TTFB' | 'FCP' | 'LCP' | 'INP' | 'CLS';
  /** Milliseconds; of CLS the score. */
  value: number;
}

interface Shift extends PerformanceEntry {
  value: number;
  hadRecentInput: boolean;
}
interface Interaction extends PerformanceEntry {
  interactionId?: number;
}

export function observeVitals(): () => Vital[] {
  const observers: PerformanceObserver[] = [];
  const watch = (type: string, each: (entry: PerformanceEntry) => void, more: object = {}) => {
    try {
      if (!PerformanceObserver.supportedEntryTypes.includes(type)) return;
      const observer = new PerformanceObserver((list) => list.getEntries().forEach(each));
      observer.observe({ type, buffered: true, ...more });
      observers.push(observer);
      // What is not delivered yet when the page is hidden counts too.
      pending.push(() => observer.takeRecords().forEach(each));
    } catch {
      // Not in this browser.
    }
  };
  const pending: (() => void)[] = [];

  let fcp: number | undefined;
  watch('paint', (entry) => {
    if (entry.name === 'first-contentful-paint') fcp = entry.startTime;
  });
  let lcp: number | undefined;
  watch('largest-contentful-paint', (entry) => {
    lcp = entry.startTime;
  });
  const shifts = new Shifts();
  watch('layout-shift', (entry) => shifts.add(entry as Shift));
  const interactions = new Interactions();
  watch('event', (entry) => interactions.add(entry as Interaction), { durationThreshold: 40 });
  watch('first-input', (entry) => interactions.add(entry as Interaction));

  return () => {
    for (const take of pending) take();
    for (const observer of observers) observer.disconnect();
    const [navigation] = performance.getEntriesByType('navigation') as PerformanceNavigationTiming[];
    const found: [Vital['name'], number | undefined][] = [
      ['TTFB', navigation?.responseStart],
      ['FCP', fcp],
      ['LCP', lcp],
      ['INP', interactions.value()],
      ['CLS', PerformanceObserver.supportedEntryTypes.includes('layout-shift') ? shifts.value() : undefined],
    ];
    return found.flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]));
  };
}

/** The largest burst of shifts: at most a second between two of them, at most five in all. */
export class Shifts {
  #largest = 0;
  #sum = 0;
  #startedMs = Number.NEGATIVE_INFINITY;
  #lastMs = Number.NEGATIVE_INFINITY;

  add({ startTime, value, hadRecentInput }: Pick<Shift, 'startTime' | 'value' | 'hadRecentInput'>): void {
    if (hadRecentInput) return;
    if (startTime - this.#lastMs >= 1000 || startTime - this.#startedMs >= 5000) {
      this.#sum = 0;
      this.#startedMs = startTime;
    }
    this.#lastMs = startTime;
    this.#sum += value;
    this.#largest = Math.max(this.#largest, this.#sum);
  }

  /** Zero is a value: nothing moved. */
  value(): number {
    return this.#largest;
  }
}

/** The longest interaction, leaving out one of each fifty; only the ten longest can matter. */
export class Interactions {
  readonly #longest = new Map<number, number>();
  #count = 0;
  #highestId = 0;

  add({ interactionId, duration }: Pick<Interaction, 'interactionId' | 'duration'>): void {
    if (!interactionId) return;
    // Several events of one interaction come one after the other; ids only grow.
    if (interactionId > this.#highestId) {
      this.#highestId = interactionId;
      this.#count += 1;
    }
    const known = this.#longest.get(interactionId);
    this.#longest.set(interactionId, Math.max(known ?? 0, duration));
    if (this.#longest.size > 10) {
      const [shortest] = [...this.#longest].sort((a, b) => a[1] - b[1]);
      if (shortest !== undefined) this.#longest.delete(shortest[0]);
    }
  }

  value(): number | undefined {
    const durations = [...this.#longest.values()].sort((a, b) => b - a);
    return durations[Math.min(Math.floor(this.#count / 50), durations.length - 1)];
  }
}
