//! Keeps the live frames that history may not contain yet.
//!
//! Arrives: every record of every partition of the live log. Leaves: frames that continue a cursor ([`crate::stitch`]),
//! and a signal that there is something new. Promises: a frame stays until it is committed and two minutes old (by the
//! frames' own clock), or until the byte budget is spent; what is missing then shows as a gap, never as a wrong sum.
//! On start it reads back until the frames overlap the committed cursors. Correctness never depends on a wall clock.
//! Does not: count, filter or know subscribers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::lifecycle::Shutdown;
use peep_log::{Log, LogRecord, Offset, Partition, ReadError};
use peep_wire::live::LiveFrame;
use tokio::sync::watch;

use crate::freshness::Freshness;
use crate::history::Cursors;
use crate::metrics;
use crate::stitch::{Held, HeldPartition, Position, Reach};

/// The held frames of all partitions. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Feed {
    shared: Arc<Shared>,
}

struct Shared {
    store: Mutex<Store>,
    freshness: Freshness,
    /// Counts arrivals: a receiver wakes up once for any number of them.
    arrivals: watch::Sender<u64>,
}

struct Store {
    partitions: BTreeMap<u32, HeldPartition>,
    committed: BTreeMap<u32, u64>,
    newest_published_ms: i64,
    bytes: usize,
    bytes_max: usize,
}

/// Frames that continue a set of cursors, over all partitions.
pub struct Continued {
    /// In order per partition.
    pub frames: Vec<Arc<LiveFrame>>,
    /// Every partition's position after them.
    pub positions: Cursors,
    /// Something newer exists that could not be joined.
    pub gap: bool,
    /// Something that was counted has been replaced.
    pub superseded: bool,
    /// History is known to have more than the frames lead to: they are late, or were never published.
    pub behind: bool,
}

impl Feed {
    /// Holds at most `bytes_max` of frames.
    pub fn new(bytes_max: usize) -> Self {
        let store = Store {
            partitions: BTreeMap::new(),
            committed: BTreeMap::new(),
            newest_published_ms: i64::MIN,
            bytes: 0,
            bytes_max,
        };
        let (store, freshness, arrivals) = (Mutex::new(store), Freshness::default(), watch::Sender::new(0));
        Self { shared: Arc::new(Shared { store, freshness, arrivals }) }
    }

    /// Takes frames in the order of the live log.
    pub fn insert(&self, frames: impl IntoIterator<Item = LiveFrame>) {
        let mut store = self.shared.store.lock();
        frames.into_iter().for_each(|frame| store.insert(frame));
        store.evict();
        metrics::feed_bytes(store.bytes);
        drop(store);
        self.shared.arrivals.send_modify(|arrivals| *arrivals += 1);
    }

    /// Frames below these cursors are in history; they may go once they are old.
    pub fn learn_committed(&self, cursors: &Cursors) {
        let mut store = self.shared.store.lock();
        for (&partition, position) in cursors {
            let committed = store.committed.entry(partition).or_default();
            *committed = position.offset.max(*committed);
        }
        store.evict();
    }

    /// When what lies at an offset was announced, while that is remembered.
    pub fn published_ms(&self, partition: u32, offset: u64) -> Option<i64> {
        let store = self.shared.store.lock();
        store.partitions.get(&partition)?.frame_with(offset).map(|frame| frame.published_ms)
    }

    /// The frames that continue these positions. A partition without a position has nothing committed.
    pub fn continue_from(&self, positions: &Cursors) -> Continued {
        let store = self.shared.store.lock();
        let mut continued = Continued {
            frames: Vec::new(),
            positions: positions.clone(),
            gap: false,
            superseded: false,
            behind: false,
        };
        for (&partition, held) in &store.partitions {
            let position = positions.get(&partition).copied().unwrap_or(Position::default());
            let continuation = held.continue_from(position);
            continued.gap |= continuation.reach == Reach::Gap;
            continued.superseded |= continuation.reach == Reach::Superseded;
            continued.positions.insert(partition, continuation.position);
            continued.frames.extend(continuation.frames);
        }
        let reached = |partition: &u32| continued.positions.get(partition).map_or(0, |position| position.offset);
        continued.behind = store.committed.iter().any(|(partition, committed)| reached(partition) < *committed);
        continued
    }

    /// Up to which position the newest frame of a partition has counted it; `None` before the first.
    pub fn counted_to(&self, partition: u32) -> Option<u64> {
        self.shared.store.lock().partitions.get(&partition)?.newest().map(|frame| frame.to)
    }

    /// How old what it holds is.
    pub fn freshness(&self) -> &Freshness {
        &self.shared.freshness
    }

    /// Resolves when something arrived since the last look.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.shared.arrivals.subscribe()
    }

    /// Reads one partition of the live log until shutdown. `caught_up` is called once, when everything that was there
    /// at the start has been read.
    pub async fn follow(
        &self,
        live: &dyn Log,
        partition: Partition,
        cursors: &Cursors,
        caught_up: impl FnOnce(),
        shutdown: &Shutdown,
    ) {
        let mut next = loop {
            tokio::select! {
                () = shutdown.requested() => return,
                found = self.read_back(live, partition, cursors) => match found {
                    Ok(next) => break next,
                    Err(error) => {
                        tracing::warn!(%partition, %error, "reading back the live log failed; trying again");
                        metrics::feed_read_failed();
                        tokio::time::sleep(RETRY_PAUSE).await;
                    }
                }
            }
        };
        caught_up();
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                failed = self.read_on(live, partition, &mut next) => {
                    metrics::feed_read_failed();
                    next = self.after_failure(partition, next, failed).await;
                }
            }
        }
    }

    async fn after_failure(&self, partition: Partition, next: Offset, failed: ReadError) -> Offset {
        tokio::time::sleep(RETRY_PAUSE).await;
        match failed {
            ReadError::Unavailable { reason } => {
                tracing::warn!(%partition, reason, "the live log cannot be read; trying again");
                next
            }
            // The hole shows up as a gap in the frames, and whoever needs it takes a newer snapshot.
            ReadError::OutOfRange { low, high } => {
                tracing::warn!(%partition, %next, %low, %high, "the live log moved on without us; going on at its start");
                low
            }
        }
    }

    /// Reads the newest frames, far enough back that they overlap the committed cursors, and inserts them.
    async fn read_back(&self, live: &dyn Log, partition: Partition, cursors: &Cursors) -> Result<Offset, ReadError> {
        let range = live.watermarks(partition).await?;
        let mut records_back = READ_BACK_RECORDS;
        loop {
            let start = Offset(range.high.0.saturating_sub(records_back).max(range.low.0));
            let frames = self.read_range(live, partition, start, range.high).await?;
            if start == range.low || overlap(&frames, cursors) {
                self.insert(frames);
                return Ok(range.high);
            }
            records_back *= 8;
        }
    }

    async fn read_range(
        &self,
        live: &dyn Log,
        partition: Partition,
        start: Offset,
        end: Offset,
    ) -> Result<Vec<LiveFrame>, ReadError> {
        let mut frames = Vec::new();
        let mut bytes = 0usize;
        let mut next = start;
        if next >= end {
            return Ok(frames);
        }
        let bytes_max = self.shared.store.lock().bytes_max;
        let mut reader = live.reader(partition, start).await?;
        while next < end {
            let records = reader.next(READ_BYTES_MAX, READ_WAIT).await?;
            for record in &records {
                next = record.offset.plus(1);
                let Some(frame) = decode(partition, record) else { continue };
                bytes += frame_bytes(&frame);
                frames.push(frame);
            }
            if bytes > 2 * bytes_max {
                // Older frames would be evicted at once: what counts is the newest budget's worth.
                let mut kept = 0;
                let from = frames.iter().rposition(|frame| {
                    kept += frame_bytes(frame);
                    kept > bytes_max
                });
                frames.drain(..from.map_or(0, |from| from + 1));
                bytes = frames.iter().map(frame_bytes).sum();
            }
        }
        Ok(frames)
    }

    /// Goes on reading until it fails; `next` says where to start again.
    async fn read_on(&self, live: &dyn Log, partition: Partition, next: &mut Offset) -> ReadError {
        let mut reader = match live.reader(partition, *next).await {
            Ok(reader) => reader,
            Err(error) => return error,
        };
        loop {
            match reader.next(READ_BYTES_MAX, READ_WAIT).await {
                Ok(records) => {
                    let Some(last) = records.last() else { continue };
                    *next = last.offset.plus(1);
                    self.insert(records.iter().filter_map(|record| decode(partition, record)));
                }
                Err(error) => return error,
            }
        }
    }
}

impl Store {
    fn insert(&mut self, mut frame: LiveFrame) {
        // So that a topic finds the cells of its project without looking at the others.
        frame.cells.sort_by_key(|cell| cell.project);
        self.newest_published_ms = self.newest_published_ms.max(frame.published_ms);
        let arrived = frame_bytes(&frame);
        let mut dropped = 0;
        let partition = self.partitions.entry(frame.partition).or_default();
        let held = partition.insert(Arc::new(frame), |old| dropped += frame_bytes(old));
        metrics::feed_frame(held);
        if matches!(held, Held::Appended | Held::Replaced) {
            self.bytes += arrived;
        }
        self.bytes -= dropped;
    }

    fn evict(&mut self) {
        for (partition, held) in &mut self.partitions {
            let committed = self.committed.get(partition).copied().unwrap_or_default();
            let old_ms = self.newest_published_ms.saturating_sub(KEEP_MS);
            while held.oldest().is_some_and(|oldest| oldest.to <= committed && oldest.published_ms < old_ms) {
                self.bytes -= held.evict().map_or(0, |frame| frame_bytes(&frame));
            }
        }
        while self.bytes > self.bytes_max {
            let age = |held: &HeldPartition| held.oldest().map(|oldest| oldest.published_ms);
            let Some((_, _, held)) = self
                .partitions
                .iter_mut()
                .filter_map(|(partition, held)| Some((age(held)?, *partition, held)))
                .min_by_key(|(published_ms, partition, _)| (*published_ms, *partition))
            else {
                break;
            };
            self.bytes -= held.evict().map_or(0, |frame| frame_bytes(&frame));
            metrics::feed_evicted_for_bytes();
        }
    }
}

/// Whether every partition that occurs is held from its committed cursor on.
fn overlap(frames: &[LiveFrame], cursors: &Cursors) -> bool {
    let mut first: BTreeMap<u32, u64> = BTreeMap::new();
    for frame in frames {
        let from = first.entry(frame.partition).or_insert(frame.from);
        *from = frame.from.min(*from);
    }
    first.iter().all(|(partition, from)| cursors.get(partition).is_some_and(|cursor| *from <= cursor.offset))
}

fn decode(partition: Partition, record: &LogRecord) -> Option<LiveFrame> {
    match LiveFrame::decode(&record.payload) {
        Ok(frame) => Some(frame),
        Err(error) => {
            // Not lost: the rows it announced will be committed, and until then it is a gap.
            tracing::warn!(%partition, offset = %record.offset, %error, "skipping a live record");
            metrics::feed_record_unreadable();
            None
        }
    }
}

fn frame_bytes(frame: &LiveFrame) -> usize {
    let cells = frame.cells.iter().map(|cell| size_of_val(cell) + cell.series.len() + cell.histogram.memory_bytes());
    size_of::<LiveFrame>() + cells.sum::<usize>()
}

/// As long as the longest read of history may take, several times over.
const KEEP_MS: i64 = 120_000;
/// Three minutes at one frame every 200 ms.
const READ_BACK_RECORDS: u64 = 1024;
const READ_BYTES_MAX: usize = 4 << 20;
/// Only bounds how long a reader sleeps without a record; a record wakes it up.
const READ_WAIT: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
