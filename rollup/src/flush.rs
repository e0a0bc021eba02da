//! Flushes: slots, deadlines and outcomes around the store.
//!
//! Arrives: cuts of all partitions of a worker. Leaves: for each, "committed" or a reason why not.
//!
//! Promises: a flush runs in a task of its own that nobody cancels. Whether a failed flush was committed after all is never
//! guessed: the caller forgets its memory, leases the partition again with a higher epoch and believes the cursor. A deadline
//! bounds the whole: a black hole in the network is a failure like any other.
//!
//! Does not: order flushes; the caller has at most one under way per partition.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::limits::Account;
use crate::metrics;
use crate::partition::Cut;
use crate::store::{Flushed, Owner, Store, StoreError};

/// Runs the flushes of a worker.
pub struct Flusher {
    owner: Owner,
    store: Arc<dyn Store>,
    slots: Semaphore,
}

/// Why a flush did not commit, or may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// Another worker owns the partition or has moved its cursor.
    #[error("fenced: the partition was taken over")]
    Fenced,
    /// The store refused, or the connection broke.
    #[error("flush: {0}")]
    Store(#[from] StoreError),
    /// No answer.
    #[error("flush: no answer within {} s", FLUSH_DEADLINE.as_secs())]
    TimedOut,
}

impl FlushError {
    fn outcome(&self) -> &'static str {
        match self {
            FlushError::Fenced => "fenced",
            FlushError::Store(_) => "failed",
            FlushError::TimedOut => "timed_out",
        }
    }
}

impl Flusher {
    /// `flushes_max` at the same time.
    pub fn new(owner: Owner, store: Arc<dyn Store>, flushes_max: u64) -> Arc<Self> {
        let slots = usize::try_from(flushes_max).unwrap_or(1).max(1);
        Arc::new(Self { owner, store, slots: Semaphore::new(slots) })
    }

    /// Flushes in a task that outlives its caller. `account` holds the cut's bytes until it ends.
    pub fn start(self: &Arc<Self>, epoch: u64, cut: Cut, account: Account) -> JoinHandle<Result<(), FlushError>> {
        let flusher = Arc::clone(self);
        tokio::spawn(async move {
            let result = flusher.flush(epoch, Arc::new(cut)).await;
            drop(account);
            result
        })
    }

    async fn flush(&self, epoch: u64, cut: Arc<Cut>) -> Result<(), FlushError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let started = Instant::now();
        let result = match timeout(FLUSH_DEADLINE, self.store.flush(self.owner, epoch, Arc::clone(&cut))).await {
            Ok(Ok(Flushed::Committed)) => Ok(()),
            Ok(Ok(Flushed::Fenced)) => Err(FlushError::Fenced),
            Ok(Err(error)) => Err(FlushError::Store(error)),
            Err(_) => Err(FlushError::TimedOut),
        };
        metrics::flush_ended(result.as_ref().map_or_else(FlushError::outcome, |()| "committed"), started.elapsed());
        if result.is_ok() {
            metrics::committed(&cut);
        }
        result
    }
}

/// Three times the longest statement: nobody waits for a flush longer than this.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);
