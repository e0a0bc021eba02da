//! `dedup_window` and `duplicate_batch`.
//!
//! Arrives: what a cut says of producers. Leaves: the same in the tables, inside the transaction that moves the cursor, so
//! that whoever goes on from the cursor knows exactly the producers that its predecessor knew there.
//!
//! Does not: decide who is forgotten; only whose time is over by the log's own time at the cursor may be [swept](sweep)
//! without the partition's knowledge, because no record beyond the cursor can find it alive.

use std::time::Duration;

use peep_wire::ProjectId;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::cursor::int4;
use crate::dedup::{Seen, Window};
use crate::partition::{Cut, Duplicate, Restored};

/// Keeps the touched windows and the duplicates of a cut.
pub(super) async fn upsert(connection: &mut PgConnection, cut: &Cut) -> sqlx::Result<()> {
    for forgotten in cut.dedup.forgotten.chunks(ROWS_PER_STATEMENT) {
        let sql = "delete from dedup_window using unnest($2::bigint[], $3::uuid[]) as f (project_id, producer)
            where log_partition = $1 and dedup_window.project_id = f.project_id and dedup_window.producer = f.producer";
        sqlx::query(sql)
            .bind(int4(cut.partition))
            .bind(forgotten.iter().map(|(project, _)| bigint(project.0)).collect::<Vec<_>>())
            .bind(forgotten.iter().map(|(_, producer)| Uuid::from_bytes(*producer)).collect::<Vec<_>>())
            .execute(&mut *connection)
            .await?;
    }
    for windows in cut.dedup.windows.chunks(ROWS_PER_STATEMENT) {
        upsert_windows(connection, cut.partition, windows).await?;
    }
    for duplicates in cut.duplicates.chunks(ROWS_PER_STATEMENT) {
        insert_duplicates(connection, cut.partition, duplicates).await?;
    }
    Ok(())
}

/// Reads the windows of a partition, and the log's own time at the cursor. Expired windows may be among them.
pub(super) async fn restore(
    connection: &mut PgConnection,
    partition: u32,
    restored: &mut Restored,
) -> sqlx::Result<()> {
    let log_ms = sqlx::query_scalar("select log_ms from rollup_cursor where log_partition = $1");
    restored.log_ms = log_ms.bind(int4(partition)).fetch_optional(&mut *connection).await?.unwrap_or(0);
    let sql = "select project_id, producer, high_seq, begun_seq, seen, partial, last_ms, last_offset, last_event
        from dedup_window where log_partition = $1";
    let rows = sqlx::query(sql).bind(int4(partition)).fetch_all(connection).await?;
    restored.windows = rows.iter().map(window).collect::<sqlx::Result<_>>()?;
    Ok(())
}

/// Deletes windows of producers that were quiet for longer than the retention, and duplicates older than `keep`; answers how
/// many rows. Rows that a flush is about to write are left to the next sweep, so that neither waits for the other.
pub(crate) async fn sweep(connection: &mut PgConnection, retention: Duration, keep: Duration) -> sqlx::Result<u64> {
    let windows = "delete from dedup_window where ctid = any (array(
            select w.ctid from dedup_window w join rollup_cursor c using (log_partition)
            where w.last_ms < c.log_ms - $1 limit $2 for update of w skip locked))";
    let duplicates = "delete from duplicate_batch where ctid = any (array(
            select ctid from duplicate_batch where recorded_at < now() - $1 * interval '1 millisecond'
            limit $2 for update skip locked))";
    let mut swept = 0;
    for (sql, age) in [(windows, retention), (duplicates, keep)] {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX / 2);
        loop {
            let rows =
                sqlx::query(sql).bind(age_ms).bind(ROWS_PER_SWEEP).execute(&mut *connection).await?.rows_affected();
            swept += rows;
            if rows < ROWS_PER_SWEEP as u64 {
                break;
            }
        }
    }
    Ok(swept)
}

async fn upsert_windows(connection: &mut PgConnection, partition: u32, windows: &[Window]) -> sqlx::Result<()> {
    let sql = "insert into dedup_window
            (log_partition, project_id, producer, high_seq, begun_seq, seen, partial, last_ms, last_offset, last_event)
        select $1, * from unnest($2::bigint[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[],
            $8::bigint[], $9::bigint[], $10::int[])
        on conflict (log_partition, project_id, producer) do update
        set high_seq = excluded.high_seq, begun_seq = excluded.begun_seq, seen = excluded.seen, partial = excluded.partial,
            last_ms = excluded.last_ms, last_offset = excluded.last_offset, last_event = excluded.last_event";
    sqlx::query(sql)
        .bind(int4(partition))
        .bind(column(windows, |window| bigint(window.project.0)))
        .bind(column(windows, |window| Uuid::from_bytes(window.producer)))
        // The whole range of u64: two's complement, there and back.
        .bind(column(windows, |window| window.high_seq as i64))
        .bind(column(windows, |window| window.begun_seq as i64))
        .bind(column(windows, |window| window.seen.to_bytes()))
        .bind(column(windows, Window::partial_to_bytes))
        .bind(column(windows, |window| window.last_ms))
        .bind(column(windows, |window| bigint(window.last_offset)))
        .bind(column(windows, |window| i32::try_from(window.last_event).unwrap_or(i32::MAX)))
        .execute(connection)
        .await?;
    Ok(())
}

async fn insert_duplicates(
    connection: &mut PgConnection,
    partition: u32,
    duplicates: &[Duplicate],
) -> sqlx::Result<()> {
    let sql = "insert into duplicate_batch (log_partition, log_offset, event_index, project_id, producer, seq, part, events)
        select $1, * from unnest($2::bigint[], $8::int[], $3::bigint[], $4::uuid[], $5::bigint[], $6::int[], $7::int[])";
    sqlx::query(sql)
        .bind(int4(partition))
        .bind(column(duplicates, |duplicate| bigint(duplicate.offset)))
        .bind(column(duplicates, |duplicate| bigint(duplicate.project.0)))
        .bind(column(duplicates, |duplicate| Uuid::from_bytes(duplicate.producer)))
        .bind(column(duplicates, |duplicate| duplicate.seq as i64))
        .bind(column(duplicates, |duplicate| i32::try_from(duplicate.part).unwrap_or(i32::MAX)))
        .bind(column(duplicates, |duplicate| i32::try_from(duplicate.events).unwrap_or(i32::MAX)))
        .bind(column(duplicates, |duplicate| i32::try_from(duplicate.first_event).unwrap_or(i32::MAX)))
        .execute(connection)
        .await?;
    Ok(())
}

fn window(row: &PgRow) -> sqlx::Result<Window> {
    let foreign = |column: &str| sqlx::Error::Decode(format!("dedup_window.{column} was not written by peep").into());
    let seen: &[u8] = row.try_get(4)?;
    let partial: Option<&[u8]> = row.try_get(5)?;
    Ok(Window {
        project: ProjectId(row.try_get::<i64, _>(0)? as u64),
        producer: row.try_get::<Uuid, _>(1)?.into_bytes(),
        high_seq: row.try_get::<i64, _>(2)? as u64,
        begun_seq: row.try_get::<i64, _>(3)? as u64,
        seen: Seen::from_bytes(seen).ok_or_else(|| foreign("seen"))?,
        partial: Window::partial_from_bytes(partial.unwrap_or_default()).ok_or_else(|| foreign("partial"))?,
        last_ms: row.try_get(6)?,
        last_offset: row.try_get::<i64, _>(7)? as u64,
        last_event: row.try_get::<i32, _>(8)? as u32,
    })
}

fn column<T, C>(rows: &[T], field: impl Fn(&T) -> C) -> Vec<C> {
    rows.iter().map(field).collect()
}

fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Arrays of this length stay below a megabyte.
const ROWS_PER_STATEMENT: usize = 4_000;
const ROWS_PER_SWEEP: i64 = 10_000;
