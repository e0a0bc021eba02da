//! All SQL of the Postgres log; the functions it calls are in `migrations/0002_log.sql`.
//!
//! Every function is one statement outside of any transaction, so a dropped future leaves nothing open.

use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::{AssertSqlSafe, Error, Row};
use tokio::time::sleep;
use tracing::debug;

use crate::{LogRecord, Offset, Partition, ReadError, Watermarks};

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Unavailable { reason: error.to_string() }
    }
}

/// Creates the topic unless it exists; answers how many partitions it has.
pub(super) async fn open_topic(pool: &PgPool, topic: &str, partitions: u32) -> Result<u32, Error> {
    let found: i32 =
        sqlx::query_scalar("select log_open($1, $2)").bind(topic).bind(partitions as i32).fetch_one(pool).await?;
    Ok(found as u32)
}

/// Commits one group; answers the first offset of each partition, in the order given. `partitions` ascends.
pub(super) async fn append(
    connection: &mut PgConnection,
    topic: &str,
    partitions: &[i32],
    counts: &[i32],
    payloads: &[&[u8]],
) -> Result<Vec<Offset>, Error> {
    debug_assert!(partitions.is_sorted_by(|a, b| a < b), "the order of the partitions is the order of the locks");
    let mut attempt = 1;
    let rows = loop {
        let appended = sqlx::query("select log_partition, first_offset from log_append($1, $2, $3, $4)")
            .bind(topic)
            .bind(partitions)
            .bind(counts)
            .bind(payloads)
            .fetch_all(&mut *connection)
            .await;
        match appended {
            // The statement is a transaction of its own and was rolled back: nothing was written, so this is no retry
            // of an unknown outcome.
            Err(error) if attempt < APPEND_ATTEMPTS && is_missing_segment(&error) => {
                debug!(topic, attempt, "the segment is not visible yet; appending again");
                attempt += 1;
                sleep(SEGMENT_VISIBLE_PAUSE).await;
            }
            appended => break appended?,
        }
    };
    let answered = rows.iter().map(|row| row.try_get::<i32, _>(0)).collect::<Result<Vec<_>, _>>()?;
    if answered != partitions {
        return Err(Error::Protocol(format!("log_append answered partitions {answered:?} instead of {partitions:?}")));
    }
    rows.iter().map(|row| offset(row, 1)).collect()
}

/// check_violation, "no partition found for row": while one segment is being detached and the next attached, Postgres now
/// and then routes a row by the older list of partitions. The next transaction has the newer one.
fn is_missing_segment(error: &Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("23514"))
}

/// The high watermark of every partition.
pub(super) async fn highs(pool: &PgPool, topic: &str) -> Result<Vec<Offset>, Error> {
    let rows = sqlx::query("select next_offset from log_partition where topic = $1 order by log_partition")
        .bind(topic)
        .fetch_all(pool)
        .await?;
    rows.iter().map(|row| offset(row, 0)).collect()
}

pub(super) async fn watermarks(pool: &PgPool, topic: &str, partition: Partition) -> Result<Watermarks, ReadError> {
    let row = sqlx::query("select low_offset, next_offset from log_partition where topic = $1 and log_partition = $2")
        .bind(topic)
        .bind(partition.0 as i32)
        .fetch_optional(pool)
        .await?;
    let row = row.ok_or_else(|| ReadError::Unavailable { reason: format!("{topic} has no partition {partition}") })?;
    Ok(Watermarks { low: offset(&row, 0)?, high: offset(&row, 1)? })
}

/// The segment that holds this offset, or will hold it. Of segments that begin at the same offset, all but the newest are
/// empty.
pub(super) async fn segment_of(
    pool: &PgPool,
    topic: &str,
    partition: Partition,
    at: Offset,
) -> Result<Option<i64>, Error> {
    sqlx::query_scalar(
        "select segment from log_segment
         where topic = $1 and log_partition = $2 and first_offset <= $3
         order by segment desc limit 1",
    )
    .bind(topic)
    .bind(partition.0 as i32)
    .bind(at.0 as i64)
    .fetch_optional(pool)
    .await
}

/// Records of one segment from an offset on: at least one if there is any, then as many as fit.
///
/// The statement names the one table that it needs: through the partitioned table, every cached plan would lock every
/// segment. The sum runs over the primary key's order and stops with the limit.
pub(super) async fn read(
    pool: &PgPool,
    segment: i64,
    partition: Partition,
    from: Offset,
    records_max: i64,
    bytes_max: usize,
) -> Result<Vec<LogRecord>, Error> {
    let statement = format!(
        "select log_offset, (extract(epoch from appended_at) * 1000)::bigint, payload
         from (select *, sum(octet_length(payload)) over
                    (order by log_offset rows between unbounded preceding and current row) as bytes
               from log_record_{segment}
               where segment = {segment} and log_partition = $1 and log_offset >= $2
               order by log_offset limit $3) counted
         where log_offset = $2 or bytes <= $4"
    );
    let rows = sqlx::query(AssertSqlSafe(statement))
        .bind(partition.0 as i32)
        .bind(from.0 as i64)
        .bind(records_max)
        .bind(i64::try_from(bytes_max).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await;
    match rows {
        Ok(rows) => rows.iter().map(record).collect(),
        // undefined_table: retention was quicker. The caller looks for the segment again and finds out.
        Err(error) if has_code(&error, "42P01") => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A segment as the retention task sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Segment {
    pub(super) id: i64,
    pub(super) age_ms: i64,
    /// On disk, with index.
    pub(super) bytes: i64,
    pub(super) is_empty: bool,
    /// A reader still needs records in it; see `log_hold`.
    pub(super) is_needed: bool,
}

/// The segments of a topic, oldest first; the last one is current.
pub(super) async fn segments(connection: &mut PgConnection, topic: &str) -> Result<Vec<Segment>, Error> {
    let rows = sqlx::query(
        "select s.segment,
                (extract(epoch from clock_timestamp() - min(s.opened_at)) * 1000)::bigint,
                coalesce(pg_total_relation_size(to_regclass('log_record_' || s.segment)), 0)::bigint,
                not bool_or(p.segment <> s.segment or p.next_offset > s.first_offset),
                coalesce(bool_or(h.needed_from < s.end_offset), false)
         from (select *, lead(first_offset) over (partition by topic, log_partition order by segment) as end_offset
               from log_segment where topic = $1) s
         join log_partition p using (topic, log_partition)
         left join log_hold h using (topic, log_partition)
         group by s.segment order by s.segment",
    )
    .bind(topic)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Segment {
                id: row.try_get(0)?,
                age_ms: row.try_get(1)?,
                bytes: row.try_get(2)?,
                is_empty: row.try_get(3)?,
                is_needed: row.try_get(4)?,
            })
        })
        .collect()
}

/// Opens the segment after `current`, unless somebody else has.
pub(super) async fn rotate(connection: &mut PgConnection, topic: &str, current: i64) -> Result<(), Error> {
    sqlx::query("select log_rotate($1, $2)").bind(topic).bind(current).execute(connection).await?;
    Ok(())
}

/// Moves the low watermark behind the oldest segment, after which nobody reads it any more.
pub(super) async fn retire(connection: &mut PgConnection, topic: &str, oldest: i64) -> Result<(), Error> {
    sqlx::query("select log_retire($1, $2)").bind(topic).bind(oldest).execute(connection).await?;
    Ok(())
}

/// Remembers what a reader needs. Never backwards: what was removed on somebody's word is gone.
pub(super) async fn hold(pool: &PgPool, topic: &str, partition: Partition, from: Offset) -> Result<(), Error> {
    sqlx::query(
        "insert into log_hold (topic, log_partition, needed_from) values ($1, $2, $3)
         on conflict (topic, log_partition) do update set needed_from = excluded.needed_from, updated_at = now()
         where log_hold.needed_from < excluded.needed_from",
    )
    .bind(topic)
    .bind(partition.0 as i32)
    .bind(from.0 as i64)
    .execute(pool)
    .await?;
    Ok(())
}

/// What is left of a retired segment.
pub(super) struct Leftover {
    pub(super) table: String,
    attached: bool,
    /// Somebody began to detach it and was interrupted.
    pending: bool,
}

pub(super) async fn leftovers(connection: &mut PgConnection) -> Result<Vec<Leftover>, Error> {
    let rows = sqlx::query(
        "select c.relname::text, i.inhrelid is not null, coalesce(i.inhdetachpending, false)
         from pg_class c left join pg_inherits i on i.inhrelid = c.oid
         where c.relkind = 'r' and c.relname ~ '^log_record_[0-9]+$'
           and c.relnamespace = (select relnamespace from pg_class where oid = 'log_record'::regclass)
           and not exists (select from log_segment s
                           where s.segment = substring(c.relname from 12)::bigint)
         order by c.oid",
    )
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok(Leftover { table: row.try_get(0)?, attached: row.try_get(1)?, pending: row.try_get(2)? }))
        .collect()
}

/// Detaching concurrently first: to drop an attached table would stop every reader and writer of the log until the
/// slowest of them is through.
pub(super) async fn remove(connection: &mut PgConnection, leftover: &Leftover) -> Result<(), Error> {
    let table = &leftover.table;
    if leftover.attached {
        let how = if leftover.pending { "finalize" } else { "concurrently" };
        execute(connection, format!("alter table log_record detach partition {table} {how}")).await?;
    }
    execute(connection, format!("drop table {table}")).await
}

/// One process at a time looks after the segments; false when another one does.
pub(super) async fn try_lead(connection: &mut PgConnection) -> Result<bool, Error> {
    sqlx::query_scalar("select pg_try_advisory_lock(hashtextextended('peep log retention', 0))")
        .fetch_one(connection)
        .await
}

/// A wait for a lock beyond this is given up; the next round tries again.
pub(super) async fn limit_waiting(connection: &mut PgConnection) -> Result<(), Error> {
    execute(connection, "set lock_timeout = '5s'".to_owned()).await
}

pub(super) fn has_code(error: &Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(connection).await?;
    Ok(())
}

fn record(row: &PgRow) -> Result<LogRecord, Error> {
    Ok(LogRecord {
        offset: offset(row, 0)?,
        appended_ms: row.try_get(1)?,
        payload: Bytes::from(row.try_get::<Vec<u8>, _>(2)?),
    })
}

fn offset(row: &PgRow, column: usize) -> Result<Offset, Error> {
    Ok(Offset(row.try_get::<i64, _>(column)? as u64))
}

/// The list of partitions was never seen stale twice; a third attempt costs nothing.
const APPEND_ATTEMPTS: u32 = 3;
const SEGMENT_VISIBLE_PAUSE: Duration = Duration::from_millis(10);
