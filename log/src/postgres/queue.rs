//! Appends that wait for the writer: bounded in bytes, in order of the calls.
//!
//! The bytes of a record count from the call until its answer, so the bound covers what is being written too. When it
//! is reached the answer is `Full`, at once. While the database is known to be unreachable the answer is `Unavailable`,
//! at once: nobody waits for a connection that is not there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::metrics::TopicMetrics;
use crate::{AppendError, Offset, Partition};

/// Where the caller of `append` gets its answer.
pub(super) type Answer = oneshot::Receiver<Result<Offset, AppendError>>;

pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
    bytes_max: usize,
    metrics: Arc<TopicMetrics>,
}

struct State {
    waiting: Vec<Entry>,
    bytes: usize,
    /// Why appends are refused at the moment.
    refusing: Option<String>,
    /// The disk space of the topic is used up by records that are still needed.
    full: bool,
    closed: bool,
}

/// One append on its way.
pub(super) struct Entry {
    pub(super) partition: Partition,
    pub(super) payload: Bytes,
    /// The caller has an answer by then.
    pub(super) deadline: Instant,
    answer: oneshot::Sender<Result<Offset, AppendError>>,
}

impl Queue {
    pub(super) fn new(bytes_max: usize, metrics: Arc<TopicMetrics>) -> Self {
        Self {
            state: Mutex::new(State { waiting: Vec::new(), bytes: 0, refusing: None, full: false, closed: false }),
            arrived: Notify::new(),
            bytes_max,
            metrics,
        }
    }

    pub(super) fn push(&self, partition: Partition, payload: Bytes, timeout: Duration) -> Result<Answer, AppendError> {
        let mut state = self.state.lock();
        if let Some(reason) = &state.refusing {
            return Err(AppendError::Unavailable { reason: reason.clone() });
        }
        if state.full {
            return Err(AppendError::Full {
                what: "the log's disk space (PEEP_LOG_RETENTION_BYTES), with records that are not rolled up,",
            });
        }
        let bytes = state.bytes + cost(&payload);
        if bytes > self.bytes_max {
            return Err(AppendError::Full { what: "log queue" });
        }
        let (answer, receiver) = oneshot::channel();
        state.bytes = bytes;
        state.waiting.push(Entry { partition, payload, deadline: Instant::now() + timeout, answer });
        drop(state);
        self.metrics.queue_bytes(bytes);
        self.arrived.notify_one();
        Ok(receiver)
    }

    /// Waits for at least one entry and takes as many as one group may hold, oldest first. `None` once the queue is closed
    /// and empty.
    pub(super) async fn take(&self, bytes_max: usize, records_max: usize) -> Option<Vec<Entry>> {
        loop {
            {
                let mut state = self.state.lock();
                if !state.waiting.is_empty() {
                    let count = fitting(&state.waiting, bytes_max).min(records_max);
                    let rest = state.waiting.split_off(count);
                    return Some(std::mem::replace(&mut state.waiting, rest));
                }
                if state.closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Gives the caller its answer and the queue its bytes.
    pub(super) fn answer(&self, entry: Entry, result: Result<Offset, AppendError>) {
        let bytes = {
            let mut state = self.state.lock();
            state.bytes -= cost(&entry.payload);
            state.bytes
        };
        self.metrics.queue_bytes(bytes);
        // The caller may have gone away; then nobody needs to know.
        let _ = entry.answer.send(result);
    }

    /// From now on appends fail with `reason`, and so does everything that waits.
    pub(super) fn refuse(&self, reason: &str) {
        let waiting = {
            let mut state = self.state.lock();
            state.refusing = Some(reason.to_owned());
            std::mem::take(&mut state.waiting)
        };
        for entry in waiting {
            self.answer(entry, Err(AppendError::Unavailable { reason: reason.to_owned() }));
        }
    }

    /// Ends `refuse`.
    pub(super) fn accept(&self) {
        let mut state = self.state.lock();
        if !state.closed {
            state.refusing = None;
        }
    }

    /// Whether appends are answered `Full` until further notice. True when that is news.
    pub(super) fn set_full(&self, full: bool) -> bool {
        let mut state = self.state.lock();
        std::mem::replace(&mut state.full, full) != full
    }

    pub(super) fn ready(&self) -> Result<(), String> {
        match &self.state.lock().refusing {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// What waits is still written; later appends fail.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.refusing = Some("the log is closed".to_owned());
        drop(state);
        self.arrived.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}

/// How many of the oldest entries fit; one always does.
fn fitting(waiting: &[Entry], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fits = waiting.iter().take_while(|entry| {
        bytes += entry.payload.len();
        bytes <= bytes_max
    });
    fits.count().max(1)
}

/// An entry and its answer take memory beside the payload; without it a flood of empty records would be unbounded.
fn cost(payload: &Bytes) -> usize {
    payload.len() + size_of::<Entry>() + ANSWER_BYTES
}

/// The shared half of a oneshot channel, measured with the allocator's statistics and rounded up.
const ANSWER_BYTES: usize = 128;
