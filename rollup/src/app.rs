//! Puts the parts together and owns the order of starting and stopping.
//!
//! Start: cursor rows, flusher, retention, then leases; each lease starts a consumer. Stop: consumers finish reading,
//! publish and flush what they have; what is not flushed in time is read again by the successor. Then leases go back, and
//! connections close. Nothing here is needed for correctness: a killed worker is merely missed for the length of a lease.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use peep_chassis::admin::{Health, HealthHandle};
use peep_chassis::clock::Clock;
use peep_chassis::lifecycle::Shutdown;
use peep_log::Log;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Config;
use crate::consumer::{self, Ended, Worker};
use crate::cursor::{self, Lease, Owner};
use crate::flush::Flusher;
use crate::lease::Leases;
use crate::limits::Budget;
use crate::metrics::{self, State};
use crate::retention::{self, Retention};

/// Counts the events of every partition this worker can lease, until `shutdown`.
///
/// `pool` serves the leases; flushes and retention open connections of their own with `database`.
///
/// # Errors
/// Only what makes the worker useless from the start. Databases and logs that are away for a while are waited for.
pub async fn run(
    config: Config,
    events: Arc<dyn Log>,
    live: Arc<dyn Log>,
    pool: PgPool,
    database: PgConnectOptions,
    health: &Health,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    metrics::describe();
    let health = health.register("rollup");
    let partitions = events.partitions();
    anyhow::ensure!(partitions > 0, "the event log has no partitions");
    if !open_cursors(&pool, partitions, &health, &shutdown).await {
        return Ok(());
    }
    let owner = Owner(Uuid::new_v4());
    let retention = Retention { rollups: config.retention, raw: config.raw_retention };
    let retention = tokio::spawn(retention::run(database.clone(), retention, shutdown.child()));
    let flusher = Flusher::new(owner, database, config.flushes_max);
    let leases = Leases::new(pool, owner, partitions, config.partitions_max);
    let worker = Arc::new(Worker {
        budget: Budget::new(config.memory_bytes_max, partitions),
        clock: Clock::system(),
        flusher: Arc::clone(&flusher),
        events,
        live,
        config,
    });
    tracing::info!(owner = %owner.0, partitions, "rollup started");

    let mut supervisor = Supervisor::new(worker, leases, health, shutdown.clone());
    supervisor.supervise().await;
    let stopped = supervisor.stop().await;
    flusher.close().await;
    // It stops between two passes; a pass that hangs is left to the end of the process.
    let _ = timeout(RETENTION_STOP_WAIT, retention).await;
    stopped
}

/// Waits for the database. `false` at shutdown.
async fn open_cursors(pool: &PgPool, partitions: u32, health: &HealthHandle, shutdown: &Shutdown) -> bool {
    loop {
        let error = match cursor::open(pool, partitions).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        tracing::warn!(%error, "database not ready");
        health.set_not_ready(format!("database not ready: {error}"));
        tokio::select! {
            () = shutdown.requested() => return false,
            () = sleep(DATABASE_RETRY_DELAY) => {}
        }
    }
}

/// The running consumers.
struct Supervisor {
    worker: Arc<Worker>,
    leases: Leases,
    health: HealthHandle,
    shutdown: Shutdown,
    consumers: JoinSet<Ended>,
    running: HashMap<Id, u32>,
    lost: BTreeMap<u32, CancellationToken>,
    /// Consecutive failures without progress, with the last reason.
    failures: BTreeMap<u32, (u32, String)>,
    broken: BTreeMap<u32, String>,
    /// Why the last tick of the leases failed.
    lease_error: Option<String>,
}

impl Supervisor {
    fn new(worker: Arc<Worker>, leases: Leases, health: HealthHandle, shutdown: Shutdown) -> Self {
        Self {
            worker,
            leases,
            health,
            shutdown,
            consumers: JoinSet::new(),
            running: HashMap::new(),
            lost: BTreeMap::new(),
            failures: BTreeMap::new(),
            broken: BTreeMap::new(),
            lease_error: None,
        }
    }

    async fn supervise(&mut self) {
        let mut next_tick = Instant::now();
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                Some(joined) = self.consumers.join_next_with_id() => {
                    let (partition, ended) = self.joined(joined);
                    self.ended(partition, ended);
                    // A rest may end before the next regular tick.
                    next_tick = next_tick.min(self.leases.next_tick());
                }
                () = sleep_until(next_tick) => {
                    tokio::select! {
                        // What a claim took whose answer nobody heard goes back with the other leases.
                        () = shutdown.requested() => return,
                        () = self.tick() => next_tick = self.leases.next_tick(),
                    }
                }
            }
            self.report();
        }
    }

    /// Consumers flush and end; then the leases go back.
    async fn stop(&mut self) -> anyhow::Result<()> {
        let all = async { while self.consumers.join_next().await.is_some() {} };
        if timeout(CONSUMER_STOP_WAIT, all).await.is_err() {
            tracing::warn!("not everything was flushed in time; it is read again from the cursor");
            self.consumers.shutdown().await;
        }
        self.leases.release().await.context("release leases")
    }

    async fn tick(&mut self) {
        match self.leases.tick().await {
            Ok(changes) => {
                self.lease_error = None;
                for partition in changes.lost {
                    if let Some(lost) = self.lost.get(&partition) {
                        lost.cancel();
                    }
                }
                for lease in changes.acquired {
                    self.start(lease);
                }
            }
            Err(error) => {
                if self.lease_error.is_none() {
                    tracing::warn!(%error, "leases not renewed; others may take the partitions over");
                }
                self.lease_error = Some(error.to_string());
            }
        }
    }

    fn start(&mut self, lease: Lease) {
        let partition = lease.partition;
        tracing::info!(partition, epoch = lease.epoch, offset = lease.next.0, "partition acquired");
        metrics::partition_state(partition, State::Running);
        let lost = CancellationToken::new();
        self.lost.insert(partition, lost.clone());
        let consumer = consumer::run(Arc::clone(&self.worker), lease, lost, self.shutdown.child());
        self.running.insert(self.consumers.spawn(consumer).id(), partition);
    }

    fn joined(&mut self, joined: Result<(Id, Ended), JoinError>) -> (u32, Ended) {
        let (id, ended) = match joined {
            Ok(ended) => ended,
            Err(error) => (error.id(), Ended::Failed { reason: error.to_string(), progress: false }),
        };
        let partition = self.running.remove(&id).expect("every consumer is known by the id of its task");
        (partition, ended)
    }

    fn ended(&mut self, partition: u32, ended: Ended) {
        self.lost.remove(&partition);
        self.broken.remove(&partition);
        metrics::partition_state(partition, State::NotOwned);
        match ended {
            Ended::Stopped => {}
            Ended::Lost => {
                tracing::info!(partition, "partition lost");
                self.failures.remove(&partition);
                // Should the lease still be ours (only the cursor was moved), it is taken anew.
                self.leases.rest(partition, FAILURE_REST);
            }
            Ended::Failed { reason, progress } => {
                let before = self.failures.get(&partition).filter(|_| !progress).map_or(0, |(count, _)| *count);
                let rest = (FAILURE_REST * 2u32.saturating_pow(before.min(8))).min(FAILURE_REST_MAX);
                tracing::error!(
                    partition,
                    reason,
                    rest_ms = rest.as_millis() as u64,
                    "partition starts again from its cursor"
                );
                self.failures.insert(partition, (before + 1, reason));
                self.leases.rest(partition, rest);
            }
            Ended::Broken { reason } => {
                tracing::error!(
                    partition,
                    reason,
                    "partition broken: counting stopped, nothing is skipped; a person has to decide"
                );
                metrics::partition_state(partition, State::Broken);
                self.broken.insert(partition, reason);
                self.leases.rest(partition, BROKEN_REST);
            }
        }
    }

    /// Readiness, with the most serious reason when there are several.
    fn report(&mut self) {
        let broken =
            self.broken.iter().next().map(|(partition, reason)| format!("partition {partition} is broken: {reason}"));
        let stuck = self.failures.iter().find(|(_, (count, _))| *count >= FAILURES_UNTIL_NOT_READY);
        let stuck = stuck.map(|(partition, (_, reason))| format!("partition {partition} makes no progress: {reason}"));
        let leases = self.lease_error.as_ref().map(|error| format!("leases not renewed: {error}"));
        match broken.or(stuck).or(leases) {
            Some(reason) => self.health.set_not_ready(reason),
            None => self.health.set_ready(),
        }
    }
}

const DATABASE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Less than the flush deadline on purpose: a stop is not the time to wait for a database that hangs.
const CONSUMER_STOP_WAIT: Duration = Duration::from_secs(10);
const RETENTION_STOP_WAIT: Duration = Duration::from_secs(1);
const FAILURE_REST: Duration = Duration::from_millis(200);
const FAILURE_REST_MAX: Duration = Duration::from_secs(5);
/// A person needs longer than that.
const BROKEN_REST: Duration = Duration::from_secs(30);
const FAILURES_UNTIL_NOT_READY: u32 = 3;
