//! Cardinality, naively: sets of the series that were seen today and yesterday.
//!
//! Arrives: the series of each event, and the log's own time. Leaves: the series to count it in.
//!
//! The rules (`rollup/src/cardinality.rs` states them too; this is the second opinion):
//! - a series that was seen on this or the previous day of log time is counted as itself;
//! - a new one too while its project has room, and all projects together have;
//! - otherwise it is folded into (service, env, `(other)`, method, class of its status), for which there is some more room;
//! - without that room into (`(other)`, `(other)`, `(other)`, no method, class), which needs none and is not remembered.
//!
//! And of versions and hosts (`rollup/src/facet/budget.rs`): one that was seen on either day is counted as itself, a new one too
//! while its service has room and all services together have, all others in `(other)`. That and the empty one need no room.

use std::collections::{BTreeMap, BTreeSet};

use crate::options::Rules;
use crate::record::{SERIES_BYTES_MAX, Series};

/// All projects of a partition.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    /// Days since 1970 by the log's time.
    pub(crate) day: i64,
    pub(crate) projects: BTreeMap<i64, Seen>,
    /// Different series on both days, of all projects.
    total: usize,
}

/// The series of one project.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) today: BTreeSet<Series>,
    pub(crate) before: BTreeSet<Series>,
    /// Different ones on both days.
    len: usize,
}

impl Budgets {
    /// The log's own time moves on.
    pub(crate) fn advance(&mut self, log_ms: i64) {
        let day = log_ms.div_euclid(DAY_MS);
        if day == self.day {
            return;
        }
        for seen in self.projects.values_mut() {
            let today = std::mem::take(&mut seen.today);
            seen.before = if day == self.day + 1 { today } else { BTreeSet::new() };
            seen.len = seen.before.len();
        }
        self.projects.retain(|_, seen| seen.len > 0);
        self.total = self.projects.values().map(|seen| seen.len).sum();
        self.day = day;
    }

    /// Where an event of this series is counted, and whether that is not its own.
    pub(crate) fn place(&mut self, rules: &Rules, project: i64, own: Series) -> (Series, bool) {
        if own.is_last_resort() || self.see(rules, project, &own, 0) {
            return (own, false);
        }
        let status = own.class();
        let fold = Series { route: OTHER.to_owned(), status, ..own.clone() };
        let fits = fold.to_bytes().len() <= SERIES_BYTES_MAX;
        let place =
            if fits && self.see(rules, project, &fold, rules.folds_max) { fold } else { Series::last_resort(status) };
        let folded = place != own;
        (place, folded)
    }

    fn see(&mut self, rules: &Rules, project: i64, series: &Series, extra: usize) -> bool {
        let seen = self.projects.entry(project).or_default();
        let known = seen.today.contains(series) || seen.before.contains(series);
        let has_room = seen.len < rules.series_max + extra && self.total < rules.series_total_max + extra;
        if !known && !has_room {
            return false;
        }
        if !known {
            seen.len += 1;
            self.total += 1;
        }
        if !seen.today.contains(series) {
            seen.today.insert(series.clone());
        }
        true
    }
}

/// Versions and hosts of a partition.
#[derive(Debug, Default)]
pub(crate) struct FacetBudgets {
    pub(crate) day: i64,
    /// By project and by kind, environment and service.
    pub(crate) scopes: BTreeMap<(i64, [String; 3]), SeenValues>,
    total: usize,
}

/// The values of one scope.
#[derive(Debug, Default)]
pub(crate) struct SeenValues {
    pub(crate) today: BTreeSet<String>,
    pub(crate) before: BTreeSet<String>,
}

impl SeenValues {
    fn len(&self) -> usize {
        self.today.union(&self.before).count()
    }
}

impl FacetBudgets {
    /// The log's own time moves on.
    pub(crate) fn advance(&mut self, log_ms: i64) {
        let day = log_ms.div_euclid(DAY_MS);
        if day == self.day {
            return;
        }
        for seen in self.scopes.values_mut() {
            let today = std::mem::take(&mut seen.today);
            seen.before = if day == self.day + 1 { today } else { BTreeSet::new() };
        }
        self.scopes.retain(|_, seen| seen.len() > 0);
        self.total = self.scopes.values().map(SeenValues::len).sum();
        self.day = day;
    }

    /// The value that an event is counted under.
    pub(crate) fn place(&mut self, rules: &Rules, project: i64, scope: [&str; 3], value: String) -> String {
        if value.is_empty() || value == OTHER {
            return value;
        }
        let scope = (project, scope.map(str::to_owned));
        let empty = SeenValues::default();
        let seen = self.scopes.get(&scope).unwrap_or(&empty);
        let known = seen.today.contains(&value) || seen.before.contains(&value);
        if !known && (seen.len() >= rules.facets_max || self.total >= rules.facets_total_max) {
            return OTHER.to_owned();
        }
        self.total += usize::from(!known);
        self.scopes.entry(scope).or_default().today.insert(value.clone());
        value
    }
}

impl Series {
    fn class(&self) -> u16 {
        match self.status {
            0..100 => 0,
            100..500 => self.status / 100 * 100,
            _ => 500,
        }
    }

    fn last_resort(status: u16) -> Series {
        let other = || OTHER.to_owned();
        Series { service: other(), env: other(), route: other(), method: String::new(), status }
    }

    fn is_last_resort(&self) -> bool {
        *self == Series::last_resort(self.class())
    }
}

const OTHER: &str = "(other)";
const DAY_MS: i64 = 86_400_000;

#[cfg(test)]
mod tests;
