//! Live frames out to the stream processes.
//!
//! Arrives: encoded frames of one partition, in order. Leaves: records of the live topic, in the same order.
//!
//! Promises: never makes the partition wait. A frame goes into the log's own queue at once; when too many are unanswered,
//! or one fails, it is counted and missing. That is safe: frames name their offsets, so a reader sees the gap and takes the
//! committed rows from Postgres instead. Counting and flushing never depend on the live topic. Frames that come much faster
//! than they are due are not even built.
//!
//! Does not: retry. A frame is worth something for a second; the next one is already on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use peep_log::{Log, Partition};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::metrics;
use crate::partition::Frame;

/// Publishes the frames of one partition.
pub struct Publisher {
    live: Arc<dyn Log>,
    partition: Partition,
    unanswered: JoinSet<()>,
    /// Frames since `counted_since`.
    count: usize,
    counted_since: Instant,
    /// So that an outage is one line in the log and not five a second.
    failing: Arc<AtomicBool>,
}

impl Publisher {
    /// For a partition of the event log. The live topic may have fewer partitions.
    pub fn new(live: Arc<dyn Log>, number: u32) -> Self {
        let partition = Partition(number % live.partitions().max(1));
        Self {
            live,
            partition,
            unanswered: JoinSet::new(),
            count: 0,
            counted_since: Instant::now(),
            failing: Arc::default(),
        }
    }

    /// Whether one more frame within `interval` is worth building. A worker that catches up with an hour of the log would make
    /// hundreds of frames a second that nobody can read; it has better things to do.
    pub fn has_room(&mut self, interval: Duration) -> bool {
        while self.unanswered.try_join_next().is_some() {}
        if self.counted_since.elapsed() >= interval {
            self.counted_since = Instant::now();
            self.count = 0;
        }
        self.count < FRAMES_PER_INTERVAL_MAX && self.unanswered.len() < FRAMES_UNANSWERED_MAX
    }

    /// A frame was left out.
    pub fn skipped(&self) {
        metrics::frame("skipped");
    }

    /// Hands a frame to the log.
    pub fn publish(&mut self, frame: Frame) {
        while self.unanswered.try_join_next().is_some() {}
        self.count += 1;
        if self.unanswered.len() >= FRAMES_UNANSWERED_MAX {
            metrics::frame("skipped");
            return;
        }
        let append = self.live.append(self.partition, frame.payload);
        let failing = Arc::clone(&self.failing);
        let partition = self.partition;
        self.unanswered.spawn(async move {
            match append.await {
                Ok(_) => {
                    metrics::frame("published");
                    failing.store(false, Ordering::Relaxed);
                }
                Err(error) => {
                    metrics::frame("failed");
                    if !failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!(%partition, %error, "live frame not published; viewers fall back to committed rows");
                    }
                }
            }
        });
    }

    /// Waits for the last answers, as long as `budget` lasts.
    pub async fn finish(mut self, budget: Duration) {
        let answers = async { while self.unanswered.join_next().await.is_some() {} };
        if timeout(budget, answers).await.is_err() {
            metrics::frame("skipped");
        }
    }
}

/// The one that is due and those that were full before: 4 MiB in an interval, what ten thousand series that are all busy need
/// twice over.
const FRAMES_PER_INTERVAL_MAX: usize = 8;
/// Frames without an answer: more than a second of them at the default interval.
const FRAMES_UNANSWERED_MAX: usize = 8;
