//! Figures by group and step: what both history and live frames are poured into.
//!
//! Arrives: rollup rows and cells of live frames, in any order. Leaves: per group the figures of each step that has
//! requests. Promises: a series is counted in exactly one group; what lies outside of the window or does not pass the
//! filters is not counted; memory is bounded, and reaching the bound is an error, never a silent cut.
//! Does not: know where one source ends and the other begins ([`crate::stitch`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::HashMap;
use peep_wire::ProjectId;
use peep_wire::histogram::{HistogramError, Totals};
use peep_wire::live::{LiveCell, LiveFrame};
use peep_wire::record::SeriesKey;
use serde::ser::SerializeMap;

use crate::figures::Figures;
use crate::labels::{Dimension, Filters, GroupBy, GroupKey, Labels, Source};
use crate::metrics;
use crate::query::{BUCKET_S, Window};

mod seen;

mod sums;

pub use seen::Seen;
pub use sums::Sums;

/// A question about the rollups.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whose events.
    pub project: ProjectId,
    /// Which time, in which steps.
    pub window: Window,
    /// Which series.
    pub filters: Filters,
    /// One group per combination of these.
    pub group_by: GroupBy,
    /// Whether the answer tells how many requests had which status.
    pub statuses: bool,
}

impl Question {
    /// What knows the answer.
    pub fn source(&self) -> Source {
        Source::of(&self.filters, &self.group_by)
    }

    /// Whether nothing below a service is asked for: then its versions, added up, know as much as its series.
    pub fn is_of_whole_services(&self) -> bool {
        !self.statuses && self.filters_whole_services() && self.groups_whole_services()
    }

    /// Whether of each service and environment either everything takes part or nothing.
    pub fn filters_whole_services(&self) -> bool {
        !BELOW_A_SERVICE.into_iter().any(|dimension| self.filters.mentions(dimension))
    }

    fn groups_whole_services(&self) -> bool {
        !BELOW_A_SERVICE.into_iter().any(|dimension| self.group_by.has(dimension))
    }
}

/// Where an answer comes from, and how far it reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// How many kept events it is an estimate from; `None`: it is exact.
    pub kept: Option<u64>,
    /// What the log took later is not in it, Unix milliseconds; `None`: it reaches to the present.
    pub as_of_ms: Option<i64>,
    /// What the log took earlier may be missing; `None`: nothing is.
    pub complete_since_ms: Option<i64>,
}

impl Origin {
    /// Writes its entries into an open map.
    pub fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("origin", if self.kept.is_some() { "sampled" } else { "exact" })?;
        for (name, value) in [("as_of_ms", self.as_of_ms), ("complete_since_ms", self.complete_since_ms)] {
            if let Some(ms) = value {
                map.serialize_entry(name, &ms)?;
            }
        }
        match self.kept {
            Some(kept) => map.serialize_entry("kept", &kept),
            None => Ok(()),
        }
    }
}

/// Figures of one group.
#[derive(Debug, Clone)]
pub struct Group {
    /// What its members share.
    pub key: GroupKey,
    /// By first second of the step; only steps with requests.
    pub steps: BTreeMap<i64, Figures>,
    /// When its newest request of the window ended.
    pub last_seen: Seen,
    /// When its first request ever ended, and its last: known of versions and hosts.
    pub seen_ms: Option<(i64, i64)>,
}

impl Group {
    /// All steps together.
    pub fn total(&self) -> Figures {
        let mut total = Figures::default();
        self.steps.values().for_each(|figures| total.merge(figures));
        total
    }

    fn absorb(&mut self, other: Group) {
        for (at, figures) in other.steps {
            self.steps.entry(at).or_default().merge(&figures);
        }
        self.last_seen = self.last_seen.or(other.last_seen);
        if let Some((first_ms, last_ms)) = other.seen_ms {
            self.learn_seen(first_ms, last_ms);
        }
    }

    fn learn_seen(&mut self, first_ms: i64, last_ms: i64) {
        let (first, last) = self.seen_ms.unwrap_or((first_ms, last_ms));
        self.seen_ms = Some((first.min(first_ms), last.max(last_ms)));
    }
}

/// One row of a rollup table.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// First second of the bucket.
    pub bucket_s: i64,
    /// First second of the last ten seconds in it that had requests.
    pub last_s: i64,
    /// Requests.
    pub count: u64,
    /// Failed requests.
    pub errors: u64,
    /// Durations: encoded buckets and the exact figures beside them.
    pub latency: Option<(&'a [u8], Totals)>,
}

/// One kept event.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// When it ended, Unix milliseconds.
    pub ended_ms: i64,
    /// HTTP status, 0 when none was sent.
    pub status: u16,
    /// Whether it failed.
    pub error: bool,
    /// How long it took.
    pub duration_us: Option<u64>,
    /// How many events it stands for.
    pub weight: u64,
}

/// The answer to a question, growing.
#[derive(Debug)]
pub struct Grouped {
    question: Question,
    groups: Vec<Group>,
    by_key: HashMap<GroupKey, usize>,
    by_series: HashMap<Vec<u8>, Option<usize>>,
    envs: BTreeSet<String>,
    newest: Seen,
    origin: Origin,
    bytes: usize,
    bytes_max: usize,
    share: Share,
}

/// Memory that all answers of a process share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Room {
    used: Arc<AtomicUsize>,
    max: usize,
}

/// What one answer has of it; given back when the answer is gone.
#[derive(Debug)]
struct Share {
    room: Room,
    bytes: usize,
}

impl Room {
    /// Of `max` bytes.
    pub fn new(max: usize) -> Self {
        Self { used: Arc::default(), max }
    }
}

impl Share {
    fn grow_to(&mut self, bytes: usize) -> Result<(), PourError> {
        // In steps, so that the counter is rarely touched.
        let more = bytes.saturating_sub(self.bytes).next_multiple_of(SHARE_STEP);
        let fits = |used: usize| used.checked_add(more).filter(|sum| *sum <= self.room.max);
        let before = self.room.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        self.bytes += before.map(|_| more).map_err(|_| PourError::NoRoom)?;
        metrics::query_bytes(self.room.used.load(Ordering::Relaxed));
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let before = self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
        metrics::query_bytes(before - self.bytes);
    }
}

const SHARE_STEP: usize = 256 << 10;

/// Why the answer cannot grow any more.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PourError {
    /// The bound on memory is reached.
    #[error("the answer needs too much memory")]
    TooWide,
    /// All answers together have used up their memory.
    #[error("too many large answers at once")]
    NoRoom,
    /// A stored histogram cannot be read.
    #[error("read stored histogram")]
    Histogram(#[from] HistogramError),
}

impl Grouped {
    /// Nothing counted yet; alone.
    pub fn new(question: Question, bytes_max: usize) -> Self {
        Self::within(question, bytes_max, Room::new(usize::MAX))
    }

    /// Nothing counted yet; one of several that share `room`.
    pub fn within(question: Question, bytes_max: usize, room: Room) -> Self {
        Self {
            question,
            groups: Vec::new(),
            by_key: HashMap::default(),
            by_series: HashMap::default(),
            envs: BTreeSet::new(),
            newest: Seen::NEVER,
            origin: Origin::default(),
            bytes: 0,
            bytes_max,
            share: Share { room, bytes: 0 },
        }
    }

    /// What was asked.
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The group of a series, made when it is new; `None` when the series does not pass the filters.
    pub fn group_of(&mut self, labels: &Labels<'_>) -> Option<usize> {
        if !self.question.filters.matches(labels) {
            return None;
        }
        let key = self.question.group_by.key_of(labels);
        Some(self.group_with(&key))
    }

    fn group_with(&mut self, key: &GroupKey) -> usize {
        if let Some(&group) = self.by_key.get(key) {
            return group;
        }
        self.bytes += 2 * key.memory_bytes() + size_of::<Group>();
        self.groups.push(Group { key: key.clone(), steps: BTreeMap::new(), last_seen: Seen::NEVER, seen_ms: None });
        self.by_key.insert(key.clone(), self.groups.len() - 1);
        self.groups.len() - 1
    }

    /// Adds a stored row.
    pub fn add_piece(&mut self, group: usize, status: u16, piece: Piece<'_>) -> Result<(), PourError> {
        let Some(step) = self.question.window.step_of(piece.bucket_s) else { return Ok(()) };
        let cell = self.cell(group, step, Seen::within(piece.last_s, BUCKET_S));
        let before = cell.memory_bytes();
        cell.add(status, piece.count, piece.errors, &Default::default());
        if let Some((bytes, totals)) = piece.latency {
            cell.latency.merge_v2(bytes, totals)?;
        }
        let grown = cell.memory_bytes().saturating_sub(before);
        self.grow(grown)
    }

    /// Adds a kept event of a series that passes the filters, which stands for `weight` of them.
    pub fn add_kept(&mut self, group: usize, kept: &Kept) -> Result<(), PourError> {
        let Some(step) = self.question.window.step_of(bucket_of(kept.ended_ms.div_euclid(1000))) else { return Ok(()) };
        let cell = self.cell(group, step, Seen::at(kept.ended_ms));
        let before = cell.memory_bytes();
        cell.add(kept.status, kept.weight, if kept.error { kept.weight } else { 0 }, &Default::default());
        if let Some(duration_us) = kept.duration_us {
            cell.latency.record_n(duration_us, kept.weight);
        }
        let grown = cell.memory_bytes().saturating_sub(before);
        self.grow(grown)
    }

    /// When the first and the last request of a group ended.
    pub fn learn_seen(&mut self, group: usize, first_ms: i64, last_ms: i64) {
        self.groups[group].learn_seen(first_ms, last_ms);
    }

    /// Where the answer comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Its figures are an estimate from so many events.
    pub fn set_kept(&mut self, kept: u64) {
        self.origin.kept = Some(kept);
    }

    /// What the log took later is missing.
    pub fn set_as_of(&mut self, as_of_ms: i64) {
        self.origin.as_of_ms = Some(as_of_ms);
    }

    /// What the log took earlier may be missing, which only matters when it was asked for.
    pub fn set_complete_since(&mut self, since_ms: Option<i64>) {
        let from_ms = self.question.window.from_s * 1000;
        self.origin.complete_since_ms = since_ms.filter(|since_ms| *since_ms > from_ms);
    }

    /// Adds what a live frame says about the question.
    pub fn add_frame(&mut self, frame: &LiveFrame) -> Result<(), PourError> {
        for cell in cells_of(frame, self.question.project) {
            self.add_cell(cell)?;
        }
        Ok(())
    }

    fn add_cell(&mut self, cell: &LiveCell) -> Result<(), PourError> {
        let Ok(series) = SeriesKey::parse(&cell.series).and_then(|key| key.decode()) else {
            metrics::live_cell_unreadable();
            return Ok(());
        };
        let labels = Labels::from(series);
        self.add_env(labels.env);
        let group = match self.by_series.get(&cell.series) {
            Some(group) => *group,
            None => {
                let group = self.group_of(&labels);
                self.bytes += cell.series.len() + 64;
                self.by_series.insert(cell.series.clone(), group);
                group
            }
        };
        let Some(group) = group else { return Ok(()) };
        let Some(step) = self.question.window.step_of(bucket_of(cell.slot_s)) else { return Ok(()) };
        // No finer than it will be known once it is stored: it must not go back with a flush.
        let seen = match self.learns_newest() {
            true => seen_at(cell),
            false => Seen::within(bucket_of(cell.slot_s), BUCKET_S),
        };
        let figures = self.cell(group, step, seen);
        let before = figures.memory_bytes();
        figures.add(labels.status, cell.count, cell.errors, &cell.histogram);
        let grown = figures.memory_bytes().saturating_sub(before);
        self.grow(grown)
    }

    fn cell(&mut self, group: usize, step: i64, seen: Seen) -> &mut Figures {
        self.newest = self.newest.or(seen);
        let group = &mut self.groups[group];
        group.last_seen = group.last_seen.or(seen);
        let figures = group.steps.entry(step).or_default();
        self.bytes += if figures.count == 0 { figures.memory_bytes() + 32 } else { 0 };
        figures
    }

    fn grow(&mut self, bytes: usize) -> Result<(), PourError> {
        self.bytes += bytes;
        if self.bytes > self.bytes_max {
            return Err(PourError::TooWide);
        }
        if self.bytes > self.share.bytes { self.share.grow_to(self.bytes) } else { Ok(()) }
    }

    /// An environment the project has, whether or not it passes the filters.
    pub fn add_env(&mut self, env: &str) {
        if !self.envs.contains(env) {
            self.envs.insert(env.to_owned());
        }
    }

    /// The environments of the project.
    pub fn envs(&self) -> &BTreeSet<String> {
        &self.envs
    }

    /// When the newest counted request ended.
    pub fn newest(&self) -> Seen {
        self.newest
    }

    /// Whether [`Grouped::learn_newest`] has something to say about the groups.
    fn learns_newest(&self) -> bool {
        self.question.filters_whole_services() && self.question.groups_whole_services()
    }

    /// When the newest request of each environment and service ended, of all of them, whatever the window: says to the millisecond
    /// what stored rows say to ten seconds. Nothing to learn where only a part of a service takes part.
    pub fn learn_newest<'a>(&mut self, newest: impl IntoIterator<Item = (&'a str, &'a str, i64)>) {
        let (mut by_group, mut of_all) = (HashMap::<usize, i64>::default(), None);
        for (env, service, newest_ms) in newest {
            let labels = Labels { env, service, route: "", method: "", status: 0, version: "", host: "" };
            if !self.question.filters.matches(&labels) {
                continue;
            }
            of_all = of_all.max(Some(newest_ms));
            if self.learns_newest()
                && let Some(&group) = self.by_key.get(&self.question.group_by.key_of(&labels))
            {
                let of_group = by_group.entry(group).or_insert(newest_ms);
                *of_group = newest_ms.max(*of_group);
            }
        }
        of_all.into_iter().for_each(|newest_ms| self.newest.settle(newest_ms));
        by_group.into_iter().for_each(|(group, newest_ms)| self.groups[group].last_seen.settle(newest_ms));
    }

    /// Groups with requests, most requests first. Beyond `groups_max`, the smallest are one group `(other)`; its
    /// figures are as exact as any.
    pub fn into_groups(self, groups_max: usize) -> Vec<Group> {
        let mut groups: Vec<(u64, Group)> = self
            .groups
            .into_iter()
            .filter_map(|group| {
                let count = group.steps.values().map(|figures| figures.count).sum();
                (count > 0).then_some((count, group))
            })
            .collect();
        groups.sort_by(|(left, _), (right, _)| right.cmp(left));
        let mut groups: Vec<Group> = groups.into_iter().map(|(_, group)| group).collect();
        if groups.len() > groups_max {
            let other_key = self.question.group_by.other_key();
            let mut other = Group { key: other_key, steps: BTreeMap::new(), last_seen: Seen::NEVER, seen_ms: None };
            groups.split_off(groups_max - 1).into_iter().for_each(|group| other.absorb(group));
            // The rollup has a budget of its own and may have sent a group of the same name.
            match groups.iter_mut().find(|group| group.key.is_other()) {
                Some(known) => known.absorb(other),
                None => groups.push(other),
            }
        }
        groups
    }
}

/// The cells of one project: frames are kept sorted by project ([`crate::feed`]).
pub fn cells_of(frame: &LiveFrame, project: ProjectId) -> &[LiveCell] {
    let start = frame.cells.partition_point(|cell| cell.project < project);
    let len = frame.cells[start..].partition_point(|cell| cell.project == project);
    &frame.cells[start..start + len]
}

/// First second of the stored bucket that a second will be part of: live and history must agree on the step.
pub fn bucket_of(second: i64) -> i64 {
    second.div_euclid(BUCKET_S) * BUCKET_S
}

/// When the newest request of a cell ended: within its second.
pub fn seen_at(cell: &LiveCell) -> Seen {
    Seen::within(cell.slot_s, 1)
}

/// What a service has more than one of.
const BELOW_A_SERVICE: [Dimension; 5] =
    [Dimension::Route, Dimension::Method, Dimension::Status, Dimension::Version, Dimension::Host];

#[cfg(test)]
mod tests;
