//! The figures that findings are judged by: steps of every service, and what is usual for each.
//!
//! What is usual is the same window of the day before when the service had at least 200 requests in it, else the hour
//! before, when there is enough of that and without the trouble in it ([`super::usual`]). While something is found, it stays as it
//! was before that ([`super::held`]).

use std::collections::BTreeMap;

use peep_wire::ProjectId;
use peep_wire::histogram::{Histogram, Quantile};

use super::held::Held;
use super::usual::{self, Before, Slot};
use crate::answer::Answers;
use crate::error::ApiError;
use crate::figures::Figures;
use crate::grouped::Group;
use crate::labels::{Dimension, Filters, GroupBy};
use crate::query::{Asked, BUCKET_S};
use crate::verdict::{Step, Usual};
use crate::words;

/// One service in one environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceKey {
    pub(super) service: String,
    pub(super) env: String,
}

/// What "usually" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsualKind {
    Yesterday,
    HourBefore,
}

impl UsualKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Yesterday => "yesterday",
            Self::HourBefore => "hour_before",
        }
    }
}

/// The time that something is measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UsualWindow {
    pub(super) kind: UsualKind,
    pub(super) from_s: i64,
    pub(super) to_s: i64,
}

impl UsualWindow {
    pub(super) fn label(&self) -> String {
        let (from, to) = (words::clock_time(self.from_s), words::clock_time(self.to_s));
        match self.kind {
            UsualKind::Yesterday => format!("yesterday {from} to {to} UTC"),
            UsualKind::HourBefore => format!("the hour before, {from} to {to} UTC"),
        }
    }
}

/// What is known of one service.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) usual: Option<(UsualKind, Usual)>,
    /// What that was read from, where it is not what is shown for all.
    window: Option<(i64, i64)>,
    /// By first second; steps without requests are left out.
    steps: BTreeMap<i64, Step>,
    /// Durations of the newest steps.
    durations: BTreeMap<i64, Histogram>,
}

/// All services of a scene.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) from_s: i64,
    pub(super) to_s: i64,
    pub(super) step_s: i64,
    /// When all of it was read: the end of the steps then.
    whole_s: i64,
    yesterday: UsualWindow,
    hour_before: UsualWindow,
    pub(super) services: BTreeMap<ServiceKey, Service>,
}

impl Service {
    pub(super) fn is_seen(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Of the steps from that second on.
    pub(super) fn p99_ms_since(&self, from_s: i64) -> Option<f64> {
        let mut merged = Histogram::new();
        self.durations.range(from_s..).for_each(|(_, durations)| merged.merge(durations));
        merged.value_at(Quantile::P99).map(|us| us as f64 / 1000.0)
    }

    fn measure(&mut self, kind: UsualKind, usual: Usual, window: (i64, i64)) {
        (self.usual, self.window) = (Some((kind, usual)), Some(window));
    }

    fn set(&mut self, at_s: i64, figures: Figures) {
        let usual = self.usual.as_ref().map(|(_, usual)| usual);
        self.steps.insert(at_s, step(at_s, &figures, usual));
        self.durations.insert(at_s, figures.latency);
    }
}

impl Sums {
    /// Half an hour up to `to_s`; less when that is more than one answer may read.
    pub(super) async fn of_the_present(
        answers: &Answers,
        project: ProjectId,
        filters: &Filters,
        to_s: i64,
        held: &Held,
    ) -> Result<Self, ApiError> {
        let judged = (to_s - JUDGED_S, to_s);
        let whole = Self::read(answers, project, filters, judged, to_s - KNOWN_S, BUCKET_S, Some(held)).await;
        let mut sums = match whole {
            Err(error) if error.code == TOO_WIDE => {
                Self::read(answers, project, filters, judged, judged.0, BUCKET_S, Some(held)).await?
            }
            whole => whole?,
        };
        sums.forget();
        Ok(sums)
    }

    /// A range that is judged as a whole.
    pub(super) async fn of_the_past(
        answers: &Answers,
        project: ProjectId,
        filters: &Filters,
        from_s: i64,
        to_s: i64,
    ) -> Result<Self, ApiError> {
        let step_s = STEPS_S.into_iter().find(|step_s| (to_s - from_s) / step_s <= PAST_STEPS_MAX).unwrap_or(300);
        let fine = Self::read(answers, project, filters, (from_s, to_s), from_s, step_s, None).await;
        match fine {
            // Of that age, or that wide, only coarser.
            Err(error) if [TOO_WIDE, TOO_FINE].contains(&error.code) && step_s < 300 => {
                Self::read(answers, project, filters, (from_s, to_s), from_s, 300, None).await
            }
            fine => fine,
        }
    }

    /// Whether reading the newest minute is enough.
    pub(super) fn can_go_on(&self, to_s: i64) -> bool {
        // What is usual is read with the whole: a service that has just begun to send may bring an hour of its past along.
        let is_new = |service: &Service| service.usual.is_none() && service.is_seen();
        let every_s = if self.services.values().any(is_new) { WHOLE_EVERY_S / 12 } else { WHOLE_EVERY_S };
        self.step_s == BUCKET_S && (0..=every_s).contains(&(to_s - self.whole_s)) && to_s >= self.to_s
    }

    /// The same, up to a later second.
    pub(super) async fn go_on(
        mut self,
        answers: &Answers,
        project: ProjectId,
        filters: &Filters,
        to_s: i64,
    ) -> Result<Self, ApiError> {
        let from_s = (self.to_s.min(to_s) - REREAD_S).max(self.from_s);
        for service in self.services.values_mut() {
            service.steps.split_off(&from_s);
            service.durations.split_off(&from_s);
        }
        for (key, group) in groups(answers, project, filters, Asked::between_in_steps(from_s, to_s, BUCKET_S)).await?.1
        {
            let service = self.services.entry(key).or_default();
            group.steps.into_iter().for_each(|(at_s, figures)| service.set(at_s, figures));
        }
        self.to_s = to_s;
        self.forget();
        Ok(self)
    }

    /// `held`: of the present.
    async fn read(
        answers: &Answers,
        project: ProjectId,
        filters: &Filters,
        judged: (i64, i64),
        from_s: i64,
        step_s: i64,
        held: Option<&Held>,
    ) -> Result<Self, ApiError> {
        let asked = Asked::between_in_steps(from_s, judged.1, step_s);
        let (window, steps) = groups(answers, project, filters, asked).await?;
        let yesterday = Self::usual(answers, project, filters, (judged.0 - DAY_S, judged.1 - DAY_S)).await?;
        let enough = |key: &ServiceKey| yesterday.1.get(key).is_some_and(|usual| usual.count >= YESTERDAY_COUNT_MIN);
        let all_known = steps.keys().all(enough);
        let hour_asked = (judged.0 - HOUR_S, judged.0);
        // A service that has been silent for long is in neither the steps nor the hour.
        let hour = if all_known && !steps.is_empty() {
            BTreeMap::new()
        } else {
            let known = |key: &ServiceKey| enough(key) || held.is_some_and(|held| held.knows(key));
            Self::hour_before(answers, project, filters, judged, held.is_some_and(Held::is_new), known).await?
        };
        let window_of = |kind, (from_s, to_s): (i64, i64)| UsualWindow { kind, from_s, to_s };
        let mut sums = Self {
            from_s: window.from_s,
            to_s: window.to_s,
            step_s: window.step_s,
            whole_s: window.to_s,
            yesterday: window_of(UsualKind::Yesterday, yesterday.0),
            hour_before: window_of(UsualKind::HourBefore, hour_asked),
            services: BTreeMap::new(),
        };
        for (key, before) in hour {
            let service = sums.services.entry(key).or_default();
            if before.usual.count >= HOUR_COUNT_MIN {
                service.measure(UsualKind::HourBefore, before.usual, before.window);
            }
        }
        for (key, usual) in yesterday.1 {
            if usual.count >= YESTERDAY_COUNT_MIN {
                sums.services.entry(key).or_default().measure(UsualKind::Yesterday, usual, yesterday.0);
            }
        }
        for (key, one) in held.into_iter().flat_map(Held::iter) {
            let service = sums.services.entry(key.clone()).or_default();
            // Yesterday is as good as what is held, as long as it was before all this.
            let is_fresh = service.usual.is_some_and(|(kind, _)| kind == UsualKind::Yesterday)
                && service.window.is_some_and(|(_, to_s)| to_s <= one.since_s);
            if !is_fresh {
                service.measure(one.kind, one.usual, one.window);
            }
        }
        for (key, group) in steps {
            let service = sums.services.entry(key).or_default();
            group.steps.into_iter().for_each(|(at_s, figures)| service.set(at_s, figures));
        }
        Ok(sums)
    }

    /// What every service did in the hour before while all was well. `is_new`: nothing is known of earlier findings, so trouble that
    /// is older than an hour is looked for a day back, in whole hours, for those that nothing else is `known` of.
    async fn hour_before(
        answers: &Answers,
        project: ProjectId,
        filters: &Filters,
        judged: (i64, i64),
        is_new: bool,
        known: impl Fn(&ServiceKey) -> bool,
    ) -> Result<BTreeMap<ServiceKey, Before>, ApiError> {
        let from_s = judged.0 - HOUR_S;
        // What is judged as a whole may be a day: then only what was before it counts.
        let to_s = if judged.1 - judged.0 > JUDGED_S { judged.0 } else { judged.1 };
        let minutes = Self::slots(answers, project, filters, (from_s, to_s), SLOT_S).await?;
        let Some((window, mut minutes)) = minutes else {
            let (window, sums) = Self::usual(answers, project, filters, (from_s, judged.0)).await?;
            let before = |usual| Before { usual, window, trouble_s: None };
            return Ok(sums.into_iter().map(|(key, usual)| (key, before(usual))).collect());
        };
        let hours = if is_new {
            Self::slots(answers, project, filters, (judged.1 - DAY_S, judged.1), HOUR_S).await?
        } else {
            None
        };
        let mut found = BTreeMap::new();
        if let Some((hours_window, hours)) = hours {
            for (key, hours) in hours.into_iter().filter(|(key, _)| !known(key)) {
                if let Some(before) = usual::long_before(&without_holes(hours, hours_window), HOUR_S, from_s) {
                    found.insert(key, before);
                }
            }
        }
        minutes.retain(|key, _| !known(key));
        for (key, minutes) in minutes {
            let Some(before) = usual::before(&without_holes(minutes, window), SLOT_S, judged.0) else { continue };
            // What the minutes tell is nearer.
            if before.trouble_s.is_some() && before.usual.count >= HOUR_COUNT_MIN || !found.contains_key(&key) {
                found.insert(key, before);
            }
        }
        Ok(found)
    }

    /// What every service did in that time, in steps. `None` when it cannot be told.
    async fn slots(
        answers: &Answers,
        project: ProjectId,
        filters: &Filters,
        (from_s, to_s): (i64, i64),
        step_s: i64,
    ) -> Result<Option<SlotGroups>, ApiError> {
        if from_s < 0 {
            return Ok(None);
        }
        let (window, groups) =
            match groups(answers, project, filters, Asked::between_in_steps(from_s, to_s, step_s)).await {
                Err(error) if [TOO_WIDE, TOO_FINE].contains(&error.code) => return Ok(None),
                answered => answered?,
            };
        let slot = |(at_s, figures): (i64, Figures)| {
            let Figures { count, errors, latency, .. } = figures;
            Slot { at_s, count, errors, latency }
        };
        let slots = |(key, group): (ServiceKey, Group)| (key, group.steps.into_iter().map(slot).collect());
        Ok(Some((window, groups.into_iter().map(slots).collect())))
    }

    /// What every service did in that time. What is not kept any more is unknown.
    async fn usual(
        answers: &Answers,
        project: ProjectId,
        filters: &Filters,
        (from_s, to_s): (i64, i64),
    ) -> Result<((i64, i64), BTreeMap<ServiceKey, Usual>), ApiError> {
        if from_s < 0 {
            return Ok(((from_s, to_s), BTreeMap::new()));
        }
        let (window, groups) = match groups(answers, project, filters, Asked::between(from_s, to_s)).await {
            Err(error) if [TOO_WIDE, TOO_FINE].contains(&error.code) => return Ok(((from_s, to_s), BTreeMap::new())),
            answered => answered?,
        };
        let seconds = (window.to_s - window.from_s) as f64;
        let usual = |(key, group): (ServiceKey, Group)| {
            let total = group.total();
            let usual = Usual {
                count: total.count,
                errors: total.errors,
                timed: total.latency.count(),
                p99_us: total.latency.value_at(Quantile::P99),
                seconds,
            };
            (key, usual)
        };
        Ok(((window.from_s, window.to_s), groups.into_iter().map(usual).collect()))
    }

    /// Steps of a service without holes.
    pub(super) fn steps_of(&self, service: &Service) -> Vec<Step> {
        let at = |at_s: i64| service.steps.get(&at_s).copied().unwrap_or(Step { at_s, ..Step::default() });
        (self.from_s..self.to_s).step_by(usize::try_from(self.step_s).unwrap_or(1)).map(at).collect()
    }

    /// The time that most services are measured against.
    pub(super) fn shown_usual(&self) -> UsualWindow {
        let of = |wanted: UsualKind| {
            self.services.values().filter(|service| service.usual.is_some_and(|(kind, _)| kind == wanted)).count()
        };
        if of(UsualKind::Yesterday) >= of(UsualKind::HourBefore).max(1) { self.yesterday } else { self.hour_before }
    }

    /// What a service is measured against.
    pub(super) fn usual_window(&self, key: &ServiceKey, kind: UsualKind) -> (i64, i64) {
        let own = self.services.get(key).and_then(|service| service.window);
        own.unwrap_or_else(|| {
            let shown = if kind == UsualKind::Yesterday { self.yesterday } else { self.hour_before };
            (shown.from_s, shown.to_s)
        })
    }

    /// Lets go of what is not looked at any more.
    fn forget(&mut self) {
        self.from_s = self.from_s.max(self.to_s - KNOWN_S);
        let (steps_s, durations_s) = (self.from_s, self.to_s - JUDGED_S);
        for service in self.services.values_mut() {
            service.steps = service.steps.split_off(&steps_s);
            service.durations = service.durations.split_off(&durations_s);
        }
        self.services.retain(|_, service| service.usual.is_some() || service.is_seen());
    }
}

/// Figures of one step, as the rules look at them.
pub(super) fn step(at_s: i64, figures: &Figures, usual: Option<&Usual>) -> Step {
    let (mut slow, mut very_slow) = (0, 0);
    if let Some((usual, p99_us)) = usual.and_then(|usual| Some((usual, usual.p99_us?))) {
        let very_slow_us = usual.very_slow_us().unwrap_or(u64::MAX);
        figures.latency.for_each(|lowest_us, _, count| {
            slow += if lowest_us > p99_us { count } else { 0 };
            very_slow += if lowest_us >= very_slow_us { count } else { 0 };
        });
    }
    let Figures { count, errors, latency, .. } = figures;
    Step { at_s, count: *count, errors: *errors, timed: latency.count(), slow, very_slow }
}

/// Steps of every service, those without requests left out.
type SlotGroups = (crate::query::Window, BTreeMap<ServiceKey, Vec<Slot>>);

fn without_holes(slots: Vec<Slot>, window: crate::query::Window) -> Vec<Slot> {
    let mut slots = slots.into_iter().peekable();
    let at = |at_s: i64| slots.next_if(|slot| slot.at_s == at_s).unwrap_or(Slot { at_s, ..Slot::default() });
    (window.from_s..window.to_s).step_by(usize::try_from(window.step_s).unwrap_or(1)).map(at).collect()
}

type ServiceGroups = (crate::query::Window, BTreeMap<ServiceKey, Group>);

async fn groups(
    answers: &Answers,
    project: ProjectId,
    filters: &Filters,
    asked: Asked,
) -> Result<ServiceGroups, ApiError> {
    let group_by = GroupBy::new([Dimension::Env, Dimension::Service]);
    let (window, groups) = answers.groups(project, asked, filters.clone(), group_by, SERVICES_MAX).await?;
    let named = |group: Group| {
        let service = group.key.text_of(Dimension::Service)?.to_owned();
        let env = group.key.text_of(Dimension::Env)?.to_owned();
        // What is beyond a budget is nobody's.
        (!group.key.is_other() && service != OTHER).then_some((ServiceKey { service, env }, group))
    };
    Ok((window, groups.into_iter().filter_map(named).collect()))
}

const OTHER: &str = "(other)";
const SERVICES_MAX: usize = 5000;
const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3600;
/// Trouble in the hour before is dated so closely.
const SLOT_S: i64 = 60;
/// "Now".
const JUDGED_S: i64 = 300;
/// A quarter of an hour for what is over, and as much for when it began.
const KNOWN_S: i64 = 1800;
/// Late events of earlier steps are seen by then.
const WHOLE_EVERY_S: i64 = 60;
/// Most late events come within that.
const REREAD_S: i64 = 60;
const YESTERDAY_COUNT_MIN: u64 = 200;
/// An hour in which less came tells nothing.
const HOUR_COUNT_MIN: u64 = 30;
const STEPS_S: [i64; 3] = [10, 60, 300];
const PAST_STEPS_MAX: i64 = 360;
const TOO_WIDE: &str = "query_too_wide";
const TOO_FINE: &str = "step_too_fine";
