//! All state of one partition. Losing the partition means dropping one value.
//!
//! Arrives: log records in offset order ([`Partition::apply`]). Leaves: a live frame for every publish
//! ([`Partition::publish`]) and everything one flush writes ([`Partition::cut`]).
//!
//! Promises: a function of the records and of the offsets at which it was published and cut. No clock: whether an event is
//! too old is decided by the receive time in its record, bounded by the log's own time. However the same records are cut
//! into flushes, the merged rollups are the same. Every event ends in exactly one of three places, a cell, a dead letter or
//! a duplicate, and [`Books`] says how many in which. What must outlive the memory (who was counted before, the log's time)
//! leaves with every cut, and [`Partition::restored`] goes on from it as if nothing had happened.
//!
//! The log's own time, by which things expire, is that of the newest record, and moves by at most an hour per record: a leap
//! of the log's clock can not make all producers forgotten at once.
//!
//! Does not: decide when to publish or flush (`consumer`), or write anything (`store`, `publish`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peep_log::{LogRecord, Offset};
use peep_wire::ProjectId;
use peep_wire::histogram::DURATION_US_MAX;
use peep_wire::live::{FrameWriter, LiveFrame};
use peep_wire::record::{Batch, EventHead, RecordError, open};

use crate::books::{Books, Counts, OpenBooks, ledger_ms};
use crate::cardinality::{Cardinality, Overflow, SeenSeries, SeriesLimits};
use crate::dedup::{Dedup, DedupCut, DedupLimits, Moment, Producer, Verdict, Window};
use crate::facet::{FacetCut, FacetKind, FacetLimits, Facets, Named, SeenFacets};
use crate::key::{Series, SeriesTable};
use crate::poison::{DeadLetter, Reason};
use crate::raw::{Offered, Place, RawCut, RawLimits, Sampler};
use crate::window::{Cell, Cells, Fresh, Placed, slot_of, window_of};

/// What a partition needs to know besides the records.
#[derive(Debug, Clone, Copy)]
pub struct PartitionLimits {
    /// Events that ended longer before their receipt are dead-lettered.
    pub event_age_max: Duration,
    /// Events that ended further after their receipt are dead-lettered.
    pub event_ahead_max: Duration,
    /// Older events are counted but not kept one by one: their partition of `raw_event` is gone or about to go.
    pub raw_age_max: Duration,
    /// The sample of raw events.
    pub raw: RawLimits,
    /// Who is remembered, so that retries are recognised.
    pub dedup: DedupLimits,
    /// How many series there may be.
    pub series: SeriesLimits,
    /// How many versions and hosts there may be.
    pub facets: FacetLimits,
}

/// Windows, sample, dead letters and books of one partition since its last flush, and whom it has heard of before.
#[derive(Debug)]
pub struct Partition {
    number: u32,
    limits: PartitionLimits,
    /// The next offset to apply.
    next: u64,
    published_to: u64,
    cut_to: u64,
    fingerprint: Option<Fingerprint>,
    /// The log's own time; 0 before the first record.
    log_ms: i64,
    /// When the log took the last record.
    appended_ms: i64,
    newest_received_ms: i64,
    dedup: Dedup,
    cardinality: Cardinality,
    series: SeriesTable,
    fresh: Fresh,
    /// Bytes of the frame that `fresh` would become, from above.
    frame_bytes: usize,
    dirty: Cells,
    /// By series index: the window that its last events fell into, a guess that saves the look-up.
    recent: Vec<u32>,
    facets: Facets,
    raw: Sampler,
    dead_letters: Vec<DeadLetter>,
    dead_letter_bytes: usize,
    duplicates: Vec<Duplicate>,
    books: OpenBooks,
}

/// Recognises a record again: its length and its first bytes, which hold the checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<u8>);

/// Why a record was not applied. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The log skipped offsets: acknowledged records are missing.
    #[error("the log continued at offset {found} instead of {expected}")]
    Gap {
        /// The offset that was due.
        expected: u64,
        /// The offset that came.
        found: u64,
    },
    /// A newer ingest wrote it; this worker has to be upgraded first.
    #[error("record {offset} has format {format}, which is newer than this worker; upgrade the rollup first")]
    NewerFormat {
        /// Where it lies.
        offset: u64,
        /// Its format.
        format: u64,
    },
}

/// What a partition must know of the past before its first record.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The log's own time at the cursor, Unix milliseconds.
    pub log_ms: i64,
    /// Rows of `dedup_window`, in any order; expired ones may be among them.
    pub windows: Vec<Window>,
    /// Rows of `series_budget`, in any order; of days that do not matter any more may be among them.
    pub budgets: Vec<SeenSeries>,
    /// Rows of `facet_budget`, likewise.
    pub facet_budgets: Vec<SeenFacets>,
}

/// A live frame, encoded.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The record for the live topic.
    pub payload: Bytes,
    /// Cells in it.
    pub cells: usize,
}

/// Everything one flush writes, in one transaction.
#[derive(Debug)]
pub struct Cut {
    /// Partition of the event log.
    pub partition: u32,
    /// The cursor before.
    pub from: u64,
    /// The cursor after.
    pub to: u64,
    /// Of the record before `to`.
    pub fingerprint: Option<Fingerprint>,
    /// One row of `rollup_10s` each.
    pub pieces: Vec<Piece>,
    /// The same events by version and by host.
    pub facets: FacetCut,
    /// Rows of `raw_event`.
    pub raw: RawCut,
    /// Rows of `dead_letter`.
    pub dead_letters: Vec<DeadLetter>,
    /// Rows of `duplicate_batch`.
    pub duplicates: Vec<Duplicate>,
    /// What to remember of the producers heard of.
    pub dedup: DedupCut,
    /// Rows of `series_budget`.
    pub budgets: Vec<SeenSeries>,
    /// What is added to `series_overflow`.
    pub overflow: Vec<Overflow>,
    /// The same, in numbers: rows of `ledger`, `ledger_project` and `ledger_day`.
    pub books: Books,
    /// The log's own time at `to`, Unix milliseconds.
    pub log_ms: i64,
    /// When the log took the last record, Unix milliseconds, as [`ledger_ms`] has it.
    pub appended_ms: i64,
    /// Bytes held.
    pub memory_bytes: usize,
}

/// A batch that was counted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate {
    /// The place of its record in the log.
    pub offset: u64,
    /// The index of its first event in the record: not 0 in a bundle only.
    pub first_event: u32,
    /// The tenant.
    pub project: ProjectId,
    /// Who sent it.
    pub producer: Producer,
    /// The number of the batch.
    pub seq: u64,
    /// Which of several records of the batch.
    pub part: u32,
    /// Events that were not counted again.
    pub events: u32,
}

/// What one flush adds to one series and window.
#[derive(Debug)]
pub struct Piece {
    /// The series.
    pub series: Arc<Series>,
    /// Start of the window, Unix seconds.
    pub window_s: i64,
    /// What is added.
    pub cell: Cell,
}

impl Partition {
    /// A partition that never saw a record, whose next one is `next`.
    pub fn new(number: u32, next: Offset, limits: PartitionLimits) -> Self {
        Self::restored(number, next, limits, Restored::default())
    }

    /// A partition that goes on where another left off.
    pub fn restored(number: u32, next: Offset, limits: PartitionLimits, restored: Restored) -> Self {
        let Restored { log_ms, windows, budgets, facet_budgets } = restored;
        Self {
            number,
            limits,
            next: next.0,
            published_to: next.0,
            cut_to: next.0,
            fingerprint: None,
            log_ms,
            appended_ms: 0,
            newest_received_ms: 0,
            dedup: Dedup::restored(limits.dedup, windows, log_ms),
            cardinality: Cardinality::restored(limits.series, log_ms, budgets),
            series: SeriesTable::default(),
            fresh: Fresh::default(),
            frame_bytes: 0,
            dirty: Cells::default(),
            recent: Vec::new(),
            facets: Facets::restored(limits.facets, log_ms, facet_budgets),
            raw: Sampler::new(limits.raw),
            dead_letters: Vec::new(),
            dead_letter_bytes: 0,
            duplicates: Vec::new(),
            books: OpenBooks::default(),
        }
    }

    /// Counts every event of one record.
    ///
    /// # Errors
    /// [`ApplyError`]: the partition can not go on.
    pub fn apply(&mut self, record: &LogRecord) -> Result<(), ApplyError> {
        let offset = record.offset.0;
        if offset != self.next {
            return Err(ApplyError::Gap { expected: self.next, found: offset });
        }
        let opened = open(&record.payload).and_then(|opened| {
            // The tables could not tell it from another such project.
            let storable = opened.batches().all(|batch| i64::try_from(batch.header.project.0).is_ok());
            if storable { Ok(opened) } else { Err(RecordError::Malformed("project out of range")) }
        });
        if let Err(RecordError::Format(format)) = opened {
            return Err(ApplyError::NewerFormat { offset, format });
        }
        self.appended_ms = ledger_ms(record.appended_ms);
        self.log_ms = match self.log_ms {
            0 => self.appended_ms,
            log_ms => self.appended_ms.clamp(log_ms, log_ms + LOG_LEAP_MS_MAX),
        };
        self.cardinality.advance(self.log_ms, &mut self.series);
        self.facets.advance(self.log_ms);
        match opened {
            Ok(opened) => {
                self.books.open_record();
                opened.batches().for_each(|batch| self.apply_batch(record, &batch));
            }
            Err(poison) => self.bury_record(record, poison),
        }
        self.fingerprint = Some(Fingerprint::of(&record.payload));
        self.next += 1;
        Ok(())
    }

    /// Its number in the event log.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The next offset to apply.
    pub fn next(&self) -> Offset {
        Offset(self.next)
    }

    /// Of the last record applied; none, when nothing was applied to this value yet.
    pub fn fingerprint(&self) -> Option<&Fingerprint> {
        self.fingerprint.as_ref()
    }

    /// Whether something was applied since the last publish.
    pub fn has_unpublished(&self) -> bool {
        self.published_to < self.next
    }

    /// Whether something was applied since the last cut.
    pub fn has_uncut(&self) -> bool {
        self.cut_to < self.next
    }

    /// Bytes of the frame that would be published now, from above.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Events that wait for the next publish, more or less.
    pub fn fresh_events(&self) -> usize {
        self.fresh.len()
    }

    /// Bytes held since the last cut: what flushing would free.
    pub fn delta_bytes(&self) -> usize {
        self.fresh.waiting_bytes()
            + self.dirty.memory_bytes()
            + self.facets.delta_bytes()
            + self.raw.memory_bytes()
            + self.dead_letter_bytes
            + self.duplicates.capacity() * size_of::<Duplicate>()
            + self.books.memory_bytes()
            + self.dedup.delta_bytes()
            + self.cardinality.delta_bytes()
    }

    /// Bytes held in all.
    pub fn memory_bytes(&self) -> usize {
        self.delta_bytes()
            + (self.fresh.memory_bytes() - self.fresh.waiting_bytes())
            + self.series.memory_bytes()
            + self.facets.kept_bytes()
            + self.recent.capacity() * size_of::<u32>()
            + self.dedup.memory_bytes()
            + self.cardinality.memory_bytes()
    }

    /// The log's own time, Unix milliseconds; 0 before the first record.
    pub fn log_ms(&self) -> i64 {
        self.log_ms
    }

    /// Whom it has heard of.
    pub fn dedup(&self) -> &Dedup {
        &self.dedup
    }

    /// Which series have a place.
    pub fn cardinality(&self) -> &Cardinality {
        &self.cardinality
    }

    /// Windows changed since the last cut.
    pub fn open_windows(&self) -> usize {
        self.dirty.len()
    }

    /// Series kept.
    pub fn series_len(&self) -> usize {
        self.series.len()
    }

    /// The events since the last publish as a frame, and on into the windows. `None` when there was no record.
    pub fn publish(&mut self, epoch: u64, now_ms: i64) -> Option<Frame> {
        if !self.has_unpublished() {
            return None;
        }
        let frame = LiveFrame {
            partition: self.number,
            epoch,
            from: self.published_to,
            to: self.next,
            published_ms: now_ms,
            newest_received_ms: self.newest_received_ms,
            cells: Vec::new(),
        };
        let cells = self.fresh.cells();
        let mut writer = FrameWriter::begin(&frame, cells);
        self.drain_fresh(Some(&mut writer));
        Some(Frame { payload: writer.finish(), cells })
    }

    /// The same without the frame: nobody sees these events before they are committed. A reader finds the gap by the offsets,
    /// as if the frame had been lost.
    pub fn skip_frame(&mut self) {
        self.drain_fresh(None);
    }

    fn drain_fresh(&mut self, mut frame: Option<&mut FrameWriter>) {
        let Self { series, fresh, dirty, recent, facets, .. } = self;
        facets.drain(fresh);
        recent.resize(series.len(), u32::MAX);
        fresh.drain(|cell| {
            if let Some(frame) = &mut frame {
                let (project, key) = series.key(cell.series);
                frame.cell(project, key, cell.slot_s, [cell.count, cell.errors], cell.tally);
            }
            dirty.add(&mut recent[cell.series as usize], window_of(cell.slot_s), &cell);
        });
        self.published_to = self.next;
        self.frame_bytes = 0;
    }

    /// Takes out everything since the last cut. `None` when there was no record. Publish first: a cursor that is no frame's
    /// end could not be stitched.
    pub fn cut(&mut self) -> Option<Cut> {
        debug_assert!(!self.has_unpublished(), "a cut coincides with the end of a frame");
        if !self.has_uncut() {
            return None;
        }
        let memory_bytes = self.delta_bytes();
        let (budgets, overflow) = self.cardinality.cut();
        let series = &self.series;
        let piece = |placed: Placed| Piece {
            series: Arc::clone(series.get(placed.series)),
            window_s: placed.start_s,
            cell: placed.cell,
        };
        let cut = Cut {
            partition: self.number,
            from: self.cut_to,
            to: self.next,
            fingerprint: self.fingerprint.clone(),
            pieces: self.dirty.take().into_iter().map(piece).collect(),
            facets: self.facets.cut(),
            raw: self.raw.cut(|at| Arc::clone(series.get(at))),
            dead_letters: std::mem::take(&mut self.dead_letters),
            duplicates: std::mem::take(&mut self.duplicates),
            dedup: self.dedup.cut(self.log_ms),
            budgets,
            overflow,
            books: self.books.cut(),
            log_ms: self.log_ms,
            appended_ms: self.appended_ms,
            memory_bytes,
        };
        debug_assert!(cut.balances(), "every accepted event is rolled up, dead-lettered or a duplicate, and once");
        self.cut_to = self.next;
        self.dead_letter_bytes = 0;
        // Nothing refers to an index any more.
        self.series.sweep();
        self.recent.clear();
        Some(cut)
    }

    /// Gives back all memory that is kept for speed alone: the known series and the room of past bursts. Only possible after
    /// a cut, while nothing refers to a series.
    pub fn shrink(&mut self) {
        debug_assert!(!self.has_uncut(), "open cells refer to series");
        if !self.has_uncut() {
            self.series.clear();
            self.cardinality.shrink();
            self.facets.shrink();
            self.recent = Vec::new();
            self.fresh.shrink();
            self.dirty = Cells::default();
        }
    }

    fn apply_batch(&mut self, record: &LogRecord, batch: &Batch<'_>) {
        let header = batch.header;
        let announced = u64::from(header.event_count);
        let moment = Moment { position: record.offset.0, first_event: batch.first_event, log_ms: self.log_ms };
        let judged = header.identity.map(|identity| (identity, self.dedup.judge(&header, &identity, moment)));
        // The ingest machine's clock, where it agrees with the log's.
        let received_ms = header.received_ms.clamp(
            record.appended_ms.saturating_sub(CLOCK_SKEW_MS_MAX),
            record.appended_ms.saturating_add(CLOCK_SKEW_MS_MAX),
        );
        self.newest_received_ms = self.newest_received_ms.max(received_ms);
        let mut events = Counts { accepted: announced, ..Counts::default() };
        match judged {
            None => {
                self.count_events(record, batch, received_ms, &mut events);
                events.unidentified = events.rolled_up;
            }
            Some((_, Verdict::Count { uncertain })) => {
                self.count_events(record, batch, received_ms, &mut events);
                events.uncertain = if uncertain { events.rolled_up } else { 0 };
            }
            Some((identity, Verdict::Duplicate)) => {
                events.duplicate = announced;
                self.duplicates.push(Duplicate {
                    offset: record.offset.0,
                    first_event: batch.first_event,
                    project: header.project,
                    producer: identity.producer,
                    seq: identity.seq,
                    part: header.part,
                    events: header.event_count,
                });
            }
            Some((_, refused @ (Verdict::BelowWindow | Verdict::Conflict))) => {
                events.dead_lettered = announced;
                let reason = match refused {
                    Verdict::BelowWindow => Reason::DedupWindowExceeded,
                    _ => Reason::IdentityConflict,
                };
                self.bury_events(record, batch, 0, header.event_count, reason, batch.bytes);
            }
        }
        self.books.post(header.project, record.appended_ms, &events);
    }

    fn count_events(&mut self, record: &LogRecord, batch: &Batch<'_>, received_ms: i64, events: &mut Counts) {
        let announced = batch.header.event_count;
        let mut event_index = 0;
        let mut heads = batch.heads();
        'events: loop {
            // Several at once: with thousands of series an event waits for its entry and its key to come from memory, and these
            // wait together.
            let ahead: [Option<_>; AHEAD] = std::array::from_fn(|_| heads.next());
            let mut hashes = [0; AHEAD];
            let mut present = 0;
            for event in ahead.iter().map_while(|event| event.as_ref()?.as_ref().ok()) {
                hashes[present] = self.series.hash(batch.header.project, event.series.as_bytes());
                present += 1;
            }
            // One alone has nobody to wait with.
            if present > 1 {
                self.series.warm(&hashes[..present]);
            }
            for (event, hash) in ahead.into_iter().zip(hashes) {
                // The checksum was right, so an event that does not decode, or more events than announced, was not written by
                // our ingest. Both leave their bytes behind.
                let Some(Ok(event)) = event else { break 'events };
                if event_index == announced {
                    self.bury_events(record, batch, event_index, 0, Reason::Malformed, batch.bytes);
                    break 'events;
                }
                match self.apply_event(record, batch, event_index, &event, hash, received_ms) {
                    Ok(folded) => {
                        events.rolled_up += 1;
                        events.folded += u64::from(folded);
                    }
                    Err(reason) => {
                        events.dead_lettered += 1;
                        self.bury_events(record, batch, event_index, 1, reason, event.raw);
                    }
                }
                event_index += 1;
            }
        }
        let missing = announced - event_index;
        if missing > 0 {
            events.dead_lettered += u64::from(missing);
            self.bury_events(record, batch, event_index, missing, Reason::Malformed, batch.bytes);
        }
    }

    /// Whether its series found no place of its own.
    #[inline]
    fn apply_event(
        &mut self,
        record: &LogRecord,
        batch: &Batch<'_>,
        event_index: u32,
        event: &EventHead<'_>,
        hash: u64,
        received_ms: i64,
    ) -> Result<bool, Reason> {
        let age_ms = received_ms.saturating_sub(event.ended_ms);
        if age_ms > millis(self.limits.event_age_max) {
            return Err(Reason::TooOld);
        }
        if age_ms < -millis(self.limits.event_ahead_max) {
            return Err(Reason::InFuture);
        }
        if event.duration_us.is_some_and(|duration_us| duration_us > DURATION_US_MAX) {
            return Err(Reason::InvalidDuration);
        }
        let project = batch.header.project;
        let key = event.series.as_bytes();
        let counted =
            self.cardinality.place(&mut self.series, hash, project, key).map_err(|_| Reason::InvalidSeries)?;
        let series = counted.series;
        let error = event.has_error || self.series.is_failed(series);
        if age_ms <= millis(self.limits.raw_age_max) {
            let event_index = batch.first_event + event_index;
            let place = Place { partition: self.number, offset: record.offset.0, event_index };
            let header = &batch.header;
            let true_key = counted.folded.then_some(key);
            let offered = Offered { place, header, series, true_key, event, error, log_ms: record.appended_ms };
            // Before it is counted: attributes that do not decode must not leave half an event behind.
            self.raw.offer(&offered).map_err(|_| Reason::Malformed)?;
        }
        let slot_s = slot_of(event.ended_ms);
        let EventHead { version, host, ended_ms, .. } = *event;
        let is_timed = event.duration_us.is_some();
        let named = Named { version, host, window_s: window_of(slot_s), ended_ms, is_timed, error };
        self.facets.count(&self.series, series, &self.fresh, &named);
        let recent = self.series.recent_mut(series, slot_s);
        if self.fresh.record(recent, series, slot_s, event.duration_us, error) {
            self.frame_bytes += FRAME_BYTES_PER_CELL + self.series.key(series).1.len();
        }
        self.frame_bytes += FRAME_BYTES_PER_EVENT;
        self.books.roll_up(project, event.ended_ms);
        Ok(counted.folded)
    }

    fn bury_record(&mut self, record: &LogRecord, poison: RecordError) {
        let reason = if poison == RecordError::Checksum { Reason::Checksum } else { Reason::Malformed };
        self.books.post_unreadable();
        self.bury(DeadLetter {
            offset: record.offset.0,
            event_index: 0,
            reason,
            project: None,
            key: None,
            received_ms: None,
            appended_ms: self.appended_ms,
            events: None,
            bytes: record.payload.as_ref().into(),
        });
    }

    #[cold]
    fn bury_events(
        &mut self,
        record: &LogRecord,
        batch: &Batch<'_>,
        event_index: u32,
        events: u32,
        reason: Reason,
        bytes: &[u8],
    ) {
        self.bury(DeadLetter {
            offset: record.offset.0,
            event_index: batch.first_event + event_index,
            reason,
            project: Some(batch.header.project),
            key: Some(batch.header.key),
            received_ms: Some(batch.header.received_ms),
            appended_ms: self.appended_ms,
            events: Some(events),
            bytes: bytes.into(),
        });
    }

    fn bury(&mut self, dead_letter: DeadLetter) {
        self.dead_letter_bytes += dead_letter.memory_bytes();
        self.dead_letters.push(dead_letter);
    }
}

impl Cut {
    /// Whether the books say what is in the rows.
    pub fn balances(&self) -> bool {
        let pieces: u64 = self.pieces.iter().map(|piece| piece.cell.count).sum();
        let letters: u64 = self.dead_letters.iter().filter_map(|letter| letter.events).map(u64::from).sum();
        let duplicates: u64 = self.duplicates.iter().map(|duplicate| u64::from(duplicate.events)).sum();
        let total = &self.books.total;
        self.books.balance()
            && self.books.records == self.to - self.from
            && FacetKind::ALL.iter().all(|kind| self.facets.events(*kind) == total.rolled_up)
            && (pieces, letters, duplicates) == (total.rolled_up, total.dead_lettered, total.duplicate)
    }
}

impl Fingerprint {
    /// Of a record.
    pub fn of(payload: &[u8]) -> Self {
        let mut bytes = (payload.len() as u64).to_be_bytes().to_vec();
        bytes.extend_from_slice(&payload[..payload.len().min(FINGERPRINT_BYTES)]);
        Self(bytes)
    }

    /// As it was stored.
    pub fn stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// To store it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[inline]
fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

/// Log time gained by one record at most.
const LOG_LEAP_MS_MAX: i64 = 3_600_000;
/// Receive times further from the log's own time are not believed: the append timeout, with a second to spare.
const CLOCK_SKEW_MS_MAX: i64 = 5_000;
/// A bucket gap of up to 3 bytes and a count.
const FRAME_BYTES_PER_EVENT: usize = 4;
/// Events whose series are looked up together.
const AHEAD: usize = 16;
/// Project, time, counts and totals.
const FRAME_BYTES_PER_CELL: usize = 48;
/// Enough for the checksum, the format and the tenant.
const FINGERPRINT_BYTES: usize = 24;

#[cfg(test)]
mod tests;
