import { describe, expect, it } from 'vitest';
import { DEFAULT_VIEW } from './url';
import { Zooms } from './zooms';

describe('undoing a zoom', () => {
  const live = { ...DEFAULT_VIEW, range: '1h' };
  const first = { fromMs: 0, toMs: 600_000 };
  const second = { fromMs: 100_000, toMs: 200_000 };

  it('goes back window by window, whatever else was chosen in between', () => {
    const zooms = new Zooms();
    zooms.chosen(live, first);
    zooms.chosen({ ...live, frozen: first }, second);
    expect(zooms.back({ ...live, frozen: second }).frozen).toEqual(first);
    expect(zooms.back({ ...live, frozen: first })).toEqual({ range: '1h', frozen: null, step: null });
  });

  it('leaves a window that a link opened for the live range', () => {
    expect(new Zooms().back({ ...live, frozen: first })).toEqual({ range: '1h', frozen: null, step: null });
  });
});
