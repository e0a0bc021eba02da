//! Asks the questions of a rule: the same answers that the API gives.
//!
//! Arrives: a rule and the present moment. Leaves: what was seen, or that nobody can tell at the moment. Promises: what a rule says
//! is what a chart of the same window shows. A long window is only read when the short one burns, and a slow pair of windows only
//! as often as its short window can change: three days are not read every 15 seconds.
//! Does not: keep states or write anything.

use std::collections::BTreeMap;

use peep_wire::ProjectId;
use peep_wire::histogram::Quantile;

use super::measure::{self, Counted, PAIRS, Seen};
use super::rule::{LatencyLimit, Rule, Target};
use crate::answer::Answers;
use crate::error::ApiError;
use crate::grouped::Group;
use crate::labels::{Dimension, Filters, GroupBy};
use crate::query::{Asked, BUCKET_S};

/// A service in the last day, or week.
#[derive(Debug)]
struct Heard {
    service: String,
    count: u64,
    last_ms: i64,
    /// Requests while there were any: from the first to the last.
    per_second: f64,
}

/// Services of the last day.
type Day = Vec<Heard>;

/// What was seen of one rule lately, so that slow windows are not read with every look.
#[derive(Debug, Default)]
pub struct Memory {
    pairs: [Option<(i64, Seen)>; PAIRS.len()],
    usual: BTreeMap<String, (i64, Option<f64>)>,
    day: Option<(i64, Day)>,
}

/// Looks at one rule.
pub async fn look(
    answers: &Answers,
    project: ProjectId,
    rule: &Rule,
    memory: &mut Memory,
    now_ms: i64,
) -> Result<Seen, ApiError> {
    let asker = Asker { answers, project, rule, now_ms };
    match rule.target {
        Target::ErrorBudget { objective, period_days } => asker.error_budget(objective, period_days, memory).await,
        Target::Latency { quantile, limit, window_s } => asker.latency(quantile, limit, window_s, memory).await,
        Target::Silence { for_s } => asker.silence(for_s, memory).await,
    }
}

struct Asker<'a> {
    answers: &'a Answers,
    project: ProjectId,
    rule: &'a Rule,
    now_ms: i64,
}

impl Asker<'_> {
    async fn error_budget(&self, objective: f64, period_days: u32, memory: &mut Memory) -> Result<Seen, ApiError> {
        for (pair, known) in PAIRS.into_iter().zip(&mut memory.pairs) {
            let fresh =
                known.as_ref().is_some_and(|(at_ms, _)| self.now_ms - at_ms < pair.short_s * 1000 / LOOKS_PER_WINDOW);
            if fresh {
                continue;
            }
            let short = self.counted(pair.short_s).await?;
            let burns = |counted: &Counted| measure::may_burn(*counted, pair, objective, period_days);
            let burning = short.iter().any(|(_, counted)| burns(counted));
            let long = if burning { self.counted(pair.long_s).await? } else { Vec::new() };
            let seen = short.iter().map(|(service, short)| {
                let long = long.iter().find(|(known, _)| known == service).filter(|_| burns(short));
                match long {
                    Some((_, long)) => measure::error_budget(service, objective, period_days, pair, *short, *long),
                    None => measure::error_budget_kept(service, objective, *short, pair.short_s),
                }
            });
            let nothing = || measure::error_budget_kept(&self.whom(), objective, Counted::default(), pair.short_s);
            let seen = measure::worst(seen.collect()).unwrap_or_else(nothing);
            *known = Some((self.now_ms, seen));
        }
        let seen: Vec<&Seen> = memory.pairs.iter().flatten().map(|(_, seen)| seen).collect();
        // The most urgent pair speaks; without one, the shortest window.
        let speaks = seen.iter().find(|seen| seen.breached).or(seen.first());
        Ok((*speaks.expect("every pair was looked at once")).clone())
    }

    async fn latency(
        &self,
        quantile: f64,
        limit: LatencyLimit,
        window_s: i64,
        memory: &mut Memory,
    ) -> Result<Seen, ApiError> {
        let now = self.quantiles(quantile, self.now_ms - window_s * 1000, self.now_ms).await?;
        if let LatencyLimit::TimesUsual(_) = limit {
            let known = |service: &String| {
                memory.usual.get(service).is_some_and(|(at_ms, _)| self.now_ms - at_ms < USUAL_KEPT_MS)
            };
            if !now.iter().all(|(service, _)| known(service)) {
                memory.usual = self.usual(quantile, window_s).await?;
                for (service, _) in &now {
                    memory.usual.entry(service.clone()).or_insert((self.now_ms, None));
                }
            }
        }
        let seen = now.iter().map(|(service, now_ms)| {
            let usual_ms = memory.usual.get(service).and_then(|(_, usual_ms)| *usual_ms);
            measure::latency(service, quantile, limit, window_s, *now_ms, usual_ms)
        });
        let nothing = || measure::latency(&self.whom(), quantile, limit, window_s, None, None);
        Ok(measure::worst(seen.collect()).unwrap_or_else(nothing))
    }

    /// The same hour yesterday, or else the hour before.
    async fn usual(&self, quantile: f64, window_s: i64) -> Result<BTreeMap<String, (i64, Option<f64>)>, ApiError> {
        let around = self.now_ms - DAY_MS;
        let before = self.now_ms - window_s * 1000;
        let mut usual = BTreeMap::new();
        for (from_ms, to_ms) in [(around - 1_800_000, around + 1_800_000), (before - 3_600_000, before)] {
            for (service, value) in self.quantiles(quantile, from_ms, to_ms).await? {
                let known = usual.entry(service).or_insert((self.now_ms, None));
                known.1 = known.1.or(value);
            }
        }
        Ok(usual)
    }

    async fn silence(&self, for_s: i64, memory: &mut Memory) -> Result<Seen, ApiError> {
        // A service that a rule names is missed for longer than a day.
        let look_back_ms = if self.rule.service.is_some() { 7 * DAY_MS } else { DAY_MS };
        let fresh = memory.day.as_ref().is_some_and(|(at_ms, _)| self.now_ms - at_ms < DAY_KEPT_MS);
        if !fresh {
            memory.day = Some((self.now_ms, self.heard(look_back_ms).await?));
        }
        // A bucket more than the rule's time, so that "last seen" of the short window is enough.
        let lately = self.groups(self.now_ms - (for_s + 2 * BUCKET_S) * 1000, self.now_ms).await?;
        let lately: BTreeMap<String, i64> =
            lately.iter().map(|group| (self.name_of(group), group.last_seen.to_ms)).collect();
        let usually_min = if self.rule.service.is_some() { f64::MIN_POSITIVE } else { measure::USUALLY_MIN };
        let (_, day) = memory.day.as_ref().expect("just read");
        let seen = day.iter().map(|Heard { service, count, last_ms, per_second }| {
            let last_ms = lately.get(service).copied().unwrap_or(*last_ms);
            let silent_s = (self.now_ms - last_ms).max(0) / 1000;
            let usually = *count as f64 * (for_s * 1000) as f64 / look_back_ms as f64;
            measure::silence(service, for_s, Some(silent_s), usually, *per_second, usually_min)
        });
        let nothing = || measure::silence(&self.whom(), for_s, None, 0.0, 0.0, usually_min);
        Ok(measure::worst(seen.collect()).unwrap_or_else(nothing))
    }

    /// What was heard of every service, in hours; of those that are new, in minutes.
    async fn heard(&self, look_back_ms: i64) -> Result<Day, ApiError> {
        let hours = self.groups_in_steps(self.now_ms - look_back_ms, self.now_ms, HOUR_S).await?;
        let young_from_s = self.now_ms.div_euclid(1000) - YOUNG_S;
        let first_s = |group: &Group| group.steps.keys().next().copied().unwrap_or(i64::MAX);
        let minutes = if hours.iter().any(|group| first_s(group) >= young_from_s) {
            self.groups_in_steps(young_from_s * 1000, self.now_ms, MINUTE_S).await?
        } else {
            Vec::new()
        };
        let of_young: BTreeMap<String, i64> =
            minutes.iter().map(|group| (self.name_of(group), first_s(group))).collect();
        let heard = |group: &Group| {
            let (service, count, last_ms) = (self.name_of(group), group.total().count, group.last_seen.to_ms);
            let hour_s = first_s(group);
            let began_s = if hour_s >= young_from_s { of_young.get(&service).copied() } else { None };
            let span_s = (last_ms / 1000 - began_s.unwrap_or(hour_s)).max(MINUTE_S);
            Heard { service, count, last_ms, per_second: count as f64 / span_s as f64 }
        };
        Ok(hours.iter().map(heard).collect())
    }

    async fn counted(&self, window_s: i64) -> Result<Vec<(String, Counted)>, ApiError> {
        let groups = self.groups(self.now_ms - window_s * 1000, self.now_ms).await?;
        Ok(groups.iter().map(|group| (self.name_of(group), Counted::from(&group.total()))).collect())
    }

    /// In ms; `None` with too few requests.
    async fn quantiles(&self, quantile: f64, from_ms: i64, to_ms: i64) -> Result<Vec<(String, Option<f64>)>, ApiError> {
        let quantile: Quantile =
            quantile.to_string().parse().map_err(|_| super::rule::invalid("target.quantile", "cannot be used"))?;
        let groups = self.groups(from_ms, to_ms).await?;
        let value = |group: &Group| {
            let latency = group.total().latency;
            let enough = latency.count() >= measure::REQUESTS_MIN;
            let value = latency.value_at(quantile).filter(|_| enough).map(|us| us as f64 / 1000.0);
            (self.name_of(group), value)
        };
        Ok(groups.iter().map(value).collect())
    }

    async fn groups(&self, from_ms: i64, to_ms: i64) -> Result<Vec<Group>, ApiError> {
        self.groups_of(Asked::whole(from_ms, to_ms)).await
    }

    async fn groups_in_steps(&self, from_ms: i64, to_ms: i64, step_s: i64) -> Result<Vec<Group>, ApiError> {
        self.groups_of(Asked::in_steps(from_ms, to_ms, step_s)).await
    }

    async fn groups_of(&self, asked: Asked) -> Result<Vec<Group>, ApiError> {
        let group_by = match self.rule.service {
            Some(_) => GroupBy::default(),
            None => GroupBy::new([Dimension::Service]),
        };
        let answer = self.answers.ask(self.project, asked, filters(self.rule), group_by).await?;
        Ok(answer.into_groups(GROUPS_MAX))
    }

    fn name_of(&self, group: &Group) -> String {
        self.rule.service.clone().or_else(|| group.key.text(Dimension::Service).map(str::to_owned)).unwrap_or_default()
    }

    fn whom(&self) -> String {
        self.rule.service.clone().unwrap_or_else(|| "all services".to_owned())
    }
}

/// Which series take part in a rule.
pub fn filters(rule: &Rule) -> Filters {
    Filters {
        env: rule.env.iter().cloned().collect(),
        service: rule.service.iter().cloned().collect(),
        ..Filters::default()
    }
}

/// Of the short window of a pair.
const LOOKS_PER_WINDOW: i64 = 20;
const DAY_MS: i64 = 86_400_000;
const HOUR_S: i64 = 3600;
const MINUTE_S: i64 = 60;
/// A service that was first heard of so lately is looked at in minutes: an hour of which it was there for a part would say too little.
const YOUNG_S: i64 = 3 * HOUR_S;
const USUAL_KEPT_MS: i64 = 600_000;
const DAY_KEPT_MS: i64 = 300_000;
/// Services of one rule.
const GROUPS_MAX: usize = 1000;
