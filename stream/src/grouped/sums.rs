//! Figures of a part of the window, to be added up more than once.

use std::collections::BTreeMap;

use foldhash::HashMap;

use super::{Group, Grouped, PourError, Seen, Share};
use crate::figures::Figures;
use crate::labels::GroupKey;

/// What each group had in a part of the window that lies in one step.
#[derive(Debug)]
pub struct Sums(Vec<GroupSum>);

#[derive(Debug)]
struct GroupSum {
    key: GroupKey,
    last_seen: Seen,
    figures: Figures,
}

impl Sums {
    /// Bytes kept, roughly.
    pub fn memory_bytes(&self) -> usize {
        let bytes = |sum: &GroupSum| {
            size_of::<GroupSum>() - size_of::<Figures>() + sum.key.memory_bytes() + sum.figures.memory_bytes()
        };
        size_of::<Self>() + self.0.iter().map(bytes).sum::<usize>()
    }
}

impl Grouped {
    /// The same question with the same groups, nothing counted: to add up a part of the window by itself. It shares the memory of
    /// all answers.
    pub fn aside(&self) -> Grouped {
        let of = |group: &Group| Group {
            key: group.key.clone(),
            steps: BTreeMap::new(),
            last_seen: Seen::NEVER,
            seen_ms: None,
        };
        Grouped {
            question: self.question.clone(),
            groups: self.groups.iter().map(of).collect(),
            by_key: self.by_key.clone(),
            by_series: HashMap::default(),
            envs: Default::default(),
            newest: Seen::NEVER,
            origin: self.origin,
            bytes: self.bytes,
            bytes_max: self.bytes_max,
            share: Share { room: self.share.room.clone(), bytes: 0 },
        }
    }

    /// Everything counted, which is then forgotten. The parts that were counted lie in one step of the window.
    pub fn take_sums(&mut self) -> Sums {
        let mut sums = Vec::new();
        for group in &mut self.groups {
            for (_, mut figures) in std::mem::take(&mut group.steps) {
                self.bytes = self.bytes.saturating_sub(figures.memory_bytes() + 32);
                figures.latency.shrink_to_fit();
                sums.push(GroupSum { key: group.key.clone(), last_seen: group.last_seen, figures });
            }
            group.last_seen = Seen::NEVER;
        }
        Sums(sums)
    }

    /// Adds what was counted in a part of the window that begins at `from_s`.
    pub fn add_sums(&mut self, from_s: i64, sums: &Sums) -> Result<(), PourError> {
        let Some(step) = self.question.window.step_of(from_s) else { return Ok(()) };
        for sum in &sums.0 {
            let group = self.group_with(&sum.key);
            let figures = self.cell(group, step, sum.last_seen);
            let before = figures.memory_bytes();
            figures.merge(&sum.figures);
            let grown = figures.memory_bytes().saturating_sub(before);
            self.grow(grown)?;
        }
        Ok(())
    }
}
