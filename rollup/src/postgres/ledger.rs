//! `ledger`, `ledger_project` and `ledger_day`.
//!
//! Arrives: the books of a cut. Leaves: one row for the flush, one for each project and minute of the log, and the days of the
//! events added to what was there, in one statement. The tables check again that every row balances: books that do not
//! would roll the whole flush back.
//!
//! Does not: look at the rows it vouches for. Whether they say the same is asked by `reconcile` and `verify`.

use sqlx::PgConnection;

use super::cursor::int4;
use crate::books::{Counts, ProjectMinute};
use crate::partition::{Cut, Fingerprint};
use crate::store::Owner;

/// Books a cut.
pub(super) async fn insert(connection: &mut PgConnection, owner: Owner, epoch: u64, cut: &Cut) -> sqlx::Result<()> {
    let sql = "with of_project as (
            insert into ledger_project (log_partition, to_offset, project_id, minute,
                accepted, rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded)
            select $1, $3, project_id, to_timestamp(minute_s), accepted, rolled_up, dead_lettered, duplicate, unidentified,
                uncertain, folded
            from unnest($17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[],
                $24::bigint[], $25::bigint[]) as m (project_id, minute_s, accepted, rolled_up, dead_lettered, duplicate,
                unidentified, uncertain, folded)),
        of_day as (
            insert into ledger_day as d (log_partition, project_id, day, rolled_up)
            select $1, project_id, date '1970-01-01' + (day_s / 86400)::int, rolled_up
            from unnest($26::bigint[], $27::bigint[], $28::bigint[]) as m (project_id, day_s, rolled_up)
            on conflict (project_id, day, log_partition) do update set rolled_up = d.rolled_up + excluded.rolled_up)
        insert into ledger (log_partition, from_offset, to_offset, epoch, owner, fingerprint, appended_at,
            records, records_unreadable, accepted, rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded,
            has_facets)
        values ($1, $2, $3, $4, $5, $6, to_timestamp($7 / 1000.0), $8, $9, $10, $11, $12, $13, $14, $15, $16, true)";
    let books = &cut.books;
    let Counts { accepted, rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded } = books.total;
    let minutes =
        |field: fn(&ProjectMinute) -> u64| -> Vec<i64> { books.minutes.iter().map(|m| bigint(field(m))).collect() };
    sqlx::query(sql)
        .bind(int4(cut.partition))
        .bind(bigint(cut.from))
        .bind(bigint(cut.to))
        .bind(bigint(epoch))
        .bind(owner.0)
        .bind(cut.fingerprint.as_ref().map(Fingerprint::as_bytes))
        .bind(cut.appended_ms)
        .bind(bigint(books.records))
        .bind(bigint(books.records_unreadable))
        .bind(bigint(accepted))
        .bind(bigint(rolled_up))
        .bind(bigint(dead_lettered))
        .bind(bigint(duplicate))
        .bind(bigint(unidentified))
        .bind(bigint(uncertain))
        .bind(bigint(folded))
        .bind(minutes(|minute| minute.project.0))
        .bind(books.minutes.iter().map(|minute| minute.minute_s).collect::<Vec<_>>())
        .bind(minutes(|minute| minute.events.accepted))
        .bind(minutes(|minute| minute.events.rolled_up))
        .bind(minutes(|minute| minute.events.dead_lettered))
        .bind(minutes(|minute| minute.events.duplicate))
        .bind(minutes(|minute| minute.events.unidentified))
        .bind(minutes(|minute| minute.events.uncertain))
        .bind(minutes(|minute| minute.events.folded))
        .bind(books.days.iter().map(|day| bigint(day.project.0)).collect::<Vec<_>>())
        .bind(books.days.iter().map(|day| day.day_s).collect::<Vec<_>>())
        .bind(books.days.iter().map(|day| bigint(day.rolled_up)).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}

fn bigint(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
