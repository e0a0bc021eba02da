//! What came before the first record that can still be read.
//!
//! A log that begins at its first record, and was never replaced, has no past: every outcome follows from it. Where the
//! beginning has expired, whether a batch came before it is written in the tables alone; then they are believed as far as they
//! do not contradict the log, and the report says how often.

use std::collections::{BTreeMap, BTreeSet};

use crate::producers::Verdict;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    knowledge: Knowledge,
    /// What the tables say about whole batches, by position of the record and index of the first event in it.
    told: BTreeMap<(u64, u32), Verdict>,
    /// Projects of which nobody can say any more which series had a place of their own.
    folding: BTreeSet<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    /// The log is read from its first record on.
    Whole,
    /// The first records are gone: the rollup may remember more than can be known here.
    Unknown,
    /// The rollup may have forgotten what is known here.
    Forgetful,
}

impl Past {
    /// There is none: the log is read from its first record on.
    pub(crate) fn none(told: BTreeMap<(u64, u32), Verdict>) -> Self {
        Self { knowledge: Knowledge::Whole, told, folding: BTreeSet::new() }
    }

    /// The log's first records are gone. `folding` are the projects that had too many series.
    pub(crate) fn unknown(told: BTreeMap<(u64, u32), Verdict>, folding: BTreeSet<i64>) -> Self {
        Self { knowledge: Knowledge::Unknown, told, folding }
    }

    /// The series of projects in which all are taken together.
    pub(crate) fn folding(&self) -> &BTreeSet<i64> {
        &self.folding
    }

    /// Whether the budget of series follows from the log.
    pub(crate) fn knows_series(&self) -> bool {
        self.knowledge != Knowledge::Unknown
    }

    /// From here on the rollup may have forgotten what is known here.
    pub(crate) fn becomes_forgetful(&mut self) {
        if self.knowledge == Knowledge::Whole {
            self.knowledge = Knowledge::Forgetful;
        }
    }

    /// Whether every outcome follows from the log.
    pub(crate) fn is_whole(&self) -> bool {
        self.knowledge == Knowledge::Whole
    }

    /// The verdict about a batch, given the one that follows from what could be read.
    pub(crate) fn correct(&self, batch: (u64, u32), by_the_log: Verdict) -> Verdict {
        let told = self.told.get(&batch).copied();
        match (self.knowledge, by_the_log) {
            (Knowledge::Whole, _) => by_the_log,
            // Whoever remembers more may know it as a duplicate, or its number as long past; never the other way round.
            (Knowledge::Unknown, Verdict::Count { .. }) => told.unwrap_or(by_the_log),
            (Knowledge::Unknown, _) => told.filter(|told| *told == Verdict::BelowWindow).unwrap_or(by_the_log),
            (Knowledge::Forgetful, _) => told.unwrap_or(Verdict::Count { uncertain: false }),
        }
    }
}
