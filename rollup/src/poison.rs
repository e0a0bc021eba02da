//! Dead letters: what cannot be counted, with its reason and its bytes.
//!
//! Arrives: a record or an event that no code can make sense of or that lies outside the accepted time. Leaves: rows of
//! `dead_letter`, written in the same transaction that moves the cursor past them. So nothing is lost silently, nothing
//! blocks the partition, and a person can look at the bytes later.
//!
//! Does not: dead-letter records of a newer format. Those are good records and this worker is old: the partition stops.

use peep_wire::{KeyId, ProjectId};

/// Why something was not counted. A closed set: it is a metric label and a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The record's checksum does not match.
    Checksum,
    /// The record, or the rest of it, does not decode.
    Malformed,
    /// The series key cannot be stored or is not canonical.
    InvalidSeries,
    /// A duration beyond the contract's hour.
    InvalidDuration,
    /// Ended longer before its receipt than events are accepted.
    TooOld,
    /// Ended further after its receipt than clocks may differ.
    InFuture,
    /// The record's batch is so far behind its producer's latest that nobody knows whether it was counted.
    DedupWindowExceeded,
    /// The record contradicts one that was counted under the same identity.
    IdentityConflict,
}

impl Reason {
    /// Every reason, for the metrics.
    pub const ALL: [Reason; 8] = [
        Reason::Checksum,
        Reason::Malformed,
        Reason::InvalidSeries,
        Reason::InvalidDuration,
        Reason::TooOld,
        Reason::InFuture,
        Reason::DedupWindowExceeded,
        Reason::IdentityConflict,
    ];

    /// The text in the table and in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Checksum => "checksum",
            Reason::Malformed => "malformed",
            Reason::InvalidSeries => "invalid_series",
            Reason::InvalidDuration => "invalid_duration",
            Reason::TooOld => "too_old",
            Reason::InFuture => "in_future",
            Reason::DedupWindowExceeded => "dedup_window_exceeded",
            Reason::IdentityConflict => "identity_conflict",
        }
    }
}

/// One row of `dead_letter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record's place in the log.
    pub offset: u64,
    /// Position of the (first) event in the record.
    pub event_index: u32,
    /// Why.
    pub reason: Reason,
    /// Unknown when the header could not be trusted.
    pub project: Option<ProjectId>,
    /// The key it came in with; unknown like the project.
    pub key: Option<KeyId>,
    /// When ingest received it, Unix milliseconds; unknown like the project. What times in an event's bytes refer to.
    pub received_ms: Option<i64>,
    /// When the log took the record, Unix milliseconds: the minute of the books that it belongs to.
    pub appended_ms: i64,
    /// Events this row stands for; unknown when the header could not be trusted.
    pub events: Option<u32>,
    /// The event; or the whole record, for reasons that concern it, or the rest of it, as a whole.
    pub bytes: Box<[u8]>,
}

impl DeadLetter {
    /// Bytes held.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}
