//! The durable log: the only buffer between the services of peep.
//!
//! Arrives: opaque records (one accepted HTTP batch, or one live frame each) for a numbered partition.
//! Leaves: the same records, in order, to any number of readers that name the offset they want next.
//!
//! Promises, the same for every backend and checked by one suite (`tests/contract.rs`):
//! - an acknowledged append is durable: Kafka with `acks=all`, or committed in Postgres;
//! - offsets of a partition are gapless, start at 0 and follow the order in which `append` was called
//!   by one process; a reader never sees a record before all records with smaller offsets;
//! - every queue is bounded in bytes, and a full one is an answer (`Full`), not a wait;
//! - a reader is never moved: asking for an offset outside the log is an error, not a reset.
//!
//! Deliberately absent: consumer groups and stored offsets (who reads what is the rollup's lease and
//! cursor), transactions across records, and knowledge of what a record means.
//!
//! The way through: [`LogConfig`] says which backend, [`open()`] builds it, a service appends or reads
//! through [`Log`] and [`Reader`]. The next station after `append` is the rollup, through `reader`.

mod config;

mod open;

mod kafka;

mod postgres;

pub mod memory;

pub mod metrics;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
pub use futures_util::future::BoxFuture;

pub use crate::config::{Backend, KafkaSettings, LogConfig, Retention};
pub use crate::memory::{MemoryLog, memory};
pub use crate::open::open;

/// One open topic.
///
/// An implementation is shared by every task of a process; nothing here needs `&mut`.
pub trait Log: Send + Sync + 'static {
    /// How many partitions the topic really has, which is what routing must use: the configured
    /// number only applies when the topic is created.
    fn partitions(&self) -> u32;

    /// The largest record it takes, in bytes.
    fn record_bytes_max(&self) -> usize;

    /// Queues the record at once (so that calls of one task keep their order) and resolves when it is
    /// durable. Dropping the future does not withdraw the record.
    fn append(&self, partition: Partition, payload: Bytes) -> BoxFuture<'static, Result<Offset, AppendError>>;

    /// The readable range: `low` is the oldest offset still kept, `high` the offset the next record
    /// will get.
    fn watermarks(&self, partition: Partition) -> BoxFuture<'_, Result<Watermarks, ReadError>>;

    /// A reader whose first record is `from`; `from == high` waits for what comes next.
    fn reader(&self, partition: Partition, from: Offset) -> BoxFuture<'_, Result<Box<dyn Reader>, ReadError>>;

    /// Records of `partition` below `offset` are not needed any more, later ones are. A log of peep's own keeps what is
    /// needed and refuses appends as `Full` when that fills it; where somebody else decides about retention (Kafka), and
    /// where nobody does (memory), this does nothing.
    fn needed_from(&self, partition: Partition, offset: Offset) -> BoxFuture<'_, Result<(), ReadError>> {
        let _ = (partition, offset);
        Box::pin(std::future::ready(Ok(())))
    }

    /// `Err` says, in one line for people, why appends cannot succeed at the moment.
    fn ready(&self) -> Result<(), String>;

    /// Waits for queued records and stops background work. Appends afterwards are `Unavailable`.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A position in one partition that moves forward as records are taken.
pub trait Reader: Send {
    /// Waits up to `wait` for at least one record; an empty list means that none came. At most
    /// `bytes_max` of payload, except that the first record is returned whatever its size.
    ///
    /// Safe to drop half way: records that were not returned come again.
    fn next(&mut self, bytes_max: usize, wait: Duration) -> BoxFuture<'_, Result<Vec<LogRecord>, ReadError>>;
}

/// The two topics of a peep installation.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Topic {
    /// Accepted batches, from ingest to the rollup.
    Events,
    /// Changed windows, from the rollup to every stream process.
    Live,
}

impl Topic {
    /// The last part of the topic's name; also the value of the `topic` label of every metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Live => "live",
        }
    }
}

/// A partition number, `0..Log::partitions()`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Partition(pub u32);

/// The place of a record in its partition.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Offset(pub u64);

/// Half-open range `[low, high)` of readable offsets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Watermarks {
    pub low: Offset,
    pub high: Offset,
}

/// One record as a reader gets it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogRecord {
    pub offset: Offset,
    /// When the log took the record, by the log's clock: Kafka's broker, or the database.
    pub appended_ms: i64,
    pub payload: Bytes,
}

/// Why an append was not acknowledged, by what the caller can do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written; the caller sheds load and the client tries again later.
    #[error("{what} is full")]
    Full { what: &'static str },
    /// The outcome is unknown: the record may or may not be in the log. A retry must carry the same
    /// identity.
    #[error("append record: {reason}")]
    Unavailable { reason: String },
    /// Will never fit; a retry is useless.
    #[error("record of {bytes} bytes exceeds the limit of {max}")]
    TooLarge { bytes: usize, max: usize },
}

/// Why a read failed, by what the caller can do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log: retention removed it, or the log lost its end. Never repaired by
    /// itself; the caller decides.
    #[error("offset is outside of the log, which holds {low} to {high}")]
    OutOfRange { low: Offset, high: Offset },
    /// Try again, with the same reader or with a new one from the next offset: nothing is lost or repeated.
    #[error("read log: {reason}")]
    Unavailable { reason: String },
}

/// Why a topic could not be opened.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The log could not be reached; starting again later may help.
    #[error("open topic {topic}: {reason}")]
    Unavailable { topic: String, reason: String },
    /// A setting the backend refuses; starting again will not help.
    #[error("open topic {topic}: {reason}")]
    Refused { topic: String, reason: String },
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Offset {
    /// The offset `records` further on.
    pub fn plus(self, records: u64) -> Self {
        Self(self.0 + records)
    }
}

impl Watermarks {
    /// `Err` when a reader cannot start at `from`.
    fn check(self, from: Offset) -> Result<(), ReadError> {
        if from < self.low || from > self.high {
            return Err(ReadError::OutOfRange { low: self.low, high: self.high });
        }
        Ok(())
    }
}
