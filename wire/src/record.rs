//! The log record: one accepted HTTP batch as one compact, self-checking protobuf message; or a [`Bundle`] of small ones.
//!
//! Arrives: checked [`Event`](crate::event::Event)s. Leaves: the bytes of one log record ([`RecordBuilder::finish`]), and on the
//! other side borrowed [`EventRow`]s ([`open`], [`parse`]) that point into those bytes.
//!
//! Promises: the bytes are exactly what a protobuf library writes for `wire/record.proto` (property-tested
//! against prost); a flipped bit anywhere is found by the CRC; decoding allocates nothing and never panics.
//! The series fields lie together, so that a rollup's key is a slice of the record (10.8 ns a lookup against
//! 35 ns for a tuple of strings, measured in floors of the design).
//!
//! Does not: validate events (the decoders do), compress (the log may).

mod write;

mod read;

mod bundle;

mod series;

mod attrs;

pub use attrs::Attrs;
pub use bundle::{Batches, Bundle, Record, open};
pub use read::{Batch, EventHead, EventRow, Events, Heads, parse};
pub use series::{Series, SeriesKey};
pub use write::RecordBuilder;

use crate::ids::{Identity, KeyId, ProjectId};

/// What stands before the events of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The tenant.
    pub project: ProjectId,
    /// The key the batch came in with.
    pub key: KeyId,
    /// Present when the client can retry without doubling.
    pub identity: Option<Identity>,
    /// When ingest received the batch, Unix milliseconds.
    pub received_ms: i64,
    /// Events in the record.
    pub event_count: u32,
    /// Which of several records of one request this is, from 0.
    pub part: u32,
    /// How many records the request became; 0 stands for "just this one".
    pub parts: u32,
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Cut short or not ours.
    #[error("decode record: {0}")]
    Malformed(&'static str),
    /// The bytes changed between writer and reader.
    #[error("decode record: checksum mismatch")]
    Checksum,
    /// Written by a newer peep: stop, do not skip.
    #[error("decode record: format {0} is newer than this reader; upgrade it first")]
    Format(u64),
}

/// Where a request is cut into records: Kafka's default message limit of 1 MiB less room for its own headers.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024 - 4096;

/// Field number and wire type of each field of `record.proto`.
mod tag {
    pub(super) const CRC: u8 = 1 << 3 | 5;
    pub(super) const FORMAT: u8 = 2 << 3;
    pub(super) const PROJECT: u8 = 3 << 3;
    pub(super) const KEY: u8 = 4 << 3;
    pub(super) const PRODUCER: u8 = 5 << 3 | 2;
    pub(super) const SEQ: u8 = 6 << 3;
    pub(super) const RECEIVED_MS: u8 = 7 << 3 | 1;
    pub(super) const EVENT_COUNT: u8 = 8 << 3;
    pub(super) const PART: u8 = 9 << 3;
    pub(super) const PARTS: u8 = 10 << 3;
    pub(super) const EVENT: u8 = 11 << 3 | 2;
    pub(super) const BATCH: u8 = 15 << 3 | 2;

    pub(super) const SERIES: u8 = 1 << 3 | 2;
    pub(super) const ENDED_DELTA_MS: u8 = 2 << 3;
    pub(super) const DURATION_US: u8 = 3 << 3;
    pub(super) const ERROR: u8 = 4 << 3 | 2;
    pub(super) const HOST: u8 = 5 << 3 | 2;
    pub(super) const VERSION: u8 = 6 << 3 | 2;
    pub(super) const SOURCE: u8 = 7 << 3 | 2;
    pub(super) const BYTES_IN: u8 = 8 << 3;
    pub(super) const BYTES_OUT: u8 = 9 << 3;
    pub(super) const TRACE_ID: u8 = 10 << 3 | 2;
    pub(super) const SPAN_ID: u8 = 11 << 3 | 2;
    pub(super) const ATTR: u8 = 12 << 3 | 2;

    pub(super) const SERVICE: u8 = 1 << 3 | 2;
    pub(super) const ENV: u8 = 2 << 3 | 2;
    pub(super) const ROUTE: u8 = 3 << 3 | 2;
    pub(super) const METHOD: u8 = 4 << 3;
    pub(super) const STATUS: u8 = 5 << 3;

    pub(super) const ATTR_KEY: u8 = 1 << 3 | 2;
    pub(super) const ATTR_TEXT: u8 = 2 << 3 | 2;
    pub(super) const ATTR_NUMBER: u8 = 3 << 3 | 1;
    pub(super) const ATTR_FLAG: u8 = 4 << 3;
}

const CUT: RecordError = RecordError::Malformed("cut short");
const FORMAT: u64 = 1;
/// Of a record that holds several batches.
const BUNDLE_FORMAT: u64 = 2;
const CRC_FIELD_BYTES: usize = 5;

#[cfg(test)]
mod tests;
