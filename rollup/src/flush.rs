//! Flushes: connections, deadlines and outcomes around `store`.
//!
//! Arrives: cuts of all partitions of a worker. Leaves: for each, "committed" or a reason why not.
//!
//! Promises: a flush runs in a task of its own that nobody cancels, on a connection that nobody else has; after any error
//! the connection is closed, so that no half-open transaction is ever reused. Whether a failed flush was committed after all
//! (the connection broke while COMMIT was on its way) is never guessed: the caller forgets its memory, leases the partition
//! again with a higher epoch and believes the cursor. A deadline bounds the whole: a black hole in the network is a failure
//! like any other.
//!
//! Does not: order flushes; the caller has at most one under way per partition.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cursor::Owner;
use crate::limits::Account;
use crate::metrics;
use crate::partition::Cut;
use crate::store::{self, TimeTable};

/// Runs the flushes of a worker.
pub struct Flusher {
    owner: Owner,
    options: PgConnectOptions,
    /// Connections whose last transaction ended well. At most one for each slot.
    idle: Mutex<Vec<PgConnection>>,
    slots: Semaphore,
    /// Partitions of tables that exist as far as we know. Forgotten after any failure.
    known: Mutex<HashSet<(TimeTable, i64)>>,
}

/// Why a flush did not commit, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    /// Another worker owns the partition or has moved its cursor.
    #[error("fenced: the partition was taken over")]
    Fenced,
    /// Postgres refused, or the connection broke.
    #[error("flush: {0}")]
    Database(#[from] sqlx::Error),
    /// No answer.
    #[error("flush: no answer within {} s", FLUSH_DEADLINE.as_secs())]
    TimedOut,
}

impl FlushError {
    fn outcome(&self) -> &'static str {
        match self {
            FlushError::Fenced => "fenced",
            FlushError::Database(_) => "failed",
            FlushError::TimedOut => "timed_out",
        }
    }
}

impl Flusher {
    /// `flushes_max` at the same time.
    pub fn new(owner: Owner, options: PgConnectOptions, flushes_max: u64) -> Arc<Self> {
        let slots = usize::try_from(flushes_max).unwrap_or(1).max(1);
        Arc::new(Self { owner, options, idle: Mutex::default(), slots: Semaphore::new(slots), known: Mutex::default() })
    }

    /// Flushes in a task that outlives its caller. `account` holds the cut's bytes until it ends.
    pub fn start(self: &Arc<Self>, epoch: u64, cut: Cut, account: Account) -> JoinHandle<Result<(), FlushError>> {
        let flusher = Arc::clone(self);
        tokio::spawn(async move {
            let result = flusher.flush(epoch, &cut).await;
            drop(cut);
            drop(account);
            result
        })
    }

    /// Closes the idle connections.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            // A connection that does not say goodbye in time is simply dropped.
            let _ = timeout(CONNECT_DEADLINE, connection.close()).await;
        }
    }

    async fn flush(&self, epoch: u64, cut: &Cut) -> Result<(), FlushError> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let started = Instant::now();
        let result = match timeout(FLUSH_DEADLINE, self.attempt(epoch, cut)).await {
            Ok(result) => result,
            Err(_) => Err(FlushError::TimedOut),
        };
        metrics::flush_ended(result.as_ref().map_or_else(FlushError::outcome, |()| "committed"), started.elapsed());
        match &result {
            Ok(()) => {
                metrics::committed(cut.partition, cut.to, &cut.books, cut.pieces.len(), &cut.raw, &cut.dead_letters);
            }
            // A partition of a table that we believed in may be gone.
            Err(_) => self.known.lock().clear(),
        }
        result
    }

    async fn attempt(&self, epoch: u64, cut: &Cut) -> Result<(), FlushError> {
        // Owned by this future: dropped with it, which closes it, unless it is put back below.
        let mut connection = self.connection().await?;
        self.ensure_partitions(&mut connection, cut).await?;
        store::resolve_series(&mut connection, cut).await?;
        let committed = store::write(&mut connection, self.owner, epoch, cut).await?;
        self.idle.lock().push(connection);
        if committed { Ok(()) } else { Err(FlushError::Fenced) }
    }

    async fn connection(&self) -> Result<PgConnection, FlushError> {
        let idle = self.idle.lock().pop();
        if let Some(mut connection) = idle {
            // One round trip, against forgetting a partition's memory because Postgres was restarted meanwhile.
            if matches!(timeout(CONNECT_DEADLINE, connection.ping()).await, Ok(Ok(()))) {
                return Ok(connection);
            }
        }
        match timeout(CONNECT_DEADLINE, self.options.connect()).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(FlushError::TimedOut),
        }
    }

    async fn ensure_partitions(&self, connection: &mut PgConnection, cut: &Cut) -> Result<(), FlushError> {
        let mut missing = store::partitions_of(cut);
        missing.retain(|partition| !self.known.lock().contains(partition));
        for table in [TimeTable::Rollup10s, TimeTable::RawEvent] {
            let starts: Vec<i64> = missing.iter().filter(|(of, _)| *of == table).map(|(_, start)| *start).collect();
            if !starts.is_empty() {
                let made = store::ensure_partitions(connection, table, &starts).await?;
                metrics::table_partitions("made", u64::try_from(made).unwrap_or(0));
                self.known.lock().extend(starts.into_iter().map(|start| (table, start)));
            }
        }
        Ok(())
    }
}

/// Three times the longest statement: nobody waits for a flush longer than this.
const FLUSH_DEADLINE: Duration = Duration::from_secs(30);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
