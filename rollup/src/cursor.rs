//! `rollup_cursor`: how far each partition is counted, and who counts on. The only file that touches the table.
//!
//! Arrives: an owner, partitions, offsets. Leaves: leases, and the compare-and-swap that makes each flush count once.
//!
//! Promises: [`advance`] moves the cursor only for the holder of (owner, epoch) and only from the offset at which the
//! holder's memory begins. Run inside the transaction that writes the rows, it is the whole exactly-once argument: rows and
//! cursor move together or not at all, and a worker with outdated memory can not write. Everything else here only
//! decides who works: a wrong lease wastes work and loses nothing.
//!
//! None of the lease statements waits for a row that is locked: a locked row is a flush in progress, which is the best
//! proof of life there is, and the flush renews the lease itself.

use std::time::Duration;

use peep_log::Offset;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::partition::Fingerprint;

/// Random for each start of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner(pub Uuid);

/// The right to count a partition from an offset on, until somebody else takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Partition of the event log.
    pub partition: u32,
    /// Raised at each take-over.
    pub epoch: u64,
    /// Where memory begins.
    pub next: Offset,
    /// Of the record before, when there is one.
    pub fingerprint: Option<Fingerprint>,
}

/// How long a lease lasts without renewal, by the clock of the database.
pub const LEASE: Duration = Duration::from_secs(10);

/// Adds the rows of partitions that were never counted, beginning at offset 0.
///
/// Never at the log's low watermark: a log that has already lost records is reported as broken, not skipped over.
pub async fn open(pool: &PgPool, partitions: u32) -> sqlx::Result<()> {
    let sql =
        "insert into rollup_cursor (log_partition) select n from generate_series(0, $1 - 1) n on conflict do nothing";
    sqlx::query(sql).bind(int4(partitions)).execute(pool).await?;
    Ok(())
}

/// Takes up to `count_max` partitions that are free or expired. `again` names own partitions to take anew: the raised
/// epoch fences whatever the last attempt may still have under way.
pub async fn claim(
    pool: &PgPool,
    owner: Owner,
    partitions: u32,
    again: &[u32],
    count_max: u64,
) -> sqlx::Result<Vec<Lease>> {
    let sql = "with free as (
            select log_partition from rollup_cursor
            where log_partition < $3
              and (lease_until is null or lease_until < clock_timestamp() or (owner = $1 and log_partition = any ($4)))
            order by (owner = $1) is not true, log_partition
            limit $5
            for update skip locked)
        update rollup_cursor c
        set owner = $1, epoch = c.epoch + 1, lease_until = clock_timestamp() + $2 * interval '1 second', updated_at = now()
        from free where c.log_partition = free.log_partition
        returning c.log_partition, c.epoch, c.next_offset, c.fingerprint";
    let again: Vec<i32> = again.iter().copied().map(int4).collect();
    let rows = sqlx::query(sql)
        .bind(owner.0)
        .bind(LEASE.as_secs_f64())
        .bind(int4(partitions))
        .bind(again)
        .bind(i64::try_from(count_max).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await?;
    let lease = |row: &sqlx::postgres::PgRow| {
        Ok(Lease {
            partition: row.try_get::<i32, _>(0)? as u32,
            epoch: row.try_get::<i64, _>(1)? as u64,
            next: Offset(row.try_get::<i64, _>(2)? as u64),
            fingerprint: row.try_get::<Option<Vec<u8>>, _>(3)?.map(Fingerprint::stored),
        })
    };
    let mut leases: Vec<Lease> = rows.iter().map(lease).collect::<sqlx::Result<_>>()?;
    leases.sort_by_key(|lease| lease.partition);
    Ok(leases)
}

/// Extends every lease of the owner and answers which it still has, with their epochs.
pub async fn renew(pool: &PgPool, owner: Owner) -> sqlx::Result<Vec<(u32, u64)>> {
    let sql = "with mine as (
            select log_partition from rollup_cursor where owner = $1 for update skip locked),
        renewed as (
            update rollup_cursor c set lease_until = clock_timestamp() + $2 * interval '1 second'
            from mine where c.log_partition = mine.log_partition)
        select log_partition, epoch from rollup_cursor where owner = $1";
    let rows = sqlx::query(sql).bind(owner.0).bind(LEASE.as_secs_f64()).fetch_all(pool).await?;
    rows.iter().map(|row| Ok((row.try_get::<i32, _>(0)? as u32, row.try_get::<i64, _>(1)? as u64))).collect()
}

/// Gives all leases of the owner back, so that a successor need not wait for them to expire.
pub async fn release(pool: &PgPool, owner: Owner) -> sqlx::Result<()> {
    let sql = "update rollup_cursor set owner = null, lease_until = null, updated_at = now() where owner = $1";
    sqlx::query(sql).bind(owner.0).execute(pool).await?;
    Ok(())
}

/// The compare-and-swap. `false`: somebody else moved the cursor or took the partition; roll back and forget.
pub async fn advance(connection: &mut PgConnection, owner: Owner, step: Step<'_>) -> sqlx::Result<bool> {
    let sql = "update rollup_cursor
        set next_offset = $5, fingerprint = $6, lease_until = clock_timestamp() + $7 * interval '1 second', updated_at = now()
        where log_partition = $1 and owner = $2 and epoch = $3 and next_offset = $4";
    let done = sqlx::query(sql)
        .bind(int4(step.partition))
        .bind(owner.0)
        .bind(step.epoch as i64)
        .bind(step.from as i64)
        .bind(step.to as i64)
        .bind(step.fingerprint.map(Fingerprint::as_bytes))
        .bind(LEASE.as_secs_f64())
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// One move of a cursor.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Partition of the event log.
    pub partition: u32,
    /// Epoch of the lease.
    pub epoch: u64,
    /// Where memory began.
    pub from: u64,
    /// Where it ends.
    pub to: u64,
    /// Of the record before `to`.
    pub fingerprint: Option<&'a Fingerprint>,
}

fn int4(partition: u32) -> i32 {
    i32::try_from(partition).expect("a log has far fewer partitions than 2^31")
}
