//! Deduplication, naively: a set of numbers for each producer.
//!
//! Arrives: identity, part and event count of each readable record, in log order. Leaves: whether its events count.
//!
//! The rules (`rollup/src/dedup.rs` states them too; this is the second opinion):
//! - a batch is (project, producer, seq); a producer has a window of 1024 numbers that ends at the highest heard of;
//! - above the window or in it and new: counted. In it and complete: duplicate. Below it: nobody knows, a dead letter;
//! - a producer that is unknown or was quiet for longer than the retention (in log time) begins anew with whatever number comes;
//!   numbers up to that one, but 0, are counted as uncertain;
//! - of a request of several records each part counts once, and the number is complete with the last of them; another number of
//!   parts, or other events in a part that was counted, is a conflict, and so is then every part that is still missing;
//! - a project with more producers than allowed forgets the one it has not heard of for longest.
//!
//! Does not: know that the rollup also forgets when all windows together outgrow their bytes. [`Producers::is_crowded`] says
//! when that may have happened.

use std::collections::{BTreeMap, BTreeSet};

use crate::options::Rules;

/// What a record says about who it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) project: i64,
    pub(crate) producer: [u8; 16],
    pub(crate) seq: u64,
    pub(crate) part: u32,
    /// 0 and 1 are the same.
    pub(crate) parts: u32,
    pub(crate) events: u32,
}

/// What that means for its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Count { uncertain: bool },
    Duplicate,
    BelowWindow,
    Conflict,
}

/// All producers of a partition.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: BTreeMap<(i64, [u8; 16]), Producer>,
    /// Who was heard of when: (project, position, index of the first event) to producer, so that the first of a project is its eldest.
    heard: BTreeMap<(i64, u64, u32), [u8; 16]>,
    len_by_project: BTreeMap<i64, usize>,
    /// Of incomplete requests.
    parts_seen: usize,
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Producer {
    /// The number it began with.
    pub(crate) begun_seq: u64,
    /// The highest number heard of.
    pub(crate) high_seq: u64,
    /// Complete numbers in the window.
    pub(crate) complete: BTreeSet<u64>,
    /// Incomplete ones.
    pub(crate) partial: BTreeMap<u64, Partial>,
    pub(crate) last_ms: i64,
    pub(crate) last_position: u64,
    /// The index of the first event of its last batch in the record there.
    pub(crate) last_event: u32,
}

/// A request of several records, of which some are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partial {
    pub(crate) parts: u32,
    /// A retry contradicted what was counted.
    pub(crate) torn: bool,
    /// Part and its events.
    pub(crate) seen: BTreeMap<u32, u32>,
}

impl Producers {
    /// Decides about one batch and remembers it. `place`: the position of its record, and the index of its first event there.
    pub(crate) fn judge(&mut self, rules: &Rules, claim: &Claim, place: (u64, u32), log_ms: i64) -> Verdict {
        let parts = claim.parts.max(1);
        if parts > PARTS_MAX || claim.part >= parts {
            return Verdict::Conflict;
        }
        let key = (claim.project, claim.producer);
        if self.known.get(&key).is_some_and(|producer| producer.is_expired(rules, log_ms)) {
            self.forget(key);
        }
        let mut producer = self.forget(key).unwrap_or_else(|| Producer::begun(claim.seq));
        let verdict = producer.judge(claim, parts);
        (producer.last_ms, (producer.last_position, producer.last_event)) = (log_ms, place);
        self.remember(key, producer);
        while self.len_by_project.get(&claim.project).is_some_and(|len| *len > rules.producers_max) {
            self.forget_eldest(claim.project);
        }
        verdict
    }

    /// Producers that are not expired.
    pub(crate) fn living(&self, rules: &Rules, log_ms: i64) -> BTreeMap<(i64, [u8; 16]), Producer> {
        let known = self.known.iter().filter(|(_, producer)| !producer.is_expired(rules, log_ms));
        known.map(|(key, producer)| (*key, producer.clone())).collect()
    }

    /// Whether the rollup may have run out of room for those who are not expired.
    pub(crate) fn is_crowded(&mut self, rules: &Rules, log_ms: i64) -> bool {
        if self.bytes() > rules.dedup_bytes_max {
            let expired = self.known.iter().filter(|(_, producer)| producer.is_expired(rules, log_ms));
            let expired: Vec<(i64, [u8; 16])> = expired.map(|(key, _)| *key).collect();
            expired.into_iter().for_each(|key| drop(self.forget(key)));
        }
        self.bytes() > rules.dedup_bytes_max
    }

    /// What the rollup would take for them, generously.
    fn bytes(&self) -> usize {
        self.known.len() * PRODUCER_BYTES + self.parts_seen * PART_BYTES
    }

    fn remember(&mut self, key: (i64, [u8; 16]), producer: Producer) {
        self.heard.insert((key.0, producer.last_position, producer.last_event), key.1);
        self.parts_seen += producer.parts_seen();
        self.known.insert(key, producer);
        *self.len_by_project.entry(key.0).or_default() += 1;
    }

    fn forget(&mut self, key: (i64, [u8; 16])) -> Option<Producer> {
        let producer = self.known.remove(&key)?;
        self.heard.remove(&(key.0, producer.last_position, producer.last_event));
        self.parts_seen -= producer.parts_seen();
        *self.len_by_project.entry(key.0).or_default() -= 1;
        Some(producer)
    }

    fn forget_eldest(&mut self, project: i64) {
        let eldest =
            self.heard.range((project, 0, 0)..=(project, u64::MAX, u32::MAX)).next().map(|(_, producer)| *producer);
        if let Some(producer) = eldest {
            self.forget((project, producer));
        }
    }
}

impl Producer {
    fn begun(seq: u64) -> Producer {
        let (complete, partial) = (BTreeSet::new(), BTreeMap::new());
        Producer { begun_seq: seq, high_seq: seq, complete, partial, last_ms: 0, last_position: 0, last_event: 0 }
    }

    pub(crate) fn is_expired(&self, rules: &Rules, log_ms: i64) -> bool {
        log_ms - self.last_ms > rules.dedup_retention.as_millis() as i64
    }

    fn judge(&mut self, claim: &Claim, parts: u32) -> Verdict {
        let seq = claim.seq;
        if seq > self.high_seq {
            self.high_seq = seq;
            let lowest = self.lowest();
            self.complete = self.complete.split_off(&lowest);
            self.partial = self.partial.split_off(&lowest);
        }
        if seq < self.lowest() {
            return Verdict::BelowWindow;
        }
        if self.complete.contains(&seq) {
            return Verdict::Duplicate;
        }
        let begun = Partial { parts, torn: false, seen: BTreeMap::new() };
        let partial = self.partial.entry(seq).or_insert(begun);
        let known = partial.seen.get(&claim.part).copied();
        if partial.parts == parts && known == Some(claim.events) {
            return Verdict::Duplicate;
        }
        if partial.torn || partial.parts != parts || known.is_some() {
            partial.torn = true;
            return Verdict::Conflict;
        }
        partial.seen.insert(claim.part, claim.events);
        if partial.seen.len() == parts as usize {
            self.partial.remove(&seq);
            self.complete.insert(seq);
        }
        Verdict::Count { uncertain: seq > 0 && seq <= self.begun_seq }
    }

    fn parts_seen(&self) -> usize {
        self.partial.values().map(|partial| partial.seen.len() + 1).sum()
    }

    fn lowest(&self) -> u64 {
        self.high_seq.saturating_sub(WINDOW - 1)
    }
}

/// Numbers in a window.
const WINDOW: u64 = 1024;
/// Records that one request may become.
const PARTS_MAX: u32 = 4096;
const PRODUCER_BYTES: usize = 640;
const PART_BYTES: usize = 128;

#[cfg(test)]
mod tests;
