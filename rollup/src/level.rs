//! Levels: the same counts in ten seconds, in minutes and in hours, so that a question about a month reads hours.
//!
//! ```text
//!   flush ──▶ rollup_10s ──leveler──▶ rollup_1m ──leveler──▶ rollup_1h
//!                  ▲ done_offset of 1m      ▲ done_offset of 1h        ▲ horizons: what is older goes further right at once
//! ```
//!
//! Arrives: pieces of one level. Leaves: pieces of the next, one for each (project, bucket, series, partition) of a pass.
//!
//! What holds at any moment, for every partition of the log, whatever the leveler has done so far:
//! - A piece with `up_to_offset` u holds events below position u and of one partition only. Its bucket is a multiple of its
//!   level's width, and every event in it ended within `[bucket, bucket + width)`.
//! - With D1 and D2 = `rollup_level.done_offset` of `1m` and `1h` (0 without a row), D2 <= D1 <= the cursor: every event of
//!   `rollup_10s` with `up_to_offset <= D1` is in `rollup_1m` too, and every one of `rollup_1m` with `up_to_offset <= D2` is in
//!   `rollup_1h` too. Nothing else is. So the events of an hour are, each exactly once:
//!   all of `rollup_1h`, plus `rollup_1m` with `up_to_offset > D2`, plus `rollup_10s` with `up_to_offset > D1`.
//!   The events of a minute: all of `rollup_1m`, plus `rollup_10s` with `up_to_offset > D1`.
//! - `rollup_horizon.since` of a level says from which bucket on it is complete by itself. A piece whose bucket lies before the
//!   horizon of `10s` is written to `rollup_1m` by the flush, one before the horizon of `1m` as well to `rollup_1h` (and to no
//!   other level); it is stamped with the flush like any piece. Rows below a horizon are removed a partition of the table at a
//!   time, once the next level has them. Horizons only move forward, by whole days.
//! - `rollup_touched` lists, for each flush or pass that wrote pieces of a level beyond the done_offset of the next, the buckets
//!   of the next level they belong to and how many events they hold. Not for `1h`, which has no next.
//! - `rollup_gain` says how many events a coarse level has gained, by hours or tens of minutes: in the transaction that wrote
//!   them, whoever it was. It does not say how often a piece was taken back or compacted, which changes no sum.
//! - A pass that adds to a bucket may take back pieces of that bucket which the level above has not read yet and write them
//!   again as one; compaction makes one piece of several that the level above has read, stamped with the largest of their
//!   offsets. So the number of pieces and their stamps say nothing beyond the rules above; their sum does.
//! - `last_10s` of a coarse piece is the start of the last ten-second bucket that has an event in it.
//!
//! All of it holds for the pieces of facets ([`Family`]) too, whose tables are called `facet_10s`, `facet_1m` and `facet_1h`,
//! with done offsets and touched buckets of their own; the horizons are the same.
//!
//! Promises: counts, errors, durations, sums, smallest, largest and every histogram bucket of what is read and of what is
//! written are equal; an inequality fails the pass before anything is written. Merging is exact, so any order and any grouping
//! give the same sums.
//!
//! Does not: know SQL (`postgres::level`), or when it is time ([`leveler`]).

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::{Add, Sub};

use peep_wire::histogram::{HistogramError, Totals};

use crate::window::{Cell, WINDOW_S, window_of};

pub mod leveler;

/// A width of rollup buckets, with a table of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Written by flushes.
    TenSeconds,
    /// Made from ten seconds.
    Minute,
    /// Made from minutes.
    Hour,
}

impl Level {
    /// From fine to coarse.
    pub const ALL: [Level; 3] = [Level::TenSeconds, Level::Minute, Level::Hour];

    /// As `rollup_horizon` calls it, and the tables of series.
    pub fn name(self) -> &'static str {
        match self {
            Level::TenSeconds => "10s",
            Level::Minute => "1m",
            Level::Hour => "1h",
        }
    }

    /// Length of a bucket.
    pub fn width_s(self) -> i64 {
        match self {
            Level::TenSeconds => WINDOW_S,
            Level::Minute => 60,
            Level::Hour => 3_600,
        }
    }

    /// Start of the bucket that holds a second, also before 1970.
    pub fn start_of(self, second: i64) -> i64 {
        second - second.rem_euclid(self.width_s())
    }

    /// What `rollup_gain` counts its gains by, for those who read it from there: a coarse level only.
    pub fn gain_span_s(self) -> Option<i64> {
        match self {
            Level::TenSeconds => None,
            Level::Minute => Some(600),
            Level::Hour => Some(3_600),
        }
    }

    /// The level that is made from this one.
    pub fn next(self) -> Option<Level> {
        match self {
            Level::TenSeconds => Some(Level::Minute),
            Level::Minute => Some(Level::Hour),
            Level::Hour => None,
        }
    }
}

/// Whose pieces: each has levels of its own, made by the same rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Of series.
    Series,
    /// Of versions and hosts.
    Facets,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::Series, Family::Facets];

    /// A level of the family, as `rollup_level` and `rollup_touched` call it.
    pub fn level_name(self, level: Level) -> &'static str {
        match (self, level) {
            (Family::Series, level) => level.name(),
            (Family::Facets, Level::TenSeconds) => "facet_10s",
            (Family::Facets, Level::Minute) => "facet_1m",
            (Family::Facets, Level::Hour) => "facet_1h",
        }
    }
}

/// Since when each level is complete by itself: Unix seconds, whole days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Horizons {
    /// Of `10s`.
    pub ten_seconds_s: i64,
    /// Of `1m`.
    pub minute_s: i64,
    /// Of `1h`: what is older is not kept at all.
    pub hour_s: i64,
}

impl Horizons {
    /// The horizon of a level.
    pub fn of(&self, level: Level) -> i64 {
        match level {
            Level::TenSeconds => self.ten_seconds_s,
            Level::Minute => self.minute_s,
            Level::Hour => self.hour_s,
        }
    }

    /// The level into which a flush writes a window.
    pub fn level_of(&self, window_s: i64) -> Level {
        if window_s >= self.ten_seconds_s {
            Level::TenSeconds
        } else if window_s >= self.minute_s {
            Level::Minute
        } else {
            Level::Hour
        }
    }
}

/// The figures that must be equal before and after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Events.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Those with a duration.
    pub latency_count: u64,
    /// All durations together, as the histograms' totals say.
    pub sum_us: u128,
}

impl Sums {
    /// Of one cell.
    pub fn of(cell: &Cell) -> Self {
        Self {
            count: cell.count,
            errors: cell.errors,
            latency_count: cell.histogram.count(),
            sum_us: u128::from(cell.histogram.sum_us()),
        }
    }
}

impl Add for Sums {
    type Output = Sums;

    fn add(self, other: Sums) -> Sums {
        Sums {
            count: self.count + other.count,
            errors: self.errors + other.errors,
            latency_count: self.latency_count + other.latency_count,
            sum_us: self.sum_us + other.sum_us,
        }
    }
}

impl Sub for Sums {
    type Output = Sums;

    fn sub(self, less: Sums) -> Sums {
        Sums {
            count: self.count - less.count,
            errors: self.errors - less.errors,
            latency_count: self.latency_count - less.latency_count,
            sum_us: self.sum_us - less.sum_us,
        }
    }
}

impl Sum for Sums {
    fn sum<I: Iterator<Item = Sums>>(sums: I) -> Sums {
        sums.fold(Sums::default(), Add::add)
    }
}

/// One stored piece of any level.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Row id of its series.
    pub series_id: i64,
    /// Its figures.
    pub sums: Sums,
    /// Encoded buckets, smallest and largest duration; when there is any duration.
    pub latency: Option<(&'a [u8], u64, u64)>,
    /// Start of the last ten seconds with events.
    pub last_s: i64,
}

/// A piece that is not what a piece should be. Nothing is merged from it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The stored histogram cannot be read.
    #[error("series {series_id}: {error}")]
    Histogram {
        /// Of which series.
        series_id: i64,
        /// Why.
        error: HistogramError,
    },
    /// The histogram and the columns beside it disagree.
    #[error("series {series_id}: a piece says {said} durations and its histogram holds {held}")]
    Durations {
        /// Of which series.
        series_id: i64,
        /// By the column.
        said: u64,
        /// By the histogram.
        held: u64,
    },
}

/// Everything known of one series in one bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// Counts and durations.
    pub cell: Cell,
    /// Start of the last ten seconds with events.
    pub last_s: i64,
}

/// Pieces of one bucket, merged by series.
#[derive(Debug, Default)]
pub struct Merger {
    by_series: BTreeMap<i64, Merged>,
    taken: Sums,
    memory_bytes: usize,
}

impl Merger {
    /// Adds a stored piece.
    ///
    /// # Errors
    /// Corrupt pieces. The merger is of no use afterwards.
    pub fn add(&mut self, piece: &Stored<'_>) -> Result<(), MergeError> {
        let (series_id, sums) = (piece.series_id, piece.sums);
        let merged = self.by_series.entry(series_id).or_insert_with(|| {
            self.memory_bytes += BYTES_PER_SERIES;
            Merged { cell: Cell::default(), last_s: i64::MIN }
        });
        let (held, bytes) = (merged.cell.histogram.count(), merged.cell.histogram.memory_bytes());
        merged.cell.count += sums.count;
        merged.cell.errors += sums.errors;
        merged.last_s = merged.last_s.max(piece.last_s);
        if let Some((histogram, min_us, max_us)) = piece.latency {
            let sum_us = u64::try_from(sums.sum_us).unwrap_or(u64::MAX);
            let totals = Totals { sum_us, min_us, max_us };
            let merging = merged.cell.histogram.merge_v2(histogram, totals);
            merging.map_err(|error| MergeError::Histogram { series_id, error })?;
        }
        let held = merged.cell.histogram.count() - held;
        if held != sums.latency_count {
            return Err(MergeError::Durations { series_id, said: sums.latency_count, held });
        }
        self.memory_bytes += merged.cell.histogram.memory_bytes().saturating_sub(bytes);
        self.taken = self.taken + sums;
        Ok(())
    }

    /// Adds a cell that a flush holds.
    pub fn add_cell(&mut self, series_id: i64, window_s: i64, cell: &Cell) {
        let merged =
            self.by_series.entry(series_id).or_insert_with(|| Merged { cell: Cell::default(), last_s: i64::MIN });
        merged.cell.merge(cell);
        merged.last_s = merged.last_s.max(window_of(window_s));
        self.taken = self.taken + Sums::of(cell);
    }

    /// Sums of everything that was added, by the columns of the pieces.
    pub fn taken(&self) -> Sums {
        self.taken
    }

    /// Row ids of the series so far, ascending.
    pub fn series(&self) -> impl Iterator<Item = i64> {
        self.by_series.keys().copied()
    }

    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// One value for each series, ascending.
    pub fn into_series(self) -> impl Iterator<Item = (i64, Merged)> {
        self.by_series.into_iter()
    }
}

/// A merged series and its place in a map, without its histogram's buckets.
const BYTES_PER_SERIES: usize = size_of::<Merged>() + 32;

#[cfg(test)]
mod tests;
