//! One seed, from an empty installation to the last check.

use std::sync::Arc;
use std::time::Duration;

use peep_log::Offset;
use peep_rollup::position::Position;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::check;
use crate::client::{self, Journal};
use crate::log::{Kept, SimLog};
use crate::operator;
use crate::random::Random;
use crate::store::SimStore;
use crate::storm::{self, Targets};
use crate::viewer::Viewer;
use crate::workers::Workers;
use crate::world::{Shape, World};

/// What became of a seed.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    /// Two runs of a seed must agree in it.
    pub(crate) hash: u64,
    pub(crate) facts: Facts,
    pub(crate) lines: Vec<String>,
}

/// How much a seed tried: a simulation in which nothing happens proves nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Facts {
    pub(crate) notes: u64,
    pub(crate) records: u64,
    pub(crate) events: u64,
    pub(crate) flushes: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead_letters: u64,
    pub(crate) takeovers: u64,
    pub(crate) breaks: u64,
    pub(crate) folded: u64,
    pub(crate) views: u64,
    pub(crate) rebuilds: u64,
    pub(crate) simulated_ms: u64,
}

impl Facts {
    pub(crate) fn add(&mut self, other: &Facts) {
        self.notes += other.notes;
        self.records += other.records;
        self.events += other.events;
        self.flushes += other.flushes;
        self.duplicates += other.duplicates;
        self.dead_letters += other.dead_letters;
        self.takeovers += other.takeovers;
        self.breaks += other.breaks;
        self.folded += other.folded;
        self.views += other.views;
        self.rebuilds += other.rebuilds;
        self.simulated_ms += other.simulated_ms;
    }
}

/// Runs a seed in a runtime of its own, whose time is simulated.
pub(crate) fn run(seed: u64, readable: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs nothing but memory");
    runtime.block_on(simulate(seed, readable))
}

async fn simulate(seed: u64, readable: bool) -> Outcome {
    let mut random = Random::new(seed);
    let shape = Shape::of(&mut random);
    let world = World::new(shape, readable);
    world.trace.remark(|| format!("seed {seed}: {:#?}", world.shape));
    let partitions = world.shape.partitions;
    let events = SimLog::new(&world, "events", partitions, random.fork());
    let live = SimLog::new(&world, "live", partitions, random.fork());
    let store = SimStore::new(&world, random.fork());
    let workers = Workers::new(&world, &events, &live, &store, random.fork());
    (0..workers.count()).for_each(|place| workers.start(place));
    let viewer = Viewer::start(&world, &store, &live);

    let journal = Arc::new(Journal::default());
    let mut clients = JoinSet::new();
    let ingest = events.seen_by(&world.process());
    for producer in 0..world.shape.producers {
        let (world, log, journal) = (Arc::clone(&world), Arc::clone(&ingest), Arc::clone(&journal));
        clients.spawn(client::run(world, log, journal, producer, random.fork()));
    }
    let targets = Targets {
        world: Arc::clone(&world),
        events: Arc::clone(&events),
        live: Arc::clone(&live),
        store: Arc::clone(&store),
        workers: Arc::clone(&workers),
    };
    tokio::spawn(operator::watch(targets.clone(), random.fork()));
    storm::rage(&targets, world.shape.traffic, &mut random).await;
    let quiet = async { while clients.join_next().await.is_some() {} };
    if timeout(CLIENTS_WAIT, quiet).await.is_err() {
        world.violated("clients get no answers from a log that works".to_owned());
    }
    settle(&targets, &journal, &viewer).await;
    let facts = check::check(&targets, &journal, &viewer);
    Outcome { violations: world.violations(), hash: world.trace.hash(), facts, lines: world.trace.take_lines() }
}

/// Waits until everything in the log is counted; then sends one more event to each partition, which a viewer sees at once and
/// which is counted like all others.
async fn settle(targets: &Targets, journal: &Journal, viewer: &Viewer) {
    let Targets { world, events, store, .. } = targets;
    let partitions = 0..world.shape.partitions;
    let row = |partition: u32| store.look(|state| state.cursors.get(partition as usize).cloned().unwrap_or_default());
    let high = |partition: u32| events.look(partition, Kept::high);
    let is_counted = |partition: u32| {
        let row = row(partition);
        row.next.offset().0 == high(partition) && row.broken.is_none()
    };
    // Claims that are lost with the primary that took them may have had higher epochs than the ones that stay: of a primary
    // that was deposed later, or whose clock was ahead. A viewer believes their frames until the next claim. Until then it
    // sees committed rows, and nothing live.
    let faults = world.shape.faults;
    let is_late = faults.split_brains || faults.store_clock && faults.failovers;
    let shown_max = if is_late { SETTLE_MAX } else { SHOWN_MAX };
    let is_shown = |partition: u32| {
        let end = if is_late { row(partition).next.offset() } else { Offset(high(partition)) };
        Position(viewer.sees(partition).0) == row(partition).next.at(end)
    };
    let wait = async |what: &str, how_long: Duration, is_done: &dyn Fn(u32) -> bool| {
        let deadline = Instant::now() + how_long;
        while let Some(partition) = partitions.clone().find(|partition| !is_done(*partition)) {
            if Instant::now() >= deadline {
                let (high, row, sees) = (high(partition), row(partition), viewer.sees(partition).0);
                world.violated(format!(
                    "partition {partition} is not {what} after {how_long:?}: the log ends at {high}, cursor {row:?}, viewer at {sees}"
                ));
                return false;
            }
            sleep(SETTLE_STEP).await;
        }
        true
    };
    if !wait("counted", SETTLE_MAX, &is_counted).await {
        return;
    }
    // The last calls that hang end by their deadlines.
    sleep(CALM).await;
    world.trace.note("all is calm", &[]);
    let log = events.seen_by(&world.process());
    for partition in partitions.clone() {
        client::probe(world, &*log, journal, partition).await;
    }
    wait("shown live", shown_max, &is_shown).await;
    wait("counted in the end", SETTLE_MAX, &is_counted).await;
    wait("shown in the end", shown_max, &is_shown).await;
}

/// Clients give up sooner.
const CLIENTS_WAIT: Duration = Duration::from_secs(1_000);
/// A lease that nobody gives back, the longest rest of a broken partition, and a flush that hangs, one after the other.
const SETTLE_MAX: Duration = Duration::from_secs(120);
/// Longer than any deadline.
const CALM: Duration = Duration::from_secs(40);
/// A frame is published within 200 ms; a viewer that has to begin anew may do so once a second.
const SHOWN_MAX: Duration = Duration::from_secs(4);
const SETTLE_STEP: Duration = Duration::from_millis(100);
