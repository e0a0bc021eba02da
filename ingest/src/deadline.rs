//! Time limits without a timer per request.
//!
//! Arrives: what a connection is waiting for since when (its next head, a body, the log). Leaves: the end of waiting, for those
//! that waited too long. A timer per limit is set and cleared with every request and costs more than reading its head; here a
//! request stores one number, and only when it has to wait at all. A [`sweep`](Deadlines::sweep) of each worker looks at its
//! connections every quarter of a second: at a wait it has not seen before it notes the time, at one that lasts too long it wakes
//! the connection.
//!
//! Promises: no wait is cut short, and none lasts longer than its limit and twice the time between sweeps. Does not: work
//! across threads; a connection and its sweep live on the same worker.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::Config;
use crate::manners::Manners;

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Wait {
    /// Nothing that has a limit.
    Nothing = 0,
    /// The next head, idle time before it included, or somebody to take the answer.
    Head = 1,
    /// More of a body.
    Body = 2,
    Append = 3,
    /// The rest of a head.
    RestOfHead = 4,
}

/// It took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue;

/// The waits of one worker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Deadlines {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Milliseconds, by [`Wait`].
    limits_ms: [u64; 5],
    pause: Duration,
    started: Instant,
    waits: Mutex<Vec<Arc<Slot>>>,
}

/// The wait of one connection, or of one stream of it. Written by its own thread only.
#[derive(Debug)]
struct Slot {
    wait: AtomicU8,
    /// When a sweep saw this wait first; 0 when none did.
    seen_ms: AtomicU64,
    /// In the list of all.
    at: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Deadlines {
    pub(crate) fn new(config: &Config) -> Deadlines {
        let http = &config.http;
        let body = http.body_timeout.min(http.body_stall_timeout);
        let rest_of_head = http.head_timeout.min(http.header_timeout);
        let limits = [Duration::MAX, http.header_timeout, body, config.append_timeout, rest_of_head];
        let shortest = limits.iter().min().copied().unwrap_or(SWEEP_PAUSE_MAX);
        let shared = Shared {
            limits_ms: limits.map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)),
            pause: (shortest / 4).clamp(SWEEP_PAUSE_MIN, SWEEP_PAUSE_MAX),
            started: Instant::now(),
            waits: Mutex::new(Vec::new()),
        };
        Deadlines { shared: Arc::new(shared) }
    }

    /// For one connection, or one stream.
    pub(crate) fn patience(&self) -> Patience {
        let mut waits = self.shared.waits.lock();
        let slot = Slot {
            wait: AtomicU8::new(Wait::Nothing as u8),
            seen_ms: AtomicU64::new(0),
            at: AtomicUsize::new(waits.len()),
            waker: Mutex::new(None),
        };
        let slot = Arc::new(slot);
        waits.push(Arc::clone(&slot));
        Patience { slot, deadlines: self.clone(), manners: Manners::default() }
    }

    /// Looks at every wait from time to time, for ever.
    pub(crate) async fn sweep(&self) {
        loop {
            tokio::time::sleep(self.shared.pause).await;
            self.shared.sweep_at(millis_since(self.shared.started));
        }
    }
}

impl Shared {
    fn sweep_at(&self, now_ms: u64) {
        for slot in self.waits.lock().iter() {
            let wait = slot.wait.load(Ordering::Relaxed);
            let Some(limit_ms) = self.limits_ms.get(usize::from(wait)).filter(|_| wait != Wait::Nothing as u8) else {
                continue;
            };
            match slot.seen_ms.load(Ordering::Relaxed) {
                0 => slot.seen_ms.store(now_ms.max(1), Ordering::Relaxed),
                seen_ms if now_ms.saturating_sub(seen_ms) >= *limit_ms => {
                    slot.wait.store(wait | OVERDUE, Ordering::Relaxed);
                    if let Some(waker) = &*slot.waker.lock() {
                        waker.wake_by_ref();
                    }
                }
                _ => {}
            }
        }
    }
}

/// What one connection waits for.
#[derive(Debug)]
pub(crate) struct Patience {
    slot: Arc<Slot>,
    deadlines: Deadlines,
    /// Of the client at the other end.
    pub(crate) manners: Manners,
}

impl Patience {
    /// Runs an HTTP/1 connection; `None` when no head came in time. `has_begun` tells whether some of one has.
    pub(crate) async fn connection<F: Future>(&self, connection: F, has_begun: impl Fn() -> bool) -> Option<F::Output> {
        let mut connection = pin!(connection);
        self.slot.begin(Wait::Head);
        poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if self.slot.is_overdue(Wait::Head) || self.slot.is_overdue(Wait::RestOfHead) => {
                Poll::Ready(None)
            }
            Poll::Pending => {
                if has_begun() && self.slot.is_waiting_for(Wait::Head) {
                    self.slot.begin(Wait::RestOfHead);
                }
                self.slot.wake_by(context);
                Poll::Pending
            }
        })
        .await
    }

    /// Answers one request of an HTTP/1 connection; before and after it, the next head is due.
    pub(crate) async fn request<F: Future>(&self, answering: F) -> F::Output {
        self.slot.begin(Wait::Nothing);
        let answer = answering.await;
        self.slot.begin(Wait::Head);
        answer
    }

    /// Waits for something within its limit.
    pub(crate) async fn within<F: Future>(&self, wait: Wait, future: F) -> Result<F::Output, Overdue> {
        let mut future = pin!(future);
        let mut is_waiting = false;
        poll_fn(|context| {
            let ended = match future.as_mut().poll(context) {
                Poll::Ready(output) => Ok(output),
                Poll::Pending if is_waiting && self.slot.is_overdue(wait) => Err(Overdue),
                Poll::Pending => {
                    if !is_waiting {
                        self.slot.begin(wait);
                        is_waiting = true;
                    }
                    self.slot.wake_by(context);
                    return Poll::Pending;
                }
            };
            if is_waiting {
                self.slot.begin(Wait::Nothing);
            }
            Poll::Ready(ended)
        })
        .await
    }

    /// There is progress: the present wait begins anew.
    pub(crate) fn renew(&self) {
        self.slot.seen_ms.store(0, Ordering::Relaxed);
    }

    /// The stream of an HTTP/1 connection: whoever takes some of an answer is not idle.
    pub(crate) fn stream<S>(&self, stream: S) -> Taken<S> {
        Taken { stream, slot: Arc::clone(&self.slot) }
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        let mut waits = self.deadlines.shared.waits.lock();
        let at = self.slot.at.load(Ordering::Relaxed);
        waits.swap_remove(at);
        if let Some(moved) = waits.get(at) {
            moved.at.store(at, Ordering::Relaxed);
        }
    }
}

impl Slot {
    fn begin(&self, wait: Wait) {
        self.wait.store(wait as u8, Ordering::Relaxed);
        self.seen_ms.store(0, Ordering::Relaxed);
    }

    fn is_waiting_for(&self, wait: Wait) -> bool {
        self.wait.load(Ordering::Relaxed) == wait as u8
    }

    fn is_overdue(&self, wait: Wait) -> bool {
        self.wait.load(Ordering::Relaxed) == wait as u8 | OVERDUE
    }

    fn wake_by(&self, context: &Context<'_>) {
        let mut waker = self.waker.lock();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }
}

/// A stream on which every byte that the other side takes begins the wait anew.
#[derive(Debug)]
pub(crate) struct Taken<S> {
    stream: S,
    slot: Arc<Slot>,
}

impl<S> Taken<S> {
    fn note<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.slot.seen_ms.store(0, Ordering::Relaxed);
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

fn millis_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Marks a [`Wait`] that took too long.
const OVERDUE: u8 = 0x80;
/// With the defaults, 10 s for a head, a slow client is cut half a second late at most; ten thousand idle connections cost a
/// sweep less than a millisecond.
const SWEEP_PAUSE_MAX: Duration = Duration::from_millis(250);
const SWEEP_PAUSE_MIN: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn deadlines() -> Deadlines {
        let nothing_set = std::collections::BTreeMap::<String, String>::new();
        Deadlines::new(&Config::read(&mut peep_chassis::config::Settings::new(&nothing_set)))
    }

    async fn turns(times: usize) {
        for _ in 0..times {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_wait_ends_when_its_limit_has_passed_since_it_was_seen_and_not_before() {
        let deadlines = deadlines();
        let patience = deadlines.patience();
        let wait = tokio::spawn(async move { patience.within(Wait::Append, pending::<()>()).await });
        turns(2).await;
        for now_ms in [7_000, 11_999] {
            deadlines.shared.sweep_at(now_ms);
            turns(2).await;
            assert!(!wait.is_finished(), "seen at 7 000, and 5 s are allowed");
        }
        deadlines.shared.sweep_at(12_000);
        assert_eq!(wait.await.expect("no panic"), Err(Overdue));
        assert!(deadlines.shared.waits.lock().is_empty(), "who is gone is forgotten");
    }

    #[tokio::test]
    async fn each_wait_has_its_own_limit_and_starts_anew() {
        let deadlines = deadlines();
        let patience = deadlines.patience();
        patience.slot.begin(Wait::Head);
        for now_ms in [1, 10_000] {
            deadlines.shared.sweep_at(now_ms);
        }
        patience.slot.begin(Wait::Body);
        for now_ms in [10_001, 20_000] {
            deadlines.shared.sweep_at(now_ms);
            assert!(!patience.slot.is_overdue(Wait::Body));
        }
        patience.renew();
        for now_ms in [20_001, 30_000] {
            deadlines.shared.sweep_at(now_ms);
            assert!(!patience.slot.is_overdue(Wait::Body), "there was progress");
        }
        deadlines.shared.sweep_at(30_001);
        assert!(patience.slot.is_overdue(Wait::Body) && !patience.slot.is_overdue(Wait::Head));
        assert_eq!(patience.within(Wait::Body, ready(7)).await, Ok(7), "what is there does not wait");
    }

    #[tokio::test]
    async fn a_connection_without_a_head_ends_and_one_that_is_answered_goes_on() {
        let deadlines = deadlines();
        let patience = Arc::new(deadlines.patience());
        let ours = Arc::clone(&patience);
        let idle = tokio::spawn(async move { ours.connection(pending::<()>(), || false).await });
        turns(2).await;
        deadlines.shared.sweep_at(1_000);
        patience.request(ready(())).await;
        deadlines.shared.sweep_at(20_000);
        turns(2).await;
        assert!(!idle.is_finished(), "an answer begins the wait anew");
        deadlines.shared.sweep_at(30_000);
        assert_eq!(idle.await.expect("no panic"), None);
    }

    #[tokio::test]
    async fn a_head_that_has_begun_has_less_time_than_one_that_has_not() {
        let deadlines = deadlines();
        let patience = deadlines.patience();
        let begun = tokio::spawn(async move { patience.connection(pending::<()>(), || true).await });
        turns(2).await;
        for now_ms in [1_000, 5_999] {
            deadlines.shared.sweep_at(now_ms);
            turns(2).await;
            assert!(!begun.is_finished());
        }
        deadlines.shared.sweep_at(6_000);
        assert_eq!(begun.await.expect("no panic"), None);
    }

    #[test]
    fn whoever_leaves_takes_only_its_own_wait_along() {
        let deadlines = deadlines();
        let mut all: Vec<Patience> = (0..10).map(|_| deadlines.patience()).collect();
        for at in [3, 0, 7, 5] {
            drop(all.swap_remove(at));
        }
        assert_eq!(deadlines.shared.waits.lock().len(), 6);
        all.iter().for_each(|patience| patience.slot.begin(Wait::Head));
        for now_ms in [1, 20_000] {
            deadlines.shared.sweep_at(now_ms);
        }
        assert!(all.iter().all(|patience| patience.slot.is_overdue(Wait::Head)));
    }
}
