//! How many series a project may have, and where the events of all further ones are counted.
//!
//! Arrives: the series key of every event, and the log's own time. Leaves: the series to count it in, its own or an `(other)`
//! one; with each cut the series that were new ([`SeenSeries`]) and the names of what there was too much of ([`Overflow`]).
//!
//! The rules, for one partition of the log. A series is known by `sip` of its canonical key (`peep_wire::hash`).
//! - For each project there are the series *seen* on this day and on the day before, by the log's own time (UTC). Nothing else
//!   is remembered; when the day changes, all projects change together, before the first event of the record that changed it.
//! - A series that was seen on either day is counted as itself, and is seen today.
//! - One that was not is *admitted* while its project has seen less than `series_max` and all projects together less than
//!   `total_max` different ones on both days. Then it is seen too.
//! - Otherwise the event is *folded*: counted in (service, env, `(other)`, method, class of the status), which is admitted by
//!   the same rule, but with `folds_max` more room in both limits. So a project whose routes explode keeps exact counts,
//!   errors and percentiles for each service, method and class.
//! - Where that has no room either, because the services or environments explode: (`(other)`, `(other)`, `(other)`, no method,
//!   class of the status). These six always have room and are seen by nobody.
//!
//! The class of a status is 0 where it is unknown or below 100, else 100, 200, 300, 400, and 500 from 500 on: what is an error
//! stays one. An event whose own series is the one it would be folded into is not folded.
//!
//! Promises: a function of the log: no clock, no order of a hash table, nothing that depends on cuts or restarts. No event is
//! dropped. Memory is bounded: a set of `total_max` numbers for each of two days, and [`ALIASES_MAX`] keys that were folded
//! lately. What it costs is paid by the first event of a series after a cut; every other event pays one comparison.
//!
//! Does not: change a raw event, which keeps its true route, or decide what is dead-lettered.

mod offenders;

use std::collections::{BTreeMap, HashSet};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use peep_wire::ProjectId;
use peep_wire::hash::sip;
use peep_wire::record::Series as Fields;

pub use offenders::Overflow;

use crate::key::{InvalidKey, KEY_BYTES_MAX, SeriesTable, check};
use offenders::{Name, Offenders};

/// What a partition may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesLimits {
    /// Series of one project on two days.
    pub series_max: usize,
    /// Series of all projects on two days: the memory.
    pub total_max: usize,
    /// Room for folded series beyond both.
    pub folds_max: usize,
}

/// Where an event is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index in the partition's series table.
    pub series: u32,
    /// Whether it is not the event's own series.
    pub folded: bool,
}

/// Series that were seen for the first time on a day. Rows of `series_budget`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenSeries {
    /// Days since 1970 by the log's time.
    pub day: i32,
    /// The tenant.
    pub project: ProjectId,
    /// Ascending.
    pub hashes: Vec<u64>,
}

/// The budgets of one partition.
#[derive(Debug)]
pub struct Cardinality {
    limits: SeriesLimits,
    log_ms: i64,
    day: i32,
    projects: BTreeMap<ProjectId, Budget>,
    /// Different series on both days, all projects.
    total: usize,
    /// Heap bytes of the budgets.
    bytes: usize,
    /// What was seen since the last cut, by day.
    fresh: BTreeMap<(i32, ProjectId), Vec<u64>>,
    fresh_len: usize,
    aliases: Aliases,
    offenders: Offenders,
}

impl Cardinality {
    /// Nobody has seen anything.
    pub fn new(limits: SeriesLimits) -> Self {
        Self::restored(limits, 0, [])
    }

    /// What was seen up to a cursor at which the log's own time was `log_ms`.
    pub fn restored(limits: SeriesLimits, log_ms: i64, seen: impl IntoIterator<Item = SeenSeries>) -> Self {
        let day = day_of(log_ms);
        let mut sets: BTreeMap<ProjectId, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
        for SeenSeries { day: of, project, hashes } in seen {
            let (today, before) = sets.entry(project).or_default();
            match day.checked_sub(of) {
                Some(0) => today.extend(hashes),
                Some(1) => before.extend(hashes),
                _ => {}
            }
        }
        let mut projects = BTreeMap::new();
        for (project, (today, before)) in sets {
            let budget = Budget::of(today, before);
            if budget.len > 0 {
                projects.insert(project, budget);
            }
        }
        let mut restored = Self {
            limits,
            log_ms,
            day,
            projects,
            total: 0,
            bytes: 0,
            fresh: BTreeMap::new(),
            fresh_len: 0,
            aliases: Aliases::default(),
            offenders: Offenders::default(),
        };
        restored.add_up();
        restored
    }

    /// The log's own time of the record whose events come next.
    #[inline]
    pub fn advance(&mut self, log_ms: i64, series: &mut SeriesTable) {
        self.log_ms = log_ms;
        let day = day_of(log_ms);
        if day != self.day {
            self.change_day(day, series);
        }
    }

    /// Where an event with this series key is counted.
    ///
    /// # Errors
    /// [`InvalidKey`]; the caller dead-letters the event. Nothing was seen then.
    #[inline]
    pub fn place(
        &mut self,
        series: &mut SeriesTable,
        hash: u64,
        project: ProjectId,
        key: &[u8],
    ) -> Result<Place, InvalidKey> {
        debug_assert_eq!(hash, series.hash(project, key), "of this key in this table");
        let found = series.find(hash, project, key);
        match found {
            Some(at) if series.is_settled(at) => Ok(Place { series: at, folded: false }),
            _ => self.decide(series, hash, project, key, found),
        }
    }

    /// Takes out what was seen and folded since the last cut.
    pub fn cut(&mut self) -> (Vec<SeenSeries>, Vec<Overflow>) {
        self.fresh_len = 0;
        let seen = std::mem::take(&mut self.fresh).into_iter().map(|((day, project), mut hashes)| {
            hashes.sort_unstable();
            SeenSeries { day, project, hashes }
        });
        (seen.collect(), self.offenders.cut())
    }

    /// Gives back what is kept for speed and for advice. Only right after a cut.
    pub fn shrink(&mut self) {
        self.aliases = Aliases::default();
        self.offenders = Offenders::default();
    }

    /// Bytes that a cut takes out.
    pub fn delta_bytes(&self) -> usize {
        self.fresh_len * size_of::<u64>() + self.fresh.len() * MAP_ENTRY_BYTES
    }

    /// Bytes held in all.
    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.delta_bytes() + self.aliases.memory_bytes() + self.offenders.memory_bytes()
    }

    /// Different series on both days, of all projects.
    pub fn len(&self) -> usize {
        self.total
    }

    /// Whether nothing was seen on both days.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Everything that was seen on both days, as it would be read back: what tests compare.
    #[cfg(test)]
    pub(crate) fn seen(&self) -> Vec<SeenSeries> {
        let mut all = Vec::new();
        for (&project, budget) in &self.projects {
            let (today, before) = budget.seen();
            all.push(SeenSeries { day: self.day, project, hashes: today });
            all.push(SeenSeries { day: self.day - 1, project, hashes: before });
        }
        all.retain(|seen| !seen.hashes.is_empty());
        all
    }

    /// The first event of a series since the last cut or in this day, or one that is folded.
    #[cold]
    fn decide(
        &mut self,
        series: &mut SeriesTable,
        hash: u64,
        project: ProjectId,
        key: &[u8],
        found: Option<u32>,
    ) -> Result<Place, InvalidKey> {
        if let Some(at) = found
            && series.is_settled_today(at)
            && !self.is_crowded(project)
        {
            series.settle(hash, project, key, found)?;
            return Ok(Place { series: at, folded: false });
        }
        self.aliases.keep_for(series.generation());
        if let Some(alias) = self.aliases.find(hash, project, key) {
            self.offenders.count(project, alias.name, self.log_ms);
            return Ok(Place { series: alias.to, folded: true });
        }
        let fields = check(key)?;
        let own = sip(key);
        if is_last_resort(&fields) || self.see(project, own, 0) {
            let at = series.settle(hash, project, key, found)?;
            if self.is_crowded(project) {
                self.offenders.watch(project, &fields, self.log_ms, false);
            }
            return Ok(Place { series: at, folded: false });
        }
        let fold = Fields { route: OTHER, status: class_of(fields.status), ..fields }.to_key_bytes();
        let to = if fold.len() <= KEY_BYTES_MAX && self.see(project, sip(&fold), self.limits.folds_max) {
            fold
        } else {
            last_resort(fields.status).to_key_bytes()
        };
        let to_hash = series.hash(project, &to);
        let to_found = series.find(to_hash, project, &to);
        let at = series.settle(to_hash, project, &to, to_found)?;
        if to == key {
            return Ok(Place { series: at, folded: false });
        }
        let name = self.offenders.watch(project, &fields, self.log_ms, true);
        self.aliases.add(Alias { hash, project, to: at, name, start: 0, len: 0 }, key);
        Ok(Place { series: at, folded: true })
    }

    /// Whether a series has a place, which it takes if it is new, when there is `extra` more room.
    fn see(&mut self, project: ProjectId, hash: u64, extra: usize) -> bool {
        let (is_known, len, bytes) = match self.projects.get(&project) {
            Some(budget) => (budget.knows(hash), budget.len, budget.memory_bytes()),
            None => (false, 0, 0),
        };
        let has_room = len < self.limits.series_max + extra && self.total < self.limits.total_max + extra;
        if !is_known && !has_room {
            return false;
        }
        let budget = self.projects.entry(project).or_default();
        if budget.see(hash) {
            self.fresh.entry((self.day, project)).or_default().push(hash);
            self.fresh_len += 1;
            self.total += budget.len - len;
        }
        // Also when nothing is new: a full table makes room before it looks.
        self.bytes = self.bytes - bytes + budget.memory_bytes();
        true
    }

    /// Whether it is worth the while to know what the project has so many of.
    fn is_crowded(&self, project: ProjectId) -> bool {
        self.projects.get(&project).is_some_and(|budget| budget.len > self.limits.series_max / 2)
    }

    #[cold]
    fn change_day(&mut self, day: i32, series: &mut SeriesTable) {
        let is_next = day == self.day.saturating_add(1);
        self.projects.values_mut().for_each(|budget| budget.change_day(is_next));
        self.projects.retain(|_, budget| budget.len > 0);
        self.day = day;
        self.add_up();
        // What would not be restored any more need not be written.
        self.fresh.retain(|(of, _), _| *of >= day - 1);
        self.fresh_len = self.fresh.values().map(Vec::len).sum();
        self.offenders.change_day();
        series.change_day();
    }

    fn add_up(&mut self) {
        self.total = self.projects.values().map(|budget| budget.len).sum();
        self.bytes = self.projects.values().map(Budget::memory_bytes).sum();
    }
}

/// What one project, or one service (`facet`), has seen on two days.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    today: HashSet<u64, RandomState>,
    /// Ascending.
    before: Box<[u64]>,
    /// Different ones on both days.
    len: usize,
}

impl Budget {
    pub(crate) fn of(today: Vec<u64>, mut before: Vec<u64>) -> Self {
        before.sort_unstable();
        before.dedup();
        let mut budget = Self { today: HashSet::default(), len: before.len(), before: before.into_boxed_slice() };
        for hash in today {
            budget.see(hash);
        }
        budget
    }

    pub(crate) fn knows(&self, hash: u64) -> bool {
        self.today.contains(&hash) || self.before.binary_search(&hash).is_ok()
    }

    /// Different ones on both days.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Today is over; `is_next`: and tomorrow is now.
    pub(crate) fn change_day(&mut self, is_next: bool) {
        let today = std::mem::take(&mut self.today);
        let before = if is_next { today.into_iter().collect() } else { Vec::new() };
        *self = Budget::of(Vec::new(), before);
    }

    /// Today's and yesterday's, ascending.
    #[cfg(test)]
    pub(crate) fn seen(&self) -> (Vec<u64>, Vec<u64>) {
        let mut today: Vec<u64> = self.today.iter().copied().collect();
        today.sort_unstable();
        (today, self.before.to_vec())
    }

    /// Whether it was not seen today.
    pub(crate) fn see(&mut self, hash: u64) -> bool {
        let is_new = self.today.insert(hash);
        if is_new && self.before.binary_search(&hash).is_err() {
            self.len += 1;
        }
        is_new
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        // A table is at most seven eighths full and has a control byte for each place.
        let places = self.today.capacity() / 7 * 8;
        MAP_ENTRY_BYTES + places * (size_of::<u64>() + 1) + self.before.len() * size_of::<u64>()
    }
}

/// Keys that were folded lately, so that a folded series costs one more look-up and not the whole decision. Valid as long as
/// the decision and the indices are: for one generation of the series table.
#[derive(Debug, Default)]
struct Aliases {
    generation: u32,
    table: HashTable<Alias>,
    keys: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Alias {
    hash: u64,
    project: ProjectId,
    to: u32,
    name: Name,
    start: u32,
    len: u32,
}

impl Aliases {
    fn keep_for(&mut self, generation: u32) {
        if self.generation != generation {
            self.generation = generation;
            self.clear();
        }
    }

    fn find(&self, hash: u64, project: ProjectId, key: &[u8]) -> Option<Alias> {
        let is_it = |alias: &Alias| {
            alias.project == project && self.keys[alias.start as usize..(alias.start + alias.len) as usize] == *key
        };
        self.table.find(hash, is_it).copied()
    }

    fn add(&mut self, alias: Alias, key: &[u8]) {
        if self.table.len() >= ALIASES_MAX || self.keys.len() + key.len() > ALIAS_KEY_BYTES_MAX {
            self.clear();
        }
        let (start, len) = (self.keys.len() as u32, key.len() as u32);
        self.keys.extend_from_slice(key);
        self.table.insert_unique(alias.hash, Alias { start, len, ..alias }, |alias| alias.hash);
    }

    fn clear(&mut self) {
        self.table.clear();
        self.keys.clear();
    }

    fn memory_bytes(&self) -> usize {
        self.table.allocation_size() + self.keys.capacity()
    }
}

/// Days since 1970, UTC.
pub(crate) fn day_of(ms: i64) -> i32 {
    i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or(i32::MAX)
}

fn class_of(status: u16) -> u16 {
    match status {
        0..=99 => 0,
        100..=499 => status / 100 * 100,
        _ => 500,
    }
}

fn last_resort(status: u16) -> Fields<'static> {
    Fields { service: OTHER, env: OTHER, route: OTHER, method: "", status: class_of(status) }
}

fn is_last_resort(fields: &Fields<'_>) -> bool {
    *fields == last_resort(fields.status)
}

/// Stands for all routes, environments or services that found no place. The parentheses are in the alphabet of neither service
/// nor environment, so no client can send these two.
pub const OTHER: &str = "(other)";
const DAY_MS: i64 = 86_400_000;
/// A key, a set and their share of a tree's node.
const MAP_ENTRY_BYTES: usize = 128;
const ALIASES_MAX: usize = 8_192;
const ALIAS_KEY_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests;
