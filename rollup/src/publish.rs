//! Live frames out to the stream processes.
//!
//! Arrives: encoded frames of one partition, in order. Leaves: records of the live topic, in the same order.
//!
//! Promises: never makes the partition wait. A frame goes into the log's own queue at once; when too many are unanswered,
//! or one fails, it is counted and missing. That is safe: frames name their offsets, so a reader sees the gap and takes the
//! committed rows from Postgres instead. Counting and flushing never depend on the live topic.
//!
//! Does not: retry. A frame is worth something for a second; the next one is already on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use peep_log::{Log, Partition};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::metrics;
use crate::partition::Frame;

/// Publishes the frames of one partition.
pub struct Publisher {
    live: Arc<dyn Log>,
    partition: Partition,
    unanswered: JoinSet<()>,
    /// So that an outage is one line in the log and not five a second.
    failing: Arc<AtomicBool>,
}

impl Publisher {
    /// For a partition of the event log. The live topic may have fewer partitions.
    pub fn new(live: Arc<dyn Log>, number: u32) -> Self {
        let partition = Partition(number % live.partitions().max(1));
        Self { live, partition, unanswered: JoinSet::new(), failing: Arc::default() }
    }

    /// Hands a frame to the log.
    pub fn publish(&mut self, frame: Frame) {
        while self.unanswered.try_join_next().is_some() {}
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

/// Frames without an answer: more than a second of them at the default interval.
const FRAMES_UNANSWERED_MAX: usize = 8;
