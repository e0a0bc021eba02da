//! Counting one partition again, record by record, with maps and sets.
//!
//! Arrives: records in log order. Leaves: what every table has to hold: [`Counted`].
//!
//! Promises: each event ends in exactly one place: a cell, a dead letter, or a batch that came again. Nothing is remembered of
//! how the rollup does it: no flushes, no live frames, no limits of memory.
//!
//! Does not: sample raw events.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::budget::{Budgets, FacetBudgets};
use crate::findings::Row;
use crate::latency::Latencies;
use crate::ledger::ledger_ms;
use crate::options::Rules;
use crate::past::Past;
use crate::producers::{Claim, Producers, Verdict};
use crate::record::{self, Batch, Event, Header, Opened, Series};
use crate::report::{self, Books};
use crate::suspects::Witness;

/// Everything the log says up to some position.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Ten-second windows, by series and start.
    pub(crate) cells: BTreeMap<(SeriesNumber, i64), Cell>,
    pub(crate) series: SeriesNumbers,
    /// The same for versions and hosts, see [`Series::facet`].
    pub(crate) facet_cells: BTreeMap<(SeriesNumber, i64), Cell>,
    pub(crate) facets: SeriesNumbers,
    /// When the first and the last event of each ended, Unix milliseconds.
    pub(crate) facets_seen: BTreeMap<(i64, Series), FacetSeen>,
    pub(crate) facet_budgets: FacetBudgets,
    /// Whether versions and hosts can be told apart.
    pub(crate) knows_facets: bool,
    pub(crate) dead_letters: BTreeMap<(u64, u32), DeadLetter>,
    pub(crate) duplicates: BTreeMap<(u64, u32), Duplicate>,
    /// Events rolled up, by project and day since 1970.
    pub(crate) days: BTreeMap<(i64, i64), u64>,
    pub(crate) producers: Producers,
    pub(crate) budgets: Budgets,
    /// The log's own time.
    pub(crate) log_ms: i64,
    /// When the log took the first record; 0 before there is one.
    pub(crate) first_appended_ms: i64,
    pub(crate) events: Books,
    pub(crate) records_on_trust: u64,
    /// Whether all of it follows from the log.
    pub(crate) is_whole: bool,
    /// Projects whose series are taken together, see [`Past`].
    pub(crate) taken_together: BTreeSet<i64>,
}

/// What happened to one series within one span of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) latencies: Latencies,
    /// Start of the last ten seconds with an event, Unix seconds.
    pub(crate) last_10s: i64,
}

/// A row of `facet_seen`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FacetSeen {
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
}

/// A series of a project, small.
pub(crate) type SeriesNumber = u32;

/// Series and their numbers, so that a cell need not hold five strings.
#[derive(Debug, Default)]
pub(crate) struct SeriesNumbers {
    numbers: BTreeMap<(i64, Series), SeriesNumber>,
    names: Vec<(i64, Series)>,
}

/// A row of `dead_letter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) reason: String,
    pub(crate) project: Option<i64>,
    pub(crate) key: Option<i64>,
    pub(crate) received_ms: Option<i64>,
    pub(crate) appended_ms: i64,
    pub(crate) events: Option<u32>,
    pub(crate) bytes_len: u64,
    pub(crate) bytes_crc32: u32,
}

/// A row of `duplicate_batch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) project: i64,
    pub(crate) producer: [u8; 16],
    pub(crate) seq: u64,
    pub(crate) part: u32,
    pub(crate) events: u32,
}

/// One record as the log holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logged<'a> {
    pub(crate) position: u64,
    pub(crate) appended_ms: i64,
    pub(crate) payload: &'a [u8],
}

/// What became of one record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    /// All of it.
    pub(crate) record: Books,
    /// Of each of its batches, the project and its share; none for an unreadable record.
    pub(crate) batches: Vec<(i64, Books)>,
}

/// An event that counts.
#[derive(Debug)]
struct Placed {
    series: Series,
    folded: bool,
    ended_ms: i64,
    ended_s: i64,
    error: bool,
}

/// A record of a format that whoever counts must not pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OtherFormat(pub(crate) u32);

/// The counting.
#[derive(Debug)]
pub(crate) struct Counter {
    rules: Rules,
    past: Past,
    /// Positions that were counted without versions and hosts, by a rollup that knew none.
    pub(crate) facetless: Vec<Range<u64>>,
    pub(crate) counted: Counted,
    /// Where each event of the last record belongs, if anybody wants to know.
    pub(crate) witnesses: Option<Vec<Witness>>,
}

impl Counter {
    pub(crate) fn new(rules: Rules, past: Past) -> Self {
        Self { rules, past, facetless: Vec::new(), counted: Counted::default(), witnesses: None }
    }

    /// One that tells where each event belongs.
    pub(crate) fn with_witnesses(rules: Rules, past: Past) -> Self {
        Self { witnesses: Some(Vec::new()), ..Self::new(rules, past) }
    }

    /// Counts one record.
    ///
    /// # Errors
    /// [`OtherFormat`]: the rollup can not have passed it.
    pub(crate) fn count(&mut self, record: Logged<'_>) -> Result<Outcome, OtherFormat> {
        self.advance_log_time(record.appended_ms);
        let mut outcome = Outcome { record: Books { records: 1, ..Books::default() }, batches: Vec::new() };
        match record::open(record.payload) {
            Opened::Batches(batches) => {
                for batch in &batches {
                    let (project, books) = self.count_batch(record, batch);
                    outcome.record.add(&books);
                    outcome.batches.push((project, books));
                }
            }
            Opened::Unreadable(reason) => {
                self.bury(record, None, 0, reason, None, record.payload);
                outcome.record.records_unreadable = 1;
            }
            Opened::OtherFormat(format) => return Err(OtherFormat(format)),
        }
        self.counted.events.add(&outcome.record);
        Ok(outcome)
    }

    /// What was counted.
    pub(crate) fn finish(self) -> Counted {
        let Self { past, mut counted, .. } = self;
        counted.is_whole = past.is_whole();
        counted.taken_together = past.folding().clone();
        counted.knows_facets = past.knows_series();
        counted
    }

    /// Never backwards, and never by more than an hour at once: a leap of the log's clock must not expire everything.
    fn advance_log_time(&mut self, appended_ms: i64) {
        let before = self.counted.log_ms;
        if before == 0 {
            self.counted.first_appended_ms = ledger_ms(appended_ms);
        }
        self.counted.log_ms = match before {
            0 => ledger_ms(appended_ms),
            _ => ledger_ms(appended_ms).clamp(before, before + HOUR_MS),
        };
        self.counted.budgets.advance(self.counted.log_ms);
        self.counted.facet_budgets.advance(self.counted.log_ms);
    }

    fn count_batch(&mut self, record: Logged<'_>, batch: &Batch<'_>) -> (i64, Books) {
        let header = &batch.header;
        let project = header.project_id as i64;
        let announced = u64::from(header.event_count);
        let mut books = Books { accepted: announced, ..Books::default() };
        match self.judge(record, batch) {
            Some(Verdict::Duplicate) => {
                books.duplicate = announced;
                if let Some((producer, seq)) = header.identity() {
                    let (part, events) = (header.part, header.event_count);
                    let duplicate = Duplicate { project, producer, seq, part, events };
                    self.counted.duplicates.insert((record.position, batch.first_event), duplicate);
                }
                self.witness_duplicate(record, batch);
            }
            Some(Verdict::BelowWindow) => books.dead_lettered = self.bury_batch(record, batch, BELOW_WINDOW),
            Some(Verdict::Conflict) => books.dead_lettered = self.bury_batch(record, batch, CONFLICT),
            Some(Verdict::Count { uncertain }) => {
                self.count_events(record, batch, &mut books);
                books.uncertain = if uncertain { books.rolled_up } else { 0 };
            }
            None => {
                self.count_events(record, batch, &mut books);
                books.unidentified = books.rolled_up;
            }
        }
        (project, books)
    }

    /// `None` without an identity.
    fn judge(&mut self, record: Logged<'_>, batch: &Batch<'_>) -> Option<Verdict> {
        let header = &batch.header;
        let (producer, seq) = header.identity()?;
        let (part, parts, events) = (header.part, header.parts, header.event_count);
        let claim = Claim { project: header.project_id as i64, producer, seq, part, parts, events };
        let Counted { producers, log_ms, .. } = &mut self.counted;
        let place = (record.position, batch.first_event);
        let by_the_log = producers.judge(&self.rules, &claim, place, *log_ms);
        if self.past.is_whole() && producers.is_crowded(&self.rules, *log_ms) {
            self.past.becomes_forgetful();
        }
        let verdict = self.past.correct(place, by_the_log);
        if verdict != by_the_log {
            self.counted.records_on_trust += 1;
        }
        Some(verdict)
    }

    fn count_events(&mut self, record: Logged<'_>, batch: &Batch<'_>, books: &mut Books) {
        let header = &batch.header;
        let project = header.project_id as i64;
        // The ingest machine's clock, as far as the log's confirms it.
        let received_ms = header.received_ms.clamp(
            record.appended_ms.saturating_sub(CLOCK_SKEW_MS_MAX),
            record.appended_ms.saturating_add(CLOCK_SKEW_MS_MAX),
        );
        let mut index = 0;
        for bytes in &batch.events {
            let Some(event) = Event::read(bytes) else { break };
            if index == header.event_count {
                // More events than announced: noted, but the books are about what was announced.
                self.bury(record, Some(header), batch.first_event + index, MALFORMED, Some(0), batch.bytes);
                return;
            }
            match self.place_event(project, header.received_ms, received_ms, &event) {
                Ok(placed) => {
                    books.rolled_up += 1;
                    books.folded += u64::from(placed.folded);
                    let index = batch.first_event + index;
                    self.witness(record, header, index, &event, &placed, false);
                    if !self.facetless.iter().any(|range| range.contains(&record.position)) {
                        self.add_facets(record, header, index, &event, &placed);
                    }
                    self.add(project, &event, placed);
                }
                Err(reason) => {
                    books.dead_lettered += 1;
                    self.bury(record, Some(header), batch.first_event + index, reason, Some(1), bytes);
                }
            }
            index += 1;
        }
        let missing = header.event_count - index;
        if missing > 0 {
            books.dead_lettered += u64::from(missing);
            self.bury(record, Some(header), batch.first_event + index, MALFORMED, Some(missing), batch.bytes);
        }
    }

    /// Where an event is counted, or why it is not.
    fn place_event(
        &mut self,
        project: i64,
        header_ms: i64,
        received_ms: i64,
        event: &Event,
    ) -> Result<Placed, &'static str> {
        let ended_ms = header_ms.wrapping_add(event.ended_delta_ms);
        let age_ms = received_ms.saturating_sub(ended_ms);
        if age_ms > self.rules.event_age_max.as_millis() as i64 {
            return Err("too_old");
        }
        if age_ms < -(self.rules.event_ahead_max.as_millis() as i64) {
            return Err("in_future");
        }
        if event.duration_us.is_some_and(|duration_us| duration_us > DURATION_US_MAX) {
            return Err("invalid_duration");
        }
        let own = Series::read(&event.series).ok_or("invalid_series")?;
        let error = own.status >= 500 || !event.error.is_empty();
        let (series, folded) = if self.past.knows_series() {
            self.counted.budgets.place(&self.rules, project, own)
        } else if self.past.folding().contains(&project) {
            (Series::all(), false)
        } else {
            (own, false)
        };
        Ok(Placed { series, folded, ended_ms, ended_s: ended_ms.div_euclid(1000), error })
    }

    fn add(&mut self, project: i64, event: &Event, placed: Placed) {
        let Placed { series, ended_s, error, .. } = placed;
        let number = self.counted.series.number(project, series);
        let bucket_s = ended_s - ended_s.rem_euclid(10);
        let cell = self.counted.cells.entry((number, bucket_s)).or_default();
        cell.last_10s = bucket_s;
        cell.count += 1;
        cell.errors += u64::from(error);
        if let Some(duration_us) = event.duration_us {
            cell.latencies.record(duration_us);
        }
        *self.counted.days.entry((project, ended_s.div_euclid(DAY_S))).or_default() += 1;
    }

    /// Counts an event in its version and on its host.
    fn add_facets(&mut self, record: Logged<'_>, header: &Header, index: u32, event: &Event, placed: &Placed) {
        let project = header.project_id as i64;
        for (kind, value) in [("version", &event.version), ("host", &event.host)] {
            let Series { env, service, .. } = &placed.series;
            let facet = if self.past.knows_series() {
                let scope = [kind, env.as_str(), service.as_str()];
                let value = self.counted.facet_budgets.place(&self.rules, project, scope, storable(value));
                Series::facet(env, service, kind, &value)
            } else {
                Series::all()
            };
            let here = FacetSeen { first_ms: placed.ended_ms, last_ms: placed.ended_ms };
            let seen = self.counted.facets_seen.entry((project, facet.clone())).or_insert(here);
            seen.first_ms = seen.first_ms.min(placed.ended_ms);
            seen.last_ms = seen.last_ms.max(placed.ended_ms);
            if self.witnesses.is_some() {
                let placed = Placed { series: facet.clone(), ..*placed };
                self.witness(record, header, index, event, &placed, false);
            }
            let number = self.counted.facets.number(project, facet);
            let bucket_s = placed.ended_s - placed.ended_s.rem_euclid(10);
            let cell = self.counted.facet_cells.entry((number, bucket_s)).or_default();
            cell.last_10s = bucket_s;
            cell.count += 1;
            cell.errors += u64::from(placed.error);
            if let Some(duration_us) = event.duration_us {
                cell.latencies.record(duration_us);
            }
        }
    }

    fn witness(
        &mut self,
        record: Logged<'_>,
        header: &Header,
        event_index: u32,
        event: &Event,
        placed: &Placed,
        came_again: bool,
    ) {
        if let Some(witnesses) = &mut self.witnesses {
            witnesses.push(Witness {
                project: header.project_id as i64,
                series: placed.series.clone(),
                ended_s: placed.ended_s,
                duration_us: event.duration_us,
                identity: header.identity(),
                position: record.position,
                event_index,
                came_again,
            });
        }
    }

    /// Where the events of a batch that came again would have been counted.
    fn witness_duplicate(&mut self, record: Logged<'_>, batch: &Batch<'_>) {
        if self.witnesses.is_none() {
            return;
        }
        for (index, bytes) in batch.events.iter().enumerate() {
            let event = Event::read(bytes);
            let Some((event, series)) = event.and_then(|event| Series::read(&event.series).map(|own| (event, own)))
            else {
                continue;
            };
            let ended_s = batch.header.received_ms.wrapping_add(event.ended_delta_ms).div_euclid(1000);
            let [version, host] = [("version", &event.version), ("host", &event.host)]
                .map(|(kind, value)| Series::facet(&series.env, &series.service, kind, &storable(value)));
            for series in [series, version, host] {
                let placed = Placed { series, folded: false, ended_ms: ended_s * 1000, ended_s, error: false };
                self.witness(record, &batch.header, batch.first_event + index as u32, &event, &placed, true);
            }
        }
    }

    fn bury_batch(&mut self, record: Logged<'_>, batch: &Batch<'_>, reason: &str) -> u64 {
        let header = &batch.header;
        self.bury(record, Some(header), batch.first_event, reason, Some(header.event_count), batch.bytes);
        u64::from(header.event_count)
    }

    fn bury(
        &mut self,
        record: Logged<'_>,
        header: Option<&Header>,
        index: u32,
        reason: &str,
        events: Option<u32>,
        bytes: &[u8],
    ) {
        let dead_letter = DeadLetter {
            reason: reason.to_owned(),
            project: header.map(|header| header.project_id as i64),
            key: header.map(|header| header.key_id as i64),
            received_ms: header.map(|header| header.received_ms),
            appended_ms: ledger_ms(record.appended_ms),
            events,
            bytes_len: bytes.len() as u64,
            bytes_crc32: crc32fast::hash(bytes),
        };
        self.counted.dead_letters.insert((record.position, index), dead_letter);
    }
}

impl Cell {
    /// Adds what another cell saw.
    pub(crate) fn merge(&mut self, other: &Cell) {
        self.last_10s = if self.count == 0 { other.last_10s } else { self.last_10s.max(other.last_10s) };
        self.count += other.count;
        self.errors += other.errors;
        self.latencies.merge(&other.latencies);
    }
}

impl Series {
    /// All series of a project that cannot be told apart.
    pub(crate) fn all() -> Series {
        let all = || "(all)".to_owned();
        Series { service: all(), env: all(), route: all(), method: String::new(), status: 0 }
    }
}

/// Without what no text of Postgres can hold.
fn storable(value: &str) -> String {
    value.replace('\0', "\u{fffd}")
}

impl Series {
    /// A version or a host of a service, written like a series: no series has such a method.
    pub(crate) fn facet(env: &str, service: &str, kind: &str, value: &str) -> Series {
        let [env, service, method, route] = [env, service, kind, value].map(str::to_owned);
        Series { service, env, route, method, status: 0 }
    }
}

impl SeriesNumbers {
    fn number(&mut self, project: i64, series: Series) -> SeriesNumber {
        let key = (project, series);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let number = self.names.len() as SeriesNumber;
        self.names.push(key.clone());
        self.numbers.insert(key, number);
        number
    }

    /// The number of a series that occurs in the log.
    pub(crate) fn find(&self, series: &(i64, Series)) -> Option<SeriesNumber> {
        self.numbers.get(series).copied()
    }

    /// Project and dimensions.
    pub(crate) fn name(&self, number: SeriesNumber) -> &(i64, Series) {
        &self.names[number as usize]
    }
}

impl Row for DeadLetter {
    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![
            ("reason", self.reason.clone()),
            ("project_id", or_null(self.project)),
            ("key_id", or_null(self.key)),
            ("received_ms", or_null(self.received_ms)),
            ("appended_at", self.appended_ms.to_string()),
            ("events", or_null(self.events)),
            ("length of bytes", self.bytes_len.to_string()),
            ("CRC-32 of bytes", format!("{:08x}", self.bytes_crc32)),
        ]
    }
}

impl Row for FacetSeen {
    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![("first_ms", self.first_ms.to_string()), ("last_ms", self.last_ms.to_string())]
    }
}

impl Row for Duplicate {
    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![
            ("project_id", self.project.to_string()),
            ("producer", report::producer(self.producer)),
            ("seq", self.seq.to_string()),
            ("part", self.part.to_string()),
            ("events", self.events.to_string()),
        ]
    }
}

fn or_null(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

/// Length and first bytes, which hold the checksum.
pub(crate) fn fingerprint_of(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u64).to_be_bytes().to_vec();
    bytes.extend(payload.iter().take(24));
    bytes
}

pub(crate) const BELOW_WINDOW: &str = "dedup_window_exceeded";
pub(crate) const CONFLICT: &str = "identity_conflict";
const MALFORMED: &str = "malformed";
const DURATION_US_MAX: u64 = 3_600_000_000;
/// Receipt times further from the log's are not believed.
pub(crate) const CLOCK_SKEW_MS_MAX: i64 = 5_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_S: i64 = 86_400;

#[cfg(test)]
mod tests;
