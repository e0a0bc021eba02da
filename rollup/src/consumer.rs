//! One partition at work: log in, frames and flushes out, until it is lost, stopped or broken.
//!
//! Arrives: a [`Lease`]. Leaves: [`Ended`], the reason why this consumer is no more.
//!
//! The only place that knows when to publish and when to flush. One task, one loop: what is due is done, then it waits for
//! the first of: a record, a deadline, the end of the running flush, the loss of the lease, shutdown. While a flush runs the
//! loop goes on reading into the next delta; there is at most one flush under way, so they reach the cursor in order.
//!
//! Promises: reads begin at the cursor, after the log proved that it still has what the cursor says (watermarks, and the
//! record before the cursor recognised by its fingerprint), and go on after a failure only when the same is true of what is in
//! memory. If not, or if offsets are missing, the partition is broken and waits for a person: no offset is ever reset here. A
//! failed flush ends the consumer and with it its memory; the next one begins at the cursor. A log that cannot be read for a
//! while ends nothing: what is counted is still published and flushed.
//!
//! Does not: retry flushes, renew leases, or look into records.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_chassis::failpoint;
use peep_chassis::lifecycle::Shutdown;
use peep_log::{Log, LogRecord, Offset, ReadError, Reader, Watermarks};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::flush::{FlushError, Flusher};
use crate::limits::{Account, Budget, Pressure};
use crate::metrics;
use crate::partition::{Fingerprint, Partition, Restored};
use crate::position::Position;
use crate::publish::Publisher;
use crate::store::{Lease, Store};

/// What all consumers of a worker share.
pub struct Worker {
    /// Every knob.
    pub config: Config,
    /// Where records come from.
    pub events: Arc<dyn Log>,
    /// Where frames go.
    pub live: Arc<dyn Log>,
    /// Where the past is kept.
    pub store: Arc<dyn Store>,
    /// Where deltas go.
    pub flusher: Arc<Flusher>,
    /// The memory of all.
    pub budget: Budget,
    /// For the time in frames; decides nothing.
    pub clock: Clock,
}

/// How far a consumer is. Shared with whoever judges the partition by it.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Mutex<Seen>>);

#[derive(Debug)]
struct Seen {
    committed: Position,
    range: Option<(Position, Position)>,
    is_sound: bool,
}

impl Progress {
    /// None yet.
    pub fn new(lease: &Lease) -> Self {
        Self(Arc::new(Mutex::new(Seen { committed: lease.next, range: None, is_sound: false })))
    }

    /// The cursor.
    pub fn committed(&self) -> Position {
        self.0.lock().committed
    }

    /// The readable range of the log, when it was last asked.
    pub fn range(&self) -> Option<(Position, Position)> {
        self.0.lock().range
    }

    /// Whether it has shown that it works: it committed something, or there is nothing to commit.
    pub fn is_sound(&self) -> bool {
        self.0.lock().is_sound
    }

    fn set_committed(&self, to: Position) {
        let mut seen = self.0.lock();
        (seen.committed, seen.is_sound) = (to, true);
    }

    fn set_range(&self, lease: &Lease, watermarks: Watermarks) {
        let range = (lease.next.at(watermarks.low), lease.next.at(watermarks.high));
        self.0.lock().range = Some(range);
    }

    fn set_sound(&self) {
        self.0.lock().is_sound = true;
    }
}

/// Why a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// As asked: everything read is committed.
    Stopped,
    /// Another worker has the partition.
    Lost,
    /// Something that may work next time. Memory is gone, the cursor is right.
    Failed {
        /// For people.
        reason: String,
    },
    /// Something that a person has to decide.
    Broken {
        /// For people.
        reason: String,
    },
}

/// Consumes a partition until one of the reasons to end.
pub async fn run(
    worker: Arc<Worker>,
    lease: Lease,
    progress: Progress,
    lost: CancellationToken,
    shutdown: Shutdown,
) -> Ended {
    let opened = tokio::select! {
        biased;
        () = lost.cancelled() => return Ended::Lost,
        () = shutdown.requested() => return Ended::Stopped,
        opened = begin(&worker, &lease, &progress) => opened,
    };
    let (reader, restored) = match opened {
        Ok(begun) => begun,
        Err(OpenError::Again(reason)) => return Ended::Failed { reason },
        Err(OpenError::Broken(reason)) => return Ended::Broken { reason },
    };
    let mut consumer = Consumer::new(worker, lease, progress, reader, restored);
    let ended = tokio::select! {
        biased;
        () = lost.cancelled() => Ended::Lost,
        ended = consumer.consume(&shutdown) => ended,
    };
    match ended {
        Ended::Stopped => consumer.finish(Ended::Stopped).await,
        // The records before the obstacle are good.
        Ended::Broken { .. } => consumer.finish(ended).await,
        Ended::Lost | Ended::Failed { .. } => ended,
    }
}

enum OpenError {
    /// May work next time.
    Again(String),
    Broken(String),
}

/// Everything that a consumer needs before the first record.
async fn begin(worker: &Worker, lease: &Lease, progress: &Progress) -> Result<(Box<dyn Reader>, Restored), OpenError> {
    let reader = open(&*worker.events, lease, progress).await?;
    let again = |reason: String| OpenError::Again(format!("restore: {reason}"));
    match timeout(RESTORE_DEADLINE, worker.store.restore(lease.partition)).await {
        Ok(Ok(restored)) => Ok((reader, restored)),
        Ok(Err(error)) => Err(again(error.to_string())),
        Err(_) => Err(again("no answer in time".to_owned())),
    }
}

/// A reader at the cursor, once the log has proved to be the one the cursor was moved over.
async fn open(events: &dyn Log, lease: &Lease, progress: &Progress) -> Result<Box<dyn Reader>, OpenError> {
    let partition = peep_log::Partition(lease.partition);
    let watermarks = events.watermarks(partition).await?;
    progress.set_range(lease, watermarks);
    reader_at(events, partition, watermarks, lease.next.offset(), lease.fingerprint.as_ref()).await
}

/// A reader at `next`, once the log has proved to hold, right before it, the record with that fingerprint.
async fn reader_at(
    events: &dyn Log,
    partition: peep_log::Partition,
    Watermarks { low, high }: Watermarks,
    next: Offset,
    fingerprint: Option<&Fingerprint>,
) -> Result<Box<dyn Reader>, OpenError> {
    if next < low {
        let lost = low.0 - next.0;
        return Err(OpenError::Broken(format!(
            "the log begins at offset {low}, the next to count is {next}: {lost} records expired before they were counted"
        )));
    }
    if next > high {
        return Err(OpenError::Broken(format!(
            "the log ends at offset {high}, the next to count is {next}: the log was truncated or replaced"
        )));
    }
    let Some(fingerprint) = fingerprint.filter(|_| next > low) else {
        return events.reader(partition, next).await.map_err(OpenError::from);
    };
    let mut reader = events.reader(partition, Offset(next.0 - 1)).await?;
    let records = reader.next(1, OPEN_READ_WAIT).await?;
    let Some(before) = records.first() else {
        let reason = format!("the record before offset {next} was not delivered in time");
        return Err(OpenError::Again(reason));
    };
    if before.offset.plus(1) != next || Fingerprint::of(&before.payload) != *fingerprint {
        return Err(OpenError::Broken(format!(
            "the record before offset {next} is not the one that was counted: the log was truncated or replaced"
        )));
    }
    // One record was asked for; should more have come, they come again from a reader at the cursor.
    if records.len() == 1 { Ok(reader) } else { events.reader(partition, next).await.map_err(OpenError::from) }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::OutOfRange { .. } => OpenError::Broken(error.to_string()),
            ReadError::Unavailable { .. } => OpenError::Again(error.to_string()),
        }
    }
}

struct Consumer {
    worker: Arc<Worker>,
    lease: Lease,
    source: Source,
    partition: Partition,
    publisher: Publisher,
    account: Account,
    flush: Option<Flush>,
    progress: Progress,
    published_at: Instant,
    /// When the first record arrived that is in no flush yet.
    uncut_since: Option<Instant>,
    stalled: bool,
    lag_checked_at: Option<Instant>,
    last_appended_ms: i64,
}

struct Flush {
    task: JoinHandle<Result<(), FlushError>>,
    to: Position,
}

/// The reader, or when to make a new one.
enum Source {
    Open(Box<dyn Reader>),
    Closed { retry_at: Instant },
}

impl Consumer {
    fn new(worker: Arc<Worker>, lease: Lease, progress: Progress, reader: Box<dyn Reader>, restored: Restored) -> Self {
        let limits = worker.config.partition_limits(worker.events.partitions());
        metrics::cursor_offset(lease.partition, lease.next.0);
        Self {
            source: Source::Open(reader),
            partition: Partition::restored(lease.partition, Offset(lease.next.0), limits, restored),
            publisher: Publisher::new(Arc::clone(&worker.live), lease.partition),
            account: worker.budget.account(0),
            flush: None,
            progress,
            published_at: Instant::now(),
            uncut_since: None,
            stalled: false,
            lag_checked_at: None,
            last_appended_ms: 0,
            worker,
            lease,
        }
    }

    /// Ends with `Stopped` at shutdown.
    async fn consume(&mut self, shutdown: &Shutdown) -> Ended {
        loop {
            self.publish_if_due();
            self.flush_if_due();
            self.report_lag().await;
            let wake_at = self.wake_at();
            let reading = self.may_read();
            let read_bytes_max = self.worker.budget.read_bytes_max();
            tokio::select! {
                biased;
                () = shutdown.requested() => return Ended::Stopped,
                landed = landed(&mut self.flush) => {
                    if let Err(failed) = self.landed(landed) {
                        return failed;
                    }
                }
                read = read(&mut self.source, &*self.worker.events, &self.partition, &self.lease, read_bytes_max), if reading => {
                    if let Err(ended) = self.take(read) {
                        return ended;
                    }
                }
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Everything that was read is published and committed, then the consumer ends.
    async fn finish(mut self, ended: Ended) -> Ended {
        loop {
            if self.flush.is_some() {
                let landed = landed(&mut self.flush).await;
                if let Err(failed) = self.landed(landed) {
                    return failed;
                }
            } else if self.partition.has_uncut() {
                self.start_flush();
            } else {
                break;
            }
        }
        self.publisher.finish(LAST_FRAMES_WAIT).await;
        ended
    }

    fn take(&mut self, read: Result<Vec<LogRecord>, OpenError>) -> Result<(), Ended> {
        let records = match read {
            Ok(records) => records,
            Err(OpenError::Broken(reason)) => return Err(Ended::Broken { reason }),
            Err(OpenError::Again(error)) => {
                // Said by the log itself, once; here only the pace of retries.
                tracing::debug!(partition = self.lease.partition, error, "log not readable");
                self.source = Source::Closed { retry_at: Instant::now() + LOG_RETRY_DELAY };
                return Ok(());
            }
        };
        let count = records.len() as u64;
        for mut record in records {
            // From here on offsets are positions.
            record.offset = Offset(self.lease.next.at(record.offset).0);
            self.partition.apply(&record).map_err(|obstacle| Ended::Broken { reason: obstacle.to_string() })?;
            self.last_appended_ms = record.appended_ms;
            self.make_room_in_frame();
        }
        if count > 0 {
            metrics::records_applied(self.lease.partition, count);
            self.uncut_since.get_or_insert_with(Instant::now);
            self.account.set(self.partition.memory_bytes());
        }
        Ok(())
    }

    /// A full frame is published early, unless too many were.
    fn make_room_in_frame(&mut self) {
        let bytes = self.partition.frame_bytes();
        if bytes < FRAME_BYTES {
            return;
        }
        if self.is_behind_frames(bytes) {
            if self.partition.fresh_events() >= FRESH_EVENTS {
                self.skip_frame();
            }
        } else {
            self.publish();
        }
    }

    /// Whether the frame that is being filled will not be published: it outgrew the live topic while there was no room.
    fn is_behind_frames(&mut self, bytes: usize) -> bool {
        bytes >= FRAME_BYTES_MAX || !self.publisher.has_room(self.worker.config.publish_interval)
    }

    fn skip_frame(&mut self) {
        self.partition.skip_frame();
        self.publisher.skipped();
        self.published_at = Instant::now();
        self.account.set(self.partition.memory_bytes());
    }

    fn publish_if_due(&mut self) {
        if self.partition.has_unpublished() && self.published_at.elapsed() >= self.worker.config.publish_interval {
            self.publish();
        }
    }

    fn publish(&mut self) {
        failpoint::hit("rollup.publish");
        if self.partition.frame_bytes() >= FRAME_BYTES_MAX {
            return self.skip_frame();
        }
        if let Some(frame) = self.partition.publish(self.lease.epoch, self.worker.clock.now_ms()) {
            self.publisher.publish(frame);
            self.published_at = Instant::now();
            self.account.set(self.partition.memory_bytes());
        }
    }

    fn flush_if_due(&mut self) {
        let Some(since) = self.uncut_since.filter(|_| self.flush.is_none()) else { return };
        let config = &self.worker.config;
        let due = since.elapsed() >= config.flush_interval
            || self.partition.delta_bytes() >= config.flush_bytes_max
            || self.account.pressure() > Pressure::None;
        if due {
            self.start_flush();
        }
    }

    fn start_flush(&mut self) {
        debug_assert!(self.flush.is_none(), "flushes of a partition are in order");
        // The cursor must be the end of a frame.
        self.publish();
        metrics::holdings(&self.partition);
        let Some(cut) = self.partition.cut() else { return };
        if self.account.pressure() > Pressure::None {
            self.partition.shrink();
        }
        let to = Position(cut.to);
        let account = self.worker.budget.account(cut.memory_bytes);
        self.account.set(self.partition.memory_bytes());
        self.uncut_since = None;
        self.flush = Some(Flush { task: self.worker.flusher.start(self.lease.epoch, cut, account), to });
    }

    fn landed(&mut self, (to, result): Landed) -> Result<(), Ended> {
        self.flush = None;
        let reason = match result {
            Ok(Ok(())) => {
                self.progress.set_committed(to);
                return Ok(());
            }
            Ok(Err(FlushError::Fenced)) => return Err(Ended::Lost),
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => format!("flush: {panicked}"),
        };
        Err(Ended::Failed { reason })
    }

    /// At the memory limit nothing is read until flushes have made room. Who has nothing to flush gives back what it keeps
    /// for speed, so that the sum always falls below the limit again.
    fn may_read(&mut self) -> bool {
        let stop = self.account.pressure() == Pressure::Stop;
        let is_idle = !self.partition.has_uncut() && self.flush.is_none();
        if stop && is_idle {
            self.partition.shrink();
            self.account.set(self.partition.memory_bytes());
        }
        // What nobody can free (known producers and series) must not stop everybody for ever: who has nothing under way may
        // read once, and has to flush that before it reads again.
        let was_stalled = std::mem::replace(&mut self.stalled, stop && !is_idle);
        if self.stalled && !was_stalled {
            metrics::stalled();
        }
        !self.stalled
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let config = &self.worker.config;
        let mut wake_at = now + IDLE_WAKE;
        if self.partition.has_unpublished() {
            wake_at = wake_at.min(self.published_at + config.publish_interval);
        }
        if let Some(since) = self.uncut_since.filter(|_| self.flush.is_none()) {
            wake_at = wake_at.min(since + config.flush_interval);
        }
        if self.stalled {
            wake_at = wake_at.min(now + STALL_RECHECK);
        }
        wake_at
    }

    /// Every few seconds: how far the log is, for the metrics and for people, and what it need not keep any longer.
    async fn report_lag(&mut self) {
        if self.lag_checked_at.is_some_and(|at| at.elapsed() < LAG_INTERVAL) {
            return;
        }
        self.lag_checked_at = Some(Instant::now());
        let partition = peep_log::Partition(self.lease.partition);
        let committed = self.progress.committed();
        let watermarks = self.worker.events.watermarks(partition);
        let needed = self.worker.events.needed_from(partition, committed.offset());
        let both = async { futures_util::future::join(watermarks, needed).await };
        if let Ok((Ok(watermarks), _)) = timeout(LAG_WAIT, both).await {
            let behind = watermarks.high > Position(self.partition.next().0).offset() && self.last_appended_ms > 0;
            let age_ms = if behind { self.worker.clock.now_ms() - self.last_appended_ms } else { 0 };
            let records = watermarks.high.0.saturating_sub(committed.offset().0);
            self.progress.set_range(&self.lease, watermarks);
            if records == 0 {
                self.progress.set_sound();
            }
            metrics::lag(self.lease.partition, records, Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)));
        }
    }
}

type Landed = (Position, Result<Result<(), FlushError>, JoinError>);

/// The end of the running flush; for ever, when there is none. Safe to drop: the flush goes on.
async fn landed(flush: &mut Option<Flush>) -> Landed {
    match flush {
        Some(flush) => (flush.to, (&mut flush.task).await),
        None => std::future::pending().await,
    }
}

/// The next records. Safe to drop: the reader gives them again.
///
/// Whatever broke a reader may have been a log that lost its end or was made anew, and that has grown beyond our place since:
/// a new reader proves first that the log still ends, before our place, with what is in memory.
async fn read(
    source: &mut Source,
    events: &dyn Log,
    partition: &Partition,
    lease: &Lease,
    bytes_max: usize,
) -> Result<Vec<LogRecord>, OpenError> {
    loop {
        match source {
            Source::Open(reader) => return Ok(reader.next(bytes_max, READ_WAIT).await?),
            Source::Closed { retry_at } => {
                sleep_until(*retry_at).await;
                let number = peep_log::Partition(partition.number());
                let next = Position(partition.next().0).offset();
                let before = partition.fingerprint().or(lease.fingerprint.as_ref());
                let watermarks = events.watermarks(number).await?;
                *source = Source::Open(reader_at(events, number, watermarks, next, before).await?);
            }
        }
    }
}

/// Longer than any deadline of the loop, which drops the read.
const READ_WAIT: Duration = Duration::from_secs(5);
/// As long as a flush may take.
const RESTORE_DEADLINE: Duration = Duration::from_secs(10);
const OPEN_READ_WAIT: Duration = Duration::from_secs(5);
const LOG_RETRY_DELAY: Duration = Duration::from_millis(250);
/// A frame is published early from this size on: a record of the live topic may have 1 MiB, and one more batch comes.
const FRAME_BYTES: usize = 512 << 10;
/// From this size on it would not fit: an encoded frame takes about two thirds of what is reckoned.
const FRAME_BYTES_MAX: usize = 3 << 19;
/// Events that are added to the windows together when no frame asks for them earlier: few enough for a processor's cache, and
/// enough that a window that is looked for has some.
const FRESH_EVENTS: usize = 64 << 10;
const LAST_FRAMES_WAIT: Duration = Duration::from_secs(2);
const STALL_RECHECK: Duration = Duration::from_millis(20);
const IDLE_WAKE: Duration = Duration::from_secs(5);
const LAG_INTERVAL: Duration = Duration::from_secs(5);
const LAG_WAIT: Duration = Duration::from_millis(250);
