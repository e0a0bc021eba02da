//! What the oracle has to know besides log and tables.

use std::time::Duration;

/// The rules by which the log was counted. They are the rollup's settings, and have to be those of then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Events that ended longer before their receipt are dead letters. `PEEP_ROLLUP_EVENT_AGE_MAX`.
    pub event_age_max: Duration,
    /// Events that ended further after their receipt are dead letters. `PEEP_ROLLUP_EVENT_AHEAD_MAX`.
    pub event_ahead_max: Duration,
    /// A producer that was not heard of for longer is forgotten. `PEEP_ROLLUP_DEDUP_RETENTION`.
    pub dedup_retention: Duration,
    /// Producers remembered per project and partition. `PEEP_ROLLUP_PRODUCERS_MAX`.
    pub producers_max: usize,
    /// Series with a place of their own per project and partition. `PEEP_ROLLUP_SERIES_MAX`.
    pub series_max: usize,
    /// The same for all projects of a partition together.
    pub series_total_max: usize,
    /// Versions, and hosts, with a place of their own per service and partition. `PEEP_ROLLUP_FACETS_MAX`.
    pub facets_max: usize,
    /// The same for all services of a partition together.
    pub facets_total_max: usize,
    /// Room for folded series beyond both.
    pub folds_max: usize,
    /// Bytes that a partition's memory of producers may take. Where they may have been exceeded, the tables are believed.
    pub dedup_bytes_max: usize,
    /// Age at which dead letters and duplicates are swept. `PEEP_ROLLUP_RETENTION_1M`.
    pub letters_kept: Duration,
    /// Age at which the books are dropped. `PEEP_ROLLUP_RETENTION_1H`.
    pub books_kept: Duration,
}

impl Rules {
    /// The rollup's defaults.
    pub const DEFAULT: Rules = Rules {
        event_age_max: Duration::from_hours(31 * 24),
        event_ahead_max: Duration::from_mins(10),
        dedup_retention: Duration::from_hours(24),
        producers_max: 20_000,
        series_max: 10_000,
        series_total_max: 100_000,
        facets_max: 1_000,
        facets_total_max: 100_000,
        folds_max: 1_000,
        dedup_bytes_max: 16 << 20,
        letters_kept: Duration::from_hours(35 * 24),
        books_kept: Duration::from_hours(400 * 24),
    };
}

/// What to verify, and how much to say and to hold.
#[derive(Debug, Clone)]
pub struct Options {
    /// The rules of the rollup.
    pub rules: Rules,
    /// Partitions to verify; `None` for all.
    pub partitions: Option<Vec<u32>>,
    /// Differences to describe; the rest is counted.
    pub differences_max: usize,
    /// Series and windows of one partition to hold at once. Each takes a few hundred bytes.
    pub cells_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rules: Rules::DEFAULT, partitions: None, differences_max: 100, cells_max: 8_000_000 }
    }
}

/// How far the verification has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The partition at work.
    pub partition: u32,
    /// Records read of it.
    pub records: u64,
    /// Records to read of it.
    pub records_total: u64,
}
