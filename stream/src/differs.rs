//! What differs in a part of a heatmap: for each dimension the value that is most overrepresented among the requests of a
//! rectangle, against all others of the range.
//!
//! ```text
//! duration │ · · · · ┌─────┐ ·        share of a value inside  −  share of it outside
//!          │ · · · · │ sel │ ·        ranked by that difference
//!          │ · · · · └─────┘ ·
//!          └───────────────────▶ time
//! ```
//!
//! Arrives: a question and a rectangle, widened to whole buckets of time and of duration. Leaves: `GET /v1/differs`. Promises:
//! where the rollups know a dimension its shares are exact; where they do not (attributes; versions and hosts crossed with other
//! filters) they come from kept events, say so and from how many, and are only called different beyond twice their standard
//! error. Requests without a duration are on neither side.
//!
//! Does not: say why.

use std::collections::{BTreeMap, BTreeSet};

use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgRow;
use sqlx::{QueryBuilder, Row};

use crate::answer::Answers;
use crate::error::ApiError;
use crate::grouped::Origin;
use crate::history::{HistoryError, set_statement_timeout};
use crate::labels::{Dimension, Filters, GroupBy, GroupKey, Source};
use crate::query::{DiffersQuery, Window};
use crate::sampled;

/// `GET /v1/differs`
pub async fn compare(answers: &Answers, project: ProjectId, query: DiffersQuery) -> Result<Value, ApiError> {
    let durations = (query.selection.us_min, query.selection.us_max);
    let (whole, window, origin) = count(answers, project, &query, &[]).await?;
    let mut compared = Vec::new();
    let mut to_sample = Vec::new();
    for (name, group_by) in DIMENSIONS {
        if Source::of(&query.filters, &GroupBy::new(group_by.iter().copied())) == Source::Kept {
            to_sample.push(*name);
            continue;
        }
        let (sides, _, _) = count(answers, project, &query, group_by).await?;
        compared.push(sides.compared((*name).to_owned(), None));
    }
    let place = Place { project, all: window, part: whole.window, durations };
    let kept = match sample(answers, place, query.filters).await {
        Ok(sample) => {
            compared.extend(to_sample.iter().map(|name| sample.dimension(name)));
            // An attribute is only worth a line when it says something.
            compared.extend(sample.attributes().into_iter().filter(|compared| compared.difference >= DIFFERENCE_MIN));
            Some(sample.selected)
        }
        // What the rollups know is an answer also where nothing was kept, or too much.
        Err(HistoryError::NotExact(_)) => None,
        Err(HistoryError::Database(error)) if is_timeout(&error) => None,
        Err(error) => return Err(error.to_api()),
    };
    let (selected, total) = (whole.selected_sum, whole.all_sum);
    let mut answer = Map::new();
    let selection = json!({
        "from_ms": place.part.from_s * 1000, "to_ms": place.part.to_s * 1000,
        "us0": durations.0, "us1": durations.1, "count": selected as u64,
    });
    answer.insert("from_ms".into(), (place.all.from_s * 1000).into());
    answer.insert("to_ms".into(), (place.all.to_s * 1000).into());
    answer.insert("origin".into(), if origin.kept.is_some() { "sampled" } else { "exact" }.into());
    answer.insert("selection".into(), selection);
    answer.insert("rest".into(), json!({"count": (total - selected).max(0.0) as u64}));
    answer.insert("dimensions".into(), ranked(compared).into_iter().map(Compared::into_json).collect());
    answer.insert("kept".into(), kept.into());
    Ok(Value::Object(answer))
}

/// Requests of the selection and of the range by a dimension, the window of the range, and where the answer comes from.
async fn count(
    answers: &Answers,
    project: ProjectId,
    query: &DiffersQuery,
    group_by: &[Dimension],
) -> Result<(Sides, Window, Origin), ApiError> {
    let DiffersQuery { asked, filters, selection } = query;
    let group_by = GroupBy::new(group_by.iter().copied());
    let all = answers.ask(project, *asked, filters.clone(), group_by.clone()).await?;
    let part = answers.ask(project, selection.asked, filters.clone(), group_by).await?;
    let mut sides = Sides::new(part.question().window);
    for group in part.into_groups(GROUPS_MAX) {
        let inside = inside(&group.total().latency, (selection.us_min, selection.us_max));
        sides.selected(named(&group.key), inside as f64);
    }
    let (window, origin) = (all.question().window, all.origin());
    for group in all.into_groups(GROUPS_MAX) {
        sides.all(named(&group.key), group.total().latency.count() as f64);
    }
    Ok((sides, window, origin))
}

/// `POST /buy`.
fn named(key: &GroupKey) -> String {
    key.texts().join(" ").trim().to_owned()
}

/// Durations within `[min, max)`, both of them bounds of buckets.
fn inside(histogram: &Histogram, (us_min, us_max): (u64, u64)) -> u64 {
    let mut sum = 0;
    histogram.for_each(|lowest_us, _, count| sum += if (us_min..us_max).contains(&lowest_us) { count } else { 0 });
    sum
}

/// Requests by value, inside of the selection and all together.
#[derive(Debug, Clone)]
struct Sides {
    window: Window,
    values: BTreeMap<String, (f64, f64)>,
    selected_sum: f64,
    all_sum: f64,
}

impl Sides {
    fn new(window: Window) -> Self {
        Self { window, values: BTreeMap::new(), selected_sum: 0.0, all_sum: 0.0 }
    }

    fn selected(&mut self, value: String, count: f64) {
        self.values.entry(value).or_default().0 += count;
        self.selected_sum += count;
    }

    fn all(&mut self, value: String, count: f64) {
        self.values.entry(value).or_default().1 += count;
        self.all_sum += count;
    }

    /// The value whose share differs most.
    fn compared(&self, name: String, sample: Option<Evidence>) -> Compared {
        let rest_sum = self.all_sum - self.selected_sum;
        let share = |count: f64, of: f64| if of > 0.0 { (count / of).clamp(0.0, 1.0) } else { 0.0 };
        let mut best = Compared {
            name,
            sampled: sample.map(|evidence| evidence.kept),
            value: None,
            share: 0.0,
            rest_share: 0.0,
            distinct: self.values.values().filter(|(selected, all)| *selected > 0.0 || *all > 0.0).count(),
            difference: 0.0,
        };
        // With nothing to compare with there is no difference.
        if self.selected_sum <= 0.0 || rest_sum <= 0.0 {
            return best;
        }
        for (value, (selected, all)) in &self.values {
            let (inside, outside) = (share(*selected, self.selected_sum), share(all - selected, rest_sum));
            let difference = inside - outside;
            let is_certain = sample.is_none_or(|evidence| evidence.tells_apart(inside, outside));
            if difference > best.difference && is_certain {
                best = Compared { value: Some(value.clone()), share: inside, rest_share: outside, difference, ..best };
            }
        }
        best
    }
}

/// How much a sample is worth: as many equally weighted events.
#[derive(Debug, Clone, Copy)]
struct Evidence {
    /// Events of the selection that were kept.
    kept: u64,
    selected: f64,
    rest: f64,
}

impl Evidence {
    /// Whether two shares differ by more than twice the standard error of their difference.
    fn tells_apart(self, inside: f64, outside: f64) -> bool {
        if self.kept < KEPT_MIN || self.rest < 1.0 {
            return false;
        }
        let variance = |share: f64, of: f64| share * (1.0 - share) / of.max(1.0);
        let error = (variance(inside, self.selected) + variance(outside, self.rest)).sqrt();
        inside - outside > 2.0 * error
    }
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq)]
struct Compared {
    name: String,
    /// From how many kept events; `None`: exact.
    sampled: Option<u64>,
    value: Option<String>,
    share: f64,
    rest_share: f64,
    distinct: usize,
    difference: f64,
}

impl Compared {
    fn into_json(self) -> Value {
        let is_different = self.value.is_some();
        let rounded = |share: f64| is_different.then(|| (share * 1e6).round() / 1e6);
        let mut line = Map::new();
        line.insert("name".into(), self.name.into());
        line.insert("origin".into(), if self.sampled.is_some() { "sampled" } else { "exact" }.into());
        if let Some(kept) = self.sampled {
            line.insert("n".into(), kept.into());
        }
        line.insert("value".into(), self.value.into());
        line.insert("share".into(), rounded(self.share).into());
        line.insert("rest_share".into(), rounded(self.rest_share).into());
        line.insert("distinct".into(), self.distinct.into());
        line.insert("difference".into(), rounded(self.difference).unwrap_or(0.0).into());
        Value::Object(line)
    }
}

/// The largest differences first, then what makes none.
fn ranked(mut compared: Vec<Compared>) -> Vec<Compared> {
    compared.sort_by(|left, right| right.difference.total_cmp(&left.difference).then(left.name.cmp(&right.name)));
    let (mut different, same): (Vec<_>, Vec<_>) =
        compared.into_iter().partition(|compared| compared.difference >= DIFFERENCE_MIN);
    different.truncate(DIFFERENT_MAX);
    different.extend(same.into_iter().map(|compared| Compared { value: None, difference: 0.0, ..compared }));
    different
}

/// Where to look for kept events.
#[derive(Debug, Clone, Copy)]
struct Place {
    project: ProjectId,
    all: Window,
    part: Window,
    durations: (u64, u64),
}

/// Kept events of the selection and of the rest.
#[derive(Debug, Default)]
struct Sample {
    /// By dimension.
    sides: BTreeMap<String, Sides>,
    /// Events of the selection.
    selected: u64,
    /// Sums of weights and of their squares, of both sides.
    weights: [(f64, f64); 2],
    attributes: BTreeSet<String>,
}

impl Sample {
    fn add(&mut self, row: &PgRow, is_selected: bool, window: Window) -> Result<(), sqlx::Error> {
        let weight = sampled::weight(row)? as f64;
        self.selected += u64::from(is_selected);
        let (sum, squares) = &mut self.weights[usize::from(!is_selected)];
        *sum += weight;
        *squares += weight * weight;
        let labels = sampled::labels(row)?;
        let route = format!("{} {}", labels.method, labels.route);
        let status = if labels.status == 0 { String::new() } else { labels.status.to_string() };
        let named =
            [("route", route.trim()), ("status", status.as_str()), ("version", labels.version), ("host", labels.host)];
        for (name, value) in named {
            self.count(name.to_owned(), value.to_owned(), weight, is_selected, window);
        }
        let attrs: Option<&str> = row.try_get("attrs")?;
        let attrs = attrs.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok()).unwrap_or_default();
        for (key, value) in attrs {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.attributes.insert(key.clone());
            self.count(format!("{ATTRS}{key}"), text, weight, is_selected, window);
        }
        Ok(())
    }

    fn count(&mut self, name: String, value: String, weight: f64, is_selected: bool, window: Window) {
        let sides = self.sides.entry(name).or_insert_with(|| Sides::new(window));
        let (selected, all) = sides.values.entry(value).or_default();
        *selected += if is_selected { weight } else { 0.0 };
        *all += weight;
    }

    fn dimension(&self, name: &str) -> Compared {
        let [(selected, squares), (rest, rest_squares)] = self.weights;
        // Events that lack an attribute count for all its shares.
        let mut sides =
            self.sides.get(name).cloned().unwrap_or_else(|| Sides::new(Window { from_s: 0, to_s: 0, step_s: 1 }));
        (sides.selected_sum, sides.all_sum) = (selected, selected + rest);
        let worth = |sum: f64, squares: f64| if squares > 0.0 { sum * sum / squares } else { 0.0 };
        let evidence =
            Evidence { kept: self.selected, selected: worth(selected, squares), rest: worth(rest, rest_squares) };
        sides.compared(name.to_owned(), Some(evidence))
    }

    fn attributes(&self) -> Vec<Compared> {
        self.attributes.iter().map(|key| self.dimension(&format!("{ATTRS}{key}"))).collect()
    }
}

/// Reads some kept events of both sides, picked by a hash of their place in the log.
async fn sample(answers: &Answers, place: Place, filters: Filters) -> Result<Sample, HistoryError> {
    let (pool, time_max) = answers.pool();
    let pool = pool.clone();
    // A task of its own, so that a client that leaves does not cancel it in the middle of a transaction.
    let task = tokio::spawn(async move {
        let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
        set_statement_timeout(&mut snapshot, time_max).await?;
        sampled::refuse_gone(&mut snapshot, place.project, place.all.from_s * 1000, place.all.to_s * 1000).await?;
        let mut sample = Sample::default();
        for is_selected in [true, false] {
            let rows = selection(place, &filters, is_selected).build().fetch_all(&mut *snapshot).await?;
            for row in &rows {
                sample.add(row, is_selected, place.part)?;
            }
        }
        snapshot.commit().await?;
        Ok::<_, HistoryError>(sample)
    });
    task.await.unwrap_or_else(|_| Err(HistoryError::Database(sqlx::Error::WorkerCrashed)))
}

fn selection(place: Place, filters: &Filters, is_selected: bool) -> QueryBuilder<sqlx::Postgres> {
    let mut query = QueryBuilder::new(
        "select env, service, route, method, coalesce(status, 0)::smallint as status, coalesce(version, '') as version,
            coalesce(host, '') as host, attrs::text as attrs, weight
        from raw_event where ",
    );
    sampled::push_range(&mut query, place.project, place.all.from_s * 1000, place.all.to_s * 1000);
    sampled::push_filters(&mut query, filters);
    query.push(" and duration_us is not null and ").push(if is_selected { "(" } else { "not (" });
    for (comparison, second) in [(">=", place.part.from_s), ("<", place.part.to_s)] {
        query.push(format!("ts {comparison} to_timestamp(")).push_bind(second as f64).push(") and ");
    }
    query.push("duration_us >= ").push_bind(place.durations.0.cast_signed());
    query.push(" and duration_us < ").push_bind(place.durations.1.cast_signed());
    query.push(") order by hashint8extended(log_offset, event_index) limit ").push_bind(KEPT_MAX);
    query
}

fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(cause) if cause.code().as_deref() == Some("57014"))
}

/// What a rollup may know.
const DIMENSIONS: &[(&str, &[Dimension])] = &[
    ("route", &[Dimension::Method, Dimension::Route]),
    ("status", &[Dimension::Status]),
    ("version", &[Dimension::Version]),
    ("host", &[Dimension::Host]),
];
const ATTRS: &str = "attrs.";
/// Five points.
const DIFFERENCE_MIN: f64 = 0.05;
const DIFFERENT_MAX: usize = 6;
/// Beyond it, the rarest values are one.
const GROUPS_MAX: usize = 10_000;
/// Of a sample that is smaller nothing is said.
const KEPT_MIN: u64 = 10;
/// Of each side: a share is known to half a point.
const KEPT_MAX: i64 = 10_000;

#[cfg(test)]
mod tests;
