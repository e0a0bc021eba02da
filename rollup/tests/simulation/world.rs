//! What all parts of one simulated installation share: its shape, its time, its history and its complaints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use peep_rollup::Config;
use tokio::time::Instant;

use crate::process::Process;
use crate::random::Random;
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) trace: Trace,
    started: Instant,
    processes: AtomicU64,
    violations: Mutex<Vec<String>>,
}

/// What a seed decides before anything happens.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) partitions: u32,
    pub(crate) workers: u64,
    pub(crate) producers: u64,
    pub(crate) batches: u64,
    /// How long clients send.
    pub(crate) traffic: Duration,
    /// Time zero; now and then shortly before midnight, so that days change.
    pub(crate) base_ms: i64,
    pub(crate) config: Config,
    pub(crate) faults: Faults,
}

/// Which kinds of faults happen at all. Every seed has some of them: all at once hide one another.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) crashes: bool,
    pub(crate) freezes: bool,
    pub(crate) upgrades: bool,
    pub(crate) store_errors: bool,
    pub(crate) store_outages: bool,
    pub(crate) failovers: bool,
    pub(crate) split_brains: bool,
    pub(crate) store_clock: bool,
    pub(crate) log_errors: bool,
    pub(crate) log_outages: bool,
    pub(crate) log_clock: bool,
    pub(crate) retention: bool,
    pub(crate) truncation: bool,
    pub(crate) recreation: bool,
    pub(crate) lost_frames: bool,
    pub(crate) hostile_clients: bool,
}

impl World {
    pub(crate) fn new(shape: Shape, readable: bool) -> Arc<Self> {
        let trace = Trace::new(readable);
        Arc::new(Self {
            shape,
            trace,
            started: Instant::now(),
            processes: AtomicU64::new(0),
            violations: Mutex::default(),
        })
    }

    /// The right time, Unix milliseconds. Nobody in the world is sure to have it.
    pub(crate) fn now_ms(&self) -> i64 {
        self.shape.base_ms + self.started.elapsed().as_millis() as i64
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn process(&self) -> Process {
        Process::new(self.processes.fetch_add(1, Ordering::Relaxed))
    }

    /// A promise was broken.
    pub(crate) fn violated(&self, what: String) {
        let mut violations = self.violations.lock();
        if violations.len() < VIOLATIONS_TOLD {
            self.trace.remark(|| format!("VIOLATION: {what}"));
            violations.push(what);
        }
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }
}

impl Shape {
    pub(crate) fn of(random: &mut Random) -> Self {
        let before_midnight_ms = if random.chance(300) { random.within(1_000..=60_000) } else { 7 * 3_600_000 };
        let (partitions, workers) = (random.within(1..=4), random.within(1..=3));
        let mut config = config(random);
        if random.chance(200) {
            // So that no worker can do it alone.
            config.partitions_max = partitions.div_ceil(workers);
        }
        Self {
            partitions: partitions as u32,
            workers,
            producers: random.within(1..=5),
            batches: random.within(3..=30),
            traffic: random.millis(5_000..=40_000),
            base_ms: MIDNIGHT_MS - before_midnight_ms as i64,
            config,
            faults: Faults::of(random),
        }
    }
}

impl Faults {
    fn of(random: &mut Random) -> Self {
        // From calm to hell.
        let per_mille = *random.pick(&[0, 150, 150, 300, 300, 500, 800]);
        let mut is_on = || random.chance(per_mille);
        Self {
            crashes: is_on(),
            freezes: is_on(),
            upgrades: is_on(),
            store_errors: is_on(),
            store_outages: is_on(),
            failovers: is_on(),
            split_brains: is_on(),
            store_clock: is_on(),
            log_errors: is_on(),
            log_outages: is_on(),
            log_clock: is_on(),
            retention: is_on(),
            truncation: is_on() && is_on(),
            recreation: is_on() && is_on(),
            lost_frames: is_on(),
            hostile_clients: is_on(),
        }
    }

    /// Whether records can be lost that nobody is to blame for but the log.
    pub(crate) fn damage(&self) -> bool {
        self.truncation || self.recreation || self.retention
    }
}

/// Sometimes as it comes, sometimes so tight that limits are met all the time.
fn config(random: &mut Random) -> Config {
    let environment = std::collections::BTreeMap::<String, String>::new();
    let mut settings = peep_chassis::config::Settings::new(&environment);
    let mut config = Config::read(&mut settings);
    config.flush_interval = *random.pick(&[Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)]);
    if random.chance(200) {
        config.flush_bytes_max = random.within(1_000..=20_000) as usize;
    }
    config.flushes_max = random.within(1..=4);
    if random.chance(400) {
        config.series_max = random.within(1..=20);
        config.series_total_max = random.within(5..=40);
        config.facets_max = random.within(1..=6);
    }
    config
}

/// Midnight between two days of a year that was not this one: whoever asks a wall clock is found out.
const MIDNIGHT_MS: i64 = 1_714_521_600_000;
/// More of them are seldom more wisdom.
const VIOLATIONS_TOLD: usize = 6;
