//! What is usual stays what it was while something is found, so that no incident becomes usual by lasting.
//!
//! Arrives: findings, and what they were measured against. Leaves: the same for the next reading. Promises: at most one entry for each
//! service of the scene, let go of when nothing has been found for a quarter of an hour, a day after a service fell silent, and
//! after a week. Does not: survive the process: then what was usual is looked for a day back ([`super::usual`]).

use std::collections::BTreeMap;

use super::Finding;
use super::sums::{ServiceKey, Sums, UsualKind};
use crate::verdict::{Kind, Usual};

/// By service.
#[derive(Debug, Default)]
pub(super) struct Held {
    services: BTreeMap<ServiceKey, One>,
    /// Until when it is known.
    to_s: Option<i64>,
}

/// What one service is measured against while something is found there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct One {
    pub(super) kind: UsualKind,
    pub(super) usual: Usual,
    pub(super) window: (i64, i64),
    /// Of the oldest finding.
    pub(super) since_s: i64,
    /// When something was last found.
    told_s: i64,
    is_silent: bool,
}

impl Held {
    /// Nothing was looked at before: what was found then is not known.
    pub(super) fn is_new(&self) -> bool {
        self.to_s.is_none()
    }

    /// Whether something is held of that service.
    pub(super) fn knows(&self, key: &ServiceKey) -> bool {
        self.services.contains_key(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &One)> {
        self.services.iter()
    }

    /// The same before a look at a time up to `to_s`; nothing after a pause in which anything may have happened.
    pub(super) fn until(self, to_s: i64) -> Self {
        if self.to_s.is_some_and(|known_s| (0..=PAUSE_S).contains(&(to_s - known_s))) { self } else { Self::default() }
    }

    /// Takes up what was found.
    pub(super) fn hold(&mut self, sums: &Sums, findings: &[Finding]) {
        let to_s = sums.to_s;
        self.to_s = Some(to_s);
        // What only an alert has found was measured against nothing.
        for finding in findings.iter().filter(|finding| !finding.is_alone()) {
            let (since_s, is_silent) = (finding.verdict.since_s, finding.verdict.kind == Kind::Silent);
            let one = One {
                kind: finding.usual_kind,
                usual: finding.usual,
                window: sums.usual_window(&finding.key, finding.usual_kind),
                since_s,
                told_s: to_s,
                is_silent,
            };
            let held = self.services.entry(finding.key.clone()).or_insert_with(|| one.clone());
            let (oldest_s, all_silent) = if held.told_s == to_s {
                (held.since_s.min(since_s), held.is_silent && is_silent)
            } else {
                (since_s, is_silent)
            };
            *held = One { since_s: oldest_s, is_silent: all_silent, ..one };
        }
        self.services.retain(|_, one| {
            let age_max_s = if one.is_silent { SILENT_S_MAX } else { AGE_S_MAX };
            to_s - one.told_s < GONE_S && to_s - one.since_s < age_max_s
        });
    }
}

/// A finding may fall below its thresholds for a moment.
const GONE_S: i64 = 900;
/// Nobody asked for so long: it is found out anew.
const PAUSE_S: i64 = 900;
/// What is silent for a day is gone.
const SILENT_S_MAX: i64 = 86_400;
const AGE_S_MAX: i64 = 7 * 86_400;
