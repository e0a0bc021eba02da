//! The client: events in, batches out, and books that balance.
//!
//! Arrives: finished requests and operations, from the layer or from the application. Leaves: batches, to the thread that sends
//! them. Promised: recording never waits for anything but a lock that is held for some hundred nanoseconds, never panics and, at
//! steady state, never allocates; every event ends in exactly one column of [`Stats`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::config::Config;
use crate::event::{self, Event};
use crate::grpc::Methods;
use crate::lines::Lines;
use crate::queue::Queue;
use crate::sender;

/// A handle; clones are the same client.
#[derive(Clone)]
pub struct Client {
    handle: Option<Arc<Handle>>,
}

/// When the last of them goes, the sender ends.
pub(crate) struct Handle {
    shared: Arc<Shared>,
}

/// Of the handles and the sending thread.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) state: Mutex<State>,
    methods: Methods,
    /// The sender waits here for work.
    pub(crate) work: Condvar,
    /// Whoever flushes waits here for the sender.
    pub(crate) progress: Condvar,
    draws: AtomicU64,
}

pub(crate) struct State {
    pub(crate) queue: Queue,
    pub(crate) stats: Stats,
    /// How many wait for a flush.
    pub(crate) urgent: u32,
    /// Nothing more is taken.
    pub(crate) closed: bool,
    /// The sender has ended, or never began.
    pub(crate) ended: bool,
    /// How many were dropped when that was last looked at.
    pub(crate) full_known: u64,
    pub(crate) said: Vec<(&'static str, Instant)>,
    wall: Wall,
}

/// What the clock on the wall said, and when that was. It is looked at once for each batch, and not for each event: the clock that
/// requests are measured with has the rest.
#[derive(Clone, Copy)]
struct Wall {
    at: Instant,
    unix_ms: u64,
}

impl Wall {
    fn look(at: Instant) -> Self {
        Self { at, unix_ms: event::unix_ms(SystemTime::now()) }
    }

    fn unix_ms(&self, now: Instant) -> u64 {
        self.unix_ms + now.saturating_duration_since(self.at).as_millis() as u64
    }
}

/// The books: recorded = accepted + rejected + all that was dropped + held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Events handed in.
    pub recorded: u64,
    /// Durable, by ingest's word.
    pub accepted: u64,
    /// Judged by ingest one by one and refused.
    pub rejected: u64,
    /// No room.
    pub dropped_full: u64,
    /// A whole batch was refused for good.
    pub dropped_refused: u64,
    /// A batch failed for longer than [`Config::give_up_after`].
    pub dropped_expired: u64,
    /// Left over at a shutdown, or recorded after it.
    pub dropped_shutdown: u64,
    /// Waiting, or on the way.
    pub held: u64,
    /// All memory of the queue.
    pub held_bytes: usize,
    /// Requests to ingest, tries included.
    pub requests: u64,
    /// Tries after the first.
    pub retried: u64,
    /// Bodies sent, compressed where they were.
    pub bytes_sent: u64,
}

impl Stats {
    /// All that is lost.
    pub fn dropped(&self) -> u64 {
        self.dropped_full + self.dropped_refused + self.dropped_expired + self.dropped_shutdown
    }
}

impl Client {
    /// A client by the environment; see [`Config`].
    pub fn from_env() -> Self {
        Self::new(Config::from_env())
    }

    /// A client, and its thread. Without address or key, or when no thread can be had, a client that does nothing and has said
    /// so once.
    pub fn new(config: Config) -> Self {
        let (config, missing) = config.resolved();
        if let Some(missing) = missing {
            (config.log)(&format!("peep: {missing}; no events are sent"));
            return Self { handle: None };
        }
        if config.service == "unknown_service" {
            (config.log)("peep: PEEP_SERVICE is not set; the service is called unknown_service");
        }
        let lines = Lines::new(event::head(&config.service, &config.env, &config.host, &config.version));
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(lines, config.queue_bytes(), config.batch_bytes),
                stats: Stats::default(),
                urgent: 0,
                closed: false,
                ended: false,
                full_known: 0,
                said: Vec::new(),
                wall: Wall::look(Instant::now()),
            }),
            methods: Methods::new(),
            config,
            work: Condvar::new(),
            progress: Condvar::new(),
            draws: AtomicU64::new(0),
        });
        let sending = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("peep-sdk".to_owned()).spawn(move || sender::run(&sending));
        if let Err(error) = thread {
            (shared.config.log)(&format!("peep: no thread to send from ({error}); no events are sent"));
            return Self { handle: None };
        }
        Self { handle: Some(Arc::new(Handle { shared })) }
    }

    /// Whether events are sent at all.
    pub fn is_enabled(&self) -> bool {
        self.handle.is_some()
    }

    /// Any timed operation.
    pub fn record(&self, event: &Event<'_>) {
        if self.is_enabled() {
            self.record_at(event, Instant::now());
        }
    }

    /// The same for somebody who has just looked at the clock.
    pub(crate) fn record_at(&self, event: &Event<'_>, now: Instant) {
        let Some(shared) = self.shared() else { return };
        let detail = shared.wants_detail(event);
        let mut state = shared.lock();
        state.stats.recorded += 1;
        if state.closed {
            state.stats.dropped_shutdown += 1;
            return;
        }
        let was_empty = state.queue.is_open_empty();
        let sealed = state.queue.sealed_ever;
        if was_empty {
            state.wall = Wall::look(now);
        }
        let now_ms = state.wall.unix_ms(now);
        if state.queue.push(event, detail, now_ms) {
            // The first event of a batch starts its time; a full batch is work.
            let is_full = state.queue.sealed_ever > sealed;
            if is_full {
                state.wall = Wall::look(now);
            }
            if was_empty || is_full {
                drop(state);
                shared.work.notify_one();
            }
            return;
        }
        // Said by the sender: writing to a log may take time.
        state.stats.dropped_full += 1;
    }

    /// Sends what there is now, and waits for it, for at most so long. True when all of it has its final answer. Blocks its thread:
    /// in async code call it through `spawn_blocking`. `Duration::MAX`: for as long as it takes.
    pub fn flush(&self, timeout: Duration) -> bool {
        let Some(shared) = self.shared() else { return true };
        let until = in_the_future(timeout);
        let mut state = shared.lock();
        state.queue.seal();
        let goal = state.queue.sealed_ever;
        state.urgent += 1;
        shared.work.notify_one();
        while state.queue.done_ever < goal && !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = shared.progress.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.urgent -= 1;
        state.queue.done_ever >= goal
    }

    /// Sends what is left, for at most so long, and ends; what cannot be sent is counted. Blocks its thread, as [`Client::flush`]
    /// does. To be called last.
    pub fn shutdown(&self, timeout: Duration) -> Stats {
        let Some(shared) = self.shared() else { return Stats::default() };
        let until = in_the_future(timeout);
        // Requests that end while the rest is on its way still get in; later ones are counted as dropped.
        while shared.lock().is_at_work() && Instant::now() < until {
            self.flush(until.saturating_duration_since(Instant::now()));
        }
        let mut state = shared.lock();
        state.closed = true;
        state.abandon();
        let stats = state.read();
        if stats.dropped_shutdown > 0 {
            let message = format!("{} events could not be sent before the end", stats.dropped_shutdown);
            shared.say(state, "shutdown", &message);
        } else {
            drop(state);
        }
        shared.work.notify_one();
        shared.progress.notify_all();
        self.stats()
    }

    /// The books as they stand.
    pub fn stats(&self) -> Stats {
        self.shared().map(|shared| shared.lock().read()).unwrap_or_default()
    }

    /// The methods of gRPC that its layers have seen.
    pub(crate) fn methods(&self) -> Option<&Methods> {
        self.shared().map(|shared| &shared.methods)
    }

    fn shared(&self) -> Option<&Arc<Shared>> {
        self.handle.as_ref().map(|handle| &handle.shared)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("enabled", &self.is_enabled()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.seal();
        drop(state);
        self.shared.work.notify_one();
    }
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Counters and buffers: a panic elsewhere leaves them usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wants_detail(&self, event: &Event<'_>) -> bool {
        let share = self.config.detail;
        share >= 1.0 || event.is_error() || self.draw() < share
    }

    /// Which events keep their detail need not be unpredictable, only unrelated to what they are: splitmix64 of a counter.
    fn draw(&self) -> f64 {
        let mut bits = self.draws.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One line to the log, and no second one of the same kind for a while. Not while the lock is held.
    pub(crate) fn say(&self, mut state: MutexGuard<'_, State>, kind: &'static str, message: &str) {
        let now = Instant::now();
        let known = state.said.iter_mut().find(|(said, _)| *said == kind);
        match known {
            Some((_, last)) if now.duration_since(*last) < SAY_INTERVAL => return,
            Some((_, last)) => *last = now,
            None => state.said.push((kind, now)),
        }
        drop(state);
        // A log that panics is nobody's reason to stop sending.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.config.log)(&format!("peep: {message}"))));
    }
}

/// One complaint of each kind in this time.
const SAY_INTERVAL: Duration = Duration::from_secs(60);

/// The moment at which `timeout` is over, or one that nobody waits for where no clock goes that far.
fn in_the_future(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

/// Thirty years: the clock of every system goes that far.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

impl State {
    /// Events are left, and somebody sends them.
    fn is_at_work(&self) -> bool {
        self.queue.events() > 0 && !self.ended
    }

    fn read(&self) -> Stats {
        Stats { held: self.queue.events(), held_bytes: self.queue.bytes(), ..self.stats }
    }

    /// Gives up what is not in the sender's hands; the sender does so with that.
    pub(crate) fn abandon(&mut self) {
        self.queue.seal();
        while let Some(batch) = self.queue.take() {
            self.stats.dropped_shutdown += batch.events;
            self.queue.done(batch);
        }
    }
}
