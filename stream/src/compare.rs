//! Is one better or worse than the other: releases, hosts, environments or windows, quantile by quantile.
//!
//! Arrives: a [`CompareQuery`]. Leaves: the body of `GET /v1/compare`: both sides, which quantiles differ for certain
//! ([`crate::significance`]), both histograms on common rows, the routes by their part in the difference, and one sentence.
//! Promises: the sentence says nothing that the table does not. Windows and environments are exact, and so are versions and hosts
//! as a whole. Their routes, and themselves where they are crossed with route, method or status, come from the kept raw events;
//! the latter say so (`origin`, `kept`), and are judged by as many requests as were kept.
//! Does not: compare more than two.

mod sentence;

use std::time::Duration;

use foldhash::HashMap;
use futures_util::TryStreamExt;
use peep_wire::ProjectId;
use peep_wire::histogram::{ERROR_BOUND, Histogram, Quantile};
use serde_json::{Map, Value, json};
use sqlx::{PgPool, QueryBuilder, Row};

use crate::answer::Answers;
use crate::error::ApiError;
use crate::grouped::Group;
use crate::history::set_statement_timeout;
use crate::labels::{Dimension, Filters, GroupBy, Source};
use crate::names;
use crate::query::{Asked, CompareQuery, Side};
use crate::rows::Rows;
use crate::sampled::{push_filters, push_range};
use crate::significance::{self, Compared, Interval, Sample};

/// One side as it was found.
#[derive(Debug, Default)]
struct Found {
    label: String,
    from_s: i64,
    to_s: i64,
    whole: Sample,
    /// By method and route.
    routes: HashMap<(String, String), Sample>,
}

/// The answer of `GET /v1/compare`. Must run to its end, like [`crate::history::read`].
pub async fn compare(
    answers: &Answers,
    pool: &PgPool,
    project: ProjectId,
    query: CompareQuery,
    time_max: Duration,
) -> Result<Value, ApiError> {
    let CompareQuery { a, b, asked, filters } = query;
    let reader = Reader { answers, pool, project, asked, filters, time_max };
    let (a, b) = (reader.side(&a).await?, reader.side(&b).await?);
    Ok(answer(&a, &b))
}

struct Reader<'a> {
    answers: &'a Answers,
    pool: &'a PgPool,
    project: ProjectId,
    asked: Asked,
    filters: Filters,
    time_max: Duration,
}

impl Reader<'_> {
    async fn side(&self, side: &Side) -> Result<Found, ApiError> {
        let found = match side {
            Side::Window(asked) => self.exact(*asked, self.filters.clone()).await?,
            Side::Env(env) => self.exact(self.asked, self.narrowed(env)?).await?,
            Side::Version(version) => self.facet(Dimension::Version, version).await?,
            Side::Host(host) => self.facet(Dimension::Host, host).await?,
        };
        Ok(Found { label: side.label(), ..found })
    }

    /// A filter that names environments must name this one: who may see only one of them sees no other here either.
    fn narrowed(&self, env: &str) -> Result<Filters, ApiError> {
        if self.filters.env.iter().any(|allowed| allowed == env) || self.filters.env.is_empty() {
            return Ok(Filters { env: vec![env.to_owned()], ..self.filters.clone() });
        }
        let message = format!("`env:{env}` is not what this key may read; use a key that may");
        Err(ApiError::forbidden(message))
    }

    async fn exact(&self, asked: Asked, filters: Filters) -> Result<Found, ApiError> {
        let group_by = GroupBy::new([Dimension::Method, Dimension::Route]);
        let (window, groups) = self.answers.groups(self.project, asked, filters, group_by, ROUTES_MAX).await?;
        let mut found = Found { from_s: window.from_s, to_s: window.to_s, ..Found::default() };
        for group in groups {
            let total = group.total();
            let name = |dimension| group.key.text_of(dimension).unwrap_or_default().to_owned();
            let route = found.routes.entry((name(Dimension::Method), name(Dimension::Route))).or_default();
            for sample in [&mut found.whole, route] {
                sample.count += total.count;
                sample.errors += total.errors;
                sample.latency.merge(&total.latency);
            }
        }
        Ok(found)
    }

    /// A version or a host: as a whole exactly, where it was counted; by route from the kept events.
    async fn facet(&self, dimension: Dimension, value: &str) -> Result<Found, ApiError> {
        let sampled = self.sampled(dimension.name(), value).await?;
        let mut filters = self.filters.clone();
        match dimension {
            Dimension::Version => filters.version = vec![value.to_owned()],
            _ => filters.host = vec![value.to_owned()],
        }
        let group_by = GroupBy::default();
        if Source::of(&filters, &group_by) == Source::Kept {
            return Ok(sampled);
        }
        let answer = self.answers.ask(self.project, self.asked, filters, group_by).await?;
        if answer.origin().complete_since_ms.is_some() {
            // Part of it was counted before there were versions and hosts: the sample has seen more.
            return Ok(sampled);
        }
        let window = answer.question().window;
        let mut whole = Sample::default();
        for total in answer.into_groups(1).iter().map(Group::total) {
            (whole.count, whole.errors, whole.latency) = (total.count, total.errors, total.latency);
        }
        Ok(Found { from_s: window.from_s, to_s: window.to_s, whole, ..sampled })
    }

    /// From raw events and their weights: the newest when there are too many.
    async fn sampled(&self, dimension: &'static str, value: &str) -> Result<Found, ApiError> {
        let window = self.asked.window(&Default::default())?;
        let rows = self.events(dimension, value, window.from_s, window.to_s).await;
        let rows = rows.map_err(|error| ApiError::of_database(&error))?;
        let mut found = Found { from_s: window.from_s, to_s: window.to_s, ..Found::default() };
        // Kish: how many equally weighted requests would tell as much.
        let (mut sum, mut squares) = (0.0, 0.0);
        for Event { method, route, failed, duration_us, weight } in rows {
            let stands_for = weight.round().max(1.0) as u64;
            sum += f64::from(weight);
            squares += f64::from(weight) * f64::from(weight);
            let route = found.routes.entry((method, route)).or_default();
            for sample in [&mut found.whole, route] {
                sample.count += stands_for;
                sample.errors += if failed { stands_for } else { 0 };
                if let Some(us) = duration_us {
                    sample.latency.record_n(us, stands_for);
                }
            }
        }
        found.whole.kept = Some(if squares > 0.0 { (sum * sum / squares) as u64 } else { 0 });
        Ok(found)
    }

    async fn events(
        &self,
        dimension: &'static str,
        value: &str,
        from_s: i64,
        to_s: i64,
    ) -> Result<Vec<Event>, sqlx::Error> {
        let mut snapshot = self.pool.begin_with("begin isolation level repeatable read, read only").await?;
        set_statement_timeout(&mut snapshot, self.time_max).await?;
        let mut sql = QueryBuilder::new(
            "select method, route, (coalesce(status, 0) >= 500 or error is not null), duration_us, weight
            from raw_event where ",
        );
        push_range(&mut sql, self.project, from_s * 1000, to_s * 1000);
        // The dimension is one of two words of ours.
        sql.push(format!(" and {dimension} = ")).push_bind(value.to_owned());
        push_filters(&mut sql, &self.filters);
        sql.push(" order by ts desc limit ").push_bind(EVENTS_MAX);
        let mut rows = sql.build().fetch(&mut *snapshot);
        let mut events = Vec::new();
        while let Some(row) = rows.try_next().await? {
            let duration_us: Option<i64> = row.try_get(3)?;
            events.push(Event {
                method: row.try_get(0)?,
                route: row.try_get(1)?,
                failed: row.try_get(2)?,
                duration_us: duration_us.map(i64::unsigned_abs),
                weight: row.try_get(4)?,
            });
        }
        drop(rows);
        snapshot.commit().await?;
        Ok(events)
    }
}

struct Event {
    method: String,
    route: String,
    failed: bool,
    duration_us: Option<u64>,
    weight: f32,
}

fn answer(a: &Found, b: &Found) -> Value {
    let quantiles = quantiles();
    let compared = significance::compare(&a.whole, &b.whole, &quantiles);
    let errors_significant = significance::errors_differ(&a.whole, &b.whole);
    let rows = Rows::of(&[&a.whole.latency, &b.whole.latency]);
    json!({
        "a": side(a, &compared, |one| one.a),
        "b": side(b, &compared, |one| one.b),
        "error_bound": ERROR_BOUND,
        "quantiles": compared.iter().map(quantile).collect::<Vec<_>>(),
        "histogram": {"row_us": rows.row_us, "a": rows.counts[0], "b": rows.counts[1]},
        "sentence": sentence::of(
            (&names::isolated(&a.label), &a.whole),
            (&names::isolated(&b.label), &b.whole),
            &compared,
            errors_significant,
        ),
        "routes": routes(a, b),
        "errors_significant": errors_significant,
    })
}

fn side(found: &Found, compared: &[Compared], of: impl Fn(&Compared) -> Option<Interval>) -> Value {
    let values: Map<String, Value> =
        compared.iter().map(|one| (one.quantile.to_string(), json!(of(one).map(|side| ms(side.value_us))))).collect();
    let Sample { count, errors, kept, .. } = found.whole;
    json!({
        "label": found.label,
        "from_ms": found.from_s * 1000,
        "to_ms": found.to_s * 1000,
        "count": count,
        "errors": errors,
        "error_rate": (count > 0).then(|| found.whole.error_share()),
        "quantiles_ms": values,
        "origin": if kept.is_some() { "sampled" } else { "exact" },
        "kept": kept,
    })
}

fn quantile(one: &Compared) -> Value {
    let (a, b) = (one.a, one.b);
    let both = a.zip(b).map(|(a, b)| (ms(a.value_us), ms(b.value_us)));
    json!({
        "q": one.quantile.to_string().parse::<f64>().unwrap_or_default(),
        "a_ms": a.map(|a| ms(a.value_us)),
        "b_ms": b.map(|b| ms(b.value_us)),
        "difference_ms": both.map(|(a, b)| ((b - a) * 1000.0).round() / 1000.0),
        "factor": both.filter(|(a, _)| *a > 0.0).map(|(a, b)| b / a),
        "significant": one.significant,
        "enough": one.enough,
        "a_low_ms": a.map(|a| ms(a.low_us)),
        "a_high_ms": a.map(|a| ms(a.high_us)),
        "b_low_ms": b.map(|b| ms(b.low_us)),
        "b_high_ms": b.map(|b| ms(b.high_us)),
    })
}

/// By how much each adds to the share of requests that are slower than the p99 of `a`; what is faster takes away.
fn routes(a: &Found, b: &Found) -> Vec<Value> {
    let Some(limit_us) = a.whole.latency.value_at(Quantile::P99) else { return Vec::new() };
    // Of all that the routes know: the whole may know more.
    let timed = |found: &Found| found.routes.values().map(|sample| sample.latency.count()).sum::<u64>().max(1) as f64;
    let (a_timed, b_timed) = (timed(a), timed(b));
    let slow = |found: &Found, route: &(String, String)| {
        found.routes.get(route).map_or(0, |sample| slower_than(&sample.latency, limit_us)) as f64
    };
    let mut names: Vec<&(String, String)> = a.routes.keys().chain(b.routes.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let mut routes: Vec<(f64, &(String, String))> =
        names.into_iter().map(|route| (slow(b, route) / b_timed - slow(a, route) / a_timed, route)).collect();
    let all: f64 = routes.iter().map(|(difference, _)| difference.abs()).sum();
    routes.sort_by(|left, right| right.0.abs().total_cmp(&left.0.abs()));
    let row = |(difference, name): (f64, &(String, String))| {
        let of = |found: &Found| {
            let sample = found.routes.get(name);
            let p99_ms = sample.and_then(|sample| sample.latency.value_at(Quantile::P99)).map(ms);
            (sample.map_or(0, |sample| sample.count), p99_ms)
        };
        let ((a_count, a_p99_ms), (b_count, b_p99_ms)) = (of(a), of(b));
        json!({
            "method": name.0,
            "route": name.1,
            "a_count": a_count,
            "b_count": b_count,
            "a_p99_ms": a_p99_ms,
            "b_p99_ms": b_p99_ms,
            "contribution": if all > 0.0 { difference / all } else { 0.0 },
        })
    };
    routes.into_iter().take(ROUTES_SHOWN).map(row).collect()
}

fn slower_than(latency: &Histogram, limit_us: u64) -> u64 {
    let mut slow = 0;
    latency.for_each(|lowest_us, _, count| slow += if lowest_us > limit_us { count } else { 0 });
    slow
}

fn quantiles() -> Vec<Quantile> {
    ["0.5", "0.75", "0.9", "0.95", "0.98", "0.99", "0.999", "0.9999"]
        .iter()
        .map(|text| text.parse().expect("a decimal between 0 and 1"))
        .collect()
}

fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

const ROUTES_MAX: usize = 2000;
const ROUTES_SHOWN: usize = 20;
/// Some tens of megabytes on their way.
const EVENTS_MAX: i64 = 200_000;
