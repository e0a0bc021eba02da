//! The store in Postgres.
//!
//! Arrives: calls of [`Store`]. Leaves: SQL. In the order of a partition's life: [`cursor`] leases it and moves its cursor;
//! `dedup`, `budget` and `facet` restore what it must know; [`write`](mod@write) is one flush, with the rows of `level`, `dedup`,
//! `budget`, `facet` and `ledger` in the same transaction; `copy` writes rows in Postgres' binary format; [`partitions`] are those of the tables.
//!
//! Promises: a flush has a connection that nobody else uses; after any error that connection is closed, so that no half-open
//! transaction is ever reused. Whether a failed flush was committed after all (the connection broke while COMMIT was on its
//! way) is never guessed.
//!
//! Does not: retry, or bound the time of a flush as a whole (`flush` does).

pub mod partitions;

mod cursor;

mod write;

pub(crate) mod copy;

pub(crate) mod level;

pub(crate) mod dedup;

pub(crate) mod budget;

pub(crate) mod facet;

mod ledger;

pub(crate) mod breaks;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};
use tokio::time::timeout;

use crate::level::Horizons;
use crate::metrics;
use crate::partition::{Cut, Restored};
use crate::store::{Claim, Flushed, Lease, Owner, Renewed, Report, Store, StoreError};

use partitions::TimeTable;

/// [`Store`] in the tables of the migrations.
pub struct PostgresStore {
    /// For everything that is one short statement.
    pool: PgPool,
    /// For flushes and restores.
    options: PgConnectOptions,
    /// Connections whose last transaction ended well, at most `idle_max`.
    idle: Mutex<Vec<PgConnection>>,
    idle_max: usize,
    /// Partitions of tables that exist as far as we know. Forgotten after any failure.
    known: Mutex<HashSet<(TimeTable, i64)>>,
    /// As far as we know; each flush checks.
    horizons: Mutex<Option<Horizons>>,
}

impl PostgresStore {
    /// Leases go through `pool`; flushes open connections of their own, of which up to `idle_max` are kept.
    pub fn new(pool: PgPool, options: PgConnectOptions, idle_max: usize) -> Self {
        Self { pool, options, idle: Mutex::default(), idle_max, known: Mutex::default(), horizons: Mutex::default() }
    }

    /// Closes the idle connections.
    pub async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            // A connection that does not say goodbye in time is simply dropped.
            let _ = timeout(CONNECT_DEADLINE, connection.close()).await;
        }
    }

    async fn write(&self, owner: Owner, epoch: u64, cut: &Cut) -> Result<Flushed, StoreError> {
        // Owned by this future: dropped with it, which closes it, unless it is put back below.
        let mut connection = self.connection().await?;
        write::resolve_series(&mut connection, cut).await?;
        facet::resolve(&mut connection, cut).await?;
        for _ in 0..HORIZON_ATTEMPTS {
            let horizons = self.horizons(&mut connection).await?;
            self.ensure_partitions(&mut connection, cut, &horizons).await?;
            if let Some(flushed) = write::write(&mut connection, owner, epoch, cut, &horizons).await? {
                self.put_back(connection);
                return Ok(flushed);
            }
            *self.horizons.lock() = None;
        }
        Err(StoreError::new("the horizons of the levels keep moving"))
    }

    /// Writes the rows of a cut with neither cursor nor dedup nor books. Counts nothing exactly once; for measuring what
    /// those cost.
    #[doc(hidden)]
    pub async fn flush_rows_alone(&self, cut: &Cut) -> Result<(), StoreError> {
        let mut connection = self.connection().await?;
        write::resolve_series(&mut connection, cut).await?;
        facet::resolve(&mut connection, cut).await?;
        let horizons = self.horizons(&mut connection).await?;
        self.ensure_partitions(&mut connection, cut, &horizons).await?;
        write::write_rows_alone(&mut connection, cut, &horizons).await?;
        self.put_back(connection);
        Ok(())
    }

    async fn horizons(&self, connection: &mut PgConnection) -> Result<Horizons, StoreError> {
        let known = *self.horizons.lock();
        if let Some(horizons) = known {
            return Ok(horizons);
        }
        let horizons = level::horizons(connection).await?;
        *self.horizons.lock() = Some(horizons);
        Ok(horizons)
    }

    async fn read_past(&self, partition: u32) -> Result<Restored, StoreError> {
        let mut connection = self.connection().await?;
        let mut restored = Restored::default();
        dedup::restore(&mut connection, partition, &mut restored).await?;
        budget::restore(&mut connection, partition, &mut restored).await?;
        facet::restore(&mut connection, partition, &mut restored).await?;
        self.put_back(connection);
        Ok(restored)
    }

    async fn connection(&self) -> Result<PgConnection, StoreError> {
        let idle = self.idle.lock().pop();
        if let Some(mut connection) = idle {
            // One round trip, against forgetting a partition's memory because Postgres was restarted meanwhile.
            if matches!(timeout(CONNECT_DEADLINE, connection.ping()).await, Ok(Ok(()))) {
                return Ok(connection);
            }
        }
        match timeout(CONNECT_DEADLINE, self.options.connect()).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StoreError::new(format!("no connection within {} s", CONNECT_DEADLINE.as_secs()))),
        }
    }

    fn put_back(&self, connection: PgConnection) {
        let mut idle = self.idle.lock();
        if idle.len() < self.idle_max {
            idle.push(connection);
        }
    }

    async fn ensure_partitions(
        &self,
        connection: &mut PgConnection,
        cut: &Cut,
        horizons: &Horizons,
    ) -> Result<(), StoreError> {
        let mut missing = partitions::partitions_of(cut, horizons);
        missing.retain(|partition| !self.known.lock().contains(partition));
        for table in TimeTable::ALL {
            let starts: Vec<i64> = missing.iter().filter(|(of, _)| *of == table).map(|(_, start)| *start).collect();
            if !starts.is_empty() {
                let made = partitions::ensure(connection, table, &starts).await?;
                metrics::table_partitions("made", u64::try_from(made).unwrap_or(0));
                self.known.lock().extend(starts.into_iter().map(|start| (table, start)));
            }
        }
        Ok(())
    }
}

impl Store for PostgresStore {
    fn open(&self, partitions: u32) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(cursor::open(&self.pool, partitions).await?) })
    }

    fn renew(&self, owner: Owner, capacity: u32) -> BoxFuture<'_, Result<Renewed, StoreError>> {
        Box::pin(async move { Ok(cursor::renew(&self.pool, owner, capacity).await?) })
    }

    fn claim(&self, owner: Owner, claim: Claim) -> BoxFuture<'_, Result<Vec<Lease>, StoreError>> {
        Box::pin(async move {
            let leases = cursor::claim(&self.pool, owner, &claim).await?;
            if (leases.len() as u64) < claim.count_max {
                match cursor::evict(&self.pool, claim.partitions).await {
                    Ok(0) => {}
                    Ok(_) => tracing::warn!(
                        "closed the connection of a worker that froze while it wrote; its partition is free"
                    ),
                    // What was claimed is ours all the same.
                    Err(error) => tracing::warn!(%error, "frozen workers not looked for"),
                }
            }
            Ok(leases)
        })
    }

    fn release(&self, owner: Owner, partitions: Option<Vec<u32>>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(cursor::release(&self.pool, owner, partitions.as_deref()).await?) })
    }

    fn restore(&self, partition: u32) -> BoxFuture<'_, Result<Restored, StoreError>> {
        Box::pin(self.read_past(partition))
    }

    fn flush(&self, owner: Owner, epoch: u64, cut: Arc<Cut>) -> BoxFuture<'_, Result<Flushed, StoreError>> {
        Box::pin(async move {
            let flushed = self.write(owner, epoch, &cut).await;
            if flushed.is_err() {
                // A partition of a table that we believed in may be gone.
                self.known.lock().clear();
            }
            flushed
        })
    }

    fn report(&self, owner: Owner, reports: Vec<Report>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(cursor::report(&self.pool, owner, &reports).await?) })
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::new(error)
    }
}

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Horizons move once a day.
const HORIZON_ATTEMPTS: u32 = 3;
