//! From closed batches to parcels that may be sent.
//!
//! In: batches, on a short queue. Out: parcels for the senders, each of them in the journal first, where there is one.
//! Promised: batches go into the journal in the order in which they were closed, so that the positions that come with one
//! never stand behind lines of another that is missing; nothing is sent before it is on the disk; a full disk stops the
//! reading, as a slow ingest does, until there is room. One thread, so that packing overlaps with parsing; batches that wait for
//! the disk share one sync.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context as _;

use crate::args::Compress;
use crate::batch::Batch;
use crate::journal::{Journal, is_full};
use crate::parcel::Parcel;
use crate::position::Position;
use crate::report::Delivery;
use crate::send::{Senders, SharedJournal, lock};

pub(crate) struct Outbox {
    queue: Option<SyncSender<Item>>,
    thread: Option<JoinHandle<()>>,
    senders: Arc<Senders>,
}

/// What is to be remembered, and what is to be sent.
pub(crate) enum Item {
    Batch(Batch),
    Standing { path: String, since_ms: i64, positions: Vec<Position> },
    Reached(Vec<Position>),
    Gone { path: String },
}

/// Batches closed and not packed: one is being packed while the next is filled.
const WAITING: usize = 2;

/// Batches that go to the disk together: with the default size, a few megabytes of log.
const GROUP_MAX: usize = 16;

impl Outbox {
    pub(crate) fn start(senders: Senders, journal: Option<SharedJournal>, compress: Compress) -> std::io::Result<Self> {
        let (queue, items) = sync_channel(WAITING);
        let senders = Arc::new(senders);
        let worker = Worker { senders: Arc::clone(&senders), journal, compress };
        let thread = std::thread::Builder::new().name("outbox".to_owned()).spawn(move || worker.run(&items))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), senders })
    }

    /// Waits for room. False: no use to go on.
    pub(crate) fn put(&self, item: Item) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.send(item).is_ok()) && !self.senders.is_stopped()
    }

    pub(crate) fn delivery(&self) -> Delivery {
        self.senders.delivery()
    }

    /// Waits until everything is answered, given up or kept.
    pub(crate) fn finish(mut self) -> Delivery {
        self.queue = None;
        // A panic there has left batches uncounted; the books show that by not adding up.
        let _ = self.thread.take().map(JoinHandle::join);
        // The worker is gone, and with it the only other holder.
        Arc::try_unwrap(self.senders).map_or_else(|senders| senders.delivery(), Senders::finish)
    }
}

struct Worker {
    senders: Arc<Senders>,
    journal: Option<SharedJournal>,
    compress: Compress,
}

impl Worker {
    fn run(&self, items: &Receiver<Item>) {
        // What the run before left unanswered goes first, as it was.
        let unanswered = self.journal.as_ref().map(|journal| lock(journal).unanswered().to_vec());
        self.hand_on(unanswered.unwrap_or_default());
        while let Ok(first) = items.recv() {
            let group = std::iter::once(first).chain(items.try_iter().take(GROUP_MAX - 1)).collect();
            match self.remember(group) {
                Ok(parcels) => self.hand_on(parcels),
                // With a disk that fails there is nothing to promise: the run ends, and says why. The lines are still
                // in the logs, and no position stands behind them.
                Err(error) => {
                    self.senders.stop(format!("{error:#}"));
                    items.iter().for_each(|item| self.senders.abandon(item.events()));
                }
            }
        }
    }

    /// After a final error nothing is sent any more; the senders still count what comes.
    fn hand_on(&self, parcels: Vec<Parcel>) {
        parcels.into_iter().for_each(|parcel| self.senders.send(parcel));
    }

    /// Packs and, where there is a journal, writes down; returns when that is on the disk.
    fn remember(&self, group: Vec<Item>) -> anyhow::Result<Vec<Parcel>> {
        let events: u64 = group.iter().map(Item::events).sum();
        let remembered = self.write(group);
        if remembered.is_err() {
            self.senders.abandon(events);
        }
        remembered
    }

    fn write(&self, group: Vec<Item>) -> anyhow::Result<Vec<Parcel>> {
        let mut parcels = Vec::new();
        for item in group {
            match (item, &self.journal) {
                (Item::Batch(mut batch), journal) => {
                    let positions = std::mem::take(&mut batch.positions);
                    let parcel = Parcel::pack(batch, self.compress);
                    if let Some(journal) = journal {
                        self.note(journal, |journal| journal.append(&parcel, &positions))?;
                    }
                    parcels.push(parcel);
                }
                (Item::Standing { path, since_ms, positions }, Some(journal)) => {
                    self.note(journal, |journal| journal.stand(&path, since_ms, &positions))?;
                }
                (Item::Reached(positions), Some(journal)) => {
                    self.note(journal, |journal| journal.reached(&positions))?;
                }
                (Item::Gone { path }, Some(journal)) => self.note(journal, |journal| journal.forget(&path))?,
                (Item::Standing { .. } | Item::Reached(_) | Item::Gone { .. }, None) => {}
            }
        }
        if let Some(journal) = &self.journal {
            // Not under the lock: answers that come meanwhile need not wait for the disk.
            let file = lock(journal).handle()?;
            file.sync_data().context("write the journal to disk")?;
        }
        Ok(parcels)
    }

    /// Writes one thing down, as soon as there is room for it.
    fn note(&self, journal: &SharedJournal, write: impl Fn(&mut Journal) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let mut full_since = None;
        loop {
            // Not in the condition: nobody waits with the lock in hand.
            let written = write(&mut lock(journal));
            match written {
                Err(error) if is_full(&error) => {
                    let since = *full_since.get_or_insert_with(Instant::now);
                    if !self.senders.wait_for_room(since, &format!("{error:#}")) {
                        return Err(error);
                    }
                }
                Ok(()) if full_since.is_some() => {
                    self.senders.has_room();
                    return Ok(());
                }
                other => return other,
            }
        }
    }
}

impl Item {
    fn events(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.events.into(),
            Self::Standing { .. } | Self::Reached(_) | Self::Gone { .. } => 0,
        }
    }
}
