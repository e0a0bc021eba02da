//! The requests of one HTTP/2 connection: how many are open, since when there is none, and an end for those that have none.
//!
//! A client can open a request and never take its answer, by a window that it never opens. A stream that lasts longer than any
//! request may is reset, and what it holds is given back. What was handed over to be sent is out of reach by then, so an
//! answer is handed over in [`Pieces`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
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

/// A body that comes a piece at a time. The implementation of HTTP/2 asks for one when the client has room for a byte, and
/// keeps all that it gets.
pub(crate) struct Pieces {
    rest: Bytes,
}

impl Pieces {
    pub(crate) fn new(whole: Full<Bytes>) -> Self {
        let mut whole = whole;
        let mut context = Context::from_waker(std::task::Waker::noop());
        let first = Pin::new(&mut whole).poll_frame(&mut context);
        let Poll::Ready(Some(Ok(frame))) = first else { return Self { rest: Bytes::new() } };
        Self { rest: frame.into_data().unwrap_or_default() }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// One frame of the default size.
const PIECE_BYTES: usize = 16 << 10;
