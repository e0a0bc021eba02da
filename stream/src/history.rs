//! SQL reads of the rollups: the only file that knows their tables.
//!
//! Arrives: a [`Question`]. Leaves: its committed part, poured into a [`Grouped`], and the cursors up to which it is
//! complete. Promises: rows and cursors come from one snapshot (repeatable read), so they agree whatever is being
//! committed meanwhile; a statement that takes too long or a result that is too wide is an error with a way out.
//! Label values are bound parameters, never text. Does not: know live frames ([`crate::stitch`] joins the two).

use std::collections::BTreeMap;
use std::time::Duration;

use foldhash::HashMap;
use futures_util::TryStreamExt;
use peep_wire::ProjectId;
use peep_wire::histogram::Totals;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};

use crate::error::ApiError;
use crate::grouped::{Grouped, Piece, PourError, Question};
use crate::labels::Labels;
use crate::query::show_span;
use crate::stitch::Position;

/// Per partition of the event log: everything below is committed.
pub type Cursors = BTreeMap<u32, Position>;

/// What one question may cost.
#[derive(Debug, Clone, Copy)]
pub struct HistoryLimits {
    /// Rollup rows read for one answer.
    pub rows_max: u64,
    /// Longest time for one statement.
    pub statement_timeout: Duration,
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Connection lost, statement refused, pool exhausted.
    #[error("read rollups")]
    Database(#[from] sqlx::Error),
    /// Too many rows; how many seconds of range would fit, if that could be told.
    #[error("more rollup rows than one answer may read")]
    TooManyRows {
        /// A shorter range that would have been answered.
        fitting_s: Option<i64>,
    },
    /// Beyond the memory for one answer, or unreadable.
    #[error(transparent)]
    Pour(#[from] PourError),
}

impl HistoryError {
    /// What the caller is told; the rest belongs into the log.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::TooManyRows { fitting_s: Some(fitting_s) } => ApiError::too_wide(format!(
                "the range holds more rows than one answer may read; use a range of at most {}, or filter by \
                 `service`, `route` or `env`",
                show_span(*fitting_s)
            )),
            Self::TooManyRows { fitting_s: None } | Self::Pour(PourError::TooWide) => ApiError::too_wide(
                "the answer would be too large; use a shorter range, a wider `step`, fewer `group_by`, or filter by \
                 `service`, `route` or `env`",
            ),
            Self::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some(QUERY_CANCELED) => {
                ApiError::too_wide(
                    "the database did not finish in time; use a shorter range, or filter by `service`, `route` or `env`",
                )
            }
            Self::Database(_) => ApiError::unavailable(),
            Self::Pour(PourError::Histogram(_)) => ApiError::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "corrupt_history",
                "a stored histogram cannot be read; the log of this server names it",
            ),
        }
    }
}

/// Pours the committed part of the answer into `grouped`.
///
/// Must run to its end: sqlx 0.9.0 puts a connection back into the pool with its transaction open when `begin` is
/// cancelled. Callers therefore run it in a task of its own ([`crate::answer`]).
pub async fn read(
    pool: &PgPool,
    grouped: &mut Grouped,
    now_ms: i64,
    limits: HistoryLimits,
) -> Result<Cursors, HistoryError> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut snapshot, limits.statement_timeout).await?;
    let cursors = read_cursors(&mut *snapshot).await?;
    let question = grouped.question().clone();
    for env in envs(&mut snapshot, question.project).await? {
        grouped.add_env(&env);
    }
    let series = matching_series(&mut snapshot, grouped).await?;
    if !series.is_empty() {
        pour_pieces(&mut snapshot, grouped, &series, now_ms, limits).await?;
    }
    snapshot.commit().await?;
    Ok(cursors)
}

/// How far every partition is committed.
pub async fn read_cursors(connection: impl sqlx::PgExecutor<'_>) -> Result<Cursors, sqlx::Error> {
    let rows = sqlx::query("select log_partition, next_offset, epoch from rollup_cursor").fetch_all(connection).await?;
    let cursor = |row: &PgRow| -> Result<(u32, Position), sqlx::Error> {
        let partition: i32 = row.try_get(0)?;
        let position = Position { offset: unsigned(row.try_get(1)?), epoch: unsigned(row.try_get(2)?) };
        Ok((partition.unsigned_abs(), position))
    };
    rows.iter().map(cursor).collect()
}

/// `set local` takes no bound parameters; `set_config` does, and `true` means "this transaction".
pub async fn set_statement_timeout(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('statement_timeout', $1, true)")
        .bind(timeout.as_millis().to_string())
        .execute(connection)
        .await
        .map(|_| ())
}

/// The environments of a project, by skipping through the unique index (project_id, env, …): as many probes as there
/// are environments, however many series each has.
async fn envs(connection: &mut PgConnection, project: ProjectId) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with recursive found as (
            (select env from series where project_id = $1 order by env limit 1)
            union all
            select (select env from series where project_id = $1 and env > found.env order by env limit 1)
            from found where found.env is not null
        )
        select env from found where env is not null",
    )
    .bind(signed(project.0))
    .fetch_all(connection)
    .await
}

/// Group and status by series id, of the series that pass the filters.
type MatchingSeries = HashMap<i64, (usize, u16)>;

async fn matching_series(connection: &mut PgConnection, grouped: &mut Grouped) -> Result<MatchingSeries, sqlx::Error> {
    let Question { project, filters, .. } = grouped.question().clone();
    let mut rows = sqlx::query(
        "select series_id, env, service, route, method, status from series
        where project_id = $1
            and (cardinality($2::text[]) = 0 or env = any ($2))
            and (cardinality($3::text[]) = 0 or service = any ($3))
            and (cardinality($4::text[]) = 0 or route = any ($4))
            and (cardinality($5::text[]) = 0 or method = any ($5))
            and (cardinality($6::smallint[]) + cardinality($7::smallint[]) = 0
                or status = any ($6) or status / 100 = any ($7))",
    )
    .bind(signed(project.0))
    .bind(filters.env.clone())
    .bind(filters.service.clone())
    .bind(filters.route.clone())
    .bind(filters.method.clone())
    .bind(filters.statuses())
    .bind(filters.status_classes())
    .fetch(connection);
    let mut series = MatchingSeries::default();
    while let Some(row) = rows.try_next().await? {
        let status: i16 = row.try_get(5)?;
        let labels = Labels {
            env: row.try_get(1)?,
            service: row.try_get(2)?,
            route: row.try_get(3)?,
            method: row.try_get(4)?,
            status: status.unsigned_abs(),
        };
        if let Some(group) = grouped.group_of(&labels) {
            series.insert(row.try_get(0)?, (group, labels.status));
        }
    }
    Ok(series)
}

macro_rules! pieces {
    () => {
        "select extract(epoch from bucket)::bigint, series_id, count, errors, sum_us, min_us, max_us, histogram
        from rollup_10s
        where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3)"
    };
}

async fn pour_pieces(
    connection: &mut PgConnection,
    grouped: &mut Grouped,
    series: &MatchingSeries,
    now_ms: i64,
    limits: HistoryLimits,
) -> Result<(), HistoryError> {
    let question = grouped.question();
    let (project, window) = (question.project, question.window);
    let rows_max = limits.rows_max;
    // Without filters the list would name every series: the primary key's prefix does the work alone. With filters the
    // list must be a condition of its own, not part of an `or`, for the index to skip other series without their rows.
    let ids: Option<Vec<i64>> = (!question.filters.is_empty()).then(|| series.keys().copied().collect());
    let pieces = match &ids {
        None => sqlx::query(concat!(pieces!(), " limit $4")),
        Some(_) => sqlx::query(concat!(pieces!(), " and series_id = any ($5) limit $4")),
    };
    let pieces = pieces
        .bind(signed(project.0))
        .bind(window.from_s as f64)
        .bind(window.to_s as f64)
        // One more than allowed tells that there were too many; without a limit the rest would have to be read off the
        // wire.
        .bind(signed(rows_max.saturating_add(1)));
    let mut rows = match ids.clone() {
        None => pieces,
        Some(ids) => pieces.bind(ids),
    }
    .fetch(&mut *connection);
    let mut seen = 0u64;
    while let Some(row) = rows.try_next().await? {
        seen += 1;
        if seen > rows_max {
            break;
        }
        let id: i64 = row.try_get(1)?;
        let Some(&(group, status)) = series.get(&id) else { continue };
        grouped.add_piece(group, status, piece_of(&row)?, now_ms)?;
    }
    drop(rows);
    if seen <= rows_max {
        crate::metrics::history_rows_read(seen);
        return Ok(());
    }
    let all = count_pieces(connection, project.0, window.from_s, window.to_s, ids, rows_max).await?;
    Err(HistoryError::TooManyRows { fitting_s: fitting_s(window.to_s - window.from_s, rows_max, all) })
}

/// Only when the answer failed already: how many rows there would have been, counted to a bound.
async fn count_pieces(
    connection: &mut PgConnection,
    project: u64,
    from_s: i64,
    to_s: i64,
    ids: Option<Vec<i64>>,
    rows_max: u64,
) -> Result<u64, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(
        "select count(*) from (
            select from rollup_10s
            where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3)
                and ($4::bigint[] is null or series_id = any ($4))
            limit $5
        ) counted",
    )
    .bind(signed(project))
    .bind(from_s as f64)
    .bind(to_s as f64)
    .bind(ids)
    .bind(signed(rows_max.saturating_mul(32)))
    .fetch_one(connection)
    .await?;
    Ok(unsigned(count))
}

/// The largest usual range that would fit, assuming rows spread evenly; four fifths of it, because they do not.
fn fitting_s(range_s: i64, rows_max: u64, rows: u64) -> Option<i64> {
    let fits_s = (range_s as f64 * rows_max as f64 / rows.max(1) as f64 * 0.8) as i64;
    RANGES_S.into_iter().rev().find(|range_s| *range_s <= fits_s)
}

fn piece_of(row: &PgRow) -> Result<Piece<'_>, sqlx::Error> {
    let histogram: Option<&[u8]> = row.try_get(7)?;
    let totals = || -> Result<Totals, sqlx::Error> {
        let (min_us, max_us): (Option<i64>, Option<i64>) = (row.try_get(5)?, row.try_get(6)?);
        Ok(Totals {
            sum_us: unsigned(row.try_get(4)?),
            min_us: unsigned(min_us.unwrap_or_default()),
            max_us: unsigned(max_us.unwrap_or_default()),
        })
    };
    Ok(Piece {
        bucket_s: row.try_get(0)?,
        count: unsigned(row.try_get(2)?),
        errors: unsigned(row.try_get(3)?),
        latency: histogram.map(|bytes| totals().map(|totals| (bytes, totals))).transpose()?,
    })
}

/// The tables' checks keep counts and ids at 0 or above.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

const QUERY_CANCELED: &str = "57014";
const RANGES_S: [i64; 11] = [60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400, 30 * 86_400];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suggested_range_would_have_fitted() {
        assert_eq!(fitting_s(7 * 86_400, 1_000_000, 7_000_000), Some(12 * 3600));
        assert_eq!(fitting_s(600, 10, 11), Some(300));
        assert_eq!(fitting_s(60, 10, 1000), None);
    }
}
