//! Batches to the ingest service.
//!
//! In: batches, on a bounded channel. Out: what became of them, in the [`Delivery`] books. Promised: each batch goes
//! out with the identity of the run (`Peep-Producer`) and its own number (`Peep-Seq`), always with the same bytes, until
//! it is answered for good, so that ingest counts it once; each event ends as accepted, rejected (by code) or
//! undelivered. A final error stops the run, because every later batch would meet it too. Not done: writing batches to
//! disk; while ingest is away, reading the log stands still.

mod answer;

use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ureq::tls::{RootCerts, TlsConfig};

use crate::args::Target;
use crate::backoff;
use crate::batch::Batch;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::Delivery;

use answer::Answer;
pub(crate) use answer::Rejection;

/// Sending threads and the way to them.
pub(crate) struct Senders {
    queue: Option<SyncSender<Batch>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    producer: String,
    agent: ureq::Agent,
    progress: Arc<Progress>,
    interrupt: Interrupt,
    delivery: Mutex<Delivery>,
    /// Raised by a final error: nothing more is sent.
    stopped: Interrupt,
    last_complaint: Mutex<Option<Instant>>,
}

/// Below this, compression saves less than its header costs.
const COMPRESS_OVER_BYTES: usize = 4 << 10;

/// One attempt, from connecting to the last byte of the answer. Ingest answers within 10 s or not at all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After Ctrl-C, for batches that cannot be delivered.
const FAREWELL: Duration = Duration::from_secs(5);

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(5);

impl Senders {
    pub(crate) fn start(target: &Target, progress: &Arc<Progress>, interrupt: &Interrupt) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            agent: agent(target),
            target: target.clone(),
            producer: uuid::Uuid::now_v7().to_string(),
            progress: Arc::clone(progress),
            interrupt: interrupt.clone(),
            delivery: Mutex::default(),
            stopped: Interrupt::default(),
            last_complaint: Mutex::default(),
        });
        // One batch waits while each thread sends one: enough to keep them busy, little enough to feel a slow ingest.
        let (queue, batches) = sync_channel(1);
        let batches = Arc::new(Mutex::new(batches));
        let threads = (0..target.in_flight)
            .map(|index| {
                let (shared, batches) = (Arc::clone(&shared), Arc::clone(&batches));
                std::thread::Builder::new().name(format!("send-{index}")).spawn(move || shared.run(&batches))
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { queue: Some(queue), threads, shared })
    }

    /// Waits for room. False: a final error has stopped the run; the batch is counted as undelivered.
    pub(crate) fn send(&self, batch: Batch) -> bool {
        if !self.shared.stopped.is_raised() {
            match self.queue.as_ref().map(|queue| queue.send(batch)) {
                Some(Ok(())) => return !self.shared.stopped.is_raised(),
                Some(Err(refused)) => self.shared.books().undelivered += u64::from(refused.0.events),
                None => {}
            }
            return false;
        }
        self.shared.books().undelivered += u64::from(batch.events);
        false
    }

    /// A copy of the books as they stand.
    pub(crate) fn delivery(&self) -> Delivery {
        self.shared.books().clone()
    }

    /// Waits until every batch is answered or given up.
    pub(crate) fn finish(mut self) -> Delivery {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // A panic in a sender has left its batch unanswered; the books show that by not adding up.
            let _ = thread.join();
        }
        self.delivery()
    }
}

fn agent(target: &Target) -> ureq::Agent {
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(ATTEMPT_TIMEOUT))
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .max_idle_connections_per_host(usize::from(target.in_flight))
        .user_agent(concat!("peep-ship/", env!("CARGO_PKG_VERSION")));
    if target.loopback {
        config = config.proxy(None);
    }
    if let Some(authorities) = &target.authorities {
        let roots = RootCerts::Specific(Arc::clone(authorities));
        config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
    }
    config.build().into()
}

impl Shared {
    fn run(&self, batches: &Mutex<Receiver<Batch>>) {
        loop {
            // The lock is held while waiting: the next idle thread waits for the lock instead of the channel.
            let next = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = next else { return };
            self.deliver(&batch);
        }
    }

    /// Sends one batch until there is an answer for good.
    fn deliver(&self, batch: &Batch) {
        let (body, encoding) = self.encode(batch);
        let mut first_failure = None;
        let mut failures = 0;
        while !self.stopped.is_raised() {
            match self.attempt(batch, &body, encoding) {
                Answer::Counted { accepted, rejected } => {
                    if failures > 0 {
                        self.praise();
                    }
                    self.books().settle(batch, accepted, rejected);
                    return;
                }
                Answer::Final { reason } => {
                    self.stop(reason);
                    break;
                }
                Answer::Retry { reason, after } => {
                    failures += 1;
                    let since = *first_failure.get_or_insert_with(Instant::now);
                    if let Some(last_word) = self.give_up(since, &reason) {
                        self.stop(last_word);
                        break;
                    }
                    self.books().retries += 1;
                    self.complain(&reason);
                    self.wait(backoff::pause(failures, after, backoff::random()));
                }
            }
        }
        self.books().undelivered += u64::from(batch.events);
    }

    /// Once, before the first attempt: a batch never changes afterwards.
    fn encode<'a>(&self, batch: &'a Batch) -> (std::borrow::Cow<'a, [u8]>, Option<&'static str>) {
        if self.target.gzip && batch.body.len() > COMPRESS_OVER_BYTES {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::with_capacity(batch.body.len() / 8), flate2::Compression::fast());
            if let Some(packed) = encoder.write_all(&batch.body).ok().and_then(|()| encoder.finish().ok()) {
                return (packed.into(), Some("gzip"));
            }
        }
        (batch.body.as_slice().into(), None)
    }

    fn attempt(&self, batch: &Batch, body: &[u8], encoding: Option<&str>) -> Answer {
        let mut request = self
            .agent
            .post(format!("{}/v1/events", self.target.url))
            .header("authorization", format!("Bearer {}", self.target.key))
            .header("content-type", "application/x-ndjson")
            .header("peep-producer", &self.producer)
            .header("peep-seq", batch.seq.to_string());
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        answer::read(request.send(body), batch.events)
    }

    /// The last word about a batch that has failed since `since`, when it is time for one.
    fn give_up(&self, since: Instant, reason: &str) -> Option<String> {
        let waited = since.elapsed();
        let interrupted = self.interrupt.is_raised() && waited >= FAREWELL;
        let patience_over = self.target.give_up_after.is_some_and(|limit| waited >= limit);
        (interrupted || patience_over).then(|| {
            format!("gave up after {} s: {reason}. Is ingest running at {}?", waited.as_secs(), self.target.url)
        })
    }

    fn stop(&self, reason: String) {
        let mut books = self.books();
        if books.final_error.is_none() {
            books.final_error = Some(reason);
        }
        self.stopped.raise();
    }

    /// Says why nothing moves, but not for each of a thousand attempts.
    fn complain(&self, reason: &str) {
        let mut last = self.last_complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            *last = Some(Instant::now());
            self.progress.say(&format!("{reason}; trying again"));
        }
    }

    /// Says once, whatever the number of batches that waited, that it goes on.
    fn praise(&self) {
        let complained = self.last_complaint.lock().unwrap_or_else(PoisonError::into_inner).take();
        if complained.is_some() {
            self.progress.say("ingest answers again");
        }
    }

    /// Sleeps; a stop or an interrupt shortens it.
    fn wait(&self, pause: Duration) {
        let end = Instant::now() + pause;
        let interrupted = self.interrupt.is_raised();
        while !self.stopped.is_raised() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || (!interrupted && self.interrupt.is_raised()) {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    fn books(&self) -> MutexGuard<'_, Delivery> {
        // Plain counters: a panic elsewhere leaves them usable.
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
