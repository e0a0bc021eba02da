//! Windows: counts and latencies by series and span of event time.
//!
//! ```text
//!   events ──record──▶ fresh: 1 s slots ──publish──▶ live frame
//!                                          └─add───▶ dirty: 10 s windows ──flush──▶ pieces in Postgres, memory empty
//! ```
//!
//! Arrives: (series, start of the slot, duration, error). Leaves: all cells in the order in which they first appeared, which
//! is a function of the log alone: no hash order, no clock.
//!
//! How: an event becomes eight bytes in a list, and nothing else happens until the next publish. Then the list is sorted by
//! cell, so that each window is looked for once, with all it gets. Ten thousand windows are more than a cache holds; to touch
//! one for each event cost three times the whole of this.
//!
//! Promises: integer sums and exact histogram merges, so any grouping of the same events gives the same cells. Clockless and
//! without a notion of "closed": the maps hold what came since the last publish or flush and nothing else, an event of any
//! age simply opens a cell in its own window. So memory depends on the traffic of some seconds, not on how late events are.
//!
//! Does not: know which windows are old, sort (the store does, by row id), or talk to anybody.

use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use peep_wire::histogram::{DURATION_US_MAX, Histogram, Tally};

use crate::key::Recent;

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

/// Events since the last publish, by series and second.
#[derive(Debug)]
pub struct Fresh {
    cells: Vec<FreshCell>,
    /// Finished durations in the order they came.
    durations: Vec<Timed>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Raised when all cells are taken out, so that nobody's guess outlives them.
    round: u32,
    /// For [`Fresh::drain`]: the durations again, by cell, where those of a cell end, and what they add up to.
    sorted_us: Vec<u32>,
    ends: Vec<u32>,
    tally: Tally,
}

#[derive(Debug, Clone, Copy)]
struct FreshCell {
    slot_s: i64,
    series: u32,
    errors: u32,
    untimed: u32,
}

#[derive(Debug, Clone, Copy)]
struct Timed {
    cell: u32,
    duration_us: u32,
}

/// One cell on its way out of [`Fresh`].
#[derive(Debug)]
pub struct Drained<'f> {
    /// Index in the partition's `SeriesTable`.
    pub series: u32,
    /// Start of the slot, whole Unix seconds.
    pub slot_s: i64,
    /// Events, with or without a duration.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those with a duration.
    pub tally: &'f Tally,
}

impl Default for Fresh {
    fn default() -> Self {
        Self {
            cells: Vec::new(),
            durations: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            // A `Recent` that was never used is of round 0.
            round: 1,
            sorted_us: Vec::new(),
            ends: Vec::new(),
            tally: Tally::default(),
        }
    }
}

impl Fresh {
    /// Counts one event. `recent` is where the last ones of its series were counted, as far as anybody remembers. Whether it
    /// opened a new cell.
    #[inline]
    pub fn record(
        &mut self,
        recent: &mut Recent,
        series: u32,
        slot_s: i64,
        duration_us: Option<u64>,
        error: bool,
    ) -> bool {
        let is_new = (recent.slot_s != slot_s || recent.round != self.round) && self.open(recent, series, slot_s);
        if let Some(duration_us) = duration_us {
            debug_assert!(duration_us <= DURATION_US_MAX, "longer ones are dead letters");
            self.durations.push(Timed { cell: recent.cell, duration_us: duration_us as u32 });
        }
        if error || duration_us.is_none() {
            let cell = &mut self.cells[recent.cell as usize];
            cell.errors += u32::from(error);
            cell.untimed += u32::from(duration_us.is_none());
        }
        is_new
    }

    #[cold]
    fn open(&mut self, recent: &mut Recent, series: u32, slot_s: i64) -> bool {
        let Self { cells, index, hasher, .. } = self;
        let matches = |at: &u32| cells[*at as usize].series == series && cells[*at as usize].slot_s == slot_s;
        let rehash = |at: &u32| hash_of(hasher, cells[*at as usize].series, cells[*at as usize].slot_s);
        let (cell, is_new) = match index.entry(hash_of(hasher, series, slot_s), matches, rehash) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(vacant) => {
                let at = cells.len() as u32;
                vacant.insert(at);
                cells.push(FreshCell { slot_s, series, errors: 0, untimed: 0 });
                (at, true)
            }
        };
        *recent = Recent { slot_s, cell, round: self.round };
        is_new
    }

    /// Events that wait; of those without a duration only one for each cell.
    pub fn len(&self) -> usize {
        self.durations.len().max(self.cells.len())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Durations that wait: where the next one will be.
    #[inline]
    pub fn timed(&self) -> usize {
        self.durations.len()
    }

    /// One of the durations that wait.
    #[inline]
    pub fn duration_us(&self, at: usize) -> u32 {
        self.durations[at].duration_us
    }

    /// A stretch of the durations that wait, in the order they came.
    pub fn copy_durations(&self, stretch: Range<usize>, into_us: &mut [u32]) {
        let timed = &self.durations[stretch];
        into_us.iter_mut().zip(timed).for_each(|(into_us, timed)| *into_us = timed.duration_us);
    }

    /// How many cells are open.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Bytes of what waits.
    pub fn waiting_bytes(&self) -> usize {
        self.cells.len() * size_of::<FreshCell>() + self.durations.len() * size_of::<Timed>()
    }

    /// Bytes held, the room that is kept for speed included.
    pub fn memory_bytes(&self) -> usize {
        self.cells.capacity() * (size_of::<FreshCell>() + size_of::<u32>())
            + self.durations.capacity() * (size_of::<Timed>() + size_of::<u32>())
            + self.index.allocation_size()
            + self.tally.memory_bytes()
    }

    /// Takes all cells out, in order of first appearance.
    pub fn drain(&mut self, mut visit: impl FnMut(Drained<'_>)) {
        let Self { cells, durations, sorted_us, ends, tally, .. } = self;
        // A counting sort: how many each cell has, where each begins, then each duration to its place.
        ends.clear();
        ends.resize(cells.len(), 0);
        durations.iter().for_each(|timed| ends[timed.cell as usize] += 1);
        let mut start = 0;
        for end in ends.iter_mut() {
            start += std::mem::replace(end, start);
        }
        sorted_us.clear();
        sorted_us.resize(durations.len(), 0);
        for timed in durations.iter() {
            let place = &mut ends[timed.cell as usize];
            sorted_us[*place as usize] = timed.duration_us;
            *place += 1;
        }
        let mut start = 0;
        for (cell, &end) in cells.iter().zip(ends.iter()) {
            tally.count_all(&mut sorted_us[start..end as usize]);
            start = end as usize;
            visit(Drained {
                series: cell.series,
                slot_s: cell.slot_s,
                count: tally.count() + u64::from(cell.untimed),
                errors: u64::from(cell.errors),
                tally,
            });
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.round += 1;
        // A burst must not be remembered as capacity for ever; the usual size is kept and costs nothing to refill.
        if self.durations.capacity() > 4 * self.durations.len() + ROOM_KEPT {
            self.durations = Vec::new();
            self.sorted_us = Vec::new();
        }
        if self.cells.capacity() > 4 * self.cells.len() + ROOM_KEPT {
            self.cells = Vec::new();
            self.ends = Vec::new();
            self.index = HashTable::new();
        }
        self.durations.clear();
        self.cells.clear();
        self.index.clear();
    }

    /// Gives back all room that is kept for speed. Only when nothing waits.
    pub fn shrink(&mut self) {
        debug_assert!(self.cells.is_empty(), "what waits would be lost");
        *self = Self { round: self.round, ..Self::default() };
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
    /// Adds what was counted to the cell of (series, start). `guess` is where that may be, and says afterwards where it is.
    pub fn add(&mut self, guess: &mut u32, start_s: i64, drained: &Drained<'_>) {
        let Drained { series, count, errors, tally, .. } = *drained;
        let is_it = |placed: &Placed| placed.series == series && placed.start_s == start_s;
        if !self.cells.get(*guess as usize).is_some_and(is_it) {
            *guess = self.open(series, start_s);
        }
        let cell = &mut self.cells[*guess as usize].cell;
        let before = cell.histogram.memory_bytes();
        cell.count += count;
        cell.errors += errors;
        cell.histogram.add(tally);
        // A list that becomes pages may take less than before.
        self.heap_bytes = (self.heap_bytes + cell.histogram.memory_bytes()).saturating_sub(before);
    }

    fn open(&mut self, series: u32, start_s: i64) -> u32 {
        let Self { cells, index, hasher, .. } = self;
        let matches = |at: &u32| cells[*at as usize].series == series && cells[*at as usize].start_s == start_s;
        let rehash = |at: &u32| hash_of(hasher, cells[*at as usize].series, cells[*at as usize].start_s);
        match index.entry(hash_of(hasher, series, start_s), matches, rehash) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(vacant) => {
                let at = cells.len() as u32;
                vacant.insert(at);
                cells.push(Placed { series, start_s, cell: Cell::default() });
                at
            }
        }
    }

    /// How many cells are open.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Placed>() + self.index.allocation_size() + self.heap_bytes
    }

    /// Takes all cells out, in order of first appearance.
    pub fn take(&mut self) -> Vec<Placed> {
        self.heap_bytes = 0;
        // A burst must not be remembered as capacity for ever; the usual size is kept and costs nothing to refill.
        if self.index.capacity() > 4 * self.cells.len() + ROOM_KEPT {
            self.index = HashTable::new();
        } else {
            self.index.clear();
        }
        let usual = self.cells.len();
        std::mem::replace(&mut self.cells, Vec::with_capacity(usual.min(CELLS_RESERVED_MAX)))
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

/// Places that are kept whatever the traffic.
pub(crate) const ROOM_KEPT: usize = 1024;
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

    const NOWHERE: Recent = Recent { slot_s: 0, cell: 0, round: 0 };

    /// What was counted: series, slot, events, errors and finished ones.
    fn drained(fresh: &mut Fresh) -> Vec<(u32, i64, u64, u64, u64)> {
        let mut seen = Vec::new();
        fresh.drain(|cell| seen.push((cell.series, cell.slot_s, cell.count, cell.errors, cell.tally.count())));
        seen
    }

    #[test]
    fn events_come_out_by_cell_in_the_order_in_which_the_cells_appeared() {
        let mut fresh = Fresh::default();
        let [mut first, mut second] = [NOWHERE; 2];
        assert!(fresh.record(&mut first, 7, 0, Some(5), false));
        assert!(fresh.record(&mut second, 3, 0, None, true));
        assert!(!fresh.record(&mut first, 7, 0, Some(DURATION_US_MAX), true));
        // Late, and not the one that was remembered.
        assert!(fresh.record(&mut first, 7, -3600, Some(0), false));
        assert!(!fresh.record(&mut first, 7, 0, None, false));
        assert_eq!(drained(&mut fresh), [(7, 0, 3, 1, 2), (3, 0, 1, 1, 0), (7, -3600, 1, 0, 1)]);
        assert!(drained(&mut fresh).is_empty());
        // What is remembered of the round before is worth nothing.
        assert!(fresh.record(&mut first, 7, 0, None, false));
        assert_eq!(drained(&mut fresh), [(7, 0, 1, 0, 0)]);
    }

    #[test]
    fn memory_follows_the_histograms_and_goes_with_them() {
        let (mut fresh, mut cells, mut guess) = (Fresh::default(), Cells::default(), 0);
        let mut recent = NOWHERE;
        for round in 0..3u64 {
            (0..100_000).for_each(|step| _ = fresh.record(&mut recent, 0, 0, Some(step * 37 + round), false));
            fresh.drain(|drained| cells.add(&mut guess, 0, &drained));
        }
        let held = cells.cells[0].cell.histogram.memory_bytes();
        assert!(held > 10_000 && cells.memory_bytes() >= held);
        assert_eq!((cells.len(), cells.take()[0].cell.count), (1, 300_000));
        assert!(cells.is_empty() && cells.memory_bytes() < 4096);
        fresh.drain(|_| ());
        assert!(fresh.memory_bytes() < 256 << 10);
    }
}
