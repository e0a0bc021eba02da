//! Requests, errors and durations of the observed services, as a Prometheus scrapes them.
//!
//! Arrives: cursors from the database and the live frames up to them. Leaves: counters and histograms by project, environment,
//! service, route, method and status class in `/metrics` of the admin port.
//!
//! ```text
//! frames   [────)[───)[─────)[──)      counted here as soon as a cursor says that they are committed
//!                           ▲ cursor
//! ```
//!
//! Promises: a counter counts what is *committed*, each event once, and never takes anything back: frames of an owner that was
//! replaced before it committed are not in it. With a new process it begins at 0. Frames that never came are made up for from the
//! rollups, and what cannot be is counted and said. A label set that is new shows 0 for a while, because a scraper counts from
//! the first value it sees. Buckets come from the histograms, so a bound is as exact as they are (0.1 %). Memory is bounded by a
//! number of label sets; the rest is `(other)`, with exact numbers.
//! Does not: remember counters over a restart, or render native histograms, which no text format has.

mod counters;

mod exemplars;

mod recover;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_chassis::exposition::{Exposition, Format, Source};
use peep_chassis::lifecycle::Shutdown;
use peep_wire::live::LiveFrame;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use self::counters::Counters;
use crate::feed::Feed;
use crate::history::{self, Cursors};
use crate::metrics;
use crate::stitch::Position;

/// The bounds of what is exposed.
#[derive(Debug, Clone, Copy)]
pub struct PrometheusLimits {
    /// Label sets; 0 exposes nothing.
    pub sets_max: usize,
    /// How long a new one shows 0.
    pub zero_for: Duration,
}

/// What is exposed. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Prometheus {
    shared: Arc<Shared>,
}

struct Shared {
    counters: Mutex<Counters>,
    clock: Clock,
    /// When somebody last asked for the format that has exemplars.
    openmetrics_ms: AtomicI64,
}

impl Source for Shared {
    fn write(&self, format: Format, out: &mut String) {
        let now_ms = self.clock.now_ms();
        if format == Format::OpenMetrics {
            self.openmetrics_ms.store(now_ms, Ordering::Relaxed);
        }
        self.counters.lock().write(format, out, now_ms);
    }
}

impl Prometheus {
    /// Nothing counted yet; asked with every scrape from now on.
    pub fn new(limits: PrometheusLimits, exposition: &Exposition, clock: Clock) -> Self {
        let counters = Mutex::new(Counters::new(limits));
        let shared = Arc::new(Shared { counters, clock, openmetrics_ms: AtomicI64::new(i64::MIN) });
        exposition.register(&shared);
        Self { shared }
    }

    /// Counts what is committed from now on, until shutdown.
    pub async fn run(&self, feed: &Feed, pool: &PgPool, shutdown: &Shutdown) {
        if self.shared.counters.lock().is_off() {
            return shutdown.requested().await;
        }
        let mut follower = Follower::default();
        let mut exemplars_at = Instant::now();
        let mut failing = false;
        loop {
            let round = async {
                let cursors = history::read_cursors(pool).await?;
                self.learn_projects(pool).await?;
                self.follow(&mut follower, feed, pool, cursors).await?;
                if exemplars_at.elapsed() >= EXEMPLARS_INTERVAL && self.exemplars_wanted() {
                    exemplars_at = Instant::now();
                    exemplars::read(pool, &self.shared.counters, self.shared.clock.now_ms()).await?;
                }
                Ok::<(), sqlx::Error>(())
            };
            let outcome = tokio::select! {
                () = shutdown.requested() => return,
                outcome = round => outcome,
            };
            // Nothing is lost: the next round counts from where the last one ended.
            match (&outcome, failing) {
                (Err(error), false) => {
                    tracing::warn!(%error, "counters for Prometheus stand still: the database cannot be read")
                }
                (Ok(()), true) => tracing::info!("counters for Prometheus move again"),
                _ => {}
            }
            failing = outcome.is_err();
            tokio::select! {
                () = shutdown.requested() => return,
                () = sleep(INTERVAL) => {}
            }
        }
    }

    /// Names of the projects there are: a label must be one that people know.
    async fn learn_projects(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        if !self.shared.counters.lock().has_unnamed_projects() {
            return Ok(());
        }
        let named: Vec<(i64, String)> = sqlx::query_as("select project_id, name from project").fetch_all(pool).await?;
        self.shared.counters.lock().name_projects(named.into_iter().map(|(id, name)| (id.cast_unsigned(), name)));
        Ok(())
    }

    /// Counts every partition up to its cursor.
    async fn follow(
        &self,
        follower: &mut Follower,
        feed: &Feed,
        pool: &PgPool,
        cursors: Cursors,
    ) -> Result<(), sqlx::Error> {
        let now_ms = self.shared.clock.now_ms();
        let Some(done) = &mut follower.done else {
            follower.done = Some(cursors);
            return Ok(());
        };
        let mut frames: BTreeMap<u32, Vec<Arc<LiveFrame>>> = BTreeMap::new();
        for frame in feed.continue_from(done).frames {
            frames.entry(frame.partition).or_default().push(frame);
        }
        for (partition, goal) in cursors {
            let from = done.get(&partition).copied().unwrap_or_default();
            let frames = frames.remove(&partition).unwrap_or_default();
            if goal.offset > from.offset {
                if let Some(covered) = up_to(&frames, goal) {
                    let mut counters = self.shared.counters.lock();
                    covered.iter().for_each(|frame| counters.add_frame(frame, now_ms));
                } else if follower.waiting.entry(partition).or_insert_with(Instant::now).elapsed() < FRAMES_LATE_MAX {
                    continue;
                } else {
                    recover::count(pool, &self.shared.counters, partition, from.offset, goal.offset, now_ms).await?;
                }
            }
            follower.waiting.remove(&partition);
            done.insert(partition, goal);
        }
        let mut counters = self.shared.counters.lock();
        counters.forget_idle(now_ms);
        metrics::prometheus_sets(counters.len());
        Ok(())
    }

    fn exemplars_wanted(&self) -> bool {
        let asked_ms = self.shared.openmetrics_ms.load(Ordering::Relaxed);
        asked_ms > self.shared.clock.now_ms() - EXEMPLARS_WANTED_MS
    }
}

/// Up to where each partition is counted.
#[derive(Default)]
struct Follower {
    done: Option<Cursors>,
    /// Since when the frames up to a cursor are missing.
    waiting: BTreeMap<u32, Instant>,
}

/// The frames that end exactly where the cursor stands: every committed cursor is some frame's end. Frames beyond it may still be
/// replaced; a frame across it belongs to an owner that has been.
fn up_to(frames: &[Arc<LiveFrame>], goal: Position) -> Option<&[Arc<LiveFrame>]> {
    let end = frames.iter().position(|frame| frame.to == goal.offset)?;
    Some(&frames[..=end])
}

/// A commit is in a scrape at most this much later.
const INTERVAL: Duration = Duration::from_secs(1);
/// Frames are published before they are committed, and on their way for some 50 ms; those that are this late never come.
const FRAMES_LATE_MAX: Duration = Duration::from_secs(5);
const EXEMPLARS_INTERVAL: Duration = Duration::from_secs(5);
/// Scrapers come every minute or so.
const EXEMPLARS_WANTED_MS: i64 = 300_000;
