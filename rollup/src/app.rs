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
use crate::consumer::{self, Ended, Sound, Worker};
use crate::flush::Flusher;
use crate::lease::Leases;
use crate::limits::Budget;
use crate::metrics::{self, State};
use crate::postgres::PostgresStore;
use crate::retention::{self, Retention};
use crate::store::{Lease, Owner, Store};

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
    let retention = Retention { rollups: config.retention, raw: config.raw_retention };
    let retention = tokio::spawn(retention::run(database.clone(), retention, shutdown.child()));
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
    // It stops between two passes; a pass that hangs is left to the end of the process.
    let _ = timeout(RETENTION_STOP_WAIT, retention).await;
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

    let mut supervisor = Supervisor::new(worker, leases, health, shutdown.clone(), held);
    supervisor.supervise().await;
    supervisor.stop().await;
    Ok(())
}

/// Waits for the database. `false` at shutdown.
async fn open_cursors(store: &dyn Store, partitions: u32, health: &HealthHandle, shutdown: &Shutdown) -> bool {
    loop {
        let error = match store.open(partitions).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        tracing::warn!(%error, "database not ready");
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
    leases: Leases,
    health: HealthHandle,
    shutdown: Shutdown,
    held: watch::Sender<Held>,
    consumers: JoinSet<Ended>,
    /// Also those that were replaced and have not ended yet.
    tasks: HashMap<Id, (u32, u64)>,
    running: BTreeMap<u32, Running>,
    troubles: BTreeMap<u32, Trouble>,
    /// Why the last tick of the leases failed.
    lease_error: Option<String>,
}

/// The one consumer that a partition should have.
struct Running {
    epoch: u64,
    lost: CancellationToken,
    sound: Sound,
}

/// What a partition has against it until its consumer proves otherwise.
enum Trouble {
    Failed { times: u32, reason: String },
    Broken { reason: String },
}

impl Supervisor {
    fn new(
        worker: Arc<Worker>,
        leases: Leases,
        health: HealthHandle,
        shutdown: Shutdown,
        held: watch::Sender<Held>,
    ) -> Self {
        Self {
            worker,
            leases,
            health,
            shutdown,
            held,
            consumers: JoinSet::new(),
            tasks: HashMap::new(),
            running: BTreeMap::new(),
            troubles: BTreeMap::new(),
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
        if let Err(error) = self.leases.release().await {
            tracing::warn!(%error, "leases not given back; they expire by themselves");
        }
    }

    async fn tick(&mut self) {
        match self.leases.tick().await {
            Ok(changes) => {
                self.lease_error = None;
                for running in changes.lost.iter().filter_map(|partition| self.running.get(partition)) {
                    running.lost.cancel();
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
        let (partition, epoch) = (lease.partition, lease.epoch);
        tracing::info!(partition, epoch, offset = lease.next.0, "partition acquired");
        if !matches!(self.troubles.get(&partition), Some(Trouble::Broken { .. })) {
            metrics::partition_state(partition, State::Running);
        }
        let running = Running { epoch, lost: CancellationToken::new(), sound: Sound::default() };
        let (sound, lost) = (running.sound.clone(), running.lost.clone());
        let consumer = consumer::run(Arc::clone(&self.worker), lease, sound, lost, self.shutdown.child());
        self.tasks.insert(self.consumers.spawn(consumer).id(), (partition, epoch));
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
        if self.running.get(&partition).is_some_and(|running| running.epoch == epoch) {
            self.settle_troubles();
            self.running.remove(&partition);
            self.ended(partition, epoch, ended);
        }
    }

    fn ended(&mut self, partition: u32, epoch: u64, ended: Ended) {
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
                let known = matches!(self.troubles.get(&partition), Some(Trouble::Broken { reason: known }) if *known == reason);
                if !known {
                    let message = "partition broken: counting stopped, nothing is skipped; a person has to decide";
                    tracing::error!(partition, epoch, reason, "{message}");
                }
                (State::Broken, BROKEN_REST, Some(Trouble::Broken { reason }))
            }
        };
        metrics::partition_state(partition, state);
        self.leases.rest(partition, epoch, rest);
        match trouble {
            Some(trouble) => self.troubles.insert(partition, trouble),
            None => self.troubles.remove(&partition),
        };
    }

    /// A consumer that works again clears its partition's name.
    fn settle_troubles(&mut self) {
        let sound: Vec<u32> =
            self.running.iter().filter(|(_, running)| running.sound.get()).map(|(partition, _)| *partition).collect();
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
            Trouble::Broken { reason } => Some(format!("partition {partition} is broken: {reason}")),
            Trouble::Failed { .. } => None,
        });
        let stuck = self.troubles.iter().find_map(|(partition, trouble)| match trouble {
            Trouble::Failed { times, reason } if *times >= FAILURES_UNTIL_NOT_READY => {
                Some(format!("partition {partition} makes no progress: {reason}"))
            }
            _ => None,
        });
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
