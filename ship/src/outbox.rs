//! From closed batches to parcels that may be sent.
//!
//! In: batches, on a short queue. Out: parcels for the senders, each of them in the journal first, where there is one.
//! Promised: batches go into the journal in the order in which they were closed, so that the positions that come with one
//! never stand behind lines of another that is missing; nothing is sent before it is on the disk; a full disk stops the
//! reading, as a slow ingest does, until there is room. One thread, so that packing overlaps with parsing; batches that wait for
//! the disk share one sync.

use std::cell::Cell;
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
        let worker = Worker { senders: Arc::clone(&senders), journal, compress, full: Cell::new(false) };
        let thread = std::thread::Builder::new().name("outbox".to_owned()).spawn(move || worker.run(&items))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), senders })
    }

    /// Waits for room. False: no use to go on.
    pub(crate) fn put(&self, item: Item) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.send(item).is_ok()) && !self.is_stopped()
    }

    /// After a final answer, or with a disk that fails.
    pub(crate) fn is_stopped(&self) -> bool {
        self.senders.is_stopped()
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
    /// The disk was full when somebody was last told of it.
    full: Cell<bool>,
}

impl Worker {
    fn run(&self, items: &Receiver<Item>) {
        if let Some(journal) = &self.journal {
            let postponed = lock(journal).postponed();
            if let Some(reason) = postponed {
                self.full.set(true);
                self.senders.is_short_of_room(&reason);
            }
            // What the run before left unanswered goes first, as it was.
            let unanswered = lock(journal).unanswered().to_vec();
            self.hand_on(unanswered);
        }
        while let Ok(first) = items.recv() {
            let group = std::iter::once(first).chain(items.try_iter().take(GROUP_MAX - 1)).collect();
            match self.remember(group) {
                Ok(()) => {}
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

    /// Packs and, where there is a journal, writes down; hands on what is on the disk.
    fn remember(&self, items: Vec<Item>) -> anyhow::Result<()> {
        let mut group = Group { events: items.iter().map(Item::events).sum(), written: Vec::new() };
        let remembered = items
            .into_iter()
            .try_for_each(|item| self.write(item, &mut group))
            .and_then(|()| self.hand_on_written(&mut group));
        if remembered.is_err() {
            self.senders.abandon(group.events);
        }
        remembered
    }

    fn write(&self, item: Item, group: &mut Group) -> anyhow::Result<()> {
        match (item, &self.journal) {
            (Item::Batch(mut batch), journal) => {
                let positions = std::mem::take(&mut batch.positions);
                let parcel = Parcel::pack(batch, self.compress);
                if let Some(journal) = journal {
                    self.note(journal, group, |journal| journal.append(&parcel, &positions))?;
                }
                group.written.push(parcel);
                Ok(())
            }
            (Item::Standing { path, since_ms, positions }, Some(journal)) => {
                self.note(journal, group, |journal| journal.stand(&path, since_ms, &positions))
            }
            (Item::Reached(positions), Some(journal)) => {
                self.note(journal, group, |journal| journal.reached(&positions))
            }
            (Item::Gone { path }, Some(journal)) => self.note(journal, group, |journal| journal.forget(&path)),
            (Item::Standing { .. } | Item::Reached(_) | Item::Gone { .. }, None) => Ok(()),
        }
    }

    /// Waits for the disk, so that what was written may be sent.
    fn hand_on_written(&self, group: &mut Group) -> anyhow::Result<()> {
        if let Some(journal) = &self.journal {
            // Not under the lock: answers that come meanwhile need not wait for the disk.
            let file = lock(journal).handle()?;
            file.sync_data().context("write the journal to disk")?;
        }
        let parcels = std::mem::take(&mut group.written);
        group.events -= parcels.iter().map(|parcel| u64::from(parcel.events)).sum::<u64>();
        self.hand_on(parcels);
        Ok(())
    }

    /// Writes one thing down, as soon as there is room for it.
    fn note(
        &self,
        journal: &SharedJournal,
        group: &mut Group,
        write: impl Fn(&mut Journal) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut full_since = None;
        loop {
            // Not in the condition: nobody waits with the lock in hand.
            let written = write(&mut lock(journal));
            match written {
                Err(error) if is_full(&error) => {
                    // The room may have to come from answers to the very batches that wait for the rest of their group.
                    self.hand_on_written(group)?;
                    let since = *full_since.get_or_insert_with(Instant::now);
                    self.full.set(true);
                    if !self.senders.wait_for_room(since, &format!("{error:#}")) {
                        return Err(error);
                    }
                }
                Ok(()) if self.full.take() => {
                    self.senders.has_room();
                    return Ok(());
                }
                other => return other,
            }
        }
    }
}

/// Items that go to the disk together.
struct Group {
    /// In the batches that are not handed on yet.
    events: u64,
    /// In the journal, and perhaps not on the disk yet.
    written: Vec<Parcel>,
}

impl Item {
    fn events(&self) -> u64 {
        match self {
            Self::Batch(batch) => batch.events.into(),
            Self::Standing { .. } | Self::Reached(_) | Self::Gone { .. } => 0,
        }
    }
}
