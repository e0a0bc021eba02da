//! One partition: what of it can be verified, the reading, and the comparisons.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peep_log::{Log, Partition, Watermarks};

use crate::VerifyError;
use crate::count::{CLOCK_SKEW_MS_MAX, Cell, Counted, Counter, FacetSeen, Logged, SeriesNumber, fingerprint_of};
use crate::findings::Findings;
use crate::ledger::{self, DayRow, Ledger, ProjectRow};
use crate::memory;
use crate::options::{Options, Progress, Rules};
use crate::past::Past;
use crate::reading::{ATTEMPTS_MAX, OFFSET_MASK, RETRY_PAUSE, Reading};
use crate::record::Series;
use crate::report::{self, Column, PartitionReport, Place, instant};
use crate::rollups::{self, Scope, Source};
use crate::snapshot::{Cursor, LogBreak, Snapshot, told};
use crate::suspects::Search;

/// What one partition is judged by.
pub(crate) struct Verification<'a> {
    pub(crate) log: &'a dyn Log,
    pub(crate) options: &'a Options,
    pub(crate) cursor: &'a Cursor,
    /// In the order of positions.
    pub(crate) breaks: Vec<LogBreak>,
    pub(crate) series: &'a BTreeMap<i64, (i64, Series)>,
    pub(crate) facets: &'a BTreeMap<i64, (i64, Series)>,
}

/// The positions that can be read again.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: u64,
    /// The cursor.
    to: u64,
    /// The log's end.
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
        let mut report = PartitionReport {
            partition,
            from: self.cursor.next,
            to: self.cursor.next,
            broken: self.cursor.broken.clone(),
            ..PartitionReport::default()
        };
        let range = match self.range(snapshot, findings).await? {
            Ok(range) => range,
            Err(reason) => {
                findings.skipped(format!("partition {partition}: {reason}"));
                return Ok(report);
            }
        };
        report.from = range.from;
        report.records_beyond = range.high - range.to;
        report.whole = range.whole;
        let counted = self.judge(snapshot, range, findings, progress).await?;
        report.events = counted.events;
        report.records_on_trust = counted.records_on_trust;
        Ok(report)
    }

    /// Reads the range and compares everything with it.
    async fn judge(
        &self,
        snapshot: &mut Snapshot,
        range: Range,
        findings: &mut Findings,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Counted, VerifyError> {
        let partition = self.cursor.partition;
        let known = findings.kept.len();
        let mut found_ledger = snapshot.ledger(partition, range.from).await?;
        let mut found_by_project = snapshot.ledger_project(partition, range.from).await?;
        let dead_letters = snapshot.dead_letters(partition, range.from).await?;
        let duplicates = snapshot.duplicates(partition, range.from).await?;
        let told = told(&duplicates, &dead_letters);
        let past = if range.whole { Past::none(told) } else { Past::unknown(told, folding(&found_by_project)) };

        let mut counter = Counter::new(self.options.rules, past.clone());
        counter.facetless = snapshot.facetless(partition).await?;
        let mut ledger = Ledger::over(&found_ledger);
        let mut swept = Swept::at(snapshot.taken_ms, &self.options.rules);
        self.read(range, &mut counter, &mut ledger, &mut swept, findings, progress).await?;
        let mut counted = counter.finish();
        counted.dead_letters.retain(|key, _| key.0 >= swept.letters_from || dead_letters.contains_key(key));
        counted.duplicates.retain(|key, _| key.0 >= swept.letters_from || duplicates.contains_key(key));
        ledger.unbooked.retain(|(from, _)| *from >= swept.books_from);

        if !counted.is_whole {
            // Whether a producer was unknown, and whether a series had found no place, only the past could tell.
            ledger.forget_the_past();
            found_ledger.values_mut().for_each(|row| row.events.forget_the_past());
            found_by_project.values_mut().for_each(|row| row.0.forget_the_past());
        }
        let at = |position: u64| Place { position: Some(position), ..Place::of(partition) };
        ledger::compare(partition, &ledger, &found_ledger, &found_by_project, findings);
        findings.compare("dead_letter", &counted.dead_letters, &dead_letters, |(position, index)| Place {
            event_index: Some(*index),
            ..at(*position)
        });
        findings.compare("duplicate_batch", &counted.duplicates, &duplicates, |(position, index)| Place {
            event_index: Some(*index),
            ..at(*position)
        });
        let first_s = self.first_whole_second(snapshot, range, counted.first_appended_ms).await?;
        self.compare_days(snapshot, &counted, first_s, findings).await?;
        if range.whole && counted.log_ms != self.cursor.log_ms {
            let column = Column::new("log_ms", counted.log_ms, self.cursor.log_ms);
            findings.differs("rollup_cursor", at(range.to), vec![column]);
        }
        if counted.is_whole {
            self.compare_memory(snapshot, &counted, findings).await?;
        }
        let cells = std::mem::take(&mut counted.cells);
        let facet_cells = std::mem::take(&mut counted.facet_cells);
        self.compare_rollups(snapshot, range, &counted, cells, first_s, findings).await?;
        self.compare_facets(snapshot, range, &counted, facet_cells, first_s, findings).await?;
        if let Some(search) = Search::of(&mut findings.kept[known..]) {
            let facetless = snapshot.facetless(partition).await?;
            self.search(range, past, facetless, search).await?;
        }
        Ok(counted)
    }

    /// Reads the range again and asks each event whether it is what a difference is about.
    async fn search(
        &self,
        range: Range,
        past: Past,
        facetless: Vec<std::ops::Range<u64>>,
        mut search: Search<'_>,
    ) -> Result<(), VerifyError> {
        let mut counter = Counter::with_witnesses(self.options.rules, past);
        counter.facetless = facetless;
        let mut reading = Reading::new(self.log, self.cursor.partition, range.from, range.to);
        loop {
            let records = reading.next().await?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                let position = reading.position_of(record);
                // What it counts was compared before.
                let _ = counter.count(Logged { position, appended_ms: record.appended_ms, payload: &record.payload });
                counter.witnesses.iter_mut().flat_map(std::mem::take).for_each(|witness| search.hear(witness));
            }
        }
    }

    async fn compare_days(
        &self,
        snapshot: &mut Snapshot,
        counted: &Counted,
        first_s: i64,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let partition = self.cursor.partition;
        let is_whole = |day: i64| day * DAY_S >= first_s;
        let mut found = snapshot.ledger_day(partition).await?;
        found.retain(|(_, day), _| is_whole(*day));
        let expected = counted.days.iter().filter(|((_, day), _)| is_whole(*day));
        let expected = expected.map(|(key, rolled_up)| (*key, DayRow(*rolled_up))).collect();
        findings.compare("ledger_day", &expected, &found, |(project, day)| Place {
            project: Some(*project),
            bucket: Some(instant(day * DAY_S)),
            ..Place::of(partition)
        });
        Ok(())
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
        let found = snapshot.facets_budgeted(partition, counted.facet_budgets.day).await?;
        let expected = memory::seen_facets(&counted.facet_budgets);
        findings.compare("facet_budget", &expected, &found, |(day, project, _)| Place {
            project: Some(*project),
            bucket: Some(instant(day * 86_400)),
            ..Place::of(partition)
        });
        Ok(())
    }

    async fn compare_rollups(
        &self,
        snapshot: &mut Snapshot,
        range: Range,
        counted: &Counted,
        cells: BTreeMap<(SeriesNumber, i64), Cell>,
        first_s: i64,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let partition = self.cursor.partition;
        let scope = Scope {
            partition,
            cursor: range.to,
            series: self.series,
            numbers: &counted.series,
            together: Some(&counted.taken_together),
            buckets: 0..0,
            exactly: true,
        };
        let family = (rollups::ROLLUPS, ["1m", "1h"]);
        self.compare_family(snapshot, range, family, scope, cells, first_s, findings).await?;
        let (touched, pieces) = (snapshot.touched(partition).await?, snapshot.untouched(partition).await?);
        findings.compare("rollup_touched", &pieces, &touched, |(level, project, up_to)| Place {
            project: Some(*project),
            position: Some(*up_to),
            level: Some(level.clone()),
            ..Place::of(partition)
        });
        Ok(())
    }

    /// Versions and hosts.
    async fn compare_facets(
        &self,
        snapshot: &mut Snapshot,
        range: Range,
        counted: &Counted,
        cells: BTreeMap<(SeriesNumber, i64), Cell>,
        first_s: i64,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let partition = self.cursor.partition;
        let none = BTreeSet::new();
        let scope = Scope {
            partition,
            cursor: range.to,
            series: self.facets,
            numbers: &counted.facets,
            together: counted.knows_facets.then_some(&none),
            buckets: 0..0,
            exactly: true,
        };
        let family = (rollups::FACETS, ["facet_1m", "facet_1h"]);
        self.compare_family(snapshot, range, family, scope, cells, first_s, findings).await?;
        if range.whole && counted.knows_facets {
            // Whoever has had no event for as long as anything is kept may be forgotten.
            let kept_since_ms = snapshot.horizons().await?.hour_s * 1000;
            let is_kept = |seen: &FacetSeen| seen.last_ms >= kept_since_ms;
            let mut found = snapshot.facets_seen(partition, self.facets).await?;
            found.retain(|_, seen| is_kept(seen));
            let expected = counted.facets_seen.iter().filter(|(_, seen)| is_kept(seen));
            let expected: BTreeMap<(i64, Series), FacetSeen> =
                expected.map(|(facet, seen)| (facet.clone(), *seen)).collect();
            let place = |(project, facet): &(i64, Series)| Place::of(partition).series(*project, facet);
            findings.compare("facet_seen", &expected, &found, place);
        }
        Ok(())
    }

    /// All levels of series, or all of facets.
    #[allow(clippy::too_many_arguments, reason = "two callers, and no two of them belong together")]
    async fn compare_family(
        &self,
        snapshot: &mut Snapshot,
        range: Range,
        (tables, levels): (rollups::Tables, [&str; 2]),
        scope: Scope<'_>,
        mut cells: BTreeMap<(SeriesNumber, i64), Cell>,
        first_s: i64,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let partition = self.cursor.partition;
        let horizons = snapshot.horizons().await?;
        let done = snapshot.done(partition, levels).await?;
        if done.minute > self.cursor.next || done.hour > done.minute {
            let found = format!("{} up to {}, {} up to {}", levels[0], done.minute, levels[1], done.hour);
            let expected = format!("{} <= {} <= {}", levels[1], levels[0], self.cursor.next);
            let column = Column::new("done_offset", expected, found);
            findings.differs("rollup_level", Place::of(partition), vec![column]);
        }
        if !range.whole {
            // Earlier buckets hold events of before the range too, in the same pieces as far as they were compacted.
            let scope = Scope { buckets: horizons.ten_seconds_s..first_s, exactly: false, ..scope.clone() };
            let source = Source::ten_seconds(tables, range.from);
            rollups::compare(&mut snapshot.transaction, &source, &scope, &cells, findings).await?;
        }
        let sources = [
            (Source::ten_seconds(tables, 0), 10, horizons.ten_seconds_s),
            (Source::minutes(tables, done), 60, horizons.minute_s),
            (Source::hours(tables, done), 3600, horizons.hour_s),
        ];
        for (source, width_s, since_s) in sources {
            cells = rollups::widen(cells, width_s);
            let scope = Scope { buckets: since_s.max(first_s)..i64::MAX, ..scope.clone() };
            rollups::compare(&mut snapshot.transaction, &source, &scope, &cells, findings).await?;
        }
        Ok(())
    }

    /// Reads the range, record by record.
    async fn read(
        &self,
        range: Range,
        counter: &mut Counter,
        ledger: &mut Ledger,
        swept: &mut Swept,
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
                swept.see(position, record.appended_ms);
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
            if counter.counted.cells.len() + counter.counted.facet_cells.len() > cells_max {
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
    async fn first_whole_second(
        &self,
        snapshot: &mut Snapshot,
        range: Range,
        first_appended_ms: i64,
    ) -> Result<i64, VerifyError> {
        if range.whole {
            return Ok(i64::MIN);
        }
        let booked_ms = snapshot.appended_before(self.cursor.partition, range.from).await?;
        // Without books, the log's clock is believed within an hour.
        let before_ms = booked_ms.unwrap_or(first_appended_ms.saturating_add(HOUR_MS));
        let ahead_ms = self.options.rules.event_ahead_max.as_millis() as i64 + CLOCK_SKEW_MS_MAX;
        Ok(before_ms.saturating_add(ahead_ms).div_euclid(1000) + 1)
    }

    /// What of the partition can be read again, or why nothing can.
    async fn range(
        &self,
        snapshot: &mut Snapshot,
        findings: &mut Findings,
    ) -> Result<Result<Range, String>, VerifyError> {
        let partition = self.cursor.partition;
        if partition >= self.log.partitions() {
            return Ok(Err("the log has no such partition".to_owned()));
        }
        let to = self.cursor.next;
        let generation = to & !OFFSET_MASK;
        let marks = self.watermarks(to & OFFSET_MASK).await?;
        let (low, high) = (generation | marks.low.0, generation | marks.high.0);
        let begin = self.breaks.last().map_or(0, |last| last.after).max(low);
        if to > high || begin > to {
            let place = Place { position: Some(to), ..Place::of(partition) };
            let column = Column::new("next_offset", format!("within the log, {low} to {high}"), to);
            findings.differs("rollup_cursor", place, vec![column]);
            let why = if to > high { "the log was truncated or replaced" } else { "records have expired uncounted" };
            return Ok(Err(why.to_owned()));
        }
        if begin < to && !self.ends_as_counted(findings).await? {
            return Ok(Err("the log is not the one that was counted".to_owned()));
        }
        if begin == 0 {
            return Ok(Ok(Range { from: 0, to, high, whole: true }));
        }
        let from = snapshot.first_range(partition, begin).await?.unwrap_or(to);
        let why = match self.breaks.last().filter(|last| last.after >= low) {
            Some(last) => format!("the log was {}, and a person accepted it", last.kind),
            None => "the log keeps them no longer".to_owned(),
        };
        findings.skipped(format!("partition {partition}: positions before {from}: {why}"));
        Ok(Ok(Range { from, to, high, whole: false }))
    }

    /// Of the log. A Kafka whose leader has just changed may be behind what it has already delivered.
    async fn watermarks(&self, next: u64) -> Result<Watermarks, VerifyError> {
        let partition = self.cursor.partition;
        let mut attempts = 1;
        loop {
            let marks = self.log.watermarks(Partition(partition)).await;
            let settled = marks.as_ref().is_ok_and(|marks| marks.high.0 >= next);
            if settled || attempts == ATTEMPTS_MAX {
                return marks.map_err(|source| VerifyError::Log { partition, source });
            }
            attempts += 1;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Whether the record before the cursor is the one that was counted.
    async fn ends_as_counted(&self, findings: &mut Findings) -> Result<bool, VerifyError> {
        let (partition, to) = (self.cursor.partition, self.cursor.next);
        let last = Reading::new(self.log, partition, to - 1, to).next().await?;
        let expected = last.first().map(|record| fingerprint_of(&record.payload)).unwrap_or_default();
        let found = self.cursor.fingerprint.as_deref();
        if found == Some(&expected) {
            return Ok(true);
        }
        let place = Place { position: Some(to), ..Place::of(partition) };
        let found = found.map_or_else(|| "null".to_owned(), ledger::hex);
        findings.differs("rollup_cursor", place, vec![Column::new("fingerprint", ledger::hex(&expected), found)]);
        Ok(false)
    }
}

/// Rows so old that their absence proves nothing: positions before these.
#[derive(Debug, Clone, Copy)]
struct Swept {
    letters_before_ms: i64,
    letters_from: u64,
    books_before_ms: i64,
    books_from: u64,
}

impl Swept {
    fn at(now_ms: i64, rules: &Rules) -> Self {
        let before = |kept: Duration| now_ms - i64::try_from(kept.as_millis()).unwrap_or(i64::MAX).min(now_ms);
        // Books go by whole days.
        let books_before_ms = before(rules.books_kept) + DAY_S * 1000;
        Self { letters_before_ms: before(rules.letters_kept), letters_from: 0, books_before_ms, books_from: 0 }
    }

    fn see(&mut self, position: u64, appended_ms: i64) {
        if appended_ms < self.letters_before_ms {
            self.letters_from = position + 1;
        }
        if appended_ms < self.books_before_ms {
            self.books_from = position + 1;
        }
    }
}

/// Projects that had too many series: of these the past would decide which series had a place.
fn folding(by_project: &BTreeMap<(i64, i64, u64), ProjectRow>) -> BTreeSet<i64> {
    by_project.iter().filter(|(_, row)| row.0.folded > 0).map(|((project, _, _), _)| *project).collect()
}

const DAY_S: i64 = 86_400;
const HOUR_MS: i64 = 3_600_000;
