//! Puts the parts together and owns the order of starting and stopping.
//!
//! Start: cursor rows, flusher, retention, then leases; each lease starts a consumer. Stop: consumers finish reading,
//! publish and flush what they have; what is not flushed in time is read again by the successor. Then leases go back, and
//! connections close. Nothing here is needed for correctness: a killed worker is merely missed for the length of a lease.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use peep_chassis::admin::{Health, HealthHandle};
use peep_chassis::clock::Clock;
use peep_chassis::failpoint;
use peep_chassis::lifecycle::Shutdown;
use peep_log::Log;
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Config;
use crate::consumer::{self, Ended, Progress, Worker};
use crate::flush::Flusher;
use crate::lease::Leases;
use crate::level::leveler;
use crate::limits::Budget;
use crate::metrics::{self, State};
use crate::position::Position;
use crate::postgres::PostgresStore;
use crate::retention;
use crate::store::{Lease, Owner, Report, Store, Verdict};

/// Partitions that have a consumer, with its epoch.
pub type Held = BTreeMap<u32, u64>;

/// What a worker is made of.
pub struct Parts {
    /// Every knob.
    pub config: Config,
    /// Where records come from.
    pub events: Arc<dyn Log>,
    /// Where frames go.
    pub live: Arc<dyn Log>,
    /// Leases, cursors and rows.
    pub store: Arc<dyn Store>,
    /// Its name.
    pub owner: Owner,
    /// For the time in frames; decides nothing.
    pub clock: Clock,
    /// Told at every change.
    pub held: watch::Sender<Held>,
}

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
    let retention = tokio::spawn(retention::run(database.clone(), config.keep(), shutdown.child()));
    let leveler = tokio::spawn(leveler::run(database.clone(), config.leveler_limits(), shutdown.child()));
    let idle_max = usize::try_from(config.flushes_max).unwrap_or(1);
    let store = Arc::new(PostgresStore::new(pool, database, idle_max));
    let (held, _) = watch::channel(Held::new());
    let parts = Parts {
        config,
        events,
        live,
        store: Arc::<PostgresStore>::clone(&store),
        owner: Owner(Uuid::new_v4()),
        clock: Clock::system(),
        held,
    };
    let ran = run_with(parts, health, shutdown).await;
    store.close().await;
    // The one stops between two passes, the other at once; what hangs is left to the end of the process.
    let _ = timeout(RETENTION_STOP_WAIT, async { tokio::join!(retention, leveler) }).await;
    ran
}

/// The same over any store, without what only a database needs.
///
/// # Errors
/// As [`run`].
pub async fn run_with(parts: Parts, health: &Health, shutdown: Shutdown) -> anyhow::Result<()> {
    let Parts { config, events, live, store, owner, clock, held } = parts;
    metrics::describe();
    let health = health.register("rollup");
    let partitions = events.partitions();
    anyhow::ensure!(partitions > 0, "the event log has no partitions");
    if !open_cursors(&*store, partitions, &health, &shutdown).await {
        return Ok(());
    }
    let flusher = Flusher::new(owner, Arc::clone(&store), config.flushes_max);
    let leases = Leases::new(Arc::clone(&store), owner, partitions, config.partitions_max);
    let budget = Budget::new(config.memory_bytes_max, partitions);
    let worker = Arc::new(Worker { config, events, live, store, flusher, budget, clock });
    tracing::info!(owner = %owner.0, partitions, "rollup started");

    let mut supervisor = Supervisor::new(worker, owner, leases, health, shutdown.clone(), held);
    supervisor.supervise().await;
    supervisor.stop().await;
    Ok(())
}

/// Waits for the database. `false` at shutdown.
async fn open_cursors(store: &dyn Store, partitions: u32, health: &HealthHandle, shutdown: &Shutdown) -> bool {
    loop {
        // Also a shutdown must not wait for a store that hangs.
        let opened = tokio::select! {
            biased;
            () = shutdown.requested() => return false,
            opened = timeout(OPEN_DEADLINE, store.open(partitions)) => opened,
        };
        let error = match opened {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(error, "database not ready");
        health.set_not_ready(format!("database not ready: {error}"));
        tokio::select! {
            biased;
            () = shutdown.requested() => return false,
            () = sleep(DATABASE_RETRY_DELAY) => {}
        }
    }
}

/// The running consumers.
struct Supervisor {
    worker: Arc<Worker>,
    owner: Owner,
    leases: Leases,
    health: HealthHandle,
    shutdown: Shutdown,
    held: watch::Sender<Held>,
    consumers: JoinSet<Ended>,
    /// Also those that were replaced and have not ended yet.
    tasks: HashMap<Id, (u32, u64)>,
    running: BTreeMap<u32, Running>,
    troubles: BTreeMap<u32, Trouble>,
    /// Partitions whose consumers finished because somebody else waits for them.
    left: Vec<u32>,
    reported_at: Option<Instant>,
    /// Why the last tick of the leases failed.
    lease_error: Option<String>,
}

/// The one consumer that a partition should have.
struct Running {
    /// Its task. Not the epoch: a store that lost its end may give the same one twice.
    id: Id,
    epoch: u64,
    lost: CancellationToken,
    /// Finish and end.
    stop: Shutdown,
    progress: Progress,
}

/// What a partition has against it until its consumer proves otherwise.
enum Trouble {
    Failed { times: u32, reason: String },
    Broken { reason: String, epoch: u64, range: Option<(Position, Position)> },
}

impl Supervisor {
    fn new(
        worker: Arc<Worker>,
        owner: Owner,
        leases: Leases,
        health: HealthHandle,
        shutdown: Shutdown,
        held: watch::Sender<Held>,
    ) -> Self {
        Self {
            worker,
            owner,
            leases,
            health,
            shutdown,
            held,
            consumers: JoinSet::new(),
            tasks: HashMap::new(),
            running: BTreeMap::new(),
            troubles: BTreeMap::new(),
            left: Vec::new(),
            reported_at: None,
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
                    self.joined(joined);
                    self.leave().await;
                    // A rest may end before the next regular tick.
                    next_tick = next_tick.min(self.leases.next_tick());
                }
                () = sleep_until(next_tick) => {
                    tokio::select! {
                        biased;
                        // What a claim took whose answer nobody heard goes back with the other leases.
                        () = shutdown.requested() => return,
                        () = self.tick() => next_tick = self.leases.next_tick(),
                    }
                }
            }
            self.say_held();
            self.report();
        }
    }

    /// Consumers flush and end; then the leases go back.
    async fn stop(&mut self) {
        let all = async { while self.consumers.join_next().await.is_some() {} };
        if timeout(CONSUMER_STOP_WAIT, all).await.is_err() {
            tracing::warn!("not everything was flushed in time; it is read again from the cursor");
            self.consumers.shutdown().await;
        }
        self.held.send_replace(Held::new());
        if let Err(error) = self.leases.release().await {
            tracing::warn!(%error, "leases not given back; they expire by themselves");
        }
    }

    async fn tick(&mut self) {
        failpoint::hit("rollup.lease.before_renew");
        let committed = self.running.iter().map(|(partition, running)| (*partition, running.progress.committed()));
        match self.leases.tick(&committed.collect()).await {
            Ok(changes) => {
                self.lease_error = None;
                for partition in changes.lost {
                    // Somebody else's trouble now.
                    self.troubles.remove(&partition);
                    match self.running.get(&partition) {
                        Some(running) => running.lost.cancel(),
                        None => metrics::partition_state(partition, State::NotOwned),
                    }
                }
                for partition in changes.surplus {
                    tracing::info!(partition, "another worker takes its share: partition is finished and given back");
                    if let Some(running) = self.running.get(&partition) {
                        running.stop.request();
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
        self.report_partitions().await;
    }

    /// Gives back what was finished for somebody else.
    async fn leave(&mut self) {
        let left = std::mem::take(&mut self.left);
        if !left.is_empty()
            && let Err(error) = self.leases.leave(left).await
        {
            tracing::warn!(%error, "leases not given back; the next renewal tries again");
        }
    }

    /// For people, and only for them: how far the log is, and why counting stopped.
    async fn report_partitions(&mut self) {
        if self.reported_at.is_some_and(|at| at.elapsed() < REPORT_INTERVAL) {
            return;
        }
        let mut reports = Vec::new();
        for (partition, running) in &self.running {
            let verdict = match self.troubles.get(partition) {
                _ if running.progress.is_sound() => Verdict::Sound,
                Some(Trouble::Broken { reason, .. }) => Verdict::Broken { reason: reason.clone() },
                Some(Trouble::Failed { .. }) | None => Verdict::Open,
            };
            let range = running.progress.range();
            reports.push(Report { partition: *partition, epoch: running.epoch, range, verdict });
        }
        for (partition, trouble) in self.troubles.iter().filter(|(partition, _)| !self.running.contains_key(partition))
        {
            if let Trouble::Broken { reason, epoch, range } = trouble {
                let verdict = Verdict::Broken { reason: reason.clone() };
                reports.push(Report { partition: *partition, epoch: *epoch, range: *range, verdict });
            }
        }
        if reports.is_empty() {
            return;
        }
        let report = self.worker.store.report(self.owner, reports);
        match timeout(REPORT_DEADLINE, report).await {
            Ok(Ok(())) => self.reported_at = Some(Instant::now()),
            Ok(Err(error)) => tracing::debug!(%error, "partitions not reported"),
            Err(_) => tracing::debug!("partitions not reported in time"),
        }
    }

    fn start(&mut self, lease: Lease) {
        let (partition, epoch) = (lease.partition, lease.epoch);
        tracing::info!(partition, epoch, offset = lease.next.0, "partition acquired");
        if !matches!(self.troubles.get(&partition), Some(Trouble::Broken { .. })) {
            metrics::partition_state(partition, State::Running);
        }
        let progress = Progress::new(&lease);
        let (lost, stop) = (CancellationToken::new(), self.shutdown.child());
        let consumer = consumer::run(Arc::clone(&self.worker), lease, progress.clone(), lost.clone(), stop.clone());
        let id = self.consumers.spawn(consumer).id();
        self.tasks.insert(id, (partition, epoch));
        let running = Running { id, epoch, lost, stop, progress };
        // A lease that lapsed and came back: what the consumer before it holds is fenced.
        if let Some(before) = self.running.insert(partition, running) {
            before.lost.cancel();
        }
    }

    fn joined(&mut self, joined: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match joined {
            Ok(ended) => ended,
            Err(error) => (error.id(), Ended::Failed { reason: error.to_string() }),
        };
        let (partition, epoch) = self.tasks.remove(&id).expect("every consumer is known by the id of its task");
        if self.running.get(&partition).is_some_and(|running| running.id == id) {
            self.settle_troubles();
            let range = self.running.remove(&partition).and_then(|running| running.progress.range());
            self.ended(partition, epoch, range, ended);
        }
    }

    fn ended(&mut self, partition: u32, epoch: u64, range: Option<(Position, Position)>, ended: Ended) {
        let (state, rest, trouble) = match ended {
            Ended::Stopped => (State::NotOwned, FAILURE_REST, None),
            Ended::Lost => {
                tracing::info!(partition, epoch, "partition lost");
                (State::NotOwned, FAILURE_REST, None)
            }
            Ended::Failed { reason } => {
                let before = match self.troubles.get(&partition) {
                    Some(Trouble::Failed { times, .. }) => *times,
                    _ => 0,
                };
                let rest = (FAILURE_REST * 2u32.saturating_pow(before.min(8))).min(FAILURE_REST_MAX);
                let rest_ms = rest.as_millis() as u64;
                tracing::error!(partition, epoch, reason, rest_ms, "partition starts again from its cursor");
                (State::NotOwned, rest, Some(Trouble::Failed { times: before + 1, reason }))
            }
            Ended::Broken { reason } => {
                let known = matches!(self.troubles.get(&partition), Some(Trouble::Broken { reason: known, .. }) if *known == reason);
                if !known {
                    // At the next tick, and not a few seconds later.
                    self.reported_at = None;
                    let message = "partition broken: counting stopped, nothing is skipped; a person has to decide";
                    tracing::error!(partition, epoch, reason, "{message}");
                }
                (State::Broken, BROKEN_REST, Some(Trouble::Broken { reason, epoch, range }))
            }
        };
        metrics::partition_state(partition, state);
        let leaving = self.leases.ended(partition, epoch, rest);
        if leaving {
            self.left.push(partition);
        }
        match trouble {
            Some(trouble) if !leaving => self.troubles.insert(partition, trouble),
            _ => self.troubles.remove(&partition),
        };
    }

    /// A consumer that works again clears its partition's name.
    fn settle_troubles(&mut self) {
        let sound: Vec<u32> = self
            .running
            .iter()
            .filter(|(_, running)| running.progress.is_sound())
            .map(|(partition, _)| *partition)
            .collect();
        for partition in sound {
            if self.troubles.remove(&partition).is_some() {
                metrics::partition_state(partition, State::Running);
            }
        }
    }

    fn say_held(&self) {
        let held: Held = self.running.iter().map(|(partition, running)| (*partition, running.epoch)).collect();
        self.held.send_if_modified(|before| {
            let changed = *before != held;
            *before = held;
            changed
        });
    }

    /// Readiness, with the most serious reason when there are several.
    fn report(&mut self) {
        self.settle_troubles();
        let broken = self.troubles.iter().find_map(|(partition, trouble)| match trouble {
            Trouble::Broken { reason, .. } => Some(format!("partition {partition} is broken: {reason}")),
            Trouble::Failed { .. } => None,
        });
        let stuck = self.troubles.iter().find_map(|(partition, trouble)| match trouble {
            Trouble::Failed { times, reason } if *times >= FAILURES_UNTIL_NOT_READY => {
                Some(format!("partition {partition} makes no progress: {reason}"))
            }
            _ => None,
        });
        let leases = self.lease_error.as_ref().map(|error| format!("leases not renewed: {error}"));
        match (stuck.or(leases), broken) {
            (Some(reason), _) => self.health.set_not_ready(reason),
            // The log keeps what is not counted: refusing more would lose what is accepted today.
            (None, Some(reason)) => self.health.set_degraded(reason),
            (None, None) => self.health.set_ready(),
        }
    }
}

const DATABASE_RETRY_DELAY: Duration = Duration::from_secs(1);
/// One short statement, and the connection for it.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
/// Less than the flush deadline on purpose: a stop is not the time to wait for a database that hangs.
const CONSUMER_STOP_WAIT: Duration = Duration::from_secs(10);
const RETENTION_STOP_WAIT: Duration = Duration::from_secs(1);
const FAILURE_REST: Duration = Duration::from_millis(200);
const FAILURE_REST_MAX: Duration = Duration::from_secs(5);
/// A person needs longer than that.
const BROKEN_REST: Duration = Duration::from_secs(30);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// People wait longer than leases.
const REPORT_DEADLINE: Duration = Duration::from_secs(1);
const FAILURES_UNTIL_NOT_READY: u32 = 3;
