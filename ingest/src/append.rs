//! Records to the log; small ones together.
//!
//! A message, and even more a request to the broker, costs the log, its client library and the thread that waits for it about as much
//! whether it holds one event or a hundred. So the small records of a few threads travel in *convoys*: while one is on its way,
//! those that come meanwhile gather, by partition, and go together as [`Bundle`]s once it has landed. Whoever was in it is
//! about to send again, so the next one waits for about as many, at most a moment ([`MOMENT`]). Who finds nothing on its way,
//! and nobody expected, goes at once and alone: without load nobody waits.
//!
//! Waking a task of another thread is a system call, each time. So the answers for a thread are handed over together, by one task
//! that wakes the others where they live.
//!
//! Promises: what is acknowledged is durable, as with the log itself; a request's fate is that of the record it travelled
//! in, and a client that leaves changes nothing for the others. A bundle is bounded in bytes; a full one goes without waiting.
//!
//! Does not: put records in order across requests (nothing relies on that), or wait with large ones, which are batches already.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use peep_log::{AppendError, Log, Offset, Partition};
use peep_wire::receipt::Share;
use peep_wire::record::Bundle;
use tokio::runtime::Handle;

use crate::metrics;

/// The way to the log, for all threads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Appender {
    shared: Arc<Shared>,
}

struct Shared {
    log: Arc<dyn Log>,
    record_bytes_max: usize,
    bundle_bytes_max: usize,
    desks: Box<[Mutex<Desk>]>,
}

/// The small records of [`SEATS`] threads.
#[derive(Default)]
struct Desk {
    /// A convoy is on its way, and its end will see to what has gathered.
    is_away: bool,
    /// Who will go next, by partition; few, because few partitions are in use at a time.
    gathering: Vec<(Partition, Gathering)>,
    gathered: usize,
    /// How many were in the last convoy.
    expected: usize,
    /// Of convoys, so that a clock that was set for an earlier one does nothing.
    number: u64,
}

/// What goes next to one partition.
struct Gathering {
    bundle: Bundle,
    shipment: Arc<Shipment>,
}

/// Where an acknowledged batch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) offset: Offset,
    pub(crate) share: Option<Share>,
}

impl Appender {
    /// Records of at most `record_bytes_max` bytes travel together.
    pub(crate) fn new(log: Arc<dyn Log>, record_bytes_max: usize) -> Appender {
        Appender::with_desks(log, record_bytes_max, DESKS)
    }

    fn with_desks(log: Arc<dyn Log>, record_bytes_max: usize, desks: usize) -> Appender {
        let desks = (0..desks).map(|_| Mutex::default()).collect();
        // It is looked at after a record was added.
        let room = log.record_bytes_max().saturating_sub(record_bytes_max + BUNDLE_HEAD_BYTES_MAX);
        let bundle_bytes_max = (record_bytes_max * BUNDLE_RECORDS).min(room);
        Appender { shared: Arc::new(Shared { log, record_bytes_max, bundle_bytes_max, desks }) }
    }

    /// Appends a record of `events` events that holds one batch.
    pub(crate) async fn append(&self, partition: Partition, record: Bytes, events: u32) -> Result<Placed, AppendError> {
        let alone = |offset| Placed { offset, share: None };
        if record.len() > self.shared.record_bytes_max {
            return self.shared.log.append(partition, record).await.map(alone);
        }
        match self.join(partition, record, events) {
            Ok((on_board, share)) => on_board
                .await
                .map(|Landed { offset, batches }| Placed { offset, share: (batches > 1).then_some(share) }),
            Err((record, convoy)) => {
                let appended = self.shared.log.append(partition, record).await;
                drop(convoy);
                appended.map(alone)
            }
        }
    }

    /// A place in what gathers; or the record again and leave to go at once, when nothing is on its way and nobody expected.
    fn join(&self, partition: Partition, record: Bytes, events: u32) -> Result<(OnBoard, Share), (Bytes, Arc<Convoy>)> {
        let place = seat().desk % self.shared.desks.len();
        let mut desk = self.shared.desks[place].lock();
        if !desk.is_away && desk.expected <= 1 {
            desk.is_away = true;
            drop(desk);
            return Err((record, Arc::new(Convoy { appender: self.clone(), place, batches: 1 })));
        }
        let at = desk.gathering.iter().position(|(known, _)| *known == partition).unwrap_or_else(|| {
            desk.gathering.push((partition, Gathering::new()));
            desk.gathering.len() - 1
        });
        let gathering = &mut desk.gathering[at].1;
        let first_event = gathering.bundle.push(record, events);
        let is_full = gathering.bundle.bytes() >= self.shared.bundle_bytes_max;
        let on_board = OnBoard { shipment: Arc::clone(&gathering.shipment), waits_at: None };
        desk.gathered += 1;
        if is_full {
            let (partition, full) = desk.gathering.swap_remove(at);
            desk.gathered -= full.bundle.len();
            drop(desk);
            self.send(partition, full, None);
        } else if desk.is_complete() {
            let departing = desk.depart();
            drop(desk);
            self.dispatch(place, departing);
        }
        Ok((on_board, Share { first_event, events }))
    }

    fn dispatch(&self, place: usize, departing: Vec<(Partition, Gathering)>) {
        let batches = departing.iter().map(|(_, gathering)| gathering.bundle.len()).sum();
        let convoy = Arc::new(Convoy { appender: self.clone(), place, batches });
        for (partition, gathering) in departing {
            self.send(partition, gathering, Some(Arc::clone(&convoy)));
        }
    }

    /// Nobody came, or not as many as were expected.
    fn wait_no_longer(&self, place: usize, number: u64) {
        let mut desk = self.shared.desks[place].lock();
        if desk.is_away || desk.number != number {
            return;
        }
        if desk.gathered == 0 {
            desk.expected = 0;
            return;
        }
        let departing = desk.depart();
        drop(desk);
        self.dispatch(place, departing);
    }

    /// Sends a bundle in a task of its own: it must not depend on any one of those whose events are in it.
    fn send(&self, partition: Partition, gathering: Gathering, convoy: Option<Arc<Convoy>>) {
        let Gathering { bundle, shipment } = gathering;
        let batches = bundle.len();
        if batches > 1 {
            metrics::bundled(batches);
        }
        let arrival = Arrival { shipment };
        // Without a runtime everybody is leaving, and who still waits is told so.
        let Ok(runtime) = Handle::try_current() else { return };
        // Queued here and now, so that what gathers next comes after it.
        let appending = self.shared.log.append(partition, bundle.finish());
        runtime.spawn(async move {
            let appended = appending.await;
            arrival.shipment.land(appended.map(|offset| Landed { offset, batches }));
            drop(convoy);
        });
    }
}
impl Desk {
    /// Whether about as many have gathered as were in the last convoy. Not quite all, so that none waits for the slowest.
    fn is_complete(&self) -> bool {
        !self.is_away && self.gathered > 0 && self.gathered * 8 >= self.expected * 7
    }

    fn depart(&mut self) -> Vec<(Partition, Gathering)> {
        self.is_away = true;
        self.gathered = 0;
        std::mem::take(&mut self.gathering)
    }
}

/// What is on its way. When all of it has landed, the next one goes, or waits a moment for company.
struct Convoy {
    appender: Appender,
    place: usize,
    batches: usize,
}

impl Drop for Convoy {
    fn drop(&mut self) {
        let Convoy { appender, place, batches } = self;
        let mut desk = appender.shared.desks[*place].lock();
        desk.is_away = false;
        desk.expected = *batches;
        desk.number += 1;
        let number = desk.number;
        if desk.is_complete() {
            let departing = desk.depart();
            drop(desk);
            appender.dispatch(*place, departing);
        } else if desk.expected > 1 {
            drop(desk);
            let (appender, place) = (appender.clone(), *place);
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(async move {
                    tokio::time::sleep(MOMENT).await;
                    appender.wait_no_longer(place, number);
                })),
                Err(_) => appender.wait_no_longer(place, number),
            }
        }
    }
}

impl Gathering {
    fn new() -> Gathering {
        Gathering { bundle: Bundle::default(), shipment: Arc::default() }
    }
}

/// What became of a bundle, for those whose events are in it.
#[derive(Default)]
struct Shipment {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    landed: Option<Result<Landed, AppendError>>,
    /// By seat.
    waiting: [Waiting; SEATS],
}

/// Those who wait on one thread.
#[derive(Default)]
struct Waiting {
    wakers: Vec<Waker>,
    runtime: Option<Handle>,
}

#[derive(Debug, Clone, Copy)]
struct Landed {
    offset: Offset,
    batches: usize,
}

impl Shipment {
    fn land(&self, landed: Result<Landed, AppendError>) {
        let waiting = {
            let mut state = self.state.lock();
            state.landed.get_or_insert(landed);
            std::mem::take(&mut state.waiting)
        };
        let here = seat().number;
        for (number, Waiting { wakers, runtime }) in waiting.into_iter().enumerate() {
            let wake = move || wakers.into_iter().for_each(Waker::wake);
            match runtime {
                Some(there) if number != here => drop(there.spawn(async move { wake() })),
                _ => wake(),
            }
        }
    }
}

/// Sees to it that nobody waits for a task that is gone.
struct Arrival {
    shipment: Arc<Shipment>,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.shipment.land(Err(AppendError::Unavailable { reason: "this process is shutting down".to_owned() }));
    }
}

/// Waits for a shipment.
struct OnBoard {
    shipment: Arc<Shipment>,
    /// The seat, and which of those who wait there.
    waits_at: Option<(usize, usize)>,
}

impl Future for OnBoard {
    type Output = Result<Landed, AppendError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let mut state = this.shipment.state.lock();
        if let Some(landed) = &state.landed {
            return Poll::Ready(landed.clone());
        }
        if let Some(waker) = this.waits_at.and_then(|(seat, at)| state.waiting[seat].wakers.get_mut(at)) {
            waker.clone_from(context.waker());
            return Poll::Pending;
        }
        let seat = seat().number;
        let waiting = &mut state.waiting[seat];
        if waiting.runtime.is_none() {
            waiting.runtime = Handle::try_current().ok();
        }
        this.waits_at = Some((seat, waiting.wakers.len()));
        waiting.wakers.push(context.waker().clone());
        Poll::Pending
    }
}

/// Where a thread sits: at which desk, and in which place there.
#[derive(Debug, Clone, Copy)]
struct Seat {
    desk: usize,
    number: usize,
}

/// The same for a thread for ever. Threads come one after the other, so those of one process share desks.
fn seat() -> Seat {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SEAT: Seat = {
            let taken = NEXT.fetch_add(1, Ordering::Relaxed);
            Seat { desk: taken / SEATS, number: taken % SEATS }
        };
    }
    SEAT.with(|seat| *seat)
}

/// Threads at a desk: enough to fill convoys, few enough that they do not wait for each other.
const SEATS: usize = 4;
/// Threads beyond that share desks with others.
const DESKS: usize = 16;
/// How long who has gathered waits for those who are expected: half of what a broker takes to acknowledge.
const MOMENT: Duration = Duration::from_millis(1);
/// Records of the largest size in one bundle: enough that what a message costs does not matter any more.
const BUNDLE_RECORDS: usize = 32;
/// Checksum, format and count, and what stands in front of the last record.
const BUNDLE_HEAD_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests;
