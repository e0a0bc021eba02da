//! Which alert watches over what was found, and what only an alert has found.
//!
//! Arrives: what fired ([`crate::alerts::store::fired`]), findings. Leaves: findings with the alert that covers them: one about the same
//! kind of trouble, the same service and environment or all of them, that fired while it lasted; of several the one about this
//! service, and of those the newest. A rule that fires for a service where nothing was found is a finding of its own: whoever wrote
//! it knows better what is bad there. Does not: evaluate rules.

use serde_json::{Value, json};

use super::sums::Sums;
use super::{Finding, ServiceKey};
use crate::alerts::store::Fired;
use crate::verdict::{Kind, Scope, Step, Verdict};

/// An alert that covers a finding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alert {
    /// Of its rule.
    pub(super) id: i64,
    pub(super) name: String,
    /// When it fired.
    pub(super) since_ms: i64,
    /// Nothing else has found it.
    pub(super) is_alone: bool,
}

impl Alert {
    fn of(fired: &Fired, is_alone: bool) -> Self {
        Self { id: fired.rule, name: fired.name.clone(), since_ms: fired.began_ms, is_alone }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"id": self.id.to_string(), "name": self.name, "since_ms": self.since_ms})
    }
}

/// Names the alert of each finding. `now_ms` is the end of what still lasts.
pub(super) fn name(fired: &[Fired], now_ms: i64, findings: &mut [Finding]) {
    for finding in findings {
        let until_ms = finding.verdict.recovered_s.map_or(now_ms, |at_s| at_s * 1000);
        let since_ms = finding.verdict.since_s * 1000;
        let covers = |fired: &&Fired| {
            kind_of(fired) == Some(finding.verdict.kind)
                && watches(fired, &finding.key)
                && fired.began_ms <= until_ms
                && fired.ended_ms.is_none_or(|ended_ms| ended_ms >= since_ms)
        };
        finding.alert = fired.iter().find(covers).map(|fired| Alert::of(fired, false));
    }
}

/// Rules of one service that fire while nothing of their kind was found there.
pub(super) fn alone(fired: &[Fired], sums: &Sums, scope: Scope, found: &[Finding]) -> Vec<Finding> {
    let mut alone: Vec<Finding> = Vec::new();
    for fired in fired.iter().filter(|fired| fired.ended_ms.is_none() && fired.service.is_some()) {
        let Some(kind) = kind_of(fired) else { continue };
        let is_told = |finding: &Finding| {
            finding.verdict.recovered_s.is_none() && finding.verdict.kind == kind && watches(fired, &finding.key)
        };
        if found.iter().chain(&alone).any(is_told) {
            continue;
        }
        // Of several environments, the one that the rule can mean at all: the one with most requests.
        let watched = sums.services.iter().filter(|(key, _)| watches(fired, key));
        let busiest = watched.max_by_key(|(_, service)| service.usual.map_or(0, |(_, usual)| usual.count));
        let Some((key, service)) = busiest else { continue };
        let Some((usual_kind, usual)) = service.usual else { continue };
        let since_s = fired.began_ms.div_euclid(1000);
        let steps = sums.steps_of(service);
        let judged_from_s = sums.to_s - scope.judged as i64 * scope.step_s;
        let sum = |from_s: i64| {
            steps.iter().filter(|step| step.at_s >= from_s).fold(Step { at_s: from_s, ..Step::default() }, add)
        };
        let since = sum(since_s);
        let affected = match kind {
            Kind::Failing => since.errors,
            Kind::Slower => since.slow,
            Kind::Silent => 0,
        };
        alone.push(Finding {
            key: key.clone(),
            verdict: Verdict {
                kind,
                since_s,
                is_open: false,
                recovered_s: None,
                judged: sum(judged_from_s),
                affected,
                until_s: sums.to_s.max(since_s),
            },
            usual,
            usual_kind,
            p99_ms: service.p99_ms_since(judged_from_s),
            status: None,
            place: None,
            after: None,
            alert: Some(Alert::of(fired, true)),
        });
    }
    alone
}

fn add(sum: Step, step: &Step) -> Step {
    Step {
        at_s: sum.at_s,
        count: sum.count + step.count,
        errors: sum.errors + step.errors,
        timed: sum.timed + step.timed,
        slow: sum.slow + step.slow,
        very_slow: sum.very_slow + step.very_slow,
    }
}

/// What a rule of that kind finds.
fn kind_of(fired: &Fired) -> Option<Kind> {
    match fired.kind.as_str() {
        "error_budget" => Some(Kind::Failing),
        "latency" => Some(Kind::Slower),
        "silence" => Some(Kind::Silent),
        _ => None,
    }
}

fn watches(fired: &Fired, key: &ServiceKey) -> bool {
    fired.service.as_ref().is_none_or(|service| *service == key.service)
        && fired.env.as_ref().is_none_or(|env| *env == key.env)
}
