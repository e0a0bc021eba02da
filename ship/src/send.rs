//! Batches to the ingest service.
//!
//! In: parcels, through a queue that is bounded in bytes. Out: what became of them, in the [`Delivery`] books and in the
//! journal. Promised: each batch goes out under its identity (`Peep-Producer`, `Peep-Seq`), always with the same bytes, until
//! it is answered for good, so that ingest counts it once; the first batch of a producer is answered before the second is
//! sent, so that ingest sees it begin at 0; each event ends as accepted, rejected (by code), undelivered, or kept in the
//! journal for the next run. An error that every later batch would meet too stops the run; one that concerns this batch alone
//! sets it aside where there is a journal, and stops the run where there is none.

mod answer;
mod queue;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use peep_chassis::admin::HealthHandle;
use ureq::tls::{RootCerts, TlsConfig};
use uuid::Uuid;

use crate::args::Target;
use crate::backoff;
use crate::interrupt::Interrupt;
use crate::journal::Journal;
use crate::metrics;
use crate::parcel::Parcel;
use crate::progress::Progress;
use crate::report::Delivery;

pub(crate) use answer::Rejection;
use answer::{Answer, Concerns};
use queue::Queue;

/// Sending threads and the way to them.
pub(crate) struct Senders {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// Shared with the outbox, which writes to it before anything is sent.
pub(crate) type SharedJournal = Arc<Mutex<Journal>>;

struct Shared {
    target: Target,
    agent: ureq::Agent,
    queue: Queue,
    journal: Option<SharedJournal>,
    /// What the admin port says of the delivery.
    health: Option<HealthHandle>,
    /// Producers whose first batch has no answer yet.
    beginning: Mutex<Vec<Uuid>>,
    begun: Condvar,
    progress: Arc<Progress>,
    interrupt: Interrupt,
    delivery: Mutex<Delivery>,
    /// Raised by a final error: nothing more is sent.
    stopped: Interrupt,
    last_complaint: Mutex<Option<Instant>>,
}

/// One attempt, from connecting to the last byte of the answer. Ingest answers within 10 s or not at all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After Ctrl-C, for batches that cannot be delivered.
const FAREWELL: Duration = Duration::from_secs(5);

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(5);

/// How often a full disk is tried again.
const ROOM_INTERVAL: Duration = Duration::from_millis(500);

/// How often a thread that waits looks whether it still should.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

impl Senders {
    pub(crate) fn start(
        target: &Target,
        journal: Option<SharedJournal>,
        health: Option<HealthHandle>,
        progress: &Arc<Progress>,
        interrupt: &Interrupt,
    ) -> std::io::Result<Self> {
        let recovered = journal.as_ref().map_or(0, |journal| lock(journal).unanswered_events());
        let shared = Arc::new(Shared {
            agent: agent(target),
            target: target.clone(),
            queue: Queue::new(target.buffer_bytes),
            journal,
            health,
            beginning: Mutex::default(),
            begun: Condvar::new(),
            progress: Arc::clone(progress),
            interrupt: interrupt.clone(),
            delivery: Mutex::new(Delivery { recovered, ..Delivery::default() }),
            stopped: Interrupt::default(),
            last_complaint: Mutex::default(),
        });
        let threads = (0..target.in_flight)
            .map(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name(format!("send-{index}")).spawn(move || shared.run())
            })
            .collect::<std::io::Result<_>>()?;
        Ok(Self { threads, shared })
    }

    /// Waits for room. After a final error the batch is only counted.
    pub(crate) fn send(&self, parcel: Parcel) {
        self.shared.begin(&parcel);
        if let Err(parcel) = self.shared.queue.push(parcel, || self.shared.stopped.is_raised()) {
            self.shared.leave(parcel.events.into());
        }
    }

    /// No use to go on.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.stopped.is_raised()
    }

    pub(crate) fn stop(&self, reason: String) {
        self.shared.stop(reason);
    }

    /// The disk is full since then; false: no use to wait any longer.
    pub(crate) fn wait_for_room(&self, since: Instant, reason: &str) -> bool {
        self.shared.wait_for_room(since, reason)
    }

    /// The disk is full, and nothing has to be written yet.
    pub(crate) fn is_short_of_room(&self, reason: &str) {
        self.shared.complain(reason);
    }

    /// The disk is no longer full.
    pub(crate) fn has_room(&self) {
        self.shared.praise("there is room on the disk again");
    }

    /// Counts events that could not even be remembered.
    pub(crate) fn abandon(&self, events: u64) {
        self.shared.leave(events);
    }

    /// A copy of the books as they stand.
    pub(crate) fn delivery(&self) -> Delivery {
        self.shared.books().clone()
    }

    /// Nothing more will come: what is in the queue is still sent.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
    }

    /// Waits until every batch is answered or given up.
    pub(crate) fn finish(mut self) -> Delivery {
        self.close();
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
    fn run(&self) {
        while let Some(parcel) = self.queue.pop() {
            metrics::queued_bytes(self.queue.bytes());
            self.await_turn(&parcel);
            self.deliver(&parcel);
            if parcel.identity.seq == 0 {
                self.beginning().retain(|producer| *producer != parcel.identity.producer);
                self.begun.notify_all();
            }
        }
    }

    fn begin(&self, parcel: &Parcel) {
        if parcel.identity.seq == 0 {
            self.beginning().push(parcel.identity.producer);
        }
    }

    /// Until the producer's first batch has its answer.
    fn await_turn(&self, parcel: &Parcel) {
        let mut beginning = self.beginning();
        while parcel.identity.seq > 0 && beginning.contains(&parcel.identity.producer) && !self.stopped.is_raised() {
            (beginning, _) = self.begun.wait_timeout(beginning, LOOK_INTERVAL).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn beginning(&self) -> MutexGuard<'_, Vec<Uuid>> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one batch until there is an answer for good.
    fn deliver(&self, parcel: &Parcel) {
        let mut first_failure = None;
        let mut failures = 0;
        while !self.stopped.is_raised() {
            match self.attempt(parcel) {
                Answer::Counted { accepted, rejected } => {
                    if failures > 0 {
                        self.praise("ingest answers again");
                    }
                    metrics::answered(accepted, rejected.len() as u64);
                    self.books().settle(parcel, accepted, rejected);
                    self.settle(parcel);
                    return;
                }
                Answer::Final { reason, concerns } => {
                    if concerns == Concerns::Batch && self.set_aside(parcel, &reason) {
                        return;
                    }
                    self.stop(reason);
                    break;
                }
                Answer::Retry { reason, after } => {
                    failures += 1;
                    let since = *first_failure.get_or_insert_with(Instant::now);
                    if let Some(last_word) = self.give_up(since, &reason) {
                        self.books().interrupted = self.interrupt.is_raised() && self.journal.is_some();
                        self.stop(last_word);
                        break;
                    }
                    self.books().retries += 1;
                    metrics::retried();
                    self.complain(&reason);
                    self.wait(backoff::pause(failures, after, backoff::random()));
                }
            }
        }
        self.leave(parcel.events.into());
    }

    fn attempt(&self, parcel: &Parcel) -> Answer {
        let mut request = self
            .agent
            .post(format!("{}/v1/events", self.target.url))
            .header("authorization", format!("Bearer {}", self.target.key))
            .header("content-type", "application/x-ndjson")
            .header("peep-producer", parcel.identity.producer.to_string())
            .header("peep-seq", parcel.identity.seq.to_string());
        if let Some(encoding) = parcel.encoding.header() {
            request = request.header("content-encoding", encoding);
        }
        answer::read(request.send(parcel.bytes.as_slice()), parcel.events)
    }

    /// The batch is answered: a restart need not send it again.
    fn settle(&self, parcel: &Parcel) {
        if let Some(journal) = &self.journal
            && let Err(error) = lock(journal).answered(parcel.identity)
        {
            self.stop(format!("{error:#}"));
        }
    }

    /// The events stay where they are: in the journal, or in the logs; or nowhere.
    fn leave(&self, events: u64) {
        let mut books = self.books();
        if self.journal.is_some() {
            books.kept += events;
        } else {
            books.undelivered += events;
        }
    }

    /// True: the batch lies in a file for a person to look at, and the run goes on.
    fn set_aside(&self, parcel: &Parcel, reason: &str) -> bool {
        let Some(journal) = &self.journal else { return false };
        let kept = lock(journal).set_aside(parcel);
        match kept {
            Ok(path) => {
                self.progress.say(&format!("{reason}; its {} events are kept in {}", parcel.events, path.display()));
                metrics::answered(0, u64::from(parcel.events));
                self.books().refuse(parcel, reason);
                self.settle(parcel);
                true
            }
            Err(error) => {
                self.progress.say(&format!("{error:#}"));
                false
            }
        }
    }

    /// The last word about a batch that has failed since `since`, when it is time for one.
    fn give_up(&self, since: Instant, reason: &str) -> Option<String> {
        self.is_over(since).then(|| {
            let waited = since.elapsed().as_secs();
            format!("gave up after {waited} s: {reason}. Is ingest running at {}?", self.target.url)
        })
    }

    /// Trouble that began then has lasted too long.
    fn is_over(&self, since: Instant) -> bool {
        let waited = since.elapsed();
        let interrupted = self.interrupt.is_raised() && waited >= FAREWELL;
        interrupted || self.target.give_up_after.is_some_and(|limit| waited >= limit)
    }

    fn wait_for_room(&self, since: Instant, reason: &str) -> bool {
        if self.stopped.is_raised() || self.is_over(since) {
            return false;
        }
        self.complain(reason);
        self.wait(ROOM_INTERVAL);
        true
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
        if let Some(health) = &self.health {
            health.set_degraded(reason);
        }
        let mut last = self.last_complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            *last = Some(Instant::now());
            self.progress.say(&format!("{reason}; trying again"));
        }
    }

    /// Says once, whatever the number of batches that waited, that it goes on.
    fn praise(&self, what: &str) {
        if let Some(health) = &self.health {
            health.set_ready();
        }
        let complained = self.last_complaint.lock().unwrap_or_else(PoisonError::into_inner).take();
        if complained.is_some() {
            self.progress.say(what);
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
            std::thread::sleep(left.min(LOOK_INTERVAL));
        }
    }

    fn books(&self) -> MutexGuard<'_, Delivery> {
        // Plain counters: a panic elsewhere leaves them usable.
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A record is written whole or the run stops: a panic elsewhere leaves the journal usable.
pub(crate) fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
