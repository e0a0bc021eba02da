//! Runs: what comes one after the other in the same facets, and the cells that they add up to.
//!
//! Arrives: where a run begins in the list of durations, and its facets and window. Leaves: for every publish the cells, in
//! order of first appearance, each with all its durations. Does not: know what a facet is called.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use peep_wire::histogram::Tally;

use super::{NEVER, NOWHERE};
use crate::window::{Fresh, ROOM_KEPT};

/// What comes one after the other in the same facets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) scope: u32,
    pub(super) pair: u32,
    pub(super) window_s: i64,
    pub(super) cell: u32,
}

pub(super) const NO_RUN: Run = Run { scope: NOWHERE, pair: 0, window_s: 0, cell: 0 };

/// Runs since the last publish, by the cells they belong to.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) run: Run,
    pub(super) cells: Vec<OpenCell>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Raised when all cells are taken out, so that nobody's guess outlives them.
    round: u32,
    /// Where each run begins in the list of durations, and its cell.
    runs: Vec<(u32, u32)>,
    /// For draining, as in `Fresh`.
    sorted_us: Vec<u32>,
    ends: Vec<u32>,
    tally: Tally,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct OpenCell {
    pub(super) version: u32,
    pub(super) host: u32,
    pub(super) window_s: i64,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    pub(super) errors: u32,
    pub(super) untimed: u32,
}

/// A cell that a pair was counted in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recent {
    window_s: i64,
    cell: u32,
    round: u32,
}

impl Recent {
    /// Of no round.
    pub(super) const NOWHERE: Recent = Recent { window_s: 0, cell: 0, round: 0 };
}

impl Default for Open {
    fn default() -> Self {
        Self {
            run: NO_RUN,
            cells: Vec::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            // A `Recent` that was never used is of round 0.
            round: 1,
            runs: Vec::new(),
            sorted_us: Vec::new(),
            ends: Vec::new(),
            tally: Tally::default(),
        }
    }
}

impl Open {
    pub(super) fn begin_run(&mut self, run: Run, recent: &mut Recent, facets: [u32; 2], timed: usize) {
        if recent.window_s != run.window_s || recent.round != self.round {
            *recent = Recent { window_s: run.window_s, cell: self.cell(facets, run.window_s), round: self.round };
        }
        self.run = Run { cell: recent.cell, ..run };
        self.runs.push((timed as u32, recent.cell));
    }

    pub(super) fn end_run(&mut self) {
        self.run = NO_RUN;
    }

    fn cell(&mut self, [version, host]: [u32; 2], window_s: i64) -> u32 {
        let Self { cells, index, hasher, .. } = self;
        let hash_of = |version: u32, host: u32, window_s: i64| {
            let mut hasher = hasher.build_hasher();
            hasher.write_u64(u64::from(version) << 32 | u64::from(host));
            hasher.write_i64(window_s);
            hasher.finish()
        };
        let is_it = |at: &u32| {
            let cell = &cells[*at as usize];
            cell.version == version && cell.host == host && cell.window_s == window_s
        };
        let hash = hash_of(version, host, window_s);
        if let Some(&at) = index.find(hash, is_it) {
            return at;
        }
        let at = cells.len() as u32;
        let (first_ms, last_ms) = NEVER;
        cells.push(OpenCell { version, host, window_s, first_ms, last_ms, errors: 0, untimed: 0 });
        index.insert_unique(hash, at, |at| {
            let cell = &cells[*at as usize];
            hash_of(cell.version, cell.host, cell.window_s)
        });
        at
    }

    /// Takes all cells out, in order of first appearance.
    pub(super) fn drain(&mut self, fresh: &Fresh, mut visit: impl FnMut(&OpenCell, &Tally)) {
        let Self { cells, runs, sorted_us, ends, tally, .. } = self;
        let timed = fresh.timed();
        let stretch = |number: usize| {
            let (start, cell) = runs[number];
            let end = runs.get(number + 1).map_or(timed, |(next, _)| *next as usize);
            (start as usize..end, cell as usize)
        };
        // A counting sort of runs: how many durations each cell has, where each begins, then each stretch to its place.
        ends.clear();
        ends.resize(cells.len(), 0);
        for number in 0..runs.len() {
            let (range, cell) = stretch(number);
            ends[cell] += range.len() as u32;
        }
        let mut start = 0;
        for end in ends.iter_mut() {
            start += std::mem::replace(end, start);
        }
        sorted_us.clear();
        sorted_us.resize(timed, 0);
        for number in 0..runs.len() {
            let (range, cell) = stretch(number);
            let place = ends[cell] as usize;
            ends[cell] += range.len() as u32;
            if range.len() == 1 {
                sorted_us[place] = fresh.duration_us(range.start);
            } else {
                fresh.copy_durations(range.clone(), &mut sorted_us[place..place + range.len()]);
            }
        }
        let mut start = 0;
        for (cell, &end) in cells.iter().zip(ends.iter()) {
            tally.count_all(&mut sorted_us[start..end as usize]);
            start = end as usize;
            visit(cell, tally);
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.round += 1;
        self.run = NO_RUN;
        // A burst must not be remembered as capacity for ever.
        if self.sorted_us.capacity() > 4 * self.sorted_us.len() + ROOM_KEPT {
            self.sorted_us = Vec::new();
        }
        if self.runs.capacity() > 4 * self.runs.len() + ROOM_KEPT {
            self.runs = Vec::new();
        }
        if self.cells.capacity() > 4 * self.cells.len() + ROOM_KEPT {
            self.cells = Vec::new();
            self.ends = Vec::new();
            self.index = HashTable::new();
        }
        self.runs.clear();
        self.cells.clear();
        self.index.clear();
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.cells.len() * size_of::<OpenCell>() + self.runs.len() * size_of::<(u32, u32)>()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.cells.capacity() * (size_of::<OpenCell>() + size_of::<u32>())
            + self.runs.capacity() * size_of::<(u32, u32)>()
            + self.sorted_us.capacity() * size_of::<u32>()
            + self.index.allocation_size()
            + self.tally.memory_bytes()
    }
}
