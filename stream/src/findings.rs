//! What needs attention: findings over all services of a project, each with since, after, where and how many.
//!
//! Arrives: a [`FindingsQuery`]. Leaves: the body of `GET /v1/findings`. Promises: a step that is not over decides nothing;
//! the figures are those of every other answer, live events included; however many ask, what is wrong in one project and
//! environment is found out at most once a second; a cause that cannot be found out in time is left out and not guessed.
//! Does not: decide what is wrong ([`crate::verdict`]).
//!
//! ```text
//! sums    steps of half an hour, read whole once a minute, their newest minute every time; and what is usual
//! usual   of the hour before without the trouble in it
//! held    what is usual while something is found: as it was before
//! causes  only of what is wrong: the route, host or version with most of the excess, and the release before it
//! covered by which alert; and what only an alert has found
//! ```

mod causes;

mod covered;

mod held;

mod sums;

mod usual;

use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_wire::ProjectId;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::Duration;

use self::causes::{After, Causes, Place};
use self::covered::Alert;
use self::held::Held;
use self::sums::{Service, ServiceKey, Sums, UsualKind, UsualWindow};
use crate::alerts;
use crate::answer::Answers;
use crate::error::ApiError;
use crate::labels::Filters;
use crate::query::{BUCKET_S, FindingsQuery};
use crate::verdict::{self, Kind, Scope, Verdict};
use crate::words;

/// Finds what needs attention. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Findings {
    answers: Answers,
    clock: Clock,
    causes: Causes,
    /// Read for alerts, within that time.
    pool: PgPool,
    time_max: Duration,
    watched: Arc<Mutex<HashMap<Scene, Arc<Watched>>>>,
}

/// What is looked at as a whole.
type Scene = (ProjectId, Vec<String>);

/// One scene, and what is known of it. The lock makes everybody who asks meanwhile wait for the same answer.
#[derive(Default)]
struct Watched(tokio::sync::Mutex<Known>);

#[derive(Default)]
struct Known {
    report: Option<Arc<Report>>,
    sums: Option<Sums>,
    causes: causes::Remembered,
    held: Held,
}

/// All there is to say at one moment.
#[derive(Debug, Clone)]
struct Report {
    at_ms: i64,
    from_s: i64,
    to_s: i64,
    usual: UsualWindow,
    services: usize,
    findings: Vec<Finding>,
    no_usual: Vec<ServiceKey>,
}

/// One line of the report.
#[derive(Debug, Clone)]
struct Finding {
    key: ServiceKey,
    verdict: Verdict,
    usual: verdict::Usual,
    usual_kind: UsualKind,
    p99_ms: Option<f64>,
    status: Option<u16>,
    place: Option<Place>,
    after: Option<After>,
    alert: Option<Alert>,
}

impl Findings {
    /// `pool` is read for causes and alerts only; `time_max` bounds each look.
    pub fn new(answers: Answers, pool: PgPool, clock: Clock, time_max: Duration) -> Self {
        let time_max = time_max.min(CAUSE_TIME_MAX);
        let causes = Causes::new(answers.clone(), pool.clone(), time_max);
        Self { answers, clock, causes, pool, time_max, watched: Arc::default() }
    }

    /// The answer of `GET /v1/findings`.
    pub async fn find(&self, project: ProjectId, query: FindingsQuery) -> Result<Value, ApiError> {
        let report = match query.range_s {
            Some((from_s, to_s)) => Arc::new(self.of_the_past(project, query.filters, from_s, to_s).await?),
            None => self.of_the_present(project, query.filters).await?,
        };
        Ok(report.to_json(&query.services))
    }

    async fn of_the_present(&self, project: ProjectId, filters: Filters) -> Result<Arc<Report>, ApiError> {
        let scene = (project, filters.env.clone());
        let watched = self.watch(scene);
        let mut known = watched.0.lock().await;
        let at_ms = self.clock.now_ms();
        if let Some(report) = known.report.as_ref().filter(|report| (0..FRESH_MS).contains(&(at_ms - report.at_ms))) {
            return Ok(Arc::clone(report));
        }
        // The newest step that is over, and whose stragglers have had a moment to come.
        let to_s = (at_ms - STRAGGLERS_MS).div_euclid(BUCKET_S * 1000) * BUCKET_S;
        let sums = match known.sums.take() {
            Some(sums) if sums.can_go_on(to_s) => sums.go_on(&self.answers, project, &filters, to_s).await?,
            _ => {
                known.held = std::mem::take(&mut known.held).until(to_s);
                Sums::of_the_present(&self.answers, project, &filters, to_s, &known.held).await?
            }
        };
        let scope = Scope { step_s: BUCKET_S, judged: JUDGED_STEPS, remembered: REMEMBERED_STEPS };
        let mut findings = judge_all(&sums, scope);
        self.cover(project, &sums, scope, Some(at_ms), &mut findings).await;
        self.causes.explain(project, &sums, &mut findings, &mut known.causes).await;
        known.held.hold(&sums, &findings);
        let report = Arc::new(Report::new(at_ms, to_s - JUDGED_STEPS as i64 * BUCKET_S, &sums, findings));
        known.sums = Some(sums);
        known.report = Some(Arc::clone(&report));
        Ok(report)
    }

    async fn of_the_past(
        &self,
        project: ProjectId,
        filters: Filters,
        from_s: i64,
        to_s: i64,
    ) -> Result<Report, ApiError> {
        let sums = Sums::of_the_past(&self.answers, project, &filters, from_s, to_s).await?;
        let steps = usize::try_from((sums.to_s - sums.from_s) / sums.step_s).unwrap_or(1);
        let scope = Scope { step_s: sums.step_s, judged: steps, remembered: steps };
        let mut findings = judge_all(&sums, scope);
        self.cover(project, &sums, scope, None, &mut findings).await;
        self.causes.explain(project, &sums, &mut findings, &mut causes::Remembered::default()).await;
        Ok(Report::new(self.clock.now_ms(), sums.from_s, &sums, findings))
    }

    /// Names the alerts; in the present, also what only an alert has found.
    async fn cover(
        &self,
        project: ProjectId,
        sums: &Sums,
        scope: Scope,
        present_ms: Option<i64>,
        findings: &mut Vec<Finding>,
    ) {
        let to_ms = present_ms.unwrap_or(sums.to_s * 1000);
        let fired = alerts::store::fired(&self.pool, project, sums.from_s * 1000, to_ms + 1);
        let fired = match tokio::time::timeout(self.time_max, fired).await {
            Ok(Ok(fired)) => fired,
            Ok(Err(error)) => return tracing::warn!(%error, "findings are told without their alerts"),
            Err(_) => return tracing::warn!("findings are told without their alerts: no answer in time"),
        };
        covered::name(&fired, to_ms, findings);
        if present_ms.is_some() {
            let alone = covered::alone(&fired, sums, scope, findings);
            findings.extend(alone);
            sort(findings);
        }
    }

    fn watch(&self, scene: Scene) -> Arc<Watched> {
        let mut watched = self.watched.lock();
        if watched.len() >= SCENES_MAX && !watched.contains_key(&scene) {
            // Those that nobody waits for; forgetting one costs one whole reading.
            watched.retain(|_, one| Arc::strong_count(one) > 1);
        }
        Arc::clone(watched.entry(scene).or_default())
    }
}

fn judge_all(sums: &Sums, scope: Scope) -> Vec<Finding> {
    let judged_from_s = sums.to_s - scope.judged as i64 * scope.step_s;
    let mut findings = Vec::new();
    for (key, service) in &sums.services {
        let Some((usual_kind, usual)) = service.usual else { continue };
        for verdict in verdict::judge(&sums.steps_of(service), &usual, scope) {
            let lasts = verdict.recovered_s.is_none();
            let p99_ms = if lasts { service.p99_ms_since(judged_from_s) } else { None };
            findings.push(Finding {
                key: key.clone(),
                verdict,
                usual,
                usual_kind,
                p99_ms,
                status: None,
                place: None,
                after: None,
                alert: None,
            });
        }
    }
    sort(&mut findings);
    findings
}

/// What lasts before what is over; failing, silent, slower; and by how many it concerns.
fn sort(findings: &mut [Finding]) {
    findings.sort_by(|left, right| {
        let order = |finding: &Finding| (finding.verdict.recovered_s.is_some(), finding.verdict.kind);
        let weight = |finding: &Finding| match finding.verdict.kind {
            Kind::Silent => finding.usual.rate(),
            _ => finding.per_second(),
        };
        order(left)
            .cmp(&order(right))
            .then_with(|| weight(right).total_cmp(&weight(left)))
            .then_with(|| left.key.cmp(&right.key))
    });
}

impl Finding {
    /// Nothing but an alert says so.
    fn is_alone(&self) -> bool {
        self.alert.as_ref().is_some_and(|alert| alert.is_alone)
    }

    fn per_second(&self) -> f64 {
        let seconds = (self.verdict.until_s - self.verdict.since_s).max(1);
        self.verdict.affected as f64 / seconds as f64
    }

    fn value(&self) -> Option<f64> {
        let Verdict { kind, judged, .. } = self.verdict;
        match kind {
            Kind::Failing => Some(verdict::share(judged.errors, judged.count)),
            Kind::Slower => self.p99_ms,
            Kind::Silent => Some(0.0),
        }
    }

    fn usual_value(&self) -> Option<f64> {
        match self.verdict.kind {
            Kind::Failing => Some(self.usual.error_share()),
            Kind::Slower => self.usual.p99_us.map(|us| us as f64 / 1000.0),
            Kind::Silent => Some(self.usual.rate()),
        }
    }

    fn unit(&self) -> &'static str {
        match self.verdict.kind {
            Kind::Failing => "share",
            Kind::Slower => "ms",
            Kind::Silent => "per_second",
        }
    }

    fn title(&self) -> String {
        let Verdict { kind, since_s, until_s, affected, recovered_s, .. } = self.verdict;
        let lasted = words::span(until_s - since_s);
        if let Some(at_s) = recovered_s {
            let over = format!("recovered at {} after {lasted}", words::clock_time(at_s));
            return match kind {
                Kind::Failing => format!("{over}, {} requests failed", words::grouped(affected)),
                Kind::Slower => format!("{over}, {} requests were slow", words::grouped(affected)),
                Kind::Silent => format!("{over} of silence"),
            };
        }
        let (value, usual) = (self.value(), self.usual_value().unwrap_or_default());
        // Which alert is said elsewhere; that this is unusual is not what it said.
        if let Some(Alert { is_alone: true, seen, .. }) = &self.alert {
            return match (seen, kind, value) {
                (_, Kind::Silent, _) => format!("no requests for {lasted}"),
                (Some(seen), _, _) => seen.clone(),
                (None, Kind::Failing, value) => {
                    format!("{} of requests fail", words::share(value.unwrap_or_default()))
                }
                (None, Kind::Slower, Some(p99_ms)) => format!("p99 is {}", words::latency(p99_ms)),
                (None, Kind::Slower, None) => "slower than its limit".to_owned(),
            };
        }
        match (kind, value) {
            (Kind::Failing, value) => {
                format!("{} of requests fail, usually {}", words::share(value.unwrap_or_default()), words::share(usual))
            }
            (Kind::Slower, Some(p99_ms)) => {
                format!("p99 is {}, usually {}", words::latency(p99_ms), words::latency(usual))
            }
            (Kind::Slower, None) => format!("p99 is above its usual {}", words::latency(usual)),
            (Kind::Silent, _) => format!("no requests for {lasted}, usually {}", words::rate(usual)),
        }
    }

    fn to_json(&self) -> Value {
        let after = self.after.as_ref().map(|after| json!({"version": after.version, "ms": after.ms}));
        json!({
            "kind": self.verdict.kind.name(),
            "service": self.key.service,
            "env": self.key.env,
            "title": self.title(),
            "value": self.value(),
            "usual": self.usual_value(),
            "unit": self.unit(),
            "usual_kind": self.usual_kind.name(),
            "since_ms": self.verdict.since_s * 1000,
            "since_is_open": self.verdict.is_open,
            "after": after,
            "where": self.place.as_ref().map(Place::to_json),
            "status": self.status,
            "affected": self.verdict.affected,
            "per_second": self.per_second(),
            "recovered_ms": self.verdict.recovered_s.map(|at_s| at_s * 1000),
            "alert": self.alert.as_ref().map(Alert::to_json),
        })
    }
}

impl Report {
    fn new(at_ms: i64, from_s: i64, sums: &Sums, findings: Vec<Finding>) -> Self {
        let known = |service: &Service| service.usual.is_some();
        let no_usual = sums.services.iter().filter(|(_, service)| !known(service) && service.is_seen());
        Self {
            at_ms,
            from_s,
            to_s: sums.to_s,
            usual: sums.shown_usual(),
            services: sums.services.len(),
            no_usual: no_usual.map(|(key, _)| key.clone()).collect(),
            findings,
        }
    }

    fn to_json(&self, services: &[String]) -> Value {
        let asked = |service: &String| services.is_empty() || services.contains(service);
        let mut no_usual: Vec<&String> =
            self.no_usual.iter().map(|key| &key.service).filter(|name| asked(name)).collect();
        no_usual.sort_unstable();
        no_usual.dedup();
        let findings = self.findings.iter().filter(|finding| asked(&finding.key.service)).map(Finding::to_json);
        json!({
            "at_ms": self.at_ms,
            "window": {"from_ms": self.from_s * 1000, "to_ms": self.to_s * 1000},
            "usual": {
                "kind": self.usual.kind.name(),
                "from_ms": self.usual.from_s * 1000,
                "to_ms": self.usual.to_s * 1000,
                "label": self.usual.label(),
            },
            "services": self.services,
            "findings": findings.collect::<Vec<_>>(),
            "no_usual": no_usual,
        })
    }
}

/// Ten tabs ask once.
const FRESH_MS: i64 = 1000;
/// From the end of a step until nearly all of its events have been announced.
const STRAGGLERS_MS: i64 = 2000;
/// "Now": five minutes.
const JUDGED_STEPS: usize = 30;
/// What is over is told for a quarter of an hour.
const REMEMBERED_STEPS: usize = 90;
/// Some megabytes each.
const SCENES_MAX: usize = 64;
/// A cause that takes longer to find is not told.
const CAUSE_TIME_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
