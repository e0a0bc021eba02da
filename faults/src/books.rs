//! Reads what was counted, and whether peep's own books balance: plain SQL against the tables, nothing of peep's code.

use std::collections::BTreeMap;

use sqlx::{PgPool, Row};

use crate::auditor::audit::Counted;
use crate::auditor::batch::{Page, SERVICE_PREFIX, Sums};

/// A position is a generation of the log and an offset in it.
const OFFSET_BITS: i64 = 40;

/// The sums of each page, from the finest level.
pub async fn counted(pool: &PgPool) -> sqlx::Result<Counted> {
    let rows = sqlx::query(
        "select s.service, s.route, sum(r.count)::bigint, sum(r.sum_us)::bigint
         from rollup_10s r join series s using (series_id)
         where s.service like $1 || '%' group by 1, 2",
    )
    .bind(SERVICE_PREFIX)
    .fetch_all(pool)
    .await?;
    let mut counted = Counted::new();
    for row in rows {
        let (service, route): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        // A series that the auditor never sent becomes a page that it never sent.
        let page = Page::of_series(service, route).unwrap_or(Page { producer: u32::MAX, number: u64::MAX });
        let sums = counted.entry(page).or_default();
        *sums = *sums + Sums { count: row.try_get(2)?, sum_us: row.try_get(3)? };
    }
    Ok(counted)
}

/// How far each partition is counted, as raw offsets of the log as it is now.
pub async fn cursors(pool: &PgPool) -> sqlx::Result<BTreeMap<u32, u64>> {
    let rows: Vec<(i32, i64)> =
        sqlx::query_as("select log_partition, next_offset from rollup_cursor").fetch_all(pool).await?;
    let raw = |(partition, position): (i32, i64)| (partition as u32, (position & ((1 << OFFSET_BITS) - 1)) as u64);
    Ok(rows.into_iter().map(raw).collect())
}

/// Why counting has stopped, for each partition that waits for a person.
pub async fn broken(pool: &PgPool) -> sqlx::Result<Vec<(i32, String)>> {
    sqlx::query_as("select log_partition, broken_reason from rollup_cursor where broken_reason is not null order by 1")
        .fetch_all(pool)
        .await
}

/// Totals of the ledger.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ledger {
    pub flushes: i64,
    pub records: i64,
    pub unreadable: i64,
    pub accepted: i64,
    pub rolled_up: i64,
    pub dead_lettered: i64,
    pub duplicate: i64,
    pub unidentified: i64,
    pub uncertain: i64,
}

pub async fn ledger(pool: &PgPool) -> sqlx::Result<Ledger> {
    let row = sqlx::query(
        "select count(*), coalesce(sum(records), 0)::bigint, coalesce(sum(records_unreadable), 0)::bigint,
            coalesce(sum(accepted), 0)::bigint, coalesce(sum(rolled_up), 0)::bigint,
            coalesce(sum(dead_lettered), 0)::bigint, coalesce(sum(duplicate), 0)::bigint,
            coalesce(sum(unidentified), 0)::bigint, coalesce(sum(uncertain), 0)::bigint from ledger",
    )
    .fetch_one(pool)
    .await?;
    Ok(Ledger {
        flushes: row.try_get(0)?,
        records: row.try_get(1)?,
        unreadable: row.try_get(2)?,
        accepted: row.try_get(3)?,
        rolled_up: row.try_get(4)?,
        dead_lettered: row.try_get(5)?,
        duplicate: row.try_get(6)?,
        unidentified: row.try_get(7)?,
        uncertain: row.try_get(8)?,
    })
}

/// Every statement that does not hold; none when the books balance.
pub async fn imbalances(pool: &PgPool) -> sqlx::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for (claim, sql) in CLAIMS {
        let violations: Vec<String> = sqlx::query_scalar(*sql).fetch_all(pool).await?;
        wrong.extend(violations.into_iter().take(5).map(|violation| format!("{claim}: {violation}")));
    }
    Ok(wrong)
}

/// Each answers one line of text for each violation.
const CLAIMS: &[(&str, &str)] = &[
    (
        "every flush accounts for every event",
        "select format('partition %s to %s: %s accepted, %s + %s + %s', log_partition, to_offset, accepted, rolled_up,
            dead_lettered, duplicate)
         from ledger where accepted <> rolled_up + dead_lettered + duplicate",
    ),
    (
        "the ranges of a partition follow one another, except over a break",
        "select format('partition %s: %s follows %s', log_partition, from_offset, before) from (
            select log_partition, from_offset, lag(to_offset, 1, 0::bigint) over (partition by log_partition order by to_offset) as before
            from ledger) chain
         where from_offset <> before and not exists (
            select from log_break b where b.log_partition = chain.log_partition
                and b.position_before = before and b.position_after = from_offset)",
    ),
    (
        "the last range ends at the cursor",
        "select format('partition %s: cursor %s, ledger %s', c.log_partition, c.next_offset, l.last)
         from rollup_cursor c left join (select log_partition, max(to_offset) as last from ledger group by 1) l using (log_partition)
         where c.next_offset <> coalesce(l.last, 0) and not exists (
            select from log_break b where b.log_partition = c.log_partition and b.position_after = c.next_offset)",
    ),
    (
        "the rollups hold what the ledger rolled up",
        "select format('%s in the rollups, %s in the ledger', r.n, l.n)
         from (select coalesce(sum(count), 0) as n from rollup_10s) r, (select coalesce(sum(rolled_up), 0) as n from ledger) l
         where r.n <> l.n",
    ),
    (
        "the ledgers by project and by flush agree",
        "select format('%s, %s, %s by project, %s, %s, %s by flush', p.a, p.r, p.d, l.a, l.r, l.d)
         from (select coalesce(sum(accepted), 0) as a, coalesce(sum(rolled_up), 0) as r, coalesce(sum(duplicate), 0) as d from ledger_project) p,
              (select coalesce(sum(accepted), 0) as a, coalesce(sum(rolled_up), 0) as r, coalesce(sum(duplicate), 0) as d from ledger) l
         where (p.a, p.r, p.d) <> (l.a, l.r, l.d)",
    ),
    (
        "each day holds what the books say of it",
        "select format('project %s, %s: %s in the rollups, %s in the books', project_id, day, coalesce(r.n, 0), coalesce(l.n, 0))
         from (select project_id, (bucket at time zone 'UTC')::date as day, sum(count) as n from rollup_10s group by 1, 2) r
         full join (select project_id, day, sum(rolled_up) as n from ledger_day group by 1, 2) l using (project_id, day)
         where coalesce(r.n, 0) <> coalesce(l.n, 0)",
    ),
    (
        "every duplicate batch is on record",
        "select format('%s in the ledger, %s on record', l.n, d.n)
         from (select coalesce(sum(duplicate), 0) as n from ledger) l, (select coalesce(sum(events), 0) as n from duplicate_batch) d
         where l.n <> d.n",
    ),
    (
        "every dead letter is on record",
        "select format('%s in the ledger, %s on record', l.n, d.n)
         from (select coalesce(sum(dead_lettered), 0) as n from ledger) l, (select coalesce(sum(events), 0) as n from dead_letter) d
         where l.n <> d.n",
    ),
];
