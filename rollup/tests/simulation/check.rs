//! The checks after a run. Three of them, which share nothing with one another:
//!
//! - **the clients' journal**: every event whose record was counted is in the rollups exactly once or in a dead letter, and an
//!   acknowledged event's record was counted, unless the log itself destroyed it. Looks only at histograms and dead letters.
//! - **the same records in one go**: what crashes, take-overs and failovers left in the store equals what one partition makes
//!   of the same records without any of that: rows, dead letters, duplicates, books, windows to remember. So the state is a
//!   function of the log.
//! - **the viewers' notes**: what was seen at a position is what the records below that position add up to.
//!
//! And the books balance, their ranges follow one another, and nobody wrote whose lease had been taken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use peep_log::{LogRecord, Offset};
use peep_rollup::books::{Books, Counts};
use peep_rollup::facet::FacetKind;
use peep_rollup::partition::{Cut, Fingerprint, Partition, Restored};
use peep_rollup::poison::{DeadLetter, Reason};
use peep_rollup::position::Position;
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use peep_wire::live::LiveFrame;
use peep_wire::record::{Batch, EventRow, Series, SeriesKey, open, parse};

use crate::client::{Journal, service_of};
use crate::run::Facts;
use crate::store::{Committed, State};
use crate::storm::Targets;
use crate::viewer::{Sums, Viewer};
use crate::world::World;

/// Compares what is with what should be; complaints go to the world.
pub(crate) fn check(targets: &Targets, journal: &Journal, viewer: &Viewer) -> Facts {
    let Targets { world, store, .. } = targets;
    let state = store.snapshot();
    let mut facts =
        Facts { notes: world.trace.notes(), simulated_ms: world.elapsed().as_millis() as u64, ..Facts::default() };
    let mut counted = Vec::new();
    let mut truths = BTreeMap::new();
    for partition in 0..world.shape.partitions {
        let flushes: Vec<_> = state.flushes_of(partition).cloned().collect();
        check_chain(world, partition, &flushes, &state);
        let records = records_behind(world, partition, &flushes, targets);
        let replay = Replay::of(world, partition, &records);
        compare(world, partition, &flushes, &replay, &state);
        facts.records += records.len() as u64;
        facts.duplicates += flushes.iter().map(|flush| flush.cut.duplicates.len() as u64).sum::<u64>();
        facts.dead_letters += flushes.iter().map(|flush| flush.cut.dead_letters.len() as u64).sum::<u64>();
        facts.folded += flushes.iter().map(|flush| flush.cut.books.total.folded).sum::<u64>();
        facts.takeovers += state.cursors[partition as usize].epoch;
        facts.flushes += flushes.len() as u64;
        counted.extend(records);
        let mut truth = replay.sums;
        for known in state.breaks.iter().filter(|known| known.partition == partition) {
            // A new generation begins with what the one before ended with.
            let sums = truth.get(&known.before.0).copied().unwrap_or_default();
            truth.entry(known.after.0).or_insert(sums);
        }
        truths.insert(partition, truth);
    }
    facts.events = check_journal(world, &state, journal, &counted, targets);
    facts.views = check_views(targets, viewer, &truths);
    facts.breaks = state.breaks.len() as u64;
    facts.rebuilds = viewer.rebuilds();
    facts
}

/// A record that some flush counted, where it was counted.
struct Counted {
    position: u64,
    record: LogRecord,
}

/// Ranges follow one another, epochs never go back, books balance.
fn check_chain(world: &World, partition: u32, flushes: &[Arc<Committed>], state: &State) {
    let mut next = 0;
    let mut epoch = 0;
    for flush in flushes {
        let Cut { from, to, books, .. } = &*flush.cut;
        if !goes_on(state, partition, next).contains(from) {
            world.violated(format!("partition {partition}: a flush begins at {from}, the one before ended at {next}"));
        }
        if flush.epoch < epoch {
            let at = flush.at.duration_since(world.started());
            let who = (flush.owner, flush.epoch);
            world.violated(format!("partition {partition}: {who:?} wrote after epoch {epoch}, {at:?} after the start"));
        }
        if !books.balance() || books.records != to - from {
            world.violated(format!("partition {partition}: books of [{from}, {to}) do not balance: {books:?}"));
        }
        (next, epoch) = (*to, flush.epoch);
    }
    let row = &state.cursors[partition as usize];
    let end = state
        .breaks
        .iter()
        .filter(|known| known.partition == partition)
        .map(|known| known.after.0)
        .fold(next, u64::max);
    if row.next.0 != end {
        world.violated(format!("partition {partition}: the cursor is at {}, the books end at {end}", row.next));
    }
}

/// Where counting may go on: right there, or behind one accepted break or several in a row.
fn goes_on(state: &State, partition: u32, next: u64) -> Vec<u64> {
    let after = |at: &u64| {
        let known = state.breaks.iter().find(|known| known.partition == partition && known.before.0 == *at);
        known.map(|known| known.after.0)
    };
    std::iter::successors(Some(next), after).collect()
}

/// The records that were counted, from whichever life of the log they were read in: the latest that has the record which the
/// flush says was its last.
fn records_behind(world: &World, partition: u32, flushes: &[Arc<Committed>], targets: &Targets) -> Vec<Counted> {
    let kept = targets.events.kept(partition);
    let mut records = Vec::new();
    for flush in flushes {
        let (from, to) = (Position(flush.cut.from), Position(flush.cut.to));
        let range = from.offset().0 as usize..to.offset().0 as usize;
        let has_it = |life: &&Vec<crate::log::Stored>| {
            let last = life.get(range.end - 1).map(|stored| Fingerprint::of(&stored.record.payload));
            last.is_some() && last == flush.cut.fingerprint
        };
        let Some(life) = kept.lives.iter().rev().find(has_it) else {
            world.violated(format!(
                "partition {partition}: a flush of {from} to {to} counted records that the log never had"
            ));
            continue;
        };
        for stored in &life[range] {
            let position = from.at(stored.record.offset).0;
            records.push(Counted { position, record: stored.record.clone() });
        }
    }
    records
}

/// What one partition makes of the records when nothing goes wrong.
struct Replay {
    cuts: Vec<Cut>,
    /// By position, what all records below add up to.
    sums: BTreeMap<u64, Sums>,
}

impl Replay {
    fn of(world: &World, number: u32, records: &[Counted]) -> Self {
        let limits = world.shape.config.partition_limits(world.shape.partitions);
        let mut replay = Self { cuts: Vec::new(), sums: BTreeMap::from([(0, Sums::default())]) };
        let mut sums = Sums::default();
        let mut open: Option<Partition> = None;
        for Counted { position, record } in records {
            if open.as_ref().is_none_or(|partition| partition.next().0 != *position) {
                replay.close(open.take());
                let restored = restored(replay.cuts.iter());
                open = Some(Partition::restored(number, Offset(*position), limits, restored));
                replay.sums.insert(*position, sums);
            }
            let Some(partition) = open.as_mut() else { continue };
            let record = LogRecord { offset: Offset(*position), ..record.clone() };
            if let Err(error) = partition.apply(&record) {
                world.violated(format!("partition {number}: what was counted can not be counted: {error}"));
                return replay;
            }
            let frame = partition.publish(0, 0).map(|frame| LiveFrame::decode(&frame.payload));
            let Some(Ok(frame)) = frame else {
                world.violated(format!("partition {number}: no frame that can be read after position {position}"));
                return replay;
            };
            for cell in &frame.cells {
                sums.count += cell.count;
                sums.errors += cell.errors;
                sums.sum_us += cell.histogram.sum_us();
            }
            replay.sums.insert(frame.to, sums);
        }
        replay.close(open);
        replay
    }

    fn close(&mut self, partition: Option<Partition>) {
        self.cuts.extend(partition.and_then(|mut partition| partition.cut()));
    }
}

/// What the tables would say after these cuts: the newest row of each key wins.
pub(crate) fn restored<'c>(cuts: impl Iterator<Item = &'c Cut>) -> Restored {
    let mut restored = Restored::default();
    let mut windows = BTreeMap::new();
    for cut in cuts {
        restored.log_ms = cut.log_ms;
        restored.budgets.extend(cut.budgets.iter().cloned());
        restored.facet_budgets.extend(cut.facets.budgets.iter().cloned());
        for window in &cut.dedup.windows {
            windows.insert((window.project, window.producer), window.clone());
        }
        for forgotten in &cut.dedup.forgotten {
            windows.remove(forgotten);
        }
    }
    restored.windows = windows.into_values().collect();
    restored
}

/// One series and window of a project, by the bytes of its key.
type RowKey = (ProjectId, Vec<u8>, i64);
type Row = (u64, u64, Histogram);

fn rows<'c>(cuts: impl Iterator<Item = &'c Cut>) -> BTreeMap<RowKey, Row> {
    let mut rows: BTreeMap<RowKey, Row> = BTreeMap::new();
    for piece in cuts.flat_map(|cut| &cut.pieces) {
        let row = rows.entry((piece.series.project, piece.series.key().to_vec(), piece.window_s)).or_default();
        row.0 += piece.cell.count;
        row.1 += piece.cell.errors;
        row.2.merge(&piece.cell.histogram);
    }
    rows
}

/// One version or host and window, by what tells facets apart.
type FacetKey = (ProjectId, String, String, FacetKind, String, i64);

fn facet_rows<'c>(cuts: impl Iterator<Item = &'c Cut>) -> BTreeMap<FacetKey, Row> {
    let mut rows: BTreeMap<FacetKey, Row> = BTreeMap::new();
    for piece in cuts.flat_map(|cut| &cut.facets.pieces) {
        let (project, env, service, kind, value) = piece.facet.key();
        let key = (project, env.to_owned(), service.to_owned(), kind, value.to_owned(), piece.window_s);
        let row = rows.entry(key).or_default();
        row.0 += piece.cell.count;
        row.1 += piece.cell.errors;
        row.2.merge(&piece.cell.histogram);
    }
    rows
}

/// Since when and until when each facet had events.
fn facets_seen<'c>(cuts: impl Iterator<Item = &'c Cut>) -> BTreeMap<FacetKey, (i64, i64)> {
    let mut all: BTreeMap<FacetKey, (i64, i64)> = BTreeMap::new();
    for seen in cuts.flat_map(|cut| &cut.facets.seen) {
        let (project, env, service, kind, value) = seen.facet.key();
        let key = (project, env.to_owned(), service.to_owned(), kind, value.to_owned(), 0);
        let known = all.entry(key).or_insert((seen.first_ms, seen.last_ms));
        *known = (known.0.min(seen.first_ms), known.1.max(seen.last_ms));
    }
    all
}

fn compare(world: &World, partition: u32, flushes: &[Arc<Committed>], replay: &Replay, state: &State) {
    let is = || flushes.iter().map(|flush| &*flush.cut);
    let should = || replay.cuts.iter();
    let differs =
        |what: &str| world.violated(format!("partition {partition}: {what} differ from the same records in one go"));
    let (is_rows, should_rows) = (rows(is()), rows(should()));
    if is_rows != should_rows {
        differs("rows");
        for (key, row) in is_rows.iter().filter(|(key, row)| should_rows.get(*key) != Some(row)).take(3) {
            let should = should_rows.get(key);
            let name = SeriesKey::parse(&key.1).and_then(|key| key.decode());
            world.trace.remark(|| format!("is {name:?} at {}: {row:?}, should be {should:?}", key.2));
        }
    }
    let is_facets = facet_rows(is());
    if is_facets != facet_rows(should()) || facets_seen(is()) != facets_seen(should()) {
        differs("versions and hosts");
    }
    let letters = |cut: &Cut| cut.dead_letters.clone();
    if is().flat_map(letters).ne(should().flat_map(letters)) {
        differs("dead letters");
    }
    let duplicates = |cut: &Cut| cut.duplicates.clone();
    if is().flat_map(duplicates).ne(should().flat_map(duplicates)) {
        differs("duplicates");
    }
    if books(is()) != books(should()) {
        differs("books");
    }
    let (is_past, should_past) = (state.restored(partition), restored(should()));
    if is_past.windows != should_past.windows || is_past.log_ms != should_past.log_ms {
        differs("memories");
        world.trace.remark(|| format!("is {is_past:?}, should be {should_past:?}"));
    }
    let of_rows: u64 = is_rows.values().map(|row| row.0).sum();
    let of_books = books(is()).0.rolled_up;
    if of_rows != of_books {
        world.violated(format!("partition {partition}: the rows hold {of_rows} events, the books {of_books}"));
    }
    for kind in FacetKind::ALL {
        let of_facets: u64 = is_facets.iter().filter(|(key, _)| key.3 == kind).map(|(_, row)| row.0).sum();
        if of_facets != of_books {
            world.violated(format!(
                "partition {partition}: the facets called {} hold {of_facets} events, the books {of_books}",
                kind.name()
            ));
        }
    }
}

type Lines = (Counts, BTreeMap<(ProjectId, i64), Counts>, BTreeMap<(ProjectId, i64), u64>);

/// The books of several cuts as one.
fn books<'c>(cuts: impl Iterator<Item = &'c Cut>) -> Lines {
    let mut lines = Lines::default();
    for Books { total, minutes, days, .. } in cuts.map(|cut| &cut.books) {
        lines.0.add(total);
        minutes.iter().for_each(|line| lines.1.entry((line.project, line.minute_s)).or_default().add(&line.events));
        days.iter().for_each(|line| *lines.2.entry((line.project, line.day_s)).or_default() += line.rolled_up);
    }
    lines
}

/// An event of the journal: the service of its producer, and its duration.
type EventKey = (ProjectId, String, u64);

fn event_key(project: ProjectId, event: &EventRow<'_>) -> Option<EventKey> {
    let series = event.series.decode().ok()?;
    Some((project, series.service.to_owned(), event.duration_us?))
}

/// Answers how many events there were.
fn check_journal(world: &World, state: &State, journal: &Journal, counted: &[Counted], targets: &Targets) -> u64 {
    let mut in_rows: BTreeMap<EventKey, u64> = BTreeMap::new();
    for committed in &state.flushes {
        for piece in &committed.cut.pieces {
            let Series { service, .. } = piece.series.fields();
            piece.cell.histogram.for_each(|lowest_us, _, count| {
                *in_rows.entry((piece.series.project, service.to_owned(), lowest_us)).or_default() += count;
            });
        }
    }
    let mut letters: BTreeMap<EventKey, Vec<Reason>> = BTreeMap::new();
    for letter in state.flushes.iter().flat_map(|committed| &committed.cut.dead_letters) {
        buried(letter).into_iter().for_each(|key| letters.entry(key).or_default().push(letter.reason));
    }
    let mut records: BTreeMap<EventKey, u64> = BTreeMap::new();
    for key in counted.iter().flat_map(|counted| events_of(&counted.record.payload)) {
        *records.entry(key).or_default() += 1;
    }
    let (present, gone) = events_in_log(targets);
    let mut events = 0;
    for batch in journal.batches() {
        for sent in &batch.events {
            events += 1;
            let key = (batch.project, service_of(batch.producer), sent.duration_us);
            let records = records.get(&key).copied().unwrap_or(0);
            let rows = in_rows.remove(&key).unwrap_or(0);
            let reasons = letters.remove(&key).unwrap_or_default();
            let heard = batch.heard();
            let fate = Fate { records, rows, reasons, is_identified: batch.identity.is_some() };
            if let Some(wrong) = fate.wrong().or_else(|| fate.misjudged(world, sent.age_ms)) {
                let identity = batch.identity.map(|identity| identity.seq);
                tell_story(world, &key, counted);
                world.violated(format!("event {key:?} of batch {identity:?} ({heard:?}) {wrong}: {fate:?}"));
            } else if fate.records == 0 && present.contains(&key) {
                world.violated(format!("event {key:?} is in the log and was never counted"));
            } else if fate.records == 0 && heard.acknowledged && !gone.contains(&key) {
                world.violated(format!("event {key:?} was acknowledged and is nowhere"));
            }
        }
    }
    if let Some((key, _)) = in_rows.first_key_value() {
        world.violated(format!("event {key:?} is in the rollups and was never sent"));
    }
    events
}

/// For whoever reads the history: every counted record that holds the event.
fn tell_story(world: &World, key: &EventKey, counted: &[Counted]) {
    for Counted { position, record } in counted {
        let Ok(opened) = open(&record.payload) else { continue };
        for batch in opened.batches() {
            let held = |event: EventRow<'_>| event_key(batch.header.project, &event).as_ref() == Some(key);
            if let Some(at) = batch.events().position(|event| event.is_ok_and(held)) {
                let header = batch.header;
                world.trace.remark(|| {
                    format!("event {at} at position {position}, appended {}, in {header:?}", record.appended_ms)
                });
            }
        }
    }
}

/// What became of one event.
#[derive(Debug)]
struct Fate {
    /// Counted records that hold it.
    records: u64,
    /// Times it is in the rollups.
    rows: u64,
    /// Dead letters that hold it.
    reasons: Vec<Reason>,
    is_identified: bool,
}

impl Fate {
    /// Whether its age was judged by another clock than that of its record.
    fn misjudged(&self, world: &World, age_ms: i64) -> Option<&'static str> {
        let limit_ms = world.shape.config.event_age_max.as_millis() as i64;
        // A log whose clock is behind makes every event look early.
        let may_be_early = age_ms < 0 || world.shape.faults.log_clock;
        match self {
            _ if age_ms > limit_ms => (self.rows > 0).then_some("is too old and was counted"),
            _ if self.reasons.contains(&Reason::TooOld) => Some("was called too old"),
            _ if self.reasons.contains(&Reason::InFuture) && !may_be_early => Some("was called early"),
            _ => None,
        }
    }

    fn wrong(&self) -> Option<&'static str> {
        let dead = self.reasons.len() as u64;
        // A retry that nobody can judge is buried although the event may have been counted before.
        let unjudged = self
            .reasons
            .iter()
            .filter(|reason| matches!(reason, Reason::DedupWindowExceeded | Reason::IdentityConflict))
            .count() as u64;
        match self {
            _ if self.records == 0 => (self.rows + dead > 0).then_some("came from nowhere"),
            Fate { is_identified: false, .. } => {
                (self.rows + dead != self.records).then_some("was not counted once per record")
            }
            _ if self.rows + dead == 0 => Some("was lost"),
            _ if self.rows + dead - unjudged > 1 => Some("was counted more than once"),
            _ => None,
        }
    }
}

fn buried(letter: &DeadLetter) -> Vec<EventKey> {
    let (Some(project), Some(received_ms)) = (letter.project, letter.received_ms) else { return Vec::new() };
    match EventRow::decode(&letter.bytes, received_ms) {
        Ok(event) if letter.events == Some(1) && parse(&letter.bytes).is_err() => {
            event_key(project, &event).into_iter().collect()
        }
        _ => events_of(&letter.bytes),
    }
}

fn events_of(payload: &[u8]) -> Vec<EventKey> {
    let Ok(opened) = open(payload) else { return Vec::new() };
    let of_batch = |batch: Batch<'_>| -> Vec<EventKey> {
        batch.events().filter_map(|event| event_key(batch.header.project, &event.ok()?)).collect()
    };
    opened.batches().flat_map(of_batch).collect()
}

/// Events that are in the log, and events that no longer are.
fn events_in_log(targets: &Targets) -> (BTreeSet<EventKey>, BTreeSet<EventKey>) {
    let (mut present, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for partition in 0..targets.world.shape.partitions {
        let kept = targets.events.kept(partition);
        let readable = &kept.life()[kept.low as usize..];
        present.extend(readable.iter().flat_map(|stored| events_of(&stored.record.payload)));
        if kept.lives.len() > 1 || kept.low > 0 {
            gone.extend(kept.lives.iter().flatten().flat_map(|stored| events_of(&stored.record.payload)));
        }
    }
    gone.retain(|key| !present.contains(key));
    (present, gone)
}

/// Answers how many views were compared.
fn check_views(targets: &Targets, viewer: &Viewer, truths: &BTreeMap<u32, BTreeMap<u64, Sums>>) -> u64 {
    let (world, seen) = (&targets.world, viewer.seen());
    // Where the log lost something, viewers may have seen what no longer is, because it was never committed.
    let is_intact = |partition: u32| {
        let lives = targets.events.look(partition, |kept| kept.lives.len());
        lives == 1 && targets.store.look(|state| state.breaks.iter().all(|known| known.partition != partition))
    };
    let intact: Vec<bool> = (0..world.shape.partitions).map(is_intact).collect();
    for seen in seen.iter().filter(|seen| intact[seen.partition as usize]) {
        let truth = truths.get(&seen.partition).and_then(|sums| sums.get(&seen.position));
        if truth != Some(&seen.sums) {
            let at: Duration = seen.at.duration_since(world.started());
            world.violated(format!("a viewer saw {seen:?} after {at:?}, the truth there is {truth:?}"));
            break;
        }
    }
    for (&partition, sums) in truths {
        let (position, seen) = viewer.sees(partition);
        let truth = sums.get(&position).copied().unwrap_or_default();
        if seen != truth {
            world.violated(format!(
                "in the end a viewer sees {seen:?} of partition {partition}, the truth is {truth:?}"
            ));
        }
    }
    seen.len() as u64
}
