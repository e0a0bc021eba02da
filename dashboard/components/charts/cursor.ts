/**
 * The one cursor of a page: a time, shared by all charts and the heatmap. Their heads read it; whoever is hovered or
 * focused sets it. Pinned, it stays where it is, whatever the pointer and the live data do.
 */
export class CursorStore {
  private t: number | null = null;
  private isPinned = false;
  private readonly listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly get = (): number | null => this.t;
  readonly pinned = (): boolean => this.isPinned;

  set(t: number | null): void {
    if (this.isPinned || t === this.t) return;
    this.t = t;
    this.tell();
  }

  /** Pins the cursor at a time; at the same time again it lets go. */
  pin(t: number): void {
    this.isPinned = !(this.isPinned && this.t === t);
    this.t = t;
    this.tell();
  }

  unpin(): void {
    this.isPinned = false;
    this.t = null;
    this.tell();
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
