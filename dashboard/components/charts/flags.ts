/**
 * The flags of releases above a plot, as buttons outside of the canvas, placed by whoever draws. Flags that would
 * collide become one ("2 releases"). Elements are made when the set changes and moved otherwise.
 */
import type { Marker } from './plot';

export interface PlacedMarker extends Marker {
  /** From the left edge of the overlay, in CSS pixels. */
  x: number;
}

interface Placed {
  x: number;
  label: string;
  title: string;
  href: string;
}

const GAP = 8;
/** Geist at 11 px, on average; a flag is measured only as far as it may collide. */
const LETTER = 6.4;

const widthOf = (label: string): number => label.length * LETTER + 12;

/** What is written where: neighbours that do not fit beside each other share a flag. */
export function mergeFlags(markers: readonly PlacedMarker[]): Placed[] {
  const groups: { members: PlacedMarker[]; x: number }[] = [];
  for (const marker of [...markers].sort((a, b) => a.x - b.x)) {
    const last = groups.at(-1);
    const lastWidth = last === undefined ? 0 : widthOf(labelOf(last.members));
    if (last !== undefined && marker.x - widthOf(marker.label) / 2 < last.x + lastWidth / 2 + GAP) {
      last.members.push(marker);
      last.x = (last.x * (last.members.length - 1) + marker.x) / last.members.length;
    } else groups.push({ members: [marker], x: marker.x });
  }
  return groups.map(({ members, x }) => ({
    x,
    label: labelOf(members),
    title: members.map((member) => member.label).join(', '),
    href: (members.at(-1) as PlacedMarker).href,
  }));
}

function labelOf(members: readonly PlacedMarker[]): string {
  return members.length === 1 ? (members[0] as PlacedMarker).label : `${members.length} releases`;
}

export class Flags {
  private buttons: HTMLButtonElement[] = [];
  private removed = false;

  constructor(
    private readonly overlay: HTMLElement,
    private readonly visit: (href: string) => void,
  ) {}

  /** `left` is where the plot begins: a flag beyond it would cover the axis. */
  show(markers: readonly PlacedMarker[], left = 0): void {
    if (this.removed) return;
    const placed = mergeFlags(markers);
    while (this.buttons.length > placed.length) this.buttons.pop()?.remove();
    const width = this.overlay.clientWidth;
    placed.forEach((flag, index) => {
      const button = this.buttons[index] ?? this.make();
      this.buttons[index] = button;
      if (button.dataset.href !== flag.href) button.dataset.href = flag.href;
      if (button.textContent !== flag.label) button.textContent = flag.label;
      const title = `${flag.title}: compare before and after`;
      if (button.title !== title) button.title = title;
      const half = widthOf(flag.label) / 2;
      button.style.left = `${Math.round(Math.min(width - half, Math.max(left + half, flag.x)))}px`;
    });
  }

  /** Nothing is shown after this, whatever is still to be drawn. */
  remove(): void {
    this.show([]);
    this.removed = true;
  }

  private make(): HTMLButtonElement {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'flag';
    button.addEventListener('click', () => this.visit(button.dataset.href ?? '/'));
    this.overlay.append(button);
    return button;
  }
}
