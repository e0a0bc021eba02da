//! How many versions and hosts a service may have.
//!
//! The rules, for one partition of the log. A facet is known by `sip` of its text, within its kind, environment and service,
//! which together are one *scope*:
//! - For each scope there are the values seen on this day and on the day before, by the log's own time (UTC). When the day
//!   changes, all change together, before the first event of the record that changed it.
//! - A value that was seen on either day has a place, and is seen today.
//! - One that was not is admitted while its scope has seen less than `per_scope_max` and all scopes of all projects together
//!   less than `total_max` different ones on both days. Then it is seen too.
//! - Otherwise its events are counted in `(other)`. That, and the empty value, need no place and are seen by nobody.
//!
//! Promises: a function of the log, like the budget of series (`cardinality`); memory is bounded by `total_max`.

use std::collections::BTreeMap;

use peep_wire::ProjectId;

use crate::cardinality::{Budget, day_of};

/// What a partition may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FacetLimits {
    /// Versions, or hosts, of one service and environment on two days.
    pub per_scope_max: usize,
    /// Of all services of all projects together: the memory.
    pub total_max: usize,
}

/// Values that were seen for the first time on a day. Rows of `facet_budget`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenFacets {
    /// Days since 1970 by the log's time.
    pub day: i32,
    /// The tenant.
    pub project: ProjectId,
    /// Kind, environment and service, as a hash.
    pub scope: u64,
    /// Ascending.
    pub hashes: Vec<u64>,
}

/// The budgets of one partition.
#[derive(Debug)]
pub(super) struct Budgets {
    limits: FacetLimits,
    day: i32,
    scopes: BTreeMap<(ProjectId, u64), Budget>,
    /// Different values on both days, all scopes.
    total: usize,
    /// Heap bytes of the budgets.
    bytes: usize,
    /// What was seen since the last cut, by day.
    fresh: BTreeMap<(i32, ProjectId, u64), Vec<u64>>,
    fresh_len: usize,
}

impl Budgets {
    pub(super) fn restored(limits: FacetLimits, log_ms: i64, seen: impl IntoIterator<Item = SeenFacets>) -> Self {
        let day = day_of(log_ms);
        let mut sets: BTreeMap<(ProjectId, u64), (Vec<u64>, Vec<u64>)> = BTreeMap::new();
        for SeenFacets { day: of, project, scope, hashes } in seen {
            let (today, before) = sets.entry((project, scope)).or_default();
            match day.checked_sub(of) {
                Some(0) => today.extend(hashes),
                Some(1) => before.extend(hashes),
                _ => {}
            }
        }
        let scopes = sets.into_iter().map(|(scope, (today, before))| (scope, Budget::of(today, before)));
        let scopes = scopes.filter(|(_, budget)| budget.len() > 0).collect();
        let mut restored = Self { limits, day, scopes, total: 0, bytes: 0, fresh: BTreeMap::new(), fresh_len: 0 };
        restored.add_up();
        restored
    }

    /// Whether it is another day.
    #[inline]
    pub(super) fn advance(&mut self, log_ms: i64) -> bool {
        let day = day_of(log_ms);
        if day == self.day {
            return false;
        }
        self.change_day(day);
        true
    }

    /// Whether a value has a place, which it takes if it is new.
    pub(super) fn see(&mut self, project: ProjectId, scope: u64, hash: u64) -> bool {
        let limits = self.limits;
        let (is_known, len, bytes) = match self.scopes.get(&(project, scope)) {
            Some(budget) => (budget.knows(hash), budget.len(), budget.memory_bytes()),
            None => (false, 0, 0),
        };
        if !is_known && (len >= limits.per_scope_max || self.total >= limits.total_max) {
            return false;
        }
        let budget = self.scopes.entry((project, scope)).or_default();
        if budget.see(hash) {
            self.fresh.entry((self.day, project, scope)).or_default().push(hash);
            self.fresh_len += 1;
            self.total += budget.len() - len;
        }
        self.bytes = self.bytes - bytes + budget.memory_bytes();
        true
    }

    /// What was seen since the last cut.
    pub(super) fn cut(&mut self) -> Vec<SeenFacets> {
        self.fresh_len = 0;
        let fresh = std::mem::take(&mut self.fresh);
        let seen = fresh.into_iter().map(|((day, project, scope), mut hashes)| {
            hashes.sort_unstable();
            SeenFacets { day, project, scope, hashes }
        });
        seen.collect()
    }

    pub(super) fn delta_bytes(&self) -> usize {
        self.fresh_len * size_of::<u64>() + self.fresh.len() * MAP_ENTRY_BYTES
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.bytes
    }

    /// Everything that was seen on both days, as it would be read back.
    #[cfg(test)]
    pub(super) fn seen(&self) -> Vec<SeenFacets> {
        let mut all = Vec::new();
        for (&(project, scope), budget) in &self.scopes {
            let (today, before) = budget.seen();
            all.push(SeenFacets { day: self.day, project, scope, hashes: today });
            all.push(SeenFacets { day: self.day - 1, project, scope, hashes: before });
        }
        all.retain(|seen| !seen.hashes.is_empty());
        all
    }

    #[cold]
    fn change_day(&mut self, day: i32) {
        let is_next = day == self.day.saturating_add(1);
        self.scopes.values_mut().for_each(|budget| budget.change_day(is_next));
        self.scopes.retain(|_, budget| budget.len() > 0);
        self.day = day;
        self.add_up();
        // What would not be restored any more need not be written.
        self.fresh.retain(|(of, _, _), _| *of >= day - 1);
        self.fresh_len = self.fresh.values().map(Vec::len).sum();
    }

    fn add_up(&mut self) {
        self.total = self.scopes.values().map(Budget::len).sum();
        self.bytes = self.scopes.values().map(Budget::memory_bytes).sum();
    }
}

/// A key, a list and their share of a tree's node.
const MAP_ENTRY_BYTES: usize = 136;
