//! The messages of a topic as JSON.

use std::cmp::Reverse;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use peep_wire::histogram::ERROR_BOUND;

use super::{Group, Topic};
use crate::columns::{Columns, Drawn, Totals};
use crate::figures::Figures;
use crate::labels::GroupKey;
use crate::query::{Quantiles, Window};

/// What a reader has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Nothing: a snapshot.
    Nothing,
    /// Everything up to this version of this epoch: a frame.
    Version(u64),
    /// The same, from before a reconnection: a snapshot limited to what changed.
    Resumed(u64),
}

impl Since {
    fn version(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Version(version) | Self::Resumed(version) => version,
        }
    }
}

impl Topic {
    /// Whether changes after this version can still be told.
    pub fn can_tell_since(&self, version: u64) -> bool {
        version >= self.told_from && version <= self.version
    }

    /// A version at or before this one from which it is as well to tell: those who miss about as much then share one message, and
    /// there are only as many different ones as the versions missed have binary digits. Values are absolute, so telling a little
    /// more than was missed changes nothing.
    pub fn a_little_before(&self, version: u64) -> u64 {
        debug_assert!(self.can_tell_since(version), "asked for what is known");
        match self.version - version {
            0 => version,
            missed => self.version.saturating_sub(missed.next_power_of_two()).max(self.told_from),
        }
    }

    /// The message that brings a reader to the present version.
    pub fn message(&mut self, since: Since, now_ms: i64) -> String {
        self.draw(since.version());
        let message = Message { topic: self, since, now_ms };
        serde_json::to_string(&message).expect("maps with text keys and finite numbers are always JSON")
    }

    /// Identifies the present version of this state, for resuming.
    pub fn id(&self) -> String {
        format!("{}-{}", self.epoch, self.version)
    }

    /// Computes the quantiles of the slots that will be told; slots that did not change keep theirs.
    fn draw(&mut self, since: u64) {
        let quantiles = &self.query.quantiles;
        for group in self.groups.values_mut().chain([&mut self.total]) {
            if group.changed <= since {
                continue;
            }
            for slot in group.slots.values_mut().filter(|slot| slot.changed > since && slot.drawn.is_none()) {
                slot.drawn = Some(Drawn::of(&slot.figures, quantiles));
            }
        }
    }
}

struct Message<'a> {
    topic: &'a Topic,
    since: Since,
    now_ms: i64,
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let topic = self.topic;
        let since = self.since.version();
        let row =
            |group| Row { group, since, window: topic.window, now_ms: self.now_ms, quantiles: &topic.query.quantiles };
        let mut groups: Vec<&Group> = topic.groups.values().filter(|group| group.changed > since).collect();
        groups.sort_by_key(|group| Reverse(group.sum.count));
        let quantiles: Vec<String> = topic.query.quantiles.as_slice().iter().map(ToString::to_string).collect();

        let mut map = serializer.serialize_map(None)?;
        let frame = matches!(self.since, Since::Version(_));
        map.serialize_entry("type", if frame { "frame" } else { "snapshot" })?;
        map.serialize_entry("id", &topic.id())?;
        map.serialize_entry("at_ms", &self.now_ms)?;
        map.serialize_entry("step_ms", &(topic.query.step_s * 1000))?;
        map.serialize_entry("window_ms", &(topic.query.window_s * 1000))?;
        map.serialize_entry("error_bound", &ERROR_BOUND)?;
        map.serialize_entry("newest_event_ms", &topic.newest_event_ms)?;
        map.serialize_entry("probe_ms", &topic.freshness.age_ms())?;
        map.serialize_entry("epoch", &*topic.epoch)?;
        if matches!(self.since, Since::Resumed(_)) {
            map.serialize_entry("resumed", &true)?;
        }
        map.serialize_entry("quantiles", &quantiles)?;
        let shown = |env: &&String| !topic.query.env_bound || topic.query.filters.env.contains(env);
        map.serialize_entry("envs", &topic.envs.iter().filter(shown).collect::<Vec<_>>())?;
        map.serialize_entry("total", &row(&topic.total))?;
        map.serialize_entry("rows", &groups.into_iter().map(row).collect::<Vec<_>>())?;
        if !matches!(self.since, Since::Nothing) {
            let gone: Vec<&GroupKey> =
                topic.gone.iter().filter(|(version, _)| *version > since).map(|(_, key)| key).collect();
            map.serialize_entry("gone", &gone)?;
        }
        map.end()
    }
}

struct Row<'a> {
    group: &'a Group,
    since: u64,
    window: Window,
    now_ms: i64,
    quantiles: &'a Quantiles,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let group = self.group;
        let mut columns = Columns::new(self.quantiles);
        for (at, slot) in group.slots.range(..self.window.to_s).filter(|(_, slot)| slot.changed > self.since) {
            match &slot.drawn {
                Some(drawn) => columns.push_drawn(*at, &slot.figures, drawn),
                None => columns.push(*at, Some(&slot.figures)),
            }
        }
        let figures: &Figures = &group.sum;
        let elapsed_s = self.window.elapsed_s(self.now_ms, None);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &group.key)?;
        map.serialize_entry("last_seen_ms", &(group.last_seen_ms != i64::MIN).then_some(group.last_seen_ms))?;
        map.serialize_entry("window", &Totals { figures, elapsed_s, quantiles: self.quantiles })?;
        columns.serialize_into(&mut map)?;
        map.end()
    }
}
