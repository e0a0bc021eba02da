//! `log_break`, and what a person sees of `rollup_cursor`.

use sqlx::{PgPool, Row};

use super::cursor::int4;
use crate::breaks::Plan;
use crate::partition::Fingerprint;
use crate::position::Position;

/// A partition, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRow {
    /// Of the event log.
    pub partition: u32,
    /// The cursor.
    pub next: Position,
    /// Of the last lease.
    pub epoch: u64,
    /// Of the record before the cursor.
    pub fingerprint: Option<Fingerprint>,
    /// Who counts it, if somebody does.
    pub owner: Option<String>,
    /// The log, as the owner last saw it, and how many seconds ago that was.
    pub seen: Option<(Position, Position, u64)>,
    /// Why counting stopped.
    pub broken_reason: Option<String>,
    /// For how many seconds.
    pub broken_s: Option<u64>,
}

/// All of them.
pub(crate) async fn partitions(pool: &PgPool) -> sqlx::Result<Vec<PartitionRow>> {
    let sql = "select log_partition, next_offset, epoch, fingerprint,
            case when lease_until > clock_timestamp() then owner::text end, log_low, log_high,
            extract(epoch from clock_timestamp() - watermarks_at)::bigint, broken_reason,
            extract(epoch from clock_timestamp() - broken_at)::bigint
        from rollup_cursor order by log_partition";
    let seconds = |age: Option<i64>| age.map(|age| u64::try_from(age).unwrap_or(0));
    let partition = |row: &sqlx::postgres::PgRow| {
        let (low, high): (Option<i64>, Option<i64>) = (row.try_get(5)?, row.try_get(6)?);
        let range = low.zip(high).zip(seconds(row.try_get(7)?));
        Ok(PartitionRow {
            partition: row.try_get::<i32, _>(0)? as u32,
            next: Position(row.try_get::<i64, _>(1)? as u64),
            epoch: row.try_get::<i64, _>(2)? as u64,
            fingerprint: row.try_get::<Option<Vec<u8>>, _>(3)?.map(Fingerprint::stored),
            owner: row.try_get(4)?,
            seen: range.map(|((low, high), age_s)| (Position(low as u64), Position(high as u64), age_s)),
            broken_reason: row.try_get(8)?,
            broken_s: seconds(row.try_get(9)?),
        })
    };
    sqlx::query(sql).fetch_all(pool).await?.iter().map(partition).collect()
}

/// End and fingerprint of the flush that is the nth from the end of those that end in (`lowest`, `highest`].
pub(crate) async fn ledger_row(
    pool: &PgPool,
    partition: u32,
    lowest: Position,
    highest: Position,
    back: u64,
) -> sqlx::Result<Option<(Position, Fingerprint)>> {
    let sql = "select to_offset, fingerprint from ledger
        where log_partition = $1 and to_offset > $2 and to_offset <= $3 and fingerprint is not null
        order by to_offset desc offset $4 limit 1";
    let row = sqlx::query(sql)
        .bind(int4(partition))
        .bind(lowest.0 as i64)
        .bind(highest.0 as i64)
        .bind(i64::try_from(back).unwrap_or(i64::MAX))
        .fetch_optional(pool)
        .await?;
    row.map(|row| Ok((Position(row.try_get::<i64, _>(0)? as u64), Fingerprint::stored(row.try_get(1)?)))).transpose()
}

/// The oldest of those flushes, and how many are younger.
pub(crate) async fn oldest_row(
    pool: &PgPool,
    partition: u32,
    lowest: Position,
    highest: Position,
) -> sqlx::Result<Option<(u64, Position, Fingerprint)>> {
    let sql = "select count(*) over () - 1, to_offset, fingerprint from ledger
        where log_partition = $1 and to_offset > $2 and to_offset <= $3 and fingerprint is not null
        order by to_offset limit 1";
    let row = sqlx::query(sql)
        .bind(int4(partition))
        .bind(lowest.0 as i64)
        .bind(highest.0 as i64)
        .fetch_optional(pool)
        .await?;
    let parts = |row: sqlx::postgres::PgRow| {
        let younger = row.try_get::<i64, _>(0)? as u64;
        Ok((younger, Position(row.try_get::<i64, _>(1)? as u64), Fingerprint::stored(row.try_get(2)?)))
    };
    row.map(parts).transpose()
}

/// Moves the cursor and books the break, in one transaction. `false`: the partition is not as it was.
pub(crate) async fn accept(
    pool: &PgPool,
    plan: &Plan,
    fingerprint: Option<&Fingerprint>,
    by: &str,
) -> sqlx::Result<bool> {
    // The raised epoch and the missing owner fence whoever still believes to own the partition. What a log of our own was
    // asked to keep was said of the log before.
    let sql = "with moved as (
            update rollup_cursor
            set next_offset = $3, fingerprint = $4, owner = null, lease_until = null, broken_reason = null, broken_at = null,
                log_low = null, log_high = null, watermarks_at = null, updated_at = now(),
                epoch = greatest(epoch + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint)
            where log_partition = $1 and next_offset = $2
            returning log_partition),
        forgotten as (delete from log_hold using moved where log_hold.log_partition = moved.log_partition)
        insert into log_break (log_partition, position_before, position_after, kind, records_lost, reason, accepted_by)
        select log_partition, $2, $3, $5, $6, $7, $8 from moved";
    let done = sqlx::query(sql)
        .bind(int4(plan.partition))
        .bind(plan.before.0 as i64)
        .bind(plan.after.0 as i64)
        .bind(fingerprint.map(Fingerprint::as_bytes))
        .bind(plan.kind)
        .bind(plan.records_lost.map(|lost| i64::try_from(lost).unwrap_or(i64::MAX)))
        .bind(&plan.reason)
        .bind(by)
        .execute(pool)
        .await?;
    Ok(done.rows_affected() == 1)
}
