//! Search of raw events, newest first.
//!
//! Arrives: an [`EventsQuery`]. Leaves: a page of events and a cursor for the next. Promises: pages line up without
//! repetition or hole, also while events arrive; a page ends early, with a cursor, when its time is over. Text and
//! labels are bound parameters. Does not: include what is not committed yet, or claim completeness where only a sample
//! was kept: `sampled` and each event's `weight` say so, and `kept_from_ms` where the range begins before what is kept.
//!
//! With the first page come the counts: how many requests match, of how many, and their durations, each event by its weight.
//! They cost one pass over the range; when that takes too long they are `null`, and the page is there all the same.
//!
//! The table has only block ranges over `ts` (a b-tree would cost the writer three times the insert). So the scan walks
//! back in slices that grow while they find nothing: recent matches come at once, rare ones cost one pass.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use peep_wire::receipt::{Receipt, Share};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgRow, Postgres};
use sqlx::{PgConnection, QueryBuilder, Row};

use crate::error::ApiError;
use crate::history::set_statement_timeout;
use crate::position;
use crate::query::EventsQuery;
use crate::rows::Rows;
use crate::sampled::{gone_until, push_filters, push_range};

/// A page of events as JSON, the first with its counts. Must run to its end, like [`crate::history::read`].
pub async fn search(
    pool: &PgPool,
    project: ProjectId,
    query: &EventsQuery,
    time_max: Duration,
) -> Result<Value, SearchError> {
    let after = query.cursor.as_deref().map(Cursor::parse);
    let after = after.map(|cursor| cursor.ok_or(SearchError::Cursor)).transpose()?;
    let page = page(pool, project, query, after.map(|after| after.place), time_max).await?;
    let counts = if after.is_none() { counts(pool, project, query, time_max).await } else { None };
    let Counts { matched, total, durations, sampled } = counts.unwrap_or_default();
    // Of the whole answer: later pages say what the first one found out.
    let sampled = after.map_or(sampled, |after| after.sampled) || page.kept_from_ms.is_some();
    let next = page.next.map(|place| Cursor { place, sampled });
    Ok(json!({
        "events": page.events,
        "next_cursor": next.map(|next| next.to_string()),
        "sampled": sampled,
        "kept_from_ms": page.kept_from_ms,
        "matched": matched,
        "total": total,
        "duration_histogram": durations.map_or(Value::Null, |durations| Rows::of(&[&durations]).one_to_json()),
    }))
}

/// The newest kept event of a trace, as far as it can be found in time.
pub async fn newest_of_trace(
    pool: &PgPool,
    project: ProjectId,
    query: &EventsQuery,
    time_max: Duration,
) -> Result<Option<Value>, SearchError> {
    let page = page(pool, project, query, None, time_max).await?;
    Ok(page.events.into_iter().next())
}

async fn page(
    pool: &PgPool,
    project: ProjectId,
    query: &EventsQuery,
    after: Option<Place>,
    time_max: Duration,
) -> Result<Page, SearchError> {
    let started = Instant::now();
    let mut page = Page::default();
    let mut before = after.unwrap_or_else(|| Place::before(query.to_ms * 1000));
    let from_us = query.from_ms * 1000;
    let mut width_us = SLICE_US_MIN;
    let mut transaction = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut transaction, time_max).await?;
    page.kept_from_ms = gone_until(&mut transaction, project, query.from_ms, query.to_ms).await?;
    while before.is_after(from_us) {
        let slice_us = before.ts_us.saturating_sub(width_us).max(from_us);
        let wanted = query.limit - page.events.len();
        let rows = slice(&mut transaction, project, query, slice_us, before, wanted).await?;
        let found = rows.len();
        for row in &rows {
            before = page.push(row, project)?;
        }
        if found < wanted {
            before = Place::before(slice_us);
            width_us = if found * 4 < wanted { (width_us * 4).min(SLICE_US_MAX) } else { width_us };
        }
        let out_of_time = started.elapsed() > time_max;
        if page.events.len() == query.limit || out_of_time {
            page.next = before.is_after(from_us).then_some(before);
            break;
        }
    }
    transaction.commit().await?;
    Ok(page)
}

/// What a page is a part of.
struct Counts {
    matched: Option<u64>,
    total: Option<u64>,
    durations: Option<Histogram>,
    /// Whether any event that matches stands for more than itself.
    sampled: bool,
}

impl Default for Counts {
    /// Not counted: then nobody claims that everything was kept.
    fn default() -> Self {
        Self { matched: None, total: None, durations: None, sampled: true }
    }
}

/// A transaction of its own: when it takes too long the page must not suffer.
async fn counts(pool: &PgPool, project: ProjectId, query: &EventsQuery, time_max: Duration) -> Option<Counts> {
    match read_counts(pool, project, query, time_max.min(COUNT_TIME_MAX)).await {
        Ok(counts) => Some(counts),
        Err(error) => {
            tracing::debug!(%error, "the events of a range could not be counted");
            None
        }
    }
}

async fn read_counts(
    pool: &PgPool,
    project: ProjectId,
    query: &EventsQuery,
    time_max: Duration,
) -> Result<Counts, sqlx::Error> {
    let mut transaction = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut transaction, time_max).await?;
    // Durations to four digits: finer than any row that is drawn.
    let mut sql = QueryBuilder::new(
        "select case when is_match and duration_us is not null
                then round(duration_us::numeric, 3 - floor(log(greatest(duration_us, 1)::double precision))::int)::bigint end,
            is_match, sum(weight)::double precision, bool_or(weight <> 1)
        from (select duration_us, weight, coalesce(true",
    );
    push_matches(&mut sql, query);
    sql.push(", false) as is_match from raw_event where ");
    push_range(&mut sql, project, query.from_ms, query.to_ms);
    sql.push(") seen group by 1, 2");
    let rows = sql.build().fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let (mut matched, mut total, mut durations, mut sampled) = (0.0, 0.0, Histogram::new(), false);
    for row in &rows {
        let (duration_us, is_match): (Option<i64>, bool) = (row.try_get(0)?, row.try_get(1)?);
        let weight: f64 = row.try_get(2)?;
        total += weight;
        matched += if is_match { weight } else { 0.0 };
        sampled |= is_match && row.try_get::<bool, _>(3)?;
        if let Some(us) = duration_us {
            durations.record_n(us.unsigned_abs(), weight.round() as u64);
        }
    }
    let (matched, total) = (Some(matched.round() as u64), Some(total.round() as u64));
    Ok(Counts { matched, total, durations: Some(durations), sampled })
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Not a cursor of ours.
    #[error("not a cursor")]
    Cursor,
    /// Connection lost or statement refused.
    #[error("read raw events")]
    Database(#[from] sqlx::Error),
}

impl SearchError {
    /// What the caller is told.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::Cursor => ApiError::invalid_parameter("cursor", "is not a `next_cursor` of an earlier answer"),
            Self::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some("57014") => {
                ApiError::too_wide("the search did not finish in time; use a shorter range or more filters")
            }
            Self::Database(_) => ApiError::unavailable(),
        }
    }
}

#[derive(Default)]
struct Page {
    events: Vec<Value>,
    next: Option<Place>,
    /// Events of the range that ended earlier were counted and are not kept any more.
    kept_from_ms: Option<i64>,
}

impl Page {
    fn push(&mut self, row: &PgRow, project: ProjectId) -> Result<Place, sqlx::Error> {
        let place = Place::of(row)?;
        let weight: f32 = row.try_get("weight")?;
        self.events.push(event(row, place, weight, project)?);
        Ok(place)
    }
}

/// Where the next page goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    place: Place,
    /// As the first page found it.
    sampled: bool,
}

/// Where an event lies in the order of the answer; total, because the last three are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    ts_us: i64,
    partition: i32,
    offset: i64,
    index: i32,
}

impl Place {
    /// Just below every event of that instant.
    fn before(ts_us: i64) -> Self {
        Self { ts_us, partition: -1, offset: -1, index: -1 }
    }

    /// Whether an event of that instant or later may lie below this place.
    fn is_after(self, from_us: i64) -> bool {
        self.ts_us > from_us || (self.ts_us == from_us && self.partition >= 0)
    }

    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            ts_us: row.try_get("ts_us")?,
            partition: row.try_get("log_partition")?,
            offset: row.try_get("log_offset")?,
            index: row.try_get("event_index")?,
        })
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let text = str::from_utf8(&bytes).ok()?;
        let mut parts = text.split('.');
        let place = Place {
            ts_us: parts.next()?.parse().ok()?,
            partition: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
            index: parts.next()?.parse().ok()?,
        };
        let sampled = match parts.next() {
            None => false,
            Some(SAMPLED) => true,
            Some(_) => return None,
        };
        let in_range = (0..=YEAR_9999_US).contains(&place.ts_us);
        (parts.next().is_none() && in_range).then_some(Self { place, sampled })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { ts_us, partition, offset, index } = self.place;
        let mut text = format!("{ts_us}.{partition}.{offset}.{index}");
        if self.sampled {
            text = format!("{text}.{SAMPLED}");
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

/// The newest matches in `[from_us, before)`.
async fn slice(
    connection: &mut PgConnection,
    project: ProjectId,
    query: &EventsQuery,
    from_us: i64,
    before: Place,
    limit: usize,
) -> Result<Vec<PgRow>, sqlx::Error> {
    let mut sql = QueryBuilder::new(
        "select (extract(epoch from ts) * 1000000)::bigint as ts_us, service, env, route, method, status, duration_us,
            error, host, version, trace_id, span_id, source, attrs::text as attrs, weight,
            log_partition, log_offset, event_index
        from raw_event where project_id = ",
    );
    let seconds = |us: i64| us as f64 / 1_000_000.0;
    sql.push_bind(project.0.cast_signed());
    sql.push(" and ts >= to_timestamp(").push_bind(seconds(from_us));
    sql.push(") and ts <= to_timestamp(").push_bind(seconds(before.ts_us));
    sql.push(") and (ts, log_partition, log_offset, event_index) < (to_timestamp(").push_bind(seconds(before.ts_us));
    sql.push("), ").push_bind(before.partition).push(", ").push_bind(before.offset);
    sql.push(", ").push_bind(before.index).push(")");
    push_matches(&mut sql, query);
    sql.push(" order by ts desc, log_partition desc, log_offset desc, event_index desc limit ").push_bind(limit as i64);
    sql.build().fetch_all(connection).await
}

/// Which events are asked for: further conditions on the columns of `raw_event`. Values are bound, never text.
fn push_matches(sql: &mut QueryBuilder<Postgres>, query: &EventsQuery) {
    push_filters(sql, &query.filters);
    if let Some(duration_us) = query.duration_us_min {
        sql.push(" and duration_us >= ").push_bind(duration_us);
    }
    if let Some(duration_us) = query.duration_us_max {
        sql.push(" and duration_us <= ").push_bind(duration_us);
    }
    if let Some(trace_id) = &query.trace_id {
        sql.push(" and trace_id = ").push_bind(trace_id.to_vec());
    }
    if let Some(text) = &query.text {
        sql.push(" and strpos(lower(concat_ws(' ', route, error, host, version, attrs::text)), lower(");
        sql.push_bind(text.clone()).push(")) > 0");
    }
}

fn event(row: &PgRow, place: Place, weight: f32, project: ProjectId) -> Result<Value, sqlx::Error> {
    let Place { ts_us, partition, offset, index } = place;
    let offset = position::offset(offset.cast_unsigned());
    // Of this one event: which others came with it, only the record knows.
    let share = (index > 0).then_some(Share { first_event: index.unsigned_abs(), events: 0 });
    let receipt = Receipt { project, partition: partition.unsigned_abs(), offset, share };
    let method: String = row.try_get("method")?;
    let duration_us: Option<i64> = row.try_get("duration_us")?;
    let attrs: Option<String> = row.try_get("attrs")?;
    let text = |name: &str| row.try_get::<Option<String>, _>(name);
    Ok(json!({
        "ts": Timestamp::from_microsecond(ts_us).map(|ts| ts.to_string()).unwrap_or_default(),
        "ts_ms": ts_us.div_euclid(1000),
        "service": text("service")?,
        "env": text("env")?,
        "route": text("route")?,
        "method": (!method.is_empty()).then_some(method),
        "status": row.try_get::<Option<i16>, _>("status")?.filter(|status| *status != 0),
        "duration_ms": duration_us.map(|us| us as f64 / 1000.0),
        "error": text("error")?,
        "host": text("host")?,
        "version": text("version")?,
        "trace_id": hex(row.try_get("trace_id")?),
        "span_id": hex(row.try_get("span_id")?),
        "source": text("source")?,
        "attrs": attrs.and_then(|json| serde_json::from_str::<Value>(&json).ok()),
        "weight": weight,
        "receipt": receipt.to_string(),
    }))
}

fn hex(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// For counting; the page has all the time there is.
const COUNT_TIME_MAX: Duration = Duration::from_secs(3);
const SLICE_US_MIN: i64 = 30_000_000;
const SLICE_US_MAX: i64 = 86_400_000_000;
/// Last part of a cursor.
const SAMPLED: &str = "s";
const YEAR_9999_US: i64 = 253_402_300_799_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nonsense_is_refused() {
        let place = Place { ts_us: 1_795_183_203_123_456, partition: 3, offset: 99, index: 7 };
        for sampled in [false, true] {
            let cursor = Cursor { place, sampled };
            assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        }
        for nonsense in ["", "abc", "MS4yLjM", "MS4yLjMuNC41", "LTEuMC4wLjA"] {
            assert_eq!(Cursor::parse(nonsense), None, "{nonsense}");
        }
    }
}
