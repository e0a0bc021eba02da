//! The store: where leases, cursors and everything a flush writes are kept, as seen by the rest of the rollup.
//!
//! Arrives: an owner who wants partitions, and [`Cut`]s. Leaves: leases, and "committed" or "fenced".
//!
//! Promises, for every implementation and checked by one suite (`tests/store`):
//! - [`Store::flush`] moves the cursor only for the holder of (owner, epoch) and only from the offset at which the cut begins,
//!   and everything the cut holds is kept together with that move or not at all. This is the whole exactly-once argument;
//!   everything else decides only who works: a wrong lease wastes work and loses nothing.
//! - An error says nothing about the outcome. The caller forgets its memory, leases the partition again, which raises the
//!   epoch and so fences whatever is still under way, and believes the cursor.
//! - No call waits for a flush in progress: a locked partition is the best proof of life there is.
//!
//! Does not: know what a record means. `postgres` is the real one; a simulation brings its own.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use crate::partition::{Cut, Fingerprint, Restored};
use crate::position::Position;

/// Leases, cursors and flushes.
pub trait Store: Send + Sync + 'static {
    /// Adds cursors of partitions that were never counted, beginning at position 0.
    ///
    /// Never at the log's low watermark: a log that has already lost records is reported as broken, not skipped over.
    fn open(&self, partitions: u32) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Says that the owner is alive and takes up to `capacity` partitions, and extends all its leases.
    fn renew(&self, owner: Owner, capacity: u32) -> BoxFuture<'_, Result<Renewed, StoreError>>;

    /// Takes up to `claim.count_max` partitions that are free or expired, and raises their epochs.
    fn claim(&self, owner: Owner, claim: Claim) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>>;

    /// Gives leases back, so that a successor need not wait for them to expire: those of some partitions, or with `None`
    /// all of them, and the owner counts as alive no longer.
    fn release(&self, owner: Owner, partitions: Option<Vec<u32>>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What a partition must know of the past before its first record; asked after the claim was committed.
    fn restore(&self, partition: u32) -> BoxFuture<'_, Result<Restored, StoreError>>;

    /// Keeps everything in the cut and moves the cursor, both or neither.
    fn flush(&self, owner: Owner, epoch: u64, cut: Arc<Cut>) -> BoxFuture<'_, Result<Flushed, StoreError>>;

    /// Notes what the owner sees of partitions it holds, for people. Of others, nothing.
    fn report(&self, owner: Owner, reports: Vec<Report>) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A worker. Random for each start of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub Uuid);

/// The right to count a partition from a position on, until somebody else takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Partition of the event log.
    pub partition: u32,
    /// Raised at each claim, and by the clock of the store, so that it rises even when the store lost its end.
    pub epoch: u64,
    /// Where memory begins.
    pub next: Position,
    /// Of the record before, when there is one.
    pub fingerprint: Option<Fingerprint>,
}

/// What an owner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// How many the log has; others are not counted any more.
    pub partitions: u32,
    /// Own partitions to take anew: the raised epoch fences whatever the last attempt may still have under way.
    pub again: Vec<u32>,
    /// At most so many, `again` first.
    pub count_max: u64,
}

/// What is left of an owner's leases, and who shares the partitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Ascending by partition.
    pub held: Vec<HeldLease>,
    /// Everybody alive, this owner included, with what they can take; ascending by owner.
    pub workers: Vec<(Owner, u32)>,
}

/// A lease as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLease {
    /// Partition of the event log.
    pub partition: u32,
    /// Of the last claim.
    pub epoch: u64,
    /// The cursor. Behind what was committed, when the store itself lost its end (a failover to a replica that lagged).
    pub next: Position,
}

/// How a flush ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// All of it is kept.
    Committed,
    /// Somebody else moved the cursor or took the partition; nothing is kept.
    Fenced,
}

/// What an owner sees of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Partition of the event log.
    pub partition: u32,
    /// Of the lease.
    pub epoch: u64,
    /// The readable range of the log.
    pub range: Option<(Position, Position)>,
    /// Whether it can be counted.
    pub verdict: Verdict,
}

/// Whether a partition can be counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not known yet: what was noted before stays.
    Open,
    /// It is.
    Sound,
    /// Counting stopped until a person decides.
    Broken {
        /// For people.
        reason: String,
    },
}

/// No answer, or a refusal. The outcome is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(String);

impl StoreError {
    /// With a reason for people.
    pub fn new(reason: impl Display) -> Self {
        Self(reason.to_string())
    }
}

/// How long a lease lasts without renewal, by the clock of the store. With a look for expired ones every second, a partition of
/// a dead worker is somebody else's after seven; twelve leave five to open the log, to catch up and to flush.
pub const LEASE: Duration = Duration::from_secs(6);
