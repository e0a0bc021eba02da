//! Windows: counts and latencies by series and span of event time.
//!
//! ```text
//!   events ──record──▶ fresh: 1 s slots ──publish──▶ live frame
//!                                          └─merge─▶ dirty: 10 s windows ──flush──▶ pieces in Postgres, memory empty
//! ```
//!
//! Arrives: (series, start of the span, duration, error) or a finer cell. Leaves: all cells in the order in which they first
//! appeared, which is a function of the log alone: no hash order, no clock.
//!
//! Promises: integer sums and exact histogram merges, so any grouping of the same events gives the same cells. Clockless and
//! without a notion of "closed": the maps hold what came since the last publish or flush and nothing else, an event of any
//! age simply opens a cell in its own window. So memory depends on the traffic of some seconds, not on how late events are.
//!
//! Does not: know which windows are old, sort (the store does, by row id), or talk to anybody.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use peep_wire::histogram::Histogram;

/// Length of a rollup window; `rollup_10s` is named after it.
pub const WINDOW_S: i64 = 10;
/// Length of a live slot.
pub const SLOT_S: i64 = 1;

/// What happened to one series within one span of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// Events, with or without a duration.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those with a duration.
    pub histogram: Histogram,
}

impl Cell {
    /// Counts one event.
    #[inline]
    pub fn record(&mut self, duration_us: Option<u64>, error: bool) {
        self.count += 1;
        self.errors += u64::from(error);
        if let Some(duration_us) = duration_us {
            self.histogram.record(duration_us);
        }
    }

    /// Adds everything another cell counted.
    pub fn merge(&mut self, other: &Cell) {
        self.count += other.count;
        self.errors += other.errors;
        self.histogram.merge(&other.histogram);
    }
}

/// A cell and where it belongs.
#[derive(Debug)]
pub struct Placed {
    /// Index in the partition's `SeriesTable`.
    pub series: u32,
    /// Start of the slot or window, whole Unix seconds.
    pub start_s: i64,
    /// What was counted.
    pub cell: Cell,
}

/// Cells by (series, start), in order of first appearance.
#[derive(Debug, Default)]
pub struct Cells {
    cells: Vec<Placed>,
    index: HashTable<u32>,
    hasher: RandomState,
    heap_bytes: usize,
}

impl Cells {
    /// The position of a cell, opened when it is new.
    #[inline]
    pub fn open(&mut self, series: u32, start_s: i64) -> u32 {
        let hash = self.hash(series, start_s);
        let Self { cells, index, hasher, .. } = self;
        let matches = |at: &u32| {
            let placed = &cells[*at as usize];
            placed.series == series && placed.start_s == start_s
        };
        let rehash = |at: &u32| {
            let placed = &cells[*at as usize];
            hash_of(hasher, placed.series, placed.start_s)
        };
        match index.entry(hash, matches, rehash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let at = cells.len() as u32;
                vacant.insert(at);
                cells.push(Placed { series, start_s, cell: Cell::default() });
                at
            }
        }
    }

    /// Whether the cell at `at`, if there is one, is that of (series, start): a cheap guess before [`Cells::open`].
    #[inline]
    pub fn is_at(&self, at: u32, series: u32, start_s: i64) -> bool {
        self.cells.get(at as usize).is_some_and(|placed| placed.series == series && placed.start_s == start_s)
    }

    /// The cell at a position that [`Cells::open`] gave.
    #[inline]
    pub fn cell_mut(&mut self, at: u32) -> &mut Cell {
        &mut self.cells[at as usize].cell
    }

    /// Adds a cell to the one of (series, start).
    pub fn merge(&mut self, series: u32, start_s: i64, cell: Cell) {
        let at = self.open(series, start_s);
        let known = &mut self.cells[at as usize].cell;
        let before = known.histogram.memory_bytes();
        if known.count == 0 {
            *known = cell;
        } else {
            known.merge(&cell);
        }
        self.heap_bytes = (self.heap_bytes + known.histogram.memory_bytes()).saturating_sub(before);
    }

    /// How many cells are open.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes held: exact for merged cells; what [`Cell::record`] adds is the caller's to estimate.
    pub fn memory_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Placed>() + self.index.allocation_size() + self.heap_bytes
    }

    /// Takes all cells out, in order of first appearance.
    pub fn take(&mut self) -> Vec<Placed> {
        self.heap_bytes = 0;
        // A burst must not be remembered as capacity for ever; the usual size is kept and costs nothing to refill.
        if self.index.capacity() > 4 * self.cells.len() + 1024 {
            self.index = HashTable::new();
        } else {
            self.index.clear();
        }
        let usual = self.cells.len();
        std::mem::replace(&mut self.cells, Vec::with_capacity(usual.min(CELLS_RESERVED_MAX)))
    }

    #[inline]
    fn hash(&self, series: u32, start_s: i64) -> u64 {
        hash_of(&self.hasher, series, start_s)
    }
}

/// Start of the window that a second belongs to, also before 1970.
#[inline]
pub fn window_of(second: i64) -> i64 {
    second - second.rem_euclid(WINDOW_S)
}

/// Start of the slot that a millisecond belongs to.
#[inline]
pub fn slot_of(ended_ms: i64) -> i64 {
    ended_ms.div_euclid(1000 * SLOT_S) * SLOT_S
}

#[inline]
fn hash_of(hasher: &RandomState, series: u32, start_s: i64) -> u64 {
    let mut state = hasher.build_hasher();
    state.write_u32(series);
    state.write_i64(start_s);
    state.finish()
}

/// Room that is reserved ahead for the next interval: half a megabyte.
const CELLS_RESERVED_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_fall_into_the_window_that_holds_them() {
        assert_eq!([0, 9, 10, -1, -10, -11].map(window_of), [0, 0, 10, -10, -10, -20]);
        assert_eq!([0, 999, 1000, -1].map(slot_of), [0, 0, 1, -1]);
    }

    #[test]
    fn late_event_opens_a_cell_in_its_own_window() {
        let mut cells = Cells::default();
        let now = cells.open(0, 1_000);
        cells.cell_mut(now).record(Some(5), false);
        let late = cells.open(0, 10);
        cells.cell_mut(late).record(None, true);
        let again = cells.open(0, 1_000);
        assert_eq!(again, now);
        let taken = cells.take();
        assert_eq!(taken.iter().map(|placed| placed.start_s).collect::<Vec<_>>(), [1_000, 10]);
        assert_eq!((taken[1].cell.count, taken[1].cell.errors, taken[1].cell.histogram.count()), (1, 1, 0));
        assert!(cells.is_empty() && cells.memory_bytes() < 1 << 20);
    }

    #[test]
    fn memory_follows_merged_histograms() {
        let mut cells = Cells::default();
        let mut cell = Cell::default();
        (0..100_000).for_each(|step| cell.record(Some(step * 37), false));
        let held = cell.histogram.memory_bytes();
        cells.merge(0, 0, cell);
        assert!(cells.memory_bytes() >= held);
        cells.take();
        assert!(cells.memory_bytes() < 4096);
    }
}
