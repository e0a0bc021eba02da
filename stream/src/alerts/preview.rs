//! What a rule would have done in the last seven days.
//!
//! Arrives: a rule and the present. Leaves: when it would have fired. Promises: the same condition, the same state machine and the same
//! numbers as when it is evaluated, at the end of every step; the answer says how long a step is. Where five minutes are too
//! much to read it takes hours, and then a window is a whole number of those. Does not: keep anything.

use std::collections::{BTreeMap, VecDeque};

use peep_wire::ProjectId;
use peep_wire::histogram::Quantile;
use serde_json::{Value, json};

use super::look;
use super::machine::State;
use super::measure::{self, Counted, PAIRS};
use super::rule::{LatencyLimit, Rule, Target};
use crate::answer::Answers;
use crate::error::ApiError;
use crate::figures::Figures;
use crate::labels::{Dimension, GroupBy};
use crate::query::Asked;

/// The answer of `POST /v1/alerts/preview`.
pub async fn preview(answers: &Answers, project: ProjectId, rule: &Rule, now_ms: i64) -> Result<Value, ApiError> {
    let look_back_s = match rule.target {
        Target::ErrorBudget { .. } => 3 * 86_400,
        Target::Latency { limit: LatencyLimit::TimesUsual(_), .. } => 86_400 + 3600,
        Target::Latency { .. } => 0,
        Target::Silence { .. } => 86_400,
    };
    let from_ms = now_ms - DAYS * 86_400_000;
    let group_by = match rule.service {
        Some(_) => GroupBy::default(),
        None => GroupBy::new([Dimension::Service]),
    };
    let mut refused = None;
    for step_s in STEPS_S {
        let asked = Asked::in_steps(from_ms - look_back_s * 1000, now_ms, step_s);
        match answers.ask(project, asked, look::filters(rule), group_by.clone()).await {
            Ok(answer) => {
                let window = answer.question().window;
                let services: Vec<BTreeMap<i64, Figures>> =
                    answer.into_groups(GROUPS_MAX).into_iter().map(|group| group.steps).collect();
                let ends = (window.from_s + step_s..=window.to_s).step_by(step_s.unsigned_abs() as usize);
                let ends: Vec<i64> = ends.filter(|end_s| *end_s > from_ms / 1000).collect();
                let breached: Vec<Vec<bool>> =
                    services.iter().map(|steps| conditions(rule, steps, &ends, step_s)).collect();
                let any: Vec<bool> = (0..ends.len()).map(|at| breached.iter().any(|one| one[at])).collect();
                return Ok(to_json(&episodes(rule, &ends, &any), step_s, now_ms));
            }
            Err(error) if error.code == "query_too_wide" => refused = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(ApiError::unavailable))
}

/// Whether the condition was true at each end of a step.
fn conditions(rule: &Rule, steps: &BTreeMap<i64, Figures>, ends: &[i64], step_s: i64) -> Vec<bool> {
    match rule.target {
        Target::ErrorBudget { objective, period_days } => {
            let mut sliding = PAIRS.map(|pair| [Sliding::new(pair.short_s, step_s), Sliding::new(pair.long_s, step_s)]);
            let first = ends.first().map_or(0, |end_s| end_s - 3 * 86_400);
            let mut before = steps.range(first..).map(|(at, figures)| (*at, Counted::from(figures))).peekable();
            let mut at_end = |end_s: i64| {
                while let Some((at, counted)) = before.next_if(|(at, _)| *at < end_s) {
                    sliding.iter_mut().flatten().for_each(|window| window.push(at, counted));
                }
                PAIRS.iter().zip(&mut sliding).any(|(pair, [short, long])| {
                    let (short, long) = (short.at(end_s), long.at(end_s));
                    measure::error_budget("", objective, period_days, *pair, short, long).breached
                })
            };
            ends.iter().map(|end_s| at_end(*end_s)).collect()
        }
        Target::Latency { quantile, limit, window_s } => {
            let Ok(quantile) = quantile.to_string().parse::<Quantile>() else { return vec![false; ends.len()] };
            let value = |from_s: i64, to_s: i64| {
                let mut sum = Figures::default();
                steps.range(from_s..to_s).for_each(|(_, figures)| sum.merge(figures));
                let enough = sum.latency.count() >= measure::REQUESTS_MIN;
                sum.latency.value_at(quantile).filter(|_| enough).map(|us| us as f64 / 1000.0)
            };
            let width_s = whole(window_s, step_s);
            let breached = |end_s: i64| {
                let now_ms = value(end_s - width_s, end_s);
                // Yesterday costs a merge of an hour: only where there is something to compare.
                let usual_ms = match limit {
                    LatencyLimit::TimesUsual(_) if now_ms.is_some() => {
                        let around = end_s - 86_400;
                        let half_s = whole(1800, step_s);
                        value(around - half_s, around + half_s)
                            .or_else(|| value(end_s - width_s - 3600, end_s - width_s))
                    }
                    _ => None,
                };
                measure::latency("", 0.0, limit, window_s, now_ms, usual_ms).breached
            };
            ends.iter().map(|end_s| breached(*end_s)).collect()
        }
        Target::Silence { for_s } => {
            let mut day = Sliding::new(86_400, step_s);
            let mut before = steps.iter().map(|(at, figures)| (*at, Counted::from(figures))).peekable();
            let mut last_s = None;
            let usually_min = if rule.service.is_some() { f64::MIN_POSITIVE } else { measure::USUALLY_MIN };
            let mut at_end = |end_s: i64| {
                while let Some((at, counted)) = before.next_if(|(at, _)| *at < end_s) {
                    last_s = Some(at + step_s);
                    day.push(at, counted);
                }
                let usually = day.at(end_s).count as f64 * for_s as f64 / 86_400.0;
                let silent_s = last_s.map(|last_s| end_s - last_s);
                measure::silence("", for_s, silent_s, usually, 0.0, usually_min).breached
            };
            ends.iter().map(|end_s| at_end(*end_s)).collect()
        }
    }
}

/// The sum of the last so many seconds, moved forward.
struct Sliding {
    width_s: i64,
    steps: VecDeque<(i64, Counted)>,
    sum: Counted,
}

impl Sliding {
    fn new(width_s: i64, step_s: i64) -> Self {
        Self { width_s: whole(width_s, step_s), steps: VecDeque::new(), sum: Counted::default() }
    }

    fn push(&mut self, at_s: i64, counted: Counted) {
        self.steps.push_back((at_s, counted));
        self.sum += counted;
    }

    fn at(&mut self, end_s: i64) -> Counted {
        while let Some((_, left)) = self.steps.pop_front_if(|(at_s, _)| *at_s < end_s - self.width_s) {
            self.sum.count -= left.count;
            self.sum.errors -= left.errors;
        }
        self.sum
    }
}

/// To whole steps, at least one.
fn whole(width_s: i64, step_s: i64) -> i64 {
    (width_s + step_s - 1) / step_s * step_s
}

/// When the rule would have fired; the last one may still.
fn episodes(rule: &Rule, ends: &[i64], breached: &[bool]) -> Vec<(i64, Option<i64>)> {
    let mut state = State::Ok;
    let mut episodes: Vec<(i64, Option<i64>)> = Vec::new();
    for (end_s, breached) in ends.iter().zip(breached) {
        let next = state.after(Some(*breached), end_s * 1000, rule.patience());
        match (state.is_firing(), next.is_firing()) {
            (false, true) => episodes.push((end_s * 1000, None)),
            (true, false) => {
                if let Some((_, ended)) = episodes.last_mut() {
                    *ended = Some(end_s * 1000);
                }
            }
            _ => {}
        }
        state = next;
    }
    episodes
}

fn to_json(episodes: &[(i64, Option<i64>)], step_s: i64, now_ms: i64) -> Value {
    let total_ms: i64 = episodes.iter().map(|(from_ms, to_ms)| to_ms.unwrap_or(now_ms).max(*from_ms) - from_ms).sum();
    let listed: Vec<Value> = episodes
        .iter()
        .rev()
        .take(EPISODES_MAX)
        .rev()
        .map(|(from_ms, to_ms)| json!({"from_ms": from_ms, "to_ms": to_ms.unwrap_or(now_ms).max(*from_ms), "open": to_ms.is_none()}))
        .collect();
    json!({
        "days": DAYS,
        "times": episodes.len(),
        "minutes": (total_ms + 30_000) / 60_000,
        "step_s": step_s,
        "episodes": listed,
    })
}

const DAYS: i64 = 7;
/// As fine as the short window of the most urgent pair; hours, where that is too much.
const STEPS_S: [i64; 2] = [300, 3600];
const GROUPS_MAX: usize = 200;
const EPISODES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use peep_wire::histogram::Histogram;

    use super::*;

    const START_S: i64 = 1_795_000_000 - 1_795_000_000 % 3600;

    fn rule(target: Target) -> Rule {
        let (for_s, keep_firing_s) = (0, 300);
        Rule {
            name: "r".into(),
            service: Some("shop".into()),
            env: None,
            target,
            for_s,
            keep_firing_s,
            enabled: true,
            receiver: None,
        }
    }

    /// Steps of five minutes, each `(requests, failed, duration in ms)`.
    fn steps(each: impl IntoIterator<Item = (u64, u64, u64)>) -> BTreeMap<i64, Figures> {
        let mut steps = BTreeMap::new();
        for (number, (count, errors, ms)) in each.into_iter().enumerate() {
            let mut latency = Histogram::new();
            latency.record_n(ms * 1000, count);
            let mut figures = Figures::default();
            figures.add(200, count, errors, &latency);
            if count > 0 {
                steps.insert(START_S + number as i64 * 300, figures);
            }
        }
        steps
    }

    /// Minutes after the start at which it fires and stops.
    fn fired(rule: &Rule, steps: &BTreeMap<i64, Figures>, count: i64) -> Vec<(i64, Option<i64>)> {
        let ends: Vec<i64> = (1..=count).map(|number| START_S + number * 300).collect();
        let breached = conditions(rule, steps, &ends, 300);
        let minutes = |ms: i64| (ms / 1000 - START_S) / 60;
        episodes(rule, &ends, &breached).into_iter().map(|(from, to)| (minutes(from), to.map(minutes))).collect()
    }

    #[test]
    fn an_outage_of_ten_minutes_fires_and_stops() {
        let rule = rule(Target::ErrorBudget { objective: 0.999, period_days: 30 });
        let each = (0..900).map(|number| if (870..872).contains(&number) { (1000, 400, 10) } else { (1000, 0, 10) });
        // With the first five minutes. 800 of 72 000 in six hours is 11 times too fast, so the second pair lasts until its half
        // hour is over; 800 of 864 000 in three days is not. Then it waits for five minutes.
        assert_eq!(fired(&rule, &steps(each), 900), [(4355, Some(4360 + 30 + 5))]);
    }

    #[test]
    fn silence_and_slowness_fire_where_they_were() {
        let quiet = (0..60).map(|number| if (40..44).contains(&number) { (0, 0, 0) } else { (600, 0, 10) });
        assert_eq!(fired(&rule(Target::Silence { for_s: 600 }), &steps(quiet), 60), [(210, Some(230))]);
        let slow = (0..60).map(|number| if (40..44).contains(&number) { (600, 0, 900) } else { (600, 0, 10) });
        let latency = Target::Latency { quantile: 0.99, limit: LatencyLimit::Ms(500.0), window_s: 300 };
        assert_eq!(fired(&rule(latency), &steps(slow), 60), [(205, Some(230))]);
    }

    #[test]
    fn the_answer_adds_up() {
        let answer = to_json(&[(0, Some(600_000)), (1_200_000, None)], 300, 1_260_000);
        assert_eq!(
            (&answer["times"], &answer["minutes"], &answer["episodes"][1]["open"]),
            (&json!(2), &json!(11), &json!(true))
        );
    }
}
