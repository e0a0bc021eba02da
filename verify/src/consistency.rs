//! What the tables must say to each other, whatever the log still holds.
//!
//! Promises: covers all of the past, also what the log no longer has: each statement lists the rows that contradict one another,
//! and an empty list is the proof. The rules are the invariants of the books (reconciliation asks the same questions by project).

use futures_util::TryStreamExt;
use sqlx::Row;

use crate::findings::Findings;
use crate::report::{Column, Place};
use crate::snapshot::Snapshot;

/// A statement that lists contradictions: partition, project, position, bucket, expected, found.
struct Rule {
    table: &'static str,
    column: &'static str,
    sql: &'static str,
}

/// Asks every rule.
pub(crate) async fn check(
    snapshot: &mut Snapshot,
    wanted: &(dyn Fn(u32) -> bool + Sync),
    findings: &mut Findings,
) -> sqlx::Result<()> {
    for Rule { table, column, sql } in RULES {
        findings.compared("rules between tables", 1);
        let mut contradictions = sqlx::query(*sql).fetch(&mut *snapshot.transaction);
        while let Some(row) = contradictions.try_next().await? {
            let partition = row.try_get::<i32, _>(0)? as u32;
            if !wanted(partition) {
                continue;
            }
            let place = Place {
                project: row.try_get(1)?,
                position: row.try_get::<Option<i64>, _>(2)?.map(|position| position as u64),
                bucket: row.try_get(3)?,
                ..Place::of(partition)
            };
            let (expected, found): (Option<String>, Option<String>) = (row.try_get(4)?, row.try_get(5)?);
            let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            findings.differs(table, place, vec![Column::new(*column, or_none(expected), or_none(found))]);
        }
    }
    Ok(())
}

const RULES: &[Rule] = &[
    Rule {
        table: "ledger",
        column: "from_offset of the next row",
        // Each range begins where the last one ended, but over a break that a person accepted.
        sql: "
            select log_partition, null::bigint, to_offset, null::text, to_offset::text, next_from::text
            from (select log_partition, to_offset,
                lead(from_offset) over (partition by log_partition order by to_offset) next_from from ledger) l
            where next_from <> to_offset and not exists (
                select from log_break b where b.log_partition = l.log_partition
                    and b.position_before = l.to_offset and b.position_after = l.next_from)",
    },
    Rule {
        table: "rollup_cursor",
        column: "next_offset",
        // The cursor is where the last flush, or the last break, has put it.
        sql: "
            select log_partition, null::bigint, null::bigint, null::text, moved_to::text, next_offset::text
            from rollup_cursor c cross join lateral (select greatest(
                (select max(to_offset) from ledger l where l.log_partition = c.log_partition),
                (select max(position_after) from log_break b where b.log_partition = c.log_partition), 0) moved_to) m
            where next_offset <> moved_to",
    },
    Rule {
        table: "ledger_project",
        column: "accepted, rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded together",
        // The lines of a flush add up to its sum.
        sql: "
            select log_partition, null::bigint, to_offset, null::text,
                concat_ws(', ', l.accepted, l.rolled_up, l.dead_lettered, l.duplicate, l.unidentified, l.uncertain, l.folded),
                concat_ws(', ', p.accepted, p.rolled_up, p.dead_lettered, p.duplicate, p.unidentified, p.uncertain, p.folded)
            from ledger l full join (
                select log_partition, to_offset, sum(accepted) accepted, sum(rolled_up) rolled_up,
                    sum(dead_lettered) dead_lettered, sum(duplicate) duplicate, sum(unidentified) unidentified,
                    sum(uncertain) uncertain, sum(folded) folded
                from ledger_project group by 1, 2) p using (log_partition, to_offset)
            where (coalesce(l.accepted, -1), l.rolled_up, l.dead_lettered, l.duplicate, l.unidentified, l.uncertain, l.folded)
                is distinct from
                (coalesce(p.accepted, 0), coalesce(p.rolled_up, 0), coalesce(p.dead_lettered, 0), coalesce(p.duplicate, 0),
                    coalesce(p.unidentified, 0), coalesce(p.uncertain, 0), coalesce(p.folded, 0))
                -- A flush and its minutes may lie on two sides of the line where old books are dropped.
                and (l.to_offset is null or l.from_offset = 0 or l.to_offset > (
                    select min(to_offset) from ledger f where f.log_partition = l.log_partition))",
    },
    Rule {
        table: "ledger_day",
        column: "rolled_up, all days",
        // What was rolled up, by flush and by day. Only while all books are there.
        sql: "
            select log_partition, null::bigint, null::bigint, null::text, l.rolled_up::text, d.rolled_up::text
            from (select log_partition, sum(rolled_up) rolled_up from ledger group by 1 having min(from_offset) = 0) l
            left join (select log_partition, sum(rolled_up) rolled_up from ledger_day group by 1) d using (log_partition)
            where l.rolled_up <> coalesce(d.rolled_up, 0)",
    },
    Rule {
        table: "ledger_day",
        column: "rolled_up, against the sum of the rollups",
        // Every day that all levels still have: hours, and what is not in them yet.
        sql: "
            with done as (
                select log_partition, coalesce(max(done_offset) filter (where level = '1m'), 0) as done_1m,
                    coalesce(max(done_offset) filter (where level = '1h'), 0) as done_1h
                from rollup_cursor left join rollup_level using (log_partition) group by 1),
            pieces as (
                select log_partition, project_id, bucket, count from rollup_1h
                union all
                select log_partition, project_id, bucket, count from rollup_1m join done using (log_partition)
                where up_to_offset > done_1h
                union all
                select log_partition, project_id, bucket, count from rollup_10s join done using (log_partition)
                where up_to_offset > done_1m),
            days as (
                select log_partition, project_id, (bucket at time zone 'UTC')::date as day, sum(count) rolled_up
                from pieces group by 1, 2, 3)
            select log_partition, project_id, null::bigint, day::text, d.rolled_up::text, r.rolled_up::text
            from (select * from ledger_day where rolled_up > 0) d
            full join days r using (log_partition, project_id, day)
            where d.rolled_up is distinct from r.rolled_up
                and day >= (select (since at time zone 'UTC')::date from rollup_horizon where level = '1h')",
    },
    Rule {
        table: "facet_1h",
        column: "events of all versions, and of all hosts, against ledger_day",
        // Each event is in one version and on one host. Where a rollup that knew neither was at work, it may be in none.
        sql: "
            with done as (
                select log_partition, coalesce(max(done_offset) filter (where level = 'facet_1m'), 0) as done_1m,
                    coalesce(max(done_offset) filter (where level = 'facet_1h'), 0) as done_1h
                from rollup_cursor left join rollup_level using (log_partition) group by 1),
            pieces as (
                select log_partition, bucket, series_id, count from facet_1h
                union all
                select log_partition, bucket, series_id, count from facet_1m join done using (log_partition)
                where up_to_offset > done_1h
                union all
                select log_partition, bucket, series_id, count from facet_10s join done using (log_partition)
                where up_to_offset > done_1m),
            kinds as (
                select log_partition, project_id, kind, (bucket at time zone 'UTC')::date as day, sum(count) events
                from pieces join facet on facet_id = series_id group by 1, 2, 3, 4),
            expected as (
                select log_partition, project_id, kind, day, rolled_up
                from ledger_day, (values ('version'), ('host')) as k (kind) where rolled_up > 0)
            select log_partition, project_id, null::bigint, kind || ', ' || day::text, e.rolled_up::text, k.events::text
            from expected e full join kinds k using (log_partition, project_id, kind, day)
            where e.rolled_up is distinct from k.events
                and day >= (select (since at time zone 'UTC')::date from rollup_horizon where level = '1h')
                and not exists (select from ledger l where l.log_partition = coalesce(e.log_partition, k.log_partition)
                    and not l.has_facets)",
    },
];
