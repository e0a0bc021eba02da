//! Where and after what: looked for only where something is wrong.
//!
//! *Where* is the route, host or version with at least half of the excess over what is usual; of several, the one that
//! stands out most from its share of the traffic. Routes are exact. Hosts and versions come from the kept raw events with
//! their weights. *After* is a version that was first seen at most five minutes before.

use std::time::Duration;

use foldhash::HashMap;
use peep_wire::ProjectId;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool, Row};

use super::Finding;
use super::sums::{ServiceKey, Sums, step};
use crate::answer::Answers;
use crate::error::ApiError;
use crate::grouped::Group;
use crate::history::set_statement_timeout;
use crate::labels::{Dimension, Filters, GroupBy};
use crate::query::{Asked, BUCKET_S};
use crate::verdict::{self, Kind, Step, Usual};

/// Finds causes.
#[derive(Clone)]
pub(super) struct Causes {
    answers: Answers,
    pool: PgPool,
    time_max: Duration,
}

/// What was found out lately. The end is part of the name: what goes on is looked at again once a minute.
pub(super) type Remembered = HashMap<(Kind, ServiceKey, i64, i64), Cause>;

/// What is known beyond the verdict.
#[derive(Debug, Clone, Default)]
pub(super) struct Cause {
    began: Option<Began>,
    status: Option<u16>,
    place: Option<Place>,
    after: Option<After>,
}

/// When something that is older than the steps began.
#[derive(Debug, Clone, Copy)]
struct Began {
    since_s: i64,
    is_open: bool,
    /// Before the steps that are known.
    affected_before: u64,
}

/// The release before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct After {
    pub(super) version: String,
    pub(super) ms: i64,
}

/// What most of the excess has in common.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    One { dimension: &'static str, value: String, share: f64 },
    Spread { routes: usize },
}

impl Place {
    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::One { dimension, value, share } => json!({"dimension": dimension, "value": value, "share": share}),
            Self::Spread { routes } => json!({"dimension": "spread", "routes": routes}),
        }
    }
}

/// One value of a dimension: its traffic, and what of it is bad beyond what is usual.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) value: String,
    pub(super) count: f64,
    pub(super) excess: f64,
}

impl Causes {
    pub(super) fn new(answers: Answers, pool: PgPool, time_max: Duration) -> Self {
        Self { answers, pool, time_max }
    }

    /// Fills in what can be found out. A look that fails leaves its part out.
    pub(super) async fn explain(
        &self,
        project: ProjectId,
        sums: &Sums,
        findings: &mut [Finding],
        known: &mut Remembered,
    ) {
        let mut kept = Remembered::default();
        for finding in findings.iter_mut().take(EXPLAINED_MAX) {
            let verdict = finding.verdict;
            let name = (
                verdict.kind,
                finding.key.clone(),
                verdict.since_s * i64::from(!verdict.is_open),
                verdict.until_s / 60,
            );
            let cause = match known.remove(&name) {
                Some(cause) => cause,
                None => self.cause(project, sums, finding).await,
            };
            if let Some(began) = cause.began {
                finding.verdict.since_s = began.since_s;
                finding.verdict.is_open = began.is_open;
                finding.verdict.affected += began.affected_before;
            }
            (finding.status, finding.place, finding.after) = (cause.status, cause.place.clone(), cause.after.clone());
            kept.insert(name, cause);
        }
        *known = kept;
    }

    async fn cause(&self, project: ProjectId, sums: &Sums, finding: &Finding) -> Cause {
        let mut cause = Cause::default();
        let told = |what: &str, error: ApiError| tracing::debug!(what, %error, "a cause could not be found out");
        let is_older = finding.verdict.is_open && sums.step_s == BUCKET_S;
        if is_older {
            cause.began = self.began(project, finding).await.unwrap_or_else(|error| {
                told("since", error);
                None
            });
        }
        let since_s = cause.began.map_or(finding.verdict.since_s, |began| began.since_s);
        if cause.began.map_or(!finding.verdict.is_open, |began| !began.is_open) {
            cause.after = self.after(project, &finding.key, since_s).await.unwrap_or_else(|error| {
                told("after", ApiError::of_database(&error));
                None
            });
        }
        if finding.verdict.kind == Kind::Silent {
            return cause;
        }
        match self.place(project, sums, finding, since_s).await {
            Ok((place, status)) => (cause.place, cause.status) = (place, status),
            Err(error) => told("where", error),
        }
        cause
    }

    /// Looks back a day in minutes, and then closer.
    async fn began(&self, project: ProjectId, finding: &Finding) -> Result<Option<Began>, ApiError> {
        let verdict::Verdict { kind, until_s, since_s: known_s, .. } = finding.verdict;
        let to_s = until_s - until_s.rem_euclid(60);
        let coarse = self.steps(project, finding, (to_s - LOOK_BACK_S, to_s, 60)).await?;
        let usual = finding.usual;
        let Some((coarse_s, is_open)) = verdict::began_s(kind, &coarse, &usual) else { return Ok(None) };
        if coarse_s >= known_s {
            // Before the steps that are known all was well.
            return Ok(Some(Began { since_s: known_s, is_open: false, affected_before: 0 }));
        }
        let fine = self.steps(project, finding, (coarse_s - 60, coarse_s + 60, BUCKET_S)).await?;
        let since_s = match kind {
            Kind::Silent => fine.iter().rev().find(|step| step.count > 0).map(|step| step.at_s + BUCKET_S),
            _ => verdict::first_bad_s(kind, &fine, &usual),
        };
        let since_s = since_s.unwrap_or(coarse_s);
        let before = coarse.iter().filter(|step| step.at_s >= since_s - 59 && step.at_s + 60 <= known_s);
        let affected_before = match kind {
            Kind::Failing => before.map(|step| step.errors).sum(),
            Kind::Slower => before.map(|step| step.slow).sum(),
            Kind::Silent => 0,
        };
        Ok(Some(Began { since_s, is_open, affected_before }))
    }

    async fn steps(
        &self,
        project: ProjectId,
        finding: &Finding,
        (from_s, to_s, step_s): (i64, i64, i64),
    ) -> Result<Vec<Step>, ApiError> {
        let asked = Asked::between_in_steps(from_s, to_s, step_s);
        let filters = filters_of(&finding.key);
        let (window, groups) = self.answers.groups(project, asked, filters, GroupBy::default(), 2).await?;
        let group = groups.first();
        let at = |at_s: i64| match group.and_then(|group| group.steps.get(&at_s)) {
            Some(figures) => step(at_s, figures, Some(&finding.usual)),
            None => Step { at_s, ..Step::default() },
        };
        Ok((window.from_s..window.to_s).step_by(usize::try_from(window.step_s).unwrap_or(1)).map(at).collect())
    }

    /// First appearances of versions come from the kept raw events: whatever knows them better replaces this function.
    async fn after(&self, project: ProjectId, key: &ServiceKey, since_s: i64) -> Result<Option<After>, sqlx::Error> {
        let mut connection = self.pool.begin_with("begin isolation level repeatable read, read only").await?;
        set_statement_timeout(&mut connection, self.time_max).await?;
        let row = sqlx::query(
            "with near as (
                select version, min(ts) as first_ts from raw_event
                where project_id = $1 and ts >= to_timestamp($2) and ts < to_timestamp($3)
                    and service = $4 and env = $5 and version is not null
                group by version order by first_ts desc limit 8
            )
            select version, (extract(epoch from first_ts) * 1000)::bigint from near
            where not exists (
                select from raw_event old
                where old.project_id = $1 and old.ts >= to_timestamp($6) and old.ts < to_timestamp($2)
                    and old.service = $4 and old.env = $5 and old.version = near.version
            )
            order by first_ts desc limit 1",
        )
        .bind(project.0.cast_signed())
        .bind((since_s - AFTER_S) as f64)
        .bind((since_s + BUCKET_S) as f64)
        .bind(&key.service)
        .bind(&key.env)
        .bind((since_s - AFTER_S - SEEN_BEFORE_S) as f64)
        .fetch_optional(&mut *connection)
        .await?;
        connection.commit().await?;
        let Some(row) = row else { return Ok(None) };
        let first_ms: i64 = row.try_get(1)?;
        // Within the step in which it began, the release may be the later of the two.
        Ok(Some(After { version: row.try_get(0)?, ms: (since_s * 1000 - first_ms).max(0) }))
    }

    async fn place(
        &self,
        project: ProjectId,
        sums: &Sums,
        finding: &Finding,
        since_s: i64,
    ) -> Result<(Option<Place>, Option<u16>), ApiError> {
        let until_s = finding.verdict.until_s;
        let from_s = since_s.max(until_s - PLACE_S).min(until_s - BUCKET_S);
        let usual = sums.usual_window(&finding.key, finding.usual_kind);
        let now = self.routes(project, &finding.key, (from_s, until_s)).await?;
        let then = self.routes(project, &finding.key, usual).await?;
        let routes = route_parts(finding.verdict.kind, &finding.usual, &now, &then);
        let (hosts, versions) = self.sampled(project, finding, from_s, until_s).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "hosts and versions of a finding could not be read");
            (Vec::new(), Vec::new())
        });
        let status = (finding.verdict.kind == Kind::Failing).then(|| failing_status(&now)).flatten();
        Ok((choose(&routes, &hosts, &versions), status))
    }

    async fn routes(
        &self,
        project: ProjectId,
        key: &ServiceKey,
        (from_s, to_s): (i64, i64),
    ) -> Result<Vec<Group>, ApiError> {
        let group_by = GroupBy::new([Dimension::Route, Dimension::Method, Dimension::Status]);
        let asked = Asked::between(from_s, to_s);
        Ok(self.answers.groups(project, asked, filters_of(key), group_by, ROUTES_MAX).await?.1)
    }

    /// Hosts and versions.
    async fn sampled(
        &self,
        project: ProjectId,
        finding: &Finding,
        from_s: i64,
        to_s: i64,
    ) -> Result<(Vec<Part>, Vec<Part>), sqlx::Error> {
        let mut connection = self.pool.begin_with("begin isolation level repeatable read, read only").await?;
        set_statement_timeout(&mut connection, self.time_max).await?;
        let hosts = sampled_parts(&mut connection, "host", project, finding, from_s, to_s).await?;
        let versions = sampled_parts(&mut connection, "version", project, finding, from_s, to_s).await?;
        connection.commit().await?;
        Ok((hosts, versions))
    }
}

async fn sampled_parts(
    connection: &mut PgConnection,
    dimension: &'static str,
    project: ProjectId,
    finding: &Finding,
    from_s: i64,
    to_s: i64,
) -> Result<Vec<Part>, sqlx::Error> {
    // One of two words of ours, never text from outside.
    let sql = format!(
        "select {dimension}, sum(weight)::double precision,
            coalesce(sum(weight) filter (where status >= 500 or error is not null), 0)::double precision,
            coalesce(sum(weight) filter (where duration_us > $6), 0)::double precision
        from raw_event
        where project_id = $1 and ts >= to_timestamp($2) and ts < to_timestamp($3) and service = $4 and env = $5
            and {dimension} is not null
        group by 1 order by 2 desc limit 1000"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(project.0.cast_signed())
        .bind(from_s as f64)
        .bind(to_s as f64)
        .bind(&finding.key.service)
        .bind(&finding.key.env)
        .bind(finding.usual.p99_us.map_or(i64::MAX, u64::cast_signed))
        .fetch_all(connection)
        .await?;
    let part = |row: &sqlx::postgres::PgRow| -> Result<Part, sqlx::Error> {
        let (count, errors, slow): (f64, f64, f64) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        let excess = match finding.verdict.kind {
            Kind::Failing => errors - finding.usual.error_share() * count,
            _ => slow - USUALLY_SLOW * count,
        };
        Ok(Part { value: row.try_get(0)?, count, excess: excess.max(0.0) })
    };
    rows.iter().map(part).collect()
}

/// Routes with what is bad beyond their own usual, or beyond the service's when they were hardly there before.
fn route_parts(kind: Kind, usual: &Usual, now: &[Group], then: &[Group]) -> Vec<Part> {
    let (now, then) = (by_route(now, usual), by_route(then, usual));
    let service_share = if kind == Kind::Failing { usual.error_share() } else { USUALLY_SLOW };
    let part = |(value, sums): (String, Step)| {
        let bad = |sums: &Step| if kind == Kind::Failing { (sums.errors, sums.count) } else { (sums.slow, sums.timed) };
        let known = then.get(&value).map(bad).filter(|(_, all)| *all >= ROUTE_COUNT_MIN);
        let usual_share = known.map_or(service_share, |(bad, all)| verdict::share(bad, all));
        let (bad, all) = bad(&sums);
        Part { value, count: all as f64, excess: (bad as f64 - usual_share * all as f64).max(0.0) }
    };
    let mut parts: Vec<Part> = now.into_iter().map(part).collect();
    parts.sort_by(|left, right| right.excess.total_cmp(&left.excess).then_with(|| left.value.cmp(&right.value)));
    parts
}

fn by_route(groups: &[Group], usual: &Usual) -> HashMap<String, Step> {
    let mut routes: HashMap<String, Step> = HashMap::default();
    for group in groups {
        let route = group.key.text_of(Dimension::Route).unwrap_or_default();
        let name = match group.key.text_of(Dimension::Method).unwrap_or_default() {
            "" => route.to_owned(),
            method => format!("{method} {route}"),
        };
        let more = step(0, &group.total(), Some(usual));
        let sums = routes.entry(name).or_default();
        sums.count += more.count;
        sums.errors += more.errors;
        sums.timed += more.timed;
        sums.slow += more.slow;
    }
    routes
}

/// The status that at least half of the failures have.
fn failing_status(groups: &[Group]) -> Option<u16> {
    let mut by_status: HashMap<u16, u64> = HashMap::default();
    for group in groups {
        *by_status.entry(group.key.status_of().unwrap_or(0)).or_default() += group.total().errors;
    }
    let all: u64 = by_status.values().sum();
    let (status, errors) = by_status.into_iter().max_by_key(|(status, errors)| (*errors, *status))?;
    (status > 0 && errors * 2 >= all && errors > 0).then_some(status)
}

/// The value with at least half of the excess that stands out most from its share of the traffic.
fn choose(routes: &[Part], hosts: &[Part], versions: &[Part]) -> Option<Place> {
    let mut best: Option<(f64, Place)> = None;
    for (dimension, parts) in [("route", routes), ("host", hosts), ("version", versions)] {
        let (excess, traffic): (f64, f64) =
            parts.iter().fold((0.0, 0.0), |sums, part| (sums.0 + part.excess, sums.1 + part.count));
        let top = parts.iter().max_by(|left, right| left.excess.total_cmp(&right.excess));
        // A single host explains nothing, a single route still says where to look.
        let tells = parts.len() > 1 || dimension == "route";
        let Some(top) = top.filter(|top| tells && excess > 0.0 && top.excess / excess >= PLACE_SHARE_MIN) else {
            continue;
        };
        let share = top.excess / excess;
        let stands_out = share - top.count / traffic.max(1.0);
        if best.as_ref().is_none_or(|(most, _)| stands_out > *most) {
            best = Some((stands_out, Place::One { dimension, value: top.value.clone(), share }));
        }
    }
    let spread = routes.iter().filter(|part| part.excess > 0.0).count();
    best.map(|(_, place)| place).or((spread > 0).then_some(Place::Spread { routes: spread }))
}

fn filters_of(key: &ServiceKey) -> Filters {
    Filters { env: vec![key.env.clone()], service: vec![key.service.clone()], ..Filters::default() }
}

/// At most so many are explained; the rest are lines without a cause.
const EXPLAINED_MAX: usize = 10;
const LOOK_BACK_S: i64 = 86_400;
/// Where is about the last minutes: what changes there, changes here.
const PLACE_S: i64 = 300;
const PLACE_SHARE_MIN: f64 = 0.5;
const AFTER_S: i64 = 300;
/// How far back a version must not have been seen for it to be new.
const SEEN_BEFORE_S: i64 = 3600;
const ROUTES_MAX: usize = 5000;
const ROUTE_COUNT_MIN: u64 = 20;
/// By the meaning of p99.
const USUALLY_SLOW: f64 = 0.01;

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    pub(crate) fn chosen(routes: &[Part], hosts: &[Part], versions: &[Part]) -> Option<Place> {
        choose(routes, hosts, versions)
    }
}
