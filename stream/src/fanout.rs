//! Live messages to WebSockets: few threads, each with many sockets, and one write for each delivery.
//!
//! Arrives: upgraded connections ([`crate::live`]) and what topics publish. Leaves: shared bytes, written straight to the sockets.
//! Each thread runs a runtime of its own and a connection stays with it: a delivery is then one system call and little else (a
//! shared runtime costs 22 to 70 % more, measured), and questions of the read API, which compute, are answered elsewhere and delay
//! nobody.
//!
//! Promises:
//! - Nothing is queued. Who does not take a message keeps that one; what is published meanwhile is passed over, and when there is
//!   room again one message covers all of it ([`crate::subscriber`]).
//! - Nobody waits for anybody: a write that does not get through at once goes on in the connection's own task.
//! - Deadlines are kept by a sweep and not by the write they are about. A viewer that takes nothing is cut; one that is too slow, or
//!   holds too much, is sent away with the seconds after which to come back. When all of them hold too much, the slowest go first.
//! - On shutdown everybody is told.
//!
//! Does not: know HTTP, or who may look.

mod member;

mod socket;

mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::body::Bytes;
use parking_lot::Mutex;
use peep_chassis::lifecycle::Shutdown;
use tokio::sync::{mpsc, oneshot};

use crate::message::Message;
use crate::standing::Standing;
use crate::subscriber::Subscriber;

pub use self::socket::Socket;

/// The bounds of all WebSockets.
#[derive(Debug, Clone, Copy)]
pub struct FanoutLimits {
    /// Threads, each with a runtime of its own.
    pub threads: usize,
    /// Without a byte taken by the client.
    pub write_timeout: Duration,
    /// For one message, however steadily it is taken.
    pub slow_timeout: Duration,
    /// What one viewer may keep waiting for longer than the write timeout.
    pub viewer_bytes_max: usize,
    /// What all of them may.
    pub unsent_bytes_max: usize,
}

/// The threads. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Fanout {
    shared: Arc<Shared>,
}

struct Shared {
    threads: Vec<Thread>,
    limits: FanoutLimits,
    ends: Mutex<Vec<oneshot::Receiver<()>>>,
}

struct Thread {
    joining: mpsc::Sender<Joining>,
    load: Arc<Load>,
}

/// How much a thread has to do, for others to read.
#[derive(Debug, Default)]
struct Load {
    members: AtomicUsize,
    unsent_bytes: AtomicUsize,
}

/// A connection that was just upgraded.
pub struct Joining {
    pub socket: Socket,
    /// What the client sent before it had our answer.
    pub early: Bytes,
    pub subscriber: Subscriber,
    /// What it gets first.
    pub first: Arc<Message>,
    pub standing: Arc<Standing>,
}

impl Fanout {
    /// Starts the threads; they end after the shutdown, when everybody has left.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(limits: FanoutLimits, shutdown: &Shutdown) -> anyhow::Result<Self> {
        let loads: Vec<Arc<Load>> = (0..limits.threads).map(|_| Arc::default()).collect();
        let mut threads = Vec::with_capacity(limits.threads);
        let mut ends = Vec::with_capacity(limits.threads);
        for (number, load) in loads.iter().enumerate() {
            let (joining, arrivals) = mpsc::channel(ARRIVALS_MAX);
            let (ended, end) = oneshot::channel();
            let (all, shutdown) = (loads.clone(), shutdown.clone());
            std::thread::Builder::new()
                .name(format!("fanout-{number}"))
                .spawn(move || {
                    thread::run(number, limits, all, arrivals, &shutdown);
                    let _ = ended.send(());
                })
                .context("start a fan-out thread")?;
            threads.push(Thread { joining, load: Arc::clone(load) });
            ends.push(end);
        }
        Ok(Self { shared: Arc::new(Shared { threads, limits, ends: Mutex::new(ends) }) })
    }

    /// Hands a connection over to the thread that has the fewest.
    pub async fn join(&self, joining: Joining) {
        let members = |thread: &&Thread| thread.load.members.load(Ordering::Relaxed);
        let Some(thread) = self.shared.threads.iter().min_by_key(members) else { return };
        // Counted here, so that a crowd that comes at once is spread.
        thread.load.members.fetch_add(1, Ordering::Relaxed);
        // Refused after the shutdown only; the connection then ends here.
        if thread.joining.send(joining).await.is_err() {
            thread.load.members.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether what waits for slow viewers leaves room for others.
    pub fn has_room(&self) -> bool {
        let unsent = |thread: &Thread| thread.load.unsent_bytes.load(Ordering::Relaxed);
        self.shared.threads.iter().map(unsent).sum::<usize>() <= self.shared.limits.unsent_bytes_max
    }

    /// Resolves when all threads have ended.
    pub async fn ended(&self) {
        let ends = std::mem::take(&mut *self.shared.ends.lock());
        for end in ends {
            let _ = end.await;
        }
    }
}

/// Connections on their way to a thread. When it is full, those who open one wait.
const ARRIVALS_MAX: usize = 1024;
