//! Answers from the events that were kept, for questions that no rollup knows: versions or hosts crossed with routes, methods,
//! statuses or one another.
//!
//! Arrives: a question. Leaves: its answer as an estimate, poured into a [`Grouped`]: each kept event counts as many times as
//! its weight says. Promises: it says that it is an estimate, and from how many events; where kept events cannot answer (they
//! are gone, or there are too many of them to look at) that is an error with a way out, and never half an answer.
//!
//! Does not: know why an event was kept (the rollup does; the weights make it fair).

use axum::http::StatusCode;
use futures_util::TryStreamExt;
use peep_wire::ProjectId;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{PgConnection, QueryBuilder, Row};

use crate::error::ApiError;
use crate::grouped::{Grouped, Kept};
use crate::history::HistoryError;
use crate::labels::{Dimension, Filters, Labels};
use crate::query::show_span;

/// Why kept events cannot answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotExact {
    /// Those before this moment are gone, Unix milliseconds.
    #[error("kept events begin later")]
    Gone {
        /// When the oldest that may be there ended.
        since_ms: i64,
    },
    /// More than one answer may look at.
    #[error("too many kept events")]
    TooMany {
        /// How long the range was, seconds.
        range_s: i64,
    },
}

impl NotExact {
    /// What the caller is told.
    pub fn to_api(self) -> ApiError {
        let why = "versions and hosts are counted for each service and environment; together with `route`, `method`, `status` or \
                   each other they are estimated from the events that were kept";
        let message = match self {
            Self::Gone { since_ms } => {
                let since = jiff::Timestamp::from_millisecond(since_ms);
                let since = since.map_or_else(|_| since_ms.to_string(), |at| at.to_string());
                format!("{why}, which begin at {since}; use a later `from`, or leave one of them out")
            }
            Self::TooMany { range_s } => {
                let range = show_span((range_s / 4).max(60));
                format!("{why}, of which there are too many here; use a range of {range}, or leave one of them out")
            }
        };
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "not_exact", message)
    }
}

/// Pours kept events into `grouped`. The connection is in a snapshot.
pub async fn pour(connection: &mut PgConnection, grouped: &mut Grouped, rows_max: u64) -> Result<(), HistoryError> {
    let question = grouped.question().clone();
    let (from_ms, to_ms) = (question.window.from_s * 1000, question.window.to_s * 1000);
    refuse_gone(connection, question.project, from_ms, to_ms).await?;
    let mut query = QueryBuilder::new(
        "select (extract(epoch from ts) * 1000)::bigint as ts_ms, env, service, route, method, coalesce(status, 0)::smallint as status,
            coalesce(version, '') as version, coalesce(host, '') as host, duration_us,
            error is not null or coalesce(status, 0) >= 500 as failed, weight
        from raw_event where ",
    );
    push_range(&mut query, question.project, from_ms, to_ms);
    push_filters(&mut query, &question.filters);
    let rows_max = rows_max.min(ROWS_MAX);
    query.push(" limit ").push_bind(rows_max.cast_signed() + 1);
    let mut rows = query.build().fetch(connection);
    let mut kept = 0;
    while let Some(row) = rows.try_next().await? {
        kept += 1;
        if kept > rows_max {
            let range_s = question.window.to_s - question.window.from_s;
            return Err(NotExact::TooMany { range_s }.into());
        }
        if let Some(group) = grouped.group_of(&labels(&row)?) {
            grouped.add_kept(group, &kept_event(&row)?)?;
        }
    }
    grouped.set_kept(kept);
    Ok(())
}

/// Refuses ranges that began when there was more than is kept now.
pub async fn refuse_gone(
    connection: &mut PgConnection,
    project: ProjectId,
    from_ms: i64,
    to_ms: i64,
) -> Result<(), HistoryError> {
    match gone_until(connection, project, from_ms, to_ms).await? {
        Some(since_ms) => Err(NotExact::Gone { since_ms }.into()),
        None => Ok(()),
    }
}

/// Since when events are kept, when some of the range were counted that are not kept any more. Unix milliseconds.
pub async fn gone_until(
    connection: &mut PgConnection,
    project: ProjectId,
    from_ms: i64,
    to_ms: i64,
) -> Result<Option<i64>, sqlx::Error> {
    let oldest = "select (extract(epoch from min(starts)) * 1000)::bigint from time_partition_list('raw_event')
        where state = 'attached'";
    let since_ms: Option<i64> = sqlx::query_scalar(oldest).fetch_one(&mut *connection).await?;
    let since_ms = since_ms.unwrap_or(to_ms);
    if since_ms <= from_ms {
        return Ok(None);
    }
    // Before the first event there is nothing that could be gone.
    let sql = "select exists (
                select from rollup_10s where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3))
            or exists (
                select from rollup_1m where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3))
            or exists (
                select from rollup_1h where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3))";
    let was_more: bool = sqlx::query_scalar(sql)
        .bind(project.0.cast_signed())
        .bind(seconds(from_ms))
        .bind(seconds(since_ms.min(to_ms)))
        .fetch_one(connection)
        .await?;
    Ok(was_more.then_some(since_ms))
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// Project and time of `raw_event`: the beginning of a condition.
pub fn push_range(query: &mut QueryBuilder<Postgres>, project: ProjectId, from_ms: i64, to_ms: i64) {
    query.push("project_id = ").push_bind(project.0.cast_signed());
    for (comparison, ms) in [(">=", from_ms), ("<", to_ms)] {
        query.push(format!(" and ts {comparison} to_timestamp(")).push_bind(seconds(ms)).push(")");
    }
}

/// The filters as conditions on the columns of `raw_event`. Values are bound, never text.
pub fn push_filters(query: &mut QueryBuilder<Postgres>, filters: &Filters) {
    for dimension in Dimension::ALL {
        if is_listed(filters, dimension) {
            query.push(" and ");
            push_list(query, filters, dimension);
        }
        if let Some(without) = filters.without.as_deref().filter(|without| is_listed(without, dimension)) {
            query.push(" and not ");
            push_list(query, without, dimension);
        }
    }
}

fn is_listed(filters: &Filters, dimension: Dimension) -> bool {
    !filters.texts(dimension).is_empty() || (dimension == Dimension::Status && !filters.status.is_empty())
}

/// Never null, so that it can be negated.
fn push_list(query: &mut QueryBuilder<Postgres>, filters: &Filters, dimension: Dimension) {
    if dimension == Dimension::Status {
        query.push("(coalesce(status, 0) = any (").push_bind(filters.statuses());
        query.push(") or coalesce(status, 0) / 100 = any (").push_bind(filters.status_classes());
        query.push("))");
        return;
    }
    query.push(format!("(coalesce({}, '') = any (", dimension.name()));
    query.push_bind(filters.texts(dimension).to_vec()).push("))");
}

/// The labels of a kept event.
pub fn labels(row: &PgRow) -> Result<Labels<'_>, sqlx::Error> {
    let status: i16 = row.try_get("status")?;
    Ok(Labels {
        env: row.try_get("env")?,
        service: row.try_get("service")?,
        route: row.try_get("route")?,
        method: row.try_get("method")?,
        status: status.unsigned_abs(),
        version: row.try_get("version")?,
        host: row.try_get("host")?,
    })
}

fn kept_event(row: &PgRow) -> Result<Kept, sqlx::Error> {
    let status: i16 = row.try_get("status")?;
    Ok(Kept {
        ended_ms: row.try_get("ts_ms")?,
        status: status.unsigned_abs(),
        error: row.try_get("failed")?,
        duration_us: row.try_get::<Option<i64>, _>("duration_us")?.map(i64::unsigned_abs),
        weight: weight(row)?,
    })
}

/// How many events a row stands for: a power of two.
pub fn weight(row: &PgRow) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<f32, _>("weight")?.round().max(1.0) as u64)
}

/// A second or so of reading.
const ROWS_MAX: u64 = 500_000;
