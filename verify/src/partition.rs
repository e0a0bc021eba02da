//! One partition: what of it can be verified, the reading, and the comparisons.

use std::collections::BTreeMap;
use std::time::Duration;

use peep_log::{Log, LogRecord, Offset, Partition, ReadError};

use crate::VerifyError;
use crate::count::{CLOCK_SKEW_MS_MAX, Cell, Counted, Counter, Logged, SeriesNumber};
use crate::findings::Findings;
use crate::ledger::{self, DayRow, Ledger};
use crate::memory;
use crate::options::{Options, Progress};
use crate::past::Past;
use crate::record::Series;
use crate::report::{self, Column, PartitionReport, Place, instant};
use crate::rollups::{self, Scope, Source};
use crate::snapshot::{Cursor, LogBreak, Snapshot, told};

/// What one partition is judged by.
pub(crate) struct Verification<'a> {
    pub(crate) log: &'a dyn Log,
    pub(crate) options: &'a Options,
    pub(crate) cursor: &'a Cursor,
    /// In the order of positions.
    pub(crate) breaks: Vec<LogBreak>,
    pub(crate) series: &'a BTreeMap<i64, (i64, Series)>,
}

/// The positions that can be read again.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: u64,
    to: u64,
    /// The log's end, which may be beyond the cursor.
    high: u64,
    /// Whether `from` is the first position there ever was.
    whole: bool,
}

impl Verification<'_> {
    pub(crate) async fn run(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<PartitionReport, VerifyError> {
        let partition = self.cursor.partition;
        let range = self.range(findings).await?;
        let found_ledger = snapshot.ledger(partition, range.from).await?;
        let found_by_project = snapshot.ledger_project(partition, range.from).await?;
        let found_days = snapshot.ledger_day(partition).await?;
        let dead_letters = snapshot.dead_letters(partition, range.from).await?;
        let duplicates = snapshot.duplicates(partition, range.from).await?;
        let told = told(&duplicates, &dead_letters);
        let past = if range.whole { Past::none(told) } else { Past::unknown(told) };

        let mut counter = Counter::new(self.options.rules, past);
        let mut ledger = Ledger::over(&found_ledger);
        self.read(range, &mut counter, &mut ledger, findings, progress).await?;
        let mut counted = std::mem::take(&mut counter.counted);

        let at = |position: u64| Place { position: Some(position), ..Place::of(partition) };
        ledger::compare(partition, &ledger, &found_ledger, &found_by_project, findings);
        findings.compare("dead_letter", &counted.dead_letters, &dead_letters, |(position, index)| Place {
            event_index: Some(*index),
            ..at(*position)
        });
        findings.compare("duplicate_batch", &counted.duplicates, &duplicates, |position| at(*position));
        let days = counted.days.iter().map(|(key, rolled_up)| (*key, DayRow(*rolled_up))).collect();
        findings.compare("ledger_day", &days, &found_days, |(project, day)| Place {
            project: Some(*project),
            bucket: Some(instant(day * 86_400)),
            ..Place::of(partition)
        });
        if counted.fingerprint != self.cursor.fingerprint {
            let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or_else(|| "null".to_owned(), ledger::hex);
            let column = Column::new("fingerprint", text(&counted.fingerprint), text(&self.cursor.fingerprint));
            findings.differs("rollup_cursor", at(range.to), vec![column]);
        }
        if counted.log_ms != self.cursor.log_ms {
            let column = Column::new("log_ms", counted.log_ms, self.cursor.log_ms);
            findings.differs("rollup_cursor", at(range.to), vec![column]);
        }
        if counter.past.is_whole() {
            self.compare_memory(snapshot, &counted, findings).await?;
        }
        let cells = std::mem::take(&mut counted.cells);
        let first_s = self.first_whole_second(snapshot, range).await?;
        self.compare_rollups(snapshot, &counted, cells, first_s, findings).await?;
        Ok(PartitionReport {
            partition,
            from: range.from,
            to: range.to,
            records_beyond: range.high.saturating_sub(range.to),
            whole: range.whole,
            broken: self.cursor.broken.clone(),
            events: counted.events,
            records_on_trust: counted.records_on_trust,
        })
    }

    /// What has to be remembered of producers and series.
    async fn compare_memory(
        &self,
        snapshot: &mut Snapshot,
        counted: &Counted,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let partition = self.cursor.partition;
        let of = |(project, producer): &(i64, [u8; 16])| Place {
            project: Some(*project),
            producer: Some(report::producer(*producer)),
            ..Place::of(partition)
        };
        let rules = &self.options.rules;
        let mut found = BTreeMap::new();
        for (key, window) in snapshot.windows(partition).await? {
            match window {
                // Who is forgotten by the rules may wait in the table for being swept.
                Some(window) if window.is_expired(rules, counted.log_ms) => {}
                Some(window) => drop(found.insert(key, window)),
                None => {
                    let column = Column::new("seen, partial", "a window", "bytes that make no sense");
                    findings.differs("dedup_window", of(&key), vec![column]);
                }
            }
        }
        findings.compare("dedup_window", &counted.producers.living(rules, counted.log_ms), &found, of);
        let found = snapshot.seen(partition, counted.budgets.day).await?;
        findings.compare("series_budget", &memory::seen_rows(&counted.budgets), &found, |(day, project)| Place {
            project: Some(*project),
            bucket: Some(instant(day * 86_400)),
            ..Place::of(partition)
        });
        Ok(())
    }

    async fn compare_rollups(
        &self,
        snapshot: &mut Snapshot,
        counted: &Counted,
        mut cells: BTreeMap<(SeriesNumber, i64), Cell>,
        first_s: i64,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let partition = self.cursor.partition;
        let horizons = snapshot.horizons().await?;
        let done = snapshot.done(partition).await?;
        if done.minute > self.cursor.next || done.hour > done.minute {
            let found = format!("1m up to {}, 1h up to {}", done.minute, done.hour);
            let column = Column::new("done_offset", format!("1h <= 1m <= {}", self.cursor.next), found);
            findings.differs("rollup_level", Place::of(partition), vec![column]);
        }
        let levels = [
            (Source::ten_seconds(0), 10, horizons.ten_seconds_s),
            (Source::minutes(done), 60, horizons.minute_s),
            (Source::hours(done), 3600, horizons.hour_s),
        ];
        for (source, width_s, since_s) in levels {
            cells = rollups::widen(cells, width_s);
            let judged = |bucket_s: i64| bucket_s >= since_s.max(first_s);
            let scope = Scope { partition, cursor: self.cursor.next, series: self.series, bucket: &judged };
            rollups::compare(&mut snapshot.transaction, &source, &scope, counted, &cells, findings).await?;
        }
        let (touched, pieces) = (snapshot.touched(partition).await?, snapshot.untouched(partition).await?);
        findings.compare("rollup_touched", &pieces, &touched, |(level, project, up_to)| Place {
            project: Some(*project),
            position: Some(*up_to),
            level: Some(level.clone()),
            ..Place::of(partition)
        });
        Ok(())
    }

    /// Reads the range, record by record.
    async fn read(
        &self,
        range: Range,
        counter: &mut Counter,
        ledger: &mut Ledger,
        findings: &mut Findings,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), VerifyError> {
        let mut reading = Reading::new(self.log, self.cursor.partition, range.from, range.to);
        loop {
            let records = reading.next().await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                let position = reading.position_of(record);
                let logged = Logged { position, appended_ms: record.appended_ms, payload: &record.payload };
                match counter.count(logged) {
                    Ok(outcome) => ledger.book(logged, &outcome),
                    Err(other) => {
                        let place = Place { position: Some(position), ..Place::of(self.cursor.partition) };
                        let found = format!("passed a record of format {}", other.0);
                        findings.differs("rollup_cursor", place, vec![Column::new("next_offset", position, found)]);
                    }
                }
            }
            let cells_max = self.options.cells_max;
            if counter.counted.cells.len() > cells_max {
                let (partition, position) = (self.cursor.partition, reading.next);
                return Err(VerifyError::TooManyCells { partition, position, cells_max });
            }
            progress(Progress {
                partition: self.cursor.partition,
                records: reading.next - range.from,
                records_total: range.to - range.from,
            });
        }
    }

    /// From when on every event of a bucket lies in the range: events before it can not have ended later.
    async fn first_whole_second(&self, snapshot: &mut Snapshot, range: Range) -> Result<i64, VerifyError> {
        if range.whole {
            return Ok(i64::MIN);
        }
        let appended_ms = snapshot.appended_before(self.cursor.partition, range.from).await?.unwrap_or(i64::MIN / 2);
        let ahead_ms = self.options.rules.event_ahead_max.as_millis() as i64 + CLOCK_SKEW_MS_MAX;
        Ok((appended_ms + ahead_ms).div_euclid(1000) + 1)
    }

    /// What of the partition can be read again.
    async fn range(&self, findings: &mut Findings) -> Result<Range, VerifyError> {
        let partition = self.cursor.partition;
        let marks = self.log.watermarks(Partition(partition)).await;
        let marks = marks.map_err(|source| VerifyError::Log { partition, source })?;
        let generation = self.cursor.next & !OFFSET_MASK;
        let begin = self.breaks.last().map_or(0, |last| last.after);
        let low = generation | marks.low.0;
        let from = begin.max(low).min(self.cursor.next);
        let high = generation | marks.high.0;
        let mut to = self.cursor.next;
        if to > high {
            findings.skipped(format!(
                "partition {partition}: the log ends at position {high}, before the cursor at {to}: it was truncated or replaced"
            ));
            to = high.max(from);
        }
        Ok(Range { from, to, high, whole: from == 0 })
    }
}

/// Reads a range of one partition.
pub(crate) struct Reading<'a> {
    log: &'a dyn Log,
    partition: u32,
    next: u64,
    to: u64,
    reader: Option<Box<dyn peep_log::Reader>>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(log: &'a dyn Log, partition: u32, from: u64, to: u64) -> Self {
        Self { log, partition, next: from, to, reader: None }
    }

    /// The next records; none at the end of the range.
    pub(crate) async fn next(&mut self) -> Result<Vec<LogRecord>, VerifyError> {
        let mut attempts = 0;
        while self.next < self.to {
            match self.attempt().await {
                Ok(records) if records.is_empty() => attempts += 1,
                Ok(mut records) => {
                    records.retain(|record| record.offset.0 < self.to & OFFSET_MASK);
                    self.next += records.len() as u64;
                    return Ok(records);
                }
                Err(source @ ReadError::OutOfRange { .. }) => return Err(self.failed(source)),
                Err(source) => {
                    attempts += 1;
                    self.reader = None;
                    if attempts == ATTEMPTS_MAX {
                        return Err(self.failed(source));
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
            if attempts == ATTEMPTS_MAX {
                let reason = format!("record {} did not come", self.next & OFFSET_MASK);
                return Err(self.failed(ReadError::Unavailable { reason }));
            }
        }
        Ok(Vec::new())
    }

    /// The position of a record that was read.
    pub(crate) fn position_of(&self, record: &LogRecord) -> u64 {
        (self.to & !OFFSET_MASK) | record.offset.0
    }

    async fn attempt(&mut self) -> Result<Vec<LogRecord>, ReadError> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => {
                let from = Offset(self.next & OFFSET_MASK);
                none.insert(self.log.reader(Partition(self.partition), from).await?)
            }
        };
        reader.next(READ_BYTES_MAX, READ_WAIT).await
    }

    fn failed(&self, source: ReadError) -> VerifyError {
        VerifyError::Log { partition: self.partition, source }
    }
}

/// The part of a position that is the offset in the log; above it, how often the log began anew.
const OFFSET_MASK: u64 = (1 << 40) - 1;
const READ_BYTES_MAX: usize = 4 << 20;
const READ_WAIT: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS_MAX: u32 = 6;
