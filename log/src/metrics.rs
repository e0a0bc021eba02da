//! The catalogue of what the log says about itself: the only place with metric names.
//!
//! Every metric has the label `topic` (`events` or `live`), never anything a user chose.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Gauge, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use peep_chassis::tally;

use crate::{AppendError, Offset, Topic};

/// Payload bytes that wait for an acknowledgement.
pub const QUEUE_BYTES: &str = "peep_log_queue_bytes";
/// From `append` to its answer, whatever the answer.
pub const APPEND_SECONDS: &str = "peep_log_append_seconds";
/// Appends by outcome: `acknowledged`, `full`, `unavailable`, `too_large`, `abandoned`.
pub const APPENDS_TOTAL: &str = "peep_log_appends_total";
/// Stored bytes of a topic, Postgres backend only (Kafka reports its own).
pub const STORED_BYTES: &str = "peep_log_stored_bytes";

/// Bytes that librdkafka has fetched ahead of the readers, as of the last few seconds; Kafka backend only.
pub const READ_AHEAD_BYTES: &str = "peep_log_read_ahead_bytes";

/// 1 while the Postgres log refuses appends because records that are not rolled up use all of its space, by topic.
pub const FULL: &str = "peep_log_full";

/// Buckets for [`APPEND_SECONDS`]: a commit takes 0.3 ms on a fast disk, a refusal at most the append
/// timeout of 4 s.
pub const APPEND_SECONDS_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Registers the help texts; call once after the recorder is installed.
pub fn describe() {
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Payload bytes waiting for an acknowledgement of the log.");
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "Time from an append to its answer.");
    describe_counter!(APPENDS_TOTAL, "Appends by outcome.");
    describe_gauge!(STORED_BYTES, Unit::Bytes, "Bytes the Postgres log occupies on disk, indexes included.");
    describe_gauge!(READ_AHEAD_BYTES, Unit::Bytes, "Bytes fetched from Kafka ahead of the readers.");
    describe_gauge!(FULL, "1 while records that are not rolled up use all space of the Postgres log.");
}

/// Held handles for one topic, so that an append looks nothing up.
pub(crate) struct TopicMetrics {
    queue_bytes: Gauge,
    stored_bytes: Gauge,
    full: Gauge,
    read_ahead_bytes: Gauge,
    /// The same handles for every thread, each behind a reference count of its own.
    append: Vec<Arc<AppendHandles>>,
}

#[derive(Clone)]
struct AppendHandles {
    seconds: tally::Histogram,
    acknowledged: tally::Counter,
    full: tally::Counter,
    unavailable: tally::Counter,
    too_large: tally::Counter,
    abandoned: tally::Counter,
}

impl TopicMetrics {
    pub(crate) fn new(topic: Topic) -> Self {
        let topic = topic.name();
        let outcome = |outcome: &'static str| {
            tally::Counter::new(counter!(APPENDS_TOTAL, "topic" => topic, "outcome" => outcome))
        };
        let append = AppendHandles {
            seconds: tally::Histogram::new(histogram!(APPEND_SECONDS, "topic" => topic), APPEND_SECONDS_BUCKETS),
            acknowledged: outcome("acknowledged"),
            full: outcome("full"),
            unavailable: outcome("unavailable"),
            too_large: outcome("too_large"),
            abandoned: outcome("abandoned"),
        };
        Self {
            queue_bytes: gauge!(QUEUE_BYTES, "topic" => topic),
            stored_bytes: gauge!(STORED_BYTES, "topic" => topic),
            full: gauge!(FULL, "topic" => topic),
            read_ahead_bytes: gauge!(READ_AHEAD_BYTES, "topic" => topic),
            append: (0..tally::PLACES).map(|_| Arc::new(append.clone())).collect(),
        }
    }

    pub(crate) fn queue_bytes(&self, bytes: usize) {
        self.queue_bytes.set(bytes as f64);
    }

    pub(crate) fn stored_bytes(&self, bytes: u64) {
        self.stored_bytes.set(bytes as f64);
    }

    pub(crate) fn full(&self, full: bool) {
        self.full.set(f64::from(u8::from(full)));
    }

    /// One reader had `before` and has `now`.
    pub(crate) fn read_ahead_bytes(&self, before: u64, now: u64) {
        self.read_ahead_bytes.increment(now as f64 - before as f64);
    }

    pub(crate) fn append(&self) -> AppendTimer {
        AppendTimer { started: Instant::now(), handles: Arc::clone(&self.append[tally::place()]), finished: false }
    }
}

/// Counts an append once: with its outcome, or as `abandoned` when nobody waited for it.
pub(crate) struct AppendTimer {
    started: Instant,
    handles: Arc<AppendHandles>,
    finished: bool,
}

impl AppendTimer {
    pub(crate) fn finish(mut self, result: &Result<Offset, AppendError>) {
        self.finished = true;
        self.handles.seconds.record(self.started.elapsed());
        match result {
            Ok(_) => self.handles.acknowledged.increment(1),
            Err(AppendError::Full { .. }) => self.handles.full.increment(1),
            Err(AppendError::Unavailable { .. }) => self.handles.unavailable.increment(1),
            Err(AppendError::TooLarge { .. }) => self.handles.too_large.increment(1),
        }
    }
}

impl Drop for AppendTimer {
    fn drop(&mut self) {
        if !self.finished {
            self.handles.abandoned.increment(1);
        }
    }
}
