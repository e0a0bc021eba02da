//! The requests of one HTTP/2 connection: how many are open, since when there is none, and an end for those that have none.
//!
//! A client can open a request and never take its answer, by a window that it never opens. A stream that lasts longer than any
//! request may is reset, and what it holds is given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, timeout};

use crate::metrics::{self, Cut};

/// Runs the streams of a connection as tasks. Cheap to clone; clones count together.
#[derive(Clone)]
pub(crate) struct Streams {
    shared: Arc<Shared>,
}

struct Shared {
    time_max: Duration,
    open: AtomicUsize,
    since: Instant,
    /// Milliseconds after `since`.
    last_closed_ms: AtomicU64,
}

impl Streams {
    pub(crate) fn new(time_max: Duration) -> Self {
        let shared =
            Shared { time_max, open: AtomicUsize::new(0), since: Instant::now(), last_closed_ms: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    /// The earliest time at which there was nothing for so long.
    pub(crate) fn quiet_at(&self, span: Duration) -> Instant {
        match self.shared.open.load(Ordering::Acquire) {
            0 => self.shared.last_closed() + span,
            _ => Instant::now() + span,
        }
    }

    pub(crate) fn is_quiet_for(&self, span: Duration) -> bool {
        self.shared.open.load(Ordering::Acquire) == 0 && self.shared.last_closed().elapsed() >= span
    }

    /// Counts from now on.
    pub(crate) fn stir(&self) {
        let elapsed_ms = u64::try_from(self.shared.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.last_closed_ms.store(elapsed_ms, Ordering::Release);
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let open = Open::new(self.clone());
        tokio::spawn(async move {
            if timeout(open.streams.shared.time_max, stream).await.is_err() {
                metrics::connection_cut(Cut::Stream);
            }
        });
    }
}

impl Shared {
    fn last_closed(&self) -> Instant {
        self.since + Duration::from_millis(self.last_closed_ms.load(Ordering::Acquire))
    }
}

/// One stream, until it is dropped.
struct Open {
    streams: Streams,
}

impl Open {
    fn new(streams: Streams) -> Self {
        streams.shared.open.fetch_add(1, Ordering::AcqRel);
        Self { streams }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.stir();
        self.streams.shared.open.fetch_sub(1, Ordering::AcqRel);
    }
}
