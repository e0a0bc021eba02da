//! Which alert watches over what was found, and what only an alert has found.
//!
//! Arrives: what fired ([`crate::alerts::store::fired`]), findings. Leaves: findings with the alert that covers them: one about the same
//! kind of trouble, the same service and environment or all of them, that fired while it lasted; of several the one about this
//! service, and of those the newest. A rule that fires for a service where nothing was found is a finding of its own: whoever wrote
//! it knows better what is bad there. A rule about all services fires for the one that its sentence names, and, when it is an error
//! budget, for each whose last half hour alone uses it up too fast. Does not: evaluate rules.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::sums::Sums;
use super::{Finding, ServiceKey};
use crate::alerts::measure::{self, Counted};
use crate::alerts::store::Fired;
use crate::names;
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
    /// What it saw there, without the name of the service.
    pub(super) seen: Option<String>,
}

impl Alert {
    fn of(fired: &Fired) -> Self {
        Self { id: fired.rule, name: fired.name.clone(), since_ms: fired.began_ms, is_alone: false, seen: None }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"id": self.id.to_string(), "name": self.name, "since_ms": self.since_ms, "alone": self.is_alone})
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
        finding.alert = fired.iter().find(covers).map(Alert::of);
    }
}

/// Rules that fire for a service while nothing of their kind was found there.
pub(super) fn alone(fired: &[Fired], sums: &Sums, scope: Scope, found: &[Finding]) -> Vec<Finding> {
    let mut alone: Vec<Finding> = Vec::new();
    for fired in fired.iter().filter(|fired| fired.ended_ms.is_none()) {
        let Some(kind) = kind_of(fired) else { continue };
        for name in targets(fired, sums, scope) {
            let is_it = |key: &ServiceKey| key.service == name && watches(fired, key);
            let is_told = |finding: &Finding| {
                finding.verdict.recovered_s.is_none() && finding.verdict.kind == kind && is_it(&finding.key)
            };
            if !found.iter().chain(&alone).any(is_told) {
                alone.extend(finding(fired, kind, sums, scope, is_it));
            }
        }
    }
    alone
}

/// The services that a rule fires for.
fn targets<'s>(fired: &'s Fired, sums: &'s Sums, scope: Scope) -> BTreeSet<&'s str> {
    if let Some(service) = &fired.service {
        return BTreeSet::from([service.as_str()]);
    }
    let watched = || sums.services.iter().filter(|(key, _)| watches(fired, key));
    // A name may begin like another one.
    let named = watched().filter(|(key, _)| seen_of(&fired.sentence, &key.service).is_some());
    let named = named.map(|(key, _)| key.service.as_str()).max_by_key(|name| name.len());
    let mut targets: BTreeSet<&str> = named.into_iter().collect();
    if let Some((objective, period_days)) = fired.budget {
        let mut lately: BTreeMap<&str, (Counted, Counted)> = BTreeMap::new();
        for (key, service) in watched() {
            let sums_of = lately.entry(&key.service).or_default();
            for step in sums.steps_of(service) {
                let counted = Counted { count: step.count, errors: step.errors };
                sums_of.1 += counted;
                if step.at_s >= sums.to_s - scope.judged as i64 * scope.step_s {
                    sums_of.0 += counted;
                }
            }
        }
        let burns = |(now, known): &(Counted, Counted)| {
            // The half hour before had as many requests and no failure: then the hour burns whatever there was.
            let hour = Counted { count: known.count * 2, errors: known.errors };
            measure::error_budget("", objective, period_days, measure::PAIRS[0], *now, hour).breached
        };
        targets.extend(lately.iter().filter(|(_, sums)| burns(sums)).map(|(name, _)| *name).take(TARGETS_MAX));
    }
    targets
}

/// What the sentence of a rule says of that service.
fn seen_of(sentence: &str, service: &str) -> Option<String> {
    let seen = sentence.strip_prefix(names::isolated(service).as_ref())?.strip_prefix(": ")?;
    let more = seen.rsplit_once("; and ").filter(|(_, more)| {
        more.strip_suffix(" more")
            .is_some_and(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
    });
    Some(more.map_or(seen, |(seen, _)| seen).to_owned())
}

fn finding(
    fired: &Fired,
    kind: Kind,
    sums: &Sums,
    scope: Scope,
    is_it: impl Fn(&ServiceKey) -> bool,
) -> Option<Finding> {
    // Of several environments, the one that the rule can mean at all: the one with most requests.
    let watched = sums.services.iter().filter(|(key, _)| is_it(key));
    let (key, service) = watched.max_by_key(|(_, service)| service.usual.map_or(0, |(_, usual)| usual.count))?;
    let (usual_kind, usual) = service.usual?;
    let steps = sums.steps_of(service);
    let began_s = fired.began_ms.div_euclid(1000);
    // Silence began when the last request had come, and not when somebody noticed.
    let silent = steps.iter().rposition(|step| step.count > 0).map_or(0, |busy| busy + 1);
    let silent = steps.get(silent).filter(|step| kind == Kind::Silent && step.at_s <= began_s);
    let since_s = silent.map_or(began_s, |step| step.at_s);
    let is_open = silent.is_some_and(|step| step.at_s == sums.from_s);
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
    let alert = Alert { is_alone: true, seen: seen_of(&fired.sentence, &key.service), ..Alert::of(fired) };
    let until_s = sums.to_s.max(since_s);
    let judged = sum(judged_from_s);
    Some(Finding {
        key: key.clone(),
        verdict: Verdict { kind, since_s, is_open, recovered_s: None, judged, affected, until_s },
        usual,
        usual_kind,
        p99_ms: service.p99_ms_since(judged_from_s),
        status: None,
        place: None,
        after: None,
        alert: Some(alert),
    })
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

/// Of one rule.
const TARGETS_MAX: usize = 50;
