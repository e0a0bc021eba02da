/** The one cursor of a page: a time, shared by all charts. Their heads read it; whoever is hovered or focused sets it. */
export class CursorStore {
  private t: number | null = null;
  private readonly listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly get = (): number | null => this.t;

  set(t: number | null): void {
    if (t === this.t) return;
    this.t = t;
    for (const listener of this.listeners) listener();
  }
}
