//! The real thing: workers of `peep_rollup`, each in a process that can be frozen and killed.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::admin::Health;
use peep_chassis::clock::Clock;
use peep_chassis::lifecycle::Shutdown;
use peep_rollup::app::{Held, Parts, run_with};
use peep_rollup::store::Owner;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::log::SimLog;
use crate::process::Process;
use crate::random::Random;
use crate::store::{SimStore, short};
use crate::world::World;

/// All workers. A place outlives the processes that take it one after the other.
pub(crate) struct Workers {
    world: Arc<World>,
    events: Arc<SimLog>,
    live: Arc<SimLog>,
    store: Arc<SimStore>,
    random: Mutex<Random>,
    places: Vec<Mutex<Option<Worker>>>,
}

struct Worker {
    process: Process,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Workers {
    pub(crate) fn new(
        world: &Arc<World>,
        events: &Arc<SimLog>,
        live: &Arc<SimLog>,
        store: &Arc<SimStore>,
        random: Random,
    ) -> Arc<Self> {
        let places = (0..world.shape.workers).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            world: Arc::clone(world),
            events: Arc::clone(events),
            live: Arc::clone(live),
            store: Arc::clone(store),
            random: Mutex::new(random),
            places,
        })
    }

    pub(crate) fn count(&self) -> u64 {
        self.places.len() as u64
    }

    /// A new process takes the place, which must be empty.
    pub(crate) fn start(&self, place: u64) {
        let process = self.world.process();
        let mut random = self.random.lock();
        let owner = Owner(Uuid::from_u64_pair(random.next(), random.next()));
        // Nobody's clock is right.
        let clock = Clock::manual(self.world.now_ms() + random.within(0..=7_200_000) as i64 - 3_600_000);
        drop(random);
        self.world
            .trace
            .note("worker starts", &[("place", place), ("process", process.number), ("owner", short(owner))]);
        let (held, _) = watch::channel(Held::new());
        let parts = Parts {
            config: self.world.shape.config.clone(),
            events: self.events.seen_by(&process),
            live: self.live.seen_by(&process),
            store: self.store.seen_by(&process),
            owner,
            clock,
            held,
        };
        let shutdown = Shutdown::new();
        let (end, world) = (shutdown.clone(), Arc::clone(&self.world));
        let task = tokio::spawn(async move {
            if let Err(error) = run_with(parts, &Health::new(), end).await {
                world.violated(format!("a worker ended by itself: {error:#}"));
            }
        });
        *self.places[place as usize].lock() = Some(Worker { process, shutdown, task });
    }

    /// As by `kill -9`.
    pub(crate) fn kill(&self, place: u64) {
        if let Some(worker) = self.places[place as usize].lock().take() {
            self.world.trace.note("worker killed", &[("place", place)]);
            worker.process.kill();
            worker.task.abort();
        }
    }

    /// As by SIGTERM, and SIGKILL for who does not listen.
    pub(crate) async fn stop(&self, place: u64) {
        let Some(worker) = self.places[place as usize].lock().take() else { return };
        self.world.trace.note("worker stops", &[("place", place)]);
        worker.shutdown.request();
        let mut task = worker.task;
        if timeout(STOP_WAIT, &mut task).await.is_err() {
            worker.process.kill();
            task.abort();
        }
        self.world.trace.note("worker stopped", &[("place", place)]);
    }

    /// The process hears and says nothing for a while.
    pub(crate) async fn freeze(&self, place: u64, how_long: Duration) {
        let Some(process) = self.process(place) else { return };
        self.world.trace.note("worker frozen", &[("place", place), ("for_ms", how_long.as_millis() as u64)]);
        process.freeze();
        sleep(how_long).await;
        process.thaw();
        self.world.trace.note("worker thawed", &[("place", place)]);
    }

    pub(crate) fn process(&self, place: u64) -> Option<Process> {
        self.places[place as usize].lock().as_ref().map(|worker| worker.process.clone())
    }

    /// After the storm: every place is taken, and everybody runs.
    pub(crate) fn revive(&self) {
        for place in 0..self.count() {
            match self.process(place) {
                Some(process) => process.thaw(),
                None => self.start(place),
            }
        }
    }
}

/// The worker's own budget, and some more.
const STOP_WAIT: Duration = Duration::from_secs(20);
