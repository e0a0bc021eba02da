//! One live view, kept in memory and moved forward by frames: pure state, no I/O, no clock of its own.
//!
//! Arrives: one stitched snapshot, then the cells of live frames and the passing of time. Leaves: JSON messages, either
//! everything (`snapshot`) or what changed after a version (`frame`), with absolute values.
//!
//! ```text
//! group "checkout"   slot │ slot │ slot │ … │ open slot ┆ slots of the future (clocks that run ahead)
//!                    ▲ subtracted when it leaves        ▲ added when its time comes
//!                    └────────── window: kept as a sum ─┘
//! ```
//!
//! Promises: a window equals the sum of its slots at every moment, to the unit; largest and smallest duration are those
//! of the slots that remain. Every change carries the version it will be published under, so what changed after any
//! older version can be told without keeping old messages. Groups beyond the budget are one group `(other)`.
//! Does not: know subscribers, or read anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::HashMap;
use peep_wire::ProjectId;
use peep_wire::live::{LiveCell, LiveFrame};
use peep_wire::record::SeriesKey;

use crate::columns::Drawn;
use crate::figures::Figures;
use crate::freshness::Freshness;
use crate::grouped::{Grouped, bucket_of, cells_of, seen_at};
use crate::history::Cursors;
use crate::labels::{GroupKey, Labels};
use crate::query::{LiveQuery, Window};

mod message;

pub use self::message::Since;

/// State of one live view.
pub struct Topic {
    project: ProjectId,
    query: LiveQuery,
    /// Random per life of this state: values only go backwards under another epoch.
    epoch: Arc<str>,
    version: u64,
    changed: bool,
    positions: Cursors,
    window: Window,
    groups: HashMap<u64, Group>,
    by_key: HashMap<GroupKey, u64>,
    /// What a series' bytes resolved to; `None` = does not pass the filters.
    by_series: HashMap<Vec<u8>, Option<u64>>,
    next_group: u64,
    groups_max: usize,
    total: Group,
    /// Keys whose last slot has left, by the version that says so.
    gone: VecDeque<(u64, GroupKey)>,
    /// Changes after this version can be told.
    told_from: u64,
    newest_event_ms: Option<i64>,
    envs: BTreeSet<String>,
    freshness: Freshness,
}

struct Group {
    key: GroupKey,
    slots: BTreeMap<i64, Slot>,
    /// Sum of the slots inside the window.
    sum: Figures,
    last_seen_ms: i64,
    /// Version of the last change to any slot or to the sum.
    changed: u64,
}

#[derive(Default)]
struct Slot {
    figures: Figures,
    changed: u64,
    /// Forgotten when the figures change.
    drawn: Option<Drawn>,
}

impl Topic {
    /// Starts from a stitched answer to the same question. `epoch` must never have been used for another state.
    pub fn new(query: LiveQuery, answer: Grouped, positions: Cursors, epoch: String, groups_max: usize) -> Self {
        let question = answer.question();
        let (project, window) = (question.project, question.window);
        let mut topic = Self {
            project,
            epoch: epoch.into(),
            version: 1,
            changed: false,
            positions,
            window,
            groups: HashMap::default(),
            by_key: HashMap::default(),
            by_series: HashMap::default(),
            next_group: 0,
            groups_max,
            total: Group::new(GroupKey::everything()),
            gone: VecDeque::new(),
            told_from: 1,
            newest_event_ms: None,
            envs: answer.envs().clone(),
            freshness: Freshness::default(),
            query,
        };
        let newest_event_ms = answer.newest().known_ms();
        for group in answer.into_groups(groups_max) {
            let id = topic.group(group.key);
            for (at, figures) in group.steps {
                topic.add(id, at, group.last_seen.from_ms, |sum| sum.merge(&figures));
            }
        }
        // Of everything it may be known more exactly than of any group.
        topic.newest_event_ms = newest_event_ms;
        topic.total.last_seen_ms = newest_event_ms.unwrap_or(i64::MIN);
        topic.version = 1;
        topic.changed = false;
        topic
    }

    /// Messages say how old a number is, by its probes.
    pub fn probed_by(&mut self, freshness: &Freshness) {
        self.freshness = freshness.clone();
    }

    /// Where the counting stands, per partition.
    pub fn positions(&self) -> &Cursors {
        &self.positions
    }

    /// Which life of the state this is.
    pub fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// The last published version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When the newest counted request ended.
    pub fn newest_event_ms(&self) -> Option<i64> {
        self.newest_event_ms
    }

    /// Counts frames that continue [`Topic::positions`], and remembers the positions after them.
    pub fn advance<'f>(&mut self, frames: impl IntoIterator<Item = &'f LiveFrame>, positions: Cursors) {
        for frame in frames {
            for cell in cells_of(frame, self.project) {
                self.add_cell(cell);
            }
        }
        self.positions = positions;
    }

    fn add_cell(&mut self, cell: &LiveCell) {
        let Ok(series) = SeriesKey::parse(&cell.series).and_then(|key| key.decode()) else {
            crate::metrics::live_cell_unreadable();
            return;
        };
        let labels = Labels::from(series);
        let Some(id) = self.group_of(&cell.series, &labels) else { return };
        let slot = bucket_of(cell.slot_s).div_euclid(self.query.step_s) * self.query.step_s;
        if slot < self.window.from_s {
            return;
        }
        let seen_ms = seen_at(cell).from_ms;
        self.add(id, slot, seen_ms, |figures| figures.add(labels.status, cell.count, cell.errors, &cell.histogram));
    }

    fn group_of(&mut self, series: &[u8], labels: &Labels<'_>) -> Option<u64> {
        match self.by_series.get(series) {
            Some(None) => return None,
            Some(Some(id)) if self.groups.contains_key(id) => return Some(*id),
            _ => {}
        }
        if !self.envs.contains(labels.env) {
            self.envs.insert(labels.env.to_owned());
        }
        let passes = self.query.filters.matches(labels);
        let id = passes.then(|| self.group(self.query.group_by.key_of(labels)));
        if self.by_series.len() >= SERIES_REMEMBERED_MAX {
            self.by_series.clear();
        }
        self.by_series.insert(series.to_vec(), id);
        id
    }

    /// The group of that key; `(other)` when all places are taken.
    fn group(&mut self, key: GroupKey) -> u64 {
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
        let full = self.groups.len() + 1 >= self.groups_max && !key.is_other();
        if full {
            return self.group(self.query.group_by.other_key());
        }
        let id = self.next_group;
        self.next_group += 1;
        self.gone.retain(|(_, gone)| *gone != key);
        self.by_key.insert(key.clone(), id);
        self.groups.insert(id, Group::new(key));
        id
    }

    fn add(&mut self, id: u64, slot: i64, seen_ms: i64, add: impl Fn(&mut Figures)) {
        let (version, window) = (self.version + 1, self.window);
        self.newest_event_ms = self.newest_event_ms.max(Some(seen_ms));
        let group = self.groups.get_mut(&id).expect("group ids in use have a group");
        for group in [group, &mut self.total] {
            group.add(slot, version, window, &add);
            group.last_seen_ms = group.last_seen_ms.max(seen_ms);
        }
        self.changed = true;
    }

    /// Moves the window to the present. A clock that steps back is ignored: what has left does not come back.
    pub fn slide(&mut self, now_ms: i64) {
        let next = self.query.window_at(now_ms);
        if next.to_s <= self.window.to_s {
            return;
        }
        let (version, before) = (self.version + 1, self.window);
        self.window = next;
        let mut changed = self.total.slide(before, next, version);
        let mut empty = Vec::new();
        for (id, group) in &mut self.groups {
            changed |= group.slide(before, next, version);
            if group.slots.is_empty() {
                empty.push(*id);
            }
        }
        empty.into_iter().for_each(|id| self.remove(id));
        self.changed |= changed;
    }

    fn remove(&mut self, id: u64) {
        let Some(group) = self.groups.remove(&id) else { return };
        self.by_key.remove(&group.key);
        self.gone.push_back((self.version + 1, group.key));
        if self.gone.len() > GONE_REMEMBERED_MAX
            && let Some((version, _)) = self.gone.pop_front()
        {
            self.told_from = self.told_from.max(version);
        }
    }

    /// Folds the smallest groups into `(other)` until the state fits; detail goes first, sums stay exact.
    pub fn fit(&mut self, bytes_max: usize) {
        while self.memory_bytes() > bytes_max && self.groups.len() > 2 {
            let mut by_count: Vec<(u64, u64)> = self.groups.iter().map(|(id, group)| (group.sum.count, *id)).collect();
            by_count.sort_unstable();
            let keep = (self.groups.len() / 2).max(1);
            self.groups_max = keep + 1;
            let folded = by_count.len() - keep;
            let other = self.query.group_by.other_key();
            for (_, id) in by_count.into_iter().take(folded) {
                if self.groups.get(&id).is_some_and(|group| !group.key.is_other()) {
                    self.fold(id, &other);
                }
            }
            self.changed = true;
            crate::metrics::topic_detail_shed(folded as u64);
        }
    }

    fn fold(&mut self, id: u64, other: &GroupKey) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let slots = std::mem::take(&mut group.slots);
        let last_seen_ms = group.last_seen_ms;
        self.remove(id);
        let other = self.group(other.clone());
        let (version, window) = (self.version + 1, self.window);
        let group = self.groups.get_mut(&other).expect("just looked up");
        for (at, slot) in slots {
            group.add(at, version, window, |figures| figures.merge(&slot.figures));
        }
        group.last_seen_ms = group.last_seen_ms.max(last_seen_ms);
    }

    /// Bytes of the slots and sums.
    pub fn memory_bytes(&self) -> usize {
        self.groups.values().chain([&self.total]).map(Group::memory_bytes).sum()
    }

    /// Whether there is something to publish.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Makes everything that changed a new version; `None` when nothing did. The new version is told relative to the
    /// one returned.
    pub fn publish(&mut self) -> Option<u64> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.version += 1;
        Some(self.version - 1)
    }
}

impl Group {
    fn new(key: GroupKey) -> Self {
        Self { key, slots: BTreeMap::new(), sum: Figures::default(), last_seen_ms: i64::MIN, changed: 0 }
    }

    fn add(&mut self, at: i64, version: u64, window: Window, add: impl Fn(&mut Figures)) {
        let slot = self.slots.entry(at).or_default();
        add(&mut slot.figures);
        slot.changed = version;
        slot.drawn = None;
        if at < window.to_s {
            add(&mut self.sum);
            self.changed = version;
        }
    }

    /// Takes away the slots that leave the window and adds those whose time has come.
    fn slide(&mut self, before: Window, next: Window, version: u64) -> bool {
        let kept = self.slots.split_off(&next.from_s);
        let left = std::mem::replace(&mut self.slots, kept);
        let mut bounds: Option<(u64, u64)> = None;
        for (_, slot) in self.slots.range(..before.to_s) {
            let Some((min_us, max_us)) = slot.figures.bounds_us() else { continue };
            bounds = Some(bounds.map_or((min_us, max_us), |(low, high)| (low.min(min_us), high.max(max_us))));
        }
        let mut changed = false;
        for (_, slot) in left.range(..before.to_s) {
            self.sum.subtract(&slot.figures, bounds);
            changed = true;
        }
        for (_, slot) in self.slots.range_mut(before.to_s..next.to_s) {
            self.sum.merge(&slot.figures);
            slot.changed = version;
            changed = true;
        }
        if changed {
            self.changed = version;
        }
        changed
    }

    fn memory_bytes(&self) -> usize {
        let slots = self.slots.values().map(|slot| size_of::<Slot>() + 32 + slot.figures.memory_bytes());
        self.key.memory_bytes() + self.sum.memory_bytes() + slots.sum::<usize>()
    }
}

/// Beyond it the memory of series starts over: 50 000 keys are about 5 MB.
const SERIES_REMEMBERED_MAX: usize = 50_000;
/// Keys to remember for readers that are behind; further behind, they get a snapshot.
const GONE_REMEMBERED_MAX: usize = 2_000;

#[cfg(test)]
mod tests;
