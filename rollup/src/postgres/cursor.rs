//! `rollup_cursor` and `rollup_worker`: how far each partition is counted, and who counts on.
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

use sqlx::{PgConnection, PgPool, Row};

use crate::partition::Fingerprint;
use crate::position::Position;
use crate::store::{Claim, HeldLease, LEASE, Lease, Owner, Renewed, Report, Verdict};

/// Adds the rows of partitions that were never counted, beginning at offset 0.
///
/// Never at the log's low watermark: a log that has already lost records is reported as broken, not skipped over.
pub(super) async fn open(pool: &PgPool, partitions: u32) -> sqlx::Result<()> {
    // Without the question first, the insert would wait for a flush that is moving one of the cursors.
    let sql = "insert into rollup_cursor (log_partition)
        select n from generate_series(0, $1 - 1) n where not exists (select from rollup_cursor where log_partition = n)
        on conflict do nothing";
    sqlx::query(sql).bind(int4(partitions)).execute(pool).await?;
    Ok(())
}

/// Takes up to `count_max` partitions that are free or expired. `again` names own partitions to take anew: the raised
/// epoch fences whatever the last attempt may still have under way.
///
/// A lease that ends later than any lease can was given before the clock of the database was set back. Its owner renews it
/// within a second, if there still is one; should we be faster, that costs some work and nothing else.
pub(super) async fn claim(pool: &PgPool, owner: Owner, claim: &Claim) -> sqlx::Result<Vec<Lease>> {
    let sql = "with free as (
            select log_partition from rollup_cursor
            where log_partition < $3
              and (lease_until is null or (owner = $1 and log_partition = any ($4))
                or lease_until not between clock_timestamp() and clock_timestamp() + 2 * $2 * interval '1 second')
            order by (owner = $1) is not true, log_partition
            limit $5
            for update skip locked)
        update rollup_cursor c
        set owner = $1, lease_until = clock_timestamp() + $2 * interval '1 second', updated_at = now(),
            epoch = greatest(c.epoch + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint)
        from free where c.log_partition = free.log_partition
        returning c.log_partition, c.epoch, c.next_offset, c.fingerprint";
    let again: Vec<i32> = claim.again.iter().copied().map(int4).collect();
    let rows = sqlx::query(sql)
        .bind(owner.0)
        .bind(LEASE.as_secs_f64())
        .bind(int4(claim.partitions))
        .bind(again)
        .bind(i64::try_from(claim.count_max).unwrap_or(i64::MAX))
        .fetch_all(pool)
        .await?;
    let lease = |row: &sqlx::postgres::PgRow| {
        Ok(Lease {
            partition: row.try_get::<i32, _>(0)? as u32,
            epoch: row.try_get::<i64, _>(1)? as u64,
            next: Position(row.try_get::<i64, _>(2)? as u64),
            fingerprint: row.try_get::<Option<Vec<u8>>, _>(3)?.map(Fingerprint::stored),
        })
    };
    let mut leases: Vec<Lease> = rows.iter().map(lease).collect::<sqlx::Result<_>>()?;
    leases.sort_by_key(|lease| lease.partition);
    Ok(leases)
}

/// Ends the flushes of workers that froze in the middle of sending rows, and answers how many.
///
/// Such a worker holds the lock of its cursor, and no time limit of Postgres ends a COPY that waits for its client. The flush
/// says who it is by an advisory lock ([`flush_lock`]); once its lease has expired and it has been waiting for its client for
/// longer than any healthy one does, its connection is closed and the partition is free.
pub(super) async fn evict(pool: &PgPool, partitions: u32) -> sqlx::Result<u64> {
    let sql = "select count(*) filter (where pg_terminate_backend(l.pid))
        from rollup_cursor c
        join pg_locks l on l.locktype = 'advisory' and l.objsubid = 2 and l.granted
            and l.database = (select oid from pg_database where datname = current_database())
            and l.classid::bigint = (hashtext('peep flush ' || current_schema())::bigint & 4294967295)
            and l.objid::bigint = c.log_partition
        join pg_stat_activity a on a.pid = l.pid
        where c.lease_until < clock_timestamp() and c.log_partition < $1 and a.wait_event_type = 'Client'
            and a.state_change < clock_timestamp() - $2 * interval '1 second'";
    let frozen: i64 =
        sqlx::query_scalar(sql).bind(int4(partitions)).bind(FROZEN_AFTER.as_secs_f64()).fetch_one(pool).await?;
    Ok(u64::try_from(frozen).unwrap_or(0))
}

/// The statement by which the transaction of a flush says which partition it writes.
pub(super) fn flush_lock(partition: u32) -> String {
    format!("select pg_try_advisory_xact_lock(hashtext('peep flush ' || current_schema()), {partition})")
}

/// Says that the owner is alive, extends its leases, and answers which it still has and who else is alive.
pub(super) async fn renew(pool: &PgPool, owner: Owner, capacity: u32) -> sqlx::Result<Renewed> {
    let sql = "with alive as (
            insert into rollup_worker (owner, partitions_max, alive_until)
            values ($1, $4, clock_timestamp() + $2 * interval '1 second')
            on conflict (owner) do update set alive_until = excluded.alive_until, partitions_max = excluded.partitions_max),
        gone as (
            delete from rollup_worker where owner in (
                select owner from rollup_worker where alive_until < clock_timestamp() - $3 * interval '1 second' and owner <> $1
                for update skip locked)),
        mine as (
            select log_partition from rollup_cursor where owner = $1 for update skip locked),
        renewed as (
            update rollup_cursor c set lease_until = clock_timestamp() + $2 * interval '1 second'
            from mine where c.log_partition = mine.log_partition)
        select owner, partitions_max, null::int, null::bigint, null::bigint from rollup_worker
        where owner <> $1 and alive_until between clock_timestamp() and clock_timestamp() + 2 * $2 * interval '1 second'
        union all
        select owner, null, log_partition, epoch, next_offset from rollup_cursor where owner = $1
        order by 1, 3";
    let rows = sqlx::query(sql)
        .bind(owner.0)
        .bind(LEASE.as_secs_f64())
        .bind(WORKER_FORGOTTEN_AFTER.as_secs_f64())
        .bind(int4(capacity))
        .fetch_all(pool)
        .await?;
    let mut renewed = Renewed { held: Vec::new(), workers: vec![(owner, capacity)] };
    for row in rows {
        if let Some(capacity) = row.try_get::<Option<i32>, _>(1)? {
            renewed.workers.push((Owner(row.try_get(0)?), u32::try_from(capacity).unwrap_or(0)));
        } else {
            renewed.held.push(HeldLease {
                partition: row.try_get::<i32, _>(2)? as u32,
                epoch: row.try_get::<i64, _>(3)? as u64,
                next: Position(row.try_get::<i64, _>(4)? as u64),
            });
        }
    }
    renewed.workers.sort_unstable();
    Ok(renewed)
}

/// Gives leases of the owner back: of some partitions, or all of them together with the sign of life.
pub(super) async fn release(pool: &PgPool, owner: Owner, partitions: Option<&[u32]>) -> sqlx::Result<()> {
    let sql = "with gone as (delete from rollup_worker where owner = $1 and $2::int[] is null)
        update rollup_cursor set owner = null, lease_until = null, updated_at = now()
        where owner = $1 and ($2::int[] is null or log_partition = any ($2))";
    let partitions: Option<Vec<i32>> = partitions.map(|some| some.iter().copied().map(int4).collect());
    sqlx::query(sql).bind(owner.0).bind(partitions).execute(pool).await?;
    Ok(())
}

/// Notes what the owner sees of partitions it holds.
pub(super) async fn report(pool: &PgPool, owner: Owner, reports: &[Report]) -> sqlx::Result<()> {
    let sql = "with seen as (
            select * from unnest($2::int[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::boolean[])
                as s (log_partition, epoch, low, high, broken, open)),
        mine as (
            select c.log_partition from rollup_cursor c join seen s using (log_partition)
            where c.owner = $1 and c.epoch = s.epoch
            order by c.log_partition for update of c skip locked)
        update rollup_cursor c
        set log_low = coalesce(s.low, c.log_low), log_high = coalesce(s.high, c.log_high),
            watermarks_at = case when s.low is null then c.watermarks_at else clock_timestamp() end,
            broken_reason = case when s.open then c.broken_reason else s.broken end,
            broken_at = case when s.open then c.broken_at
                when s.broken is not null then coalesce(c.broken_at, clock_timestamp()) end
        from mine join seen s using (log_partition)
        where c.log_partition = mine.log_partition";
    let low = |report: &Report| report.range.map(|(low, _)| low.0 as i64);
    let high = |report: &Report| report.range.map(|(_, high)| high.0 as i64);
    let broken = |report: &Report| match &report.verdict {
        Verdict::Broken { reason } => Some(reason.clone()),
        Verdict::Open | Verdict::Sound => None,
    };
    sqlx::query(sql)
        .bind(owner.0)
        .bind(reports.iter().map(|report| int4(report.partition)).collect::<Vec<_>>())
        .bind(reports.iter().map(|report| report.epoch as i64).collect::<Vec<_>>())
        .bind(reports.iter().map(low).collect::<Vec<_>>())
        .bind(reports.iter().map(high).collect::<Vec<_>>())
        .bind(reports.iter().map(broken).collect::<Vec<_>>())
        .bind(reports.iter().map(|report| report.verdict == Verdict::Open).collect::<Vec<_>>())
        .execute(pool)
        .await?;
    Ok(())
}

/// The compare-and-swap. `false`: somebody else moved the cursor or took the partition; roll back and forget.
pub(super) async fn advance(connection: &mut PgConnection, owner: Owner, step: Step<'_>) -> sqlx::Result<bool> {
    let sql = "update rollup_cursor
        set next_offset = $5, fingerprint = $6, lease_until = clock_timestamp() + $7 * interval '1 second', log_ms = $8,
            updated_at = now()
        where log_partition = $1 and owner = $2 and epoch = $3 and next_offset = $4";
    let done = sqlx::query(sql)
        .bind(int4(step.partition))
        .bind(owner.0)
        .bind(step.epoch as i64)
        .bind(step.from as i64)
        .bind(step.to as i64)
        .bind(step.fingerprint.map(Fingerprint::as_bytes))
        .bind(LEASE.as_secs_f64())
        .bind(step.log_ms)
        .execute(connection)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// One move of a cursor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    /// Partition of the event log.
    pub(super) partition: u32,
    /// Epoch of the lease.
    pub(super) epoch: u64,
    /// Where memory began.
    pub(super) from: u64,
    /// Where it ends.
    pub(super) to: u64,
    /// Of the record before `to`.
    pub(super) fingerprint: Option<&'a Fingerprint>,
    /// The log's own time at `to`.
    pub(super) log_ms: i64,
}

pub(super) fn int4(partition: u32) -> i32 {
    i32::try_from(partition).expect("a log has far fewer partitions than 2^31")
}

/// As the time limit of a transaction that is idle.
const FROZEN_AFTER: Duration = Duration::from_secs(5);
/// A row a worker; long after it stopped counting.
const WORKER_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
