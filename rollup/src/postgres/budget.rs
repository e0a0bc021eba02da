//! `series_budget` and `series_overflow`.
//!
//! Arrives: what a cut says of new series and of those that found no place. Leaves: the same in the tables, inside the
//! transaction that moves the cursor, so that whoever goes on from the cursor admits exactly the series that its predecessor
//! would have. Most cuts say nothing and cost no statement.
//!
//! Does not: decide how many there may be (`cardinality`).

use std::time::Duration;

use futures_util::TryStreamExt;
use peep_wire::ProjectId;
use sqlx::{PgConnection, Row};

use super::cursor::int4;
use crate::cardinality::{Overflow, SeenSeries};
use crate::partition::{Cut, Restored};

/// Keeps the new series of a cut, and where those went that found no place.
pub(super) async fn upsert(connection: &mut PgConnection, cut: &Cut) -> sqlx::Result<()> {
    for seen in cut.budgets.chunks(ROWS_PER_STATEMENT) {
        insert_seen(connection, cut, seen).await?;
    }
    for overflow in cut.overflow.chunks(ROWS_PER_STATEMENT) {
        add_overflow(connection, cut.partition, overflow).await?;
    }
    Ok(())
}

/// Reads the series that a partition saw on the day of its cursor and on the day before.
pub(super) async fn restore(
    connection: &mut PgConnection,
    partition: u32,
    restored: &mut Restored,
) -> sqlx::Result<()> {
    let sql = "select day, project_id, hashes from series_budget b join rollup_cursor c using (log_partition)
        where log_partition = $1 and day >= floor(c.log_ms / 86400000.0) - 1";
    let mut rows = sqlx::query(sql).bind(int4(partition)).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let hashes = from_bytes(row.try_get(2)?);
        restored.budgets.push(SeenSeries {
            day: row.try_get(0)?,
            project: ProjectId(row.try_get::<i64, _>(1)? as u64),
            hashes,
        });
    }
    Ok(())
}

/// Deletes the series of days that no cursor can come back to, and advice that is older than `keep`; answers how many rows. Rows
/// that a flush is about to write are left to the next sweep, so that neither waits for the other.
pub(crate) async fn sweep(connection: &mut PgConnection, keep: Duration) -> sqlx::Result<u64> {
    let seen = "delete from series_budget where ctid = any (array(
            select b.ctid from series_budget b join rollup_cursor c using (log_partition)
            where b.day < floor(c.log_ms / 86400000.0) - 1 limit $1 for update of b skip locked))";
    let mut swept = 0;
    loop {
        let rows = sqlx::query(seen).bind(ROWS_PER_SWEEP).execute(&mut *connection).await?.rows_affected();
        swept += rows;
        if rows < ROWS_PER_SWEEP as u64 {
            break;
        }
    }
    let advice = "delete from series_overflow where ctid = any (array(
            select ctid from series_overflow where last_at < now() - $1 * interval '1 millisecond'
            for update skip locked))";
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX / 2);
    swept += sqlx::query(advice).bind(keep_ms).execute(connection).await?.rows_affected();
    Ok(swept)
}

async fn insert_seen(connection: &mut PgConnection, cut: &Cut, seen: &[SeenSeries]) -> sqlx::Result<()> {
    let sql = "insert into series_budget (log_partition, up_to_offset, day, project_id, hashes)
        select $1, $2, * from unnest($3::int[], $4::bigint[], $5::bytea[])";
    sqlx::query(sql)
        .bind(int4(cut.partition))
        .bind(bigint(cut.to))
        .bind(seen.iter().map(|seen| seen.day).collect::<Vec<_>>())
        .bind(seen.iter().map(|seen| bigint(seen.project.0)).collect::<Vec<_>>())
        .bind(seen.iter().map(|seen| to_bytes(&seen.hashes)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

/// The estimates begin anew now and then, so the largest is kept.
async fn add_overflow(connection: &mut PgConnection, partition: u32, overflow: &[Overflow]) -> sqlx::Result<()> {
    let sql = "insert into series_overflow as o
            (log_partition, project_id, service, segment, distinct_values, events, example, first_at, last_at)
        select $1, project_id, service, segment, max(distinct_values), sum(events), min(example),
            to_timestamp(min(first_ms) / 1000.0), to_timestamp(max(last_ms) / 1000.0)
        from unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[], $9::bigint[])
            as i (project_id, service, segment, distinct_values, events, example, first_ms, last_ms)
        group by project_id, service, segment
        on conflict (project_id, service, segment, log_partition) do update
        set distinct_values = greatest(o.distinct_values, excluded.distinct_values), events = o.events + excluded.events,
            example = excluded.example, last_at = greatest(o.last_at, excluded.last_at)";
    sqlx::query(sql)
        .bind(int4(partition))
        .bind(overflow.iter().map(|row| bigint(row.project.0)).collect::<Vec<_>>())
        .bind(overflow.iter().map(|row| row.service.as_str()).collect::<Vec<_>>())
        .bind(overflow.iter().map(|row| row.segment.as_str()).collect::<Vec<_>>())
        .bind(overflow.iter().map(|row| bigint(row.distinct_values)).collect::<Vec<_>>())
        .bind(overflow.iter().map(|row| bigint(row.events)).collect::<Vec<_>>())
        .bind(overflow.iter().map(|row| row.example.as_str()).collect::<Vec<_>>())
        .bind(overflow.iter().map(|row| row.first_ms).collect::<Vec<_>>())
        .bind(overflow.iter().map(|row| row.last_ms).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn to_bytes(hashes: &[u64]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect()
}

fn from_bytes(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks::<8>().0.iter().map(|hash| u64::from_be_bytes(*hash)).collect()
}

fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

const ROWS_PER_STATEMENT: usize = 1_000;
const ROWS_PER_SWEEP: i64 = 10_000;
