//! Batches on their way: a bounded queue, and one task per connection that empties it.
//!
//! In: [`Batch`]es. Out: entries in the [`Books`]. Promised: a batch keeps its bytes, its producer and its sequence
//! number over all attempts; each event ends as accepted, rejected or failed. When the queue is full the batch is
//! counted as failed: an open loop does not wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use peep_wire::histogram::DURATION_US_MAX;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::books::Books;
use super::client::{Answer, Connection, Identity, Target};
use super::random::Random;

pub(crate) struct Batch {
    pub(crate) body: Bytes,
    pub(crate) events: u64,
    /// When it should have left.
    pub(crate) due: Instant,
}

pub(crate) struct Senders {
    queue: Sender<Batch>,
    tasks: JoinSet<()>,
    books: Arc<Mutex<Books>>,
}

/// Live batches waiting for a connection: at 50 events of 350 bytes some 18 MB.
pub(crate) const LIVE_QUEUE: usize = 1024;

/// History waits for room instead, so its queue only has to keep the connections busy.
pub(crate) const HISTORY_QUEUE: usize = 2;

impl Senders {
    pub(crate) fn start(
        target: &Target,
        connections: u32,
        queue_batches: usize,
        retry_for: Duration,
        run_id: u64,
    ) -> Self {
        let (queue, batches) = channel(queue_batches);
        let batches = Arc::new(tokio::sync::Mutex::new(batches));
        let books = Arc::new(Mutex::new(Books::default()));
        let mut tasks = JoinSet::new();
        for index in 0..u64::from(connections) {
            let lane = Lane {
                connection: Connection::new(target.clone()),
                producer: producer(run_id, index),
                random: Random::new(run_id ^ index),
                seq: 0,
                retry_for,
                books: Arc::clone(&books),
            };
            tasks.spawn(lane.run(Arc::clone(&batches)));
        }
        Self { queue, tasks, books }
    }

    /// Open loop: never waits.
    pub(crate) fn offer(&self, batch: Batch) {
        let events = batch.events;
        let full = self.queue.try_send(batch).is_err();
        let mut books = lock(&self.books);
        books.sent += events;
        if full {
            Books::count(&mut books.failed, "not sent: the queue is full", events);
        }
    }

    /// Closed loop, for history: waits for room.
    pub(crate) async fn push(&self, batch: Batch) {
        lock(&self.books).sent += batch.events;
        let events = batch.events;
        if self.queue.send(batch).await.is_err() {
            Books::count(&mut lock(&self.books).failed, "not sent: no connection is left", events);
        }
    }

    pub(crate) fn line(&self, took: Duration) -> String {
        lock(&self.books).line(took)
    }

    /// Waits for every answer.
    pub(crate) async fn finish(mut self) -> Books {
        drop(self.queue);
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut *lock(&self.books))
    }
}

/// One connection, one producer.
struct Lane {
    connection: Connection,
    producer: String,
    random: Random,
    seq: u64,
    retry_for: Duration,
    books: Arc<Mutex<Books>>,
}

impl Lane {
    async fn run(mut self, batches: Arc<tokio::sync::Mutex<Receiver<Batch>>>) {
        loop {
            let next = batches.lock().await.recv().await;
            let Some(batch) = next else { return };
            self.deliver(batch).await;
            self.seq += 1;
        }
    }

    async fn deliver(&mut self, batch: Batch) {
        let started = Instant::now();
        let mut pause_ms = 50.0;
        loop {
            let sent = Instant::now();
            let identity = Identity { producer: &self.producer, seq: self.seq };
            let answer = self.connection.post(batch.body.clone(), identity).await;
            let (reason, after) = match answer {
                Answer::Judged { accepted, rejected, first_code } => {
                    return self.settle(&batch, sent, accepted, rejected, first_code);
                }
                Answer::Final { reason } => return self.fail(&batch, &reason),
                Answer::Retry { reason, after } => (reason, after),
            };
            if started.elapsed() >= self.retry_for {
                return self.fail(&batch, &reason);
            }
            Books::count(&mut lock(&self.books).retries, &reason, 1);
            let jittered = Duration::from_secs_f64(self.random.unit() * pause_ms / 1000.0);
            tokio::time::sleep(after.unwrap_or_default() + jittered).await;
            pause_ms = (pause_ms * 2.0_f64).min(2_000.0);
        }
    }

    fn settle(&self, batch: &Batch, sent: Instant, accepted: u64, rejected: u64, first_code: Option<String>) {
        let mut books = lock(&self.books);
        books.requests += 1;
        books.accepted += accepted;
        if rejected > 0 {
            Books::count(&mut books.rejected, first_code.as_deref().unwrap_or("without a code"), rejected);
        }
        if accepted + rejected < batch.events {
            Books::count(&mut books.failed, "not accounted for in the answer", batch.events - accepted - rejected);
        }
        books.latency.record(microseconds(batch.due.elapsed()));
        books.service_time.record(microseconds(sent.elapsed()));
    }

    fn fail(&self, batch: &Batch, reason: &str) {
        let mut books = lock(&self.books);
        books.requests += 1;
        Books::count(&mut books.failed, reason, batch.events);
    }
}

/// A version 7 UUID in form; its random part says which run and which connection.
fn producer(run_id: u64, index: u64) -> String {
    let mut random = Random::new(run_id.wrapping_mul(31).wrapping_add(index));
    let (milliseconds, a, b) = (run_id & 0xffff_ffff_ffff, random.next(), random.next());
    format!(
        "{:08x}-{:04x}-7{:03x}-{:04x}-{:012x}",
        milliseconds >> 16,
        milliseconds & 0xffff,
        a & 0xfff,
        0x8000 | (a >> 12 & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(DURATION_US_MAX).min(DURATION_US_MAX)
}

fn lock(books: &Mutex<Books>) -> std::sync::MutexGuard<'_, Books> {
    // Counters; a panic elsewhere leaves them usable.
    books.lock().unwrap_or_else(PoisonError::into_inner)
}
