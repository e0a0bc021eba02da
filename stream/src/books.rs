//! The books of a project: what was accepted, what became of it, and whether that adds up.
//!
//! Arrives: a range of the log's time. Leaves: sums over the rows that every flush leaves behind, the events that are still
//! in the log, and the outcome of four checks. Promises: sums, rollups and cursors come from one snapshot, so they agree to
//! the unit at any moment, whatever is being committed, merged into coarser levels or compacted meanwhile; `balanced` is
//! true only when every check passed, and the answer says since when rollups are kept to check against.
//!
//! The checks:
//! - `sums`: accepted = rolled up + dead-lettered + duplicate. The database refuses rows that do not; asked again here.
//! - `chain`: the flushes of every partition follow one another without a gap or an overlap and end at the cursor; where a
//!   person accepted a break of the log, exactly there.
//! - `days`: per day of the events and partition, the rollups hold as many events as the books say were rolled up.
//! - `dead_letters`: there are not more dead letters than the books say. (There may be less: they are kept for a while.)
//!
//! Does not: trust the rollup's own memory, or look at single events. `peep verify` recomputes everything from the log.

pub mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use peep_log::Log;
use peep_wire::ProjectId;
use serde_json::{Map, Value, json};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};

use crate::error::ApiError;
use crate::history::{events_by_day, read_horizons, set_statement_timeout};
use crate::query::ReconcileQuery;
use tail::{Tail, TailLimits};

/// The answer of `GET /v1/reconcile`. Must run to its end, like [`crate::history::read`].
pub async fn reconcile(
    pool: &PgPool,
    events: Option<&Arc<dyn Log>>,
    project: ProjectId,
    query: ReconcileQuery,
    time_max: Duration,
    tail: TailLimits,
) -> Result<Value, ApiError> {
    let books = Books::read(pool, project, query, time_max).await.map_err(|error| ApiError::of_database(&error))?;
    // After the snapshot: what is beyond its cursors now was accepted and is not in its sums.
    let tail = Tail::read(events, project, &books.cursors, query, tail).await;
    Ok(books.into_json(query, &tail))
}

/// Everything that comes from the snapshot.
struct Books {
    sums: Sums,
    reasons: BTreeMap<String, i64>,
    records_unreadable: i64,
    gaps: Vec<Gap>,
    breaks: Vec<Value>,
    days: Days,
    cursors: Vec<Cursor>,
}

/// Of `ledger_project`.
struct Sums {
    accepted: i64,
    rolled_up: i64,
    dead_lettered: i64,
    duplicate: i64,
    unidentified: i64,
    uncertain: i64,
    folded: i64,
}

/// Two flushes, or a flush and the cursor, that do not meet.
struct Gap {
    partition: i32,
    ends: i64,
    continues: i64,
}

/// The rollups against the books.
struct Days {
    /// Days before it have no rollups any more; `None` when there are none at all.
    since: Option<String>,
    compared: usize,
    off: Vec<DayOff>,
}

/// A day whose rollups are not what the books say.
struct DayOff {
    day: String,
    partition: i32,
    booked: i64,
    rollups: i64,
}

/// How far a partition is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Of the event log.
    pub partition: u32,
    /// Position of the next record.
    pub next: u64,
    /// Why counting stopped, when it did.
    pub blocked: Option<String>,
}

impl Books {
    async fn read(
        pool: &PgPool,
        project: ProjectId,
        query: ReconcileQuery,
        time_max: Duration,
    ) -> Result<Self, sqlx::Error> {
        let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
        set_statement_timeout(&mut snapshot, time_max).await?;
        let connection = &mut *snapshot;
        let project = project.0.cast_signed();
        let cursors = cursors(connection).await?;
        let (gaps, breaks) = (gaps(connection, query).await?, breaks(connection, query).await?);
        let days = days(connection, project, query).await?;
        let books = Self {
            sums: sums(connection, project, query).await?,
            reasons: reasons(connection, project, query).await?,
            records_unreadable: records_unreadable(connection, query).await?,
            gaps,
            breaks,
            days,
            cursors,
        };
        snapshot.commit().await?;
        Ok(books)
    }

    fn into_json(self, query: ReconcileQuery, tail: &Tail) -> Value {
        let sums = &self.sums;
        let sums_hold = sums.accepted == sums.rolled_up + sums.dead_lettered + sums.duplicate;
        let letters: i64 = self.reasons.values().sum();
        let letters_hold = letters <= sums.dead_lettered;
        let balanced = sums_hold && letters_hold && self.gaps.is_empty() && self.days.off.is_empty();
        let mut dead_lettered = Map::from_iter([("total".to_owned(), json!(sums.dead_lettered))]);
        dead_lettered.extend(self.reasons.iter().map(|(reason, events)| (reason.clone(), json!(events))));
        if letters < sums.dead_lettered {
            dead_lettered.insert("no_longer_kept".to_owned(), json!(sums.dead_lettered - letters));
        }
        let gap = |gap: &Gap| json!({"partition": gap.partition, "ends": gap.ends, "continues": gap.continues});
        let day = |off: &DayOff| json!({"day": off.day, "partition": off.partition, "rolled_up": off.booked, "rollups": off.rollups});
        json!({
            "from_ms": query.from_ms,
            "to_ms": query.to_ms,
            "accepted": sums.accepted,
            "rolled_up": sums.rolled_up,
            "dead_lettered": dead_lettered,
            "duplicate": sums.duplicate,
            "unidentified": sums.unidentified,
            "uncertain": sums.uncertain,
            "cardinality_limited": sums.folded,
            "unreadable_records": self.records_unreadable,
            "in_flight": tail.events,
            "in_flight_exact": tail.is_exact(),
            "in_flight_note": tail.note(),
            "balanced": balanced,
            "checks": {
                "sums": {"ok": sums_hold},
                "chain": {"ok": self.gaps.is_empty(), "gaps": self.gaps.iter().map(gap).collect::<Vec<_>>(), "breaks": self.breaks},
                "days": {
                    "ok": self.days.off.is_empty(),
                    "compared": self.days.compared,
                    "since": self.days.since,
                    "differences": self.days.off.iter().map(day).collect::<Vec<_>>(),
                },
                "dead_letters": {"ok": letters_hold, "kept": letters},
            },
        })
    }
}

async fn cursors(connection: &mut PgConnection) -> Result<Vec<Cursor>, sqlx::Error> {
    let sql = "select log_partition, next_offset, broken_reason from rollup_cursor order by log_partition";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    let cursor = |row: &PgRow| -> Result<Cursor, sqlx::Error> {
        let (partition, next): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Cursor { partition: partition.cast_unsigned(), next: next.cast_unsigned(), blocked: row.try_get(2)? })
    };
    rows.iter().map(cursor).collect()
}

async fn sums(connection: &mut PgConnection, project: i64, query: ReconcileQuery) -> Result<Sums, sqlx::Error> {
    let row = sqlx::query(
        "select coalesce(sum(accepted), 0)::bigint, coalesce(sum(rolled_up), 0)::bigint,
            coalesce(sum(dead_lettered), 0)::bigint, coalesce(sum(duplicate), 0)::bigint,
            coalesce(sum(unidentified), 0)::bigint, coalesce(sum(uncertain), 0)::bigint,
            coalesce(sum(folded), 0)::bigint
        from ledger_project
        where project_id = $1 and minute >= to_timestamp($2::double precision / 1000)
            and minute < to_timestamp($3::double precision / 1000)",
    )
    .bind(project)
    .bind(query.from_ms as f64)
    .bind(query.to_ms as f64)
    .fetch_one(connection)
    .await?;
    Ok(Sums {
        accepted: row.try_get(0)?,
        rolled_up: row.try_get(1)?,
        dead_lettered: row.try_get(2)?,
        duplicate: row.try_get(3)?,
        unidentified: row.try_get(4)?,
        uncertain: row.try_get(5)?,
        folded: row.try_get(6)?,
    })
}

/// Events by reason. A letter is written after the log took its record: by a clock that may differ from the log's.
async fn reasons(
    connection: &mut PgConnection,
    project: i64,
    query: ReconcileQuery,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    let rows = sqlx::query(
        "select reason, coalesce(sum(events), 0)::bigint from dead_letter
        where project_id = $1 and recorded_at >= to_timestamp($2::double precision / 1000) - interval '1 day'
            and appended_at >= to_timestamp($2::double precision / 1000)
            and appended_at < to_timestamp($3::double precision / 1000)
        group by reason",
    )
    .bind(project)
    .bind(query.from_ms as f64)
    .bind(query.to_ms as f64)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Of all projects: nobody can say whose they were.
async fn records_unreadable(connection: &mut PgConnection, query: ReconcileQuery) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select coalesce(sum(records_unreadable), 0)::bigint from ledger
        where appended_at >= to_timestamp($1::double precision / 1000)
            and appended_at < to_timestamp($2::double precision / 1000)",
    )
    .bind(query.from_ms as f64)
    .bind(query.to_ms as f64)
    .fetch_one(connection)
    .await
}

/// Where flushes do not meet.
async fn gaps(connection: &mut PgConnection, query: ReconcileQuery) -> Result<Vec<Gap>, sqlx::Error> {
    // The books have a partition for each of hundreds of days. The neighbours of a flush are nearly always in the last ones.
    let near = unaccepted(connection, query, query.from_ms.saturating_sub(86_400_000)).await?;
    if near.is_empty() { Ok(near) } else { unaccepted(connection, query, 0).await }
}

/// Of each partition: the flushes of the range, the one before them, and the last one against the cursor, as far as they were
/// appended at `since_ms` or later. Flushes are taken by their place and not by their time, because a log's clock may step back.
async fn unaccepted(
    connection: &mut PgConnection,
    query: ReconcileQuery,
    since_ms: i64,
) -> Result<Vec<Gap>, sqlx::Error> {
    let rows = sqlx::query(
        "with span as (
            select log_partition, min(to_offset) as low, max(to_offset) as high from ledger
            where appended_at >= to_timestamp($1::double precision / 1000)
                and appended_at < to_timestamp($2::double precision / 1000)
            group by log_partition
        ), pair as (
            select s.log_partition, f.ends, f.continues
            from span s
            cross join lateral (
                select lag(l.to_offset) over (order by l.to_offset) as ends, l.from_offset as continues, l.to_offset
                from ledger l
                where l.log_partition = s.log_partition and l.to_offset <= s.high and l.to_offset >= coalesce(
                    (select max(b.to_offset) from ledger b
                    where b.log_partition = s.log_partition and b.to_offset < s.low
                        and b.appended_at >= to_timestamp($3::double precision / 1000)), s.low)
                    and l.appended_at >= to_timestamp($3::double precision / 1000)
            ) f
            where f.to_offset >= s.low
            union all
            select c.log_partition, (select max(l.to_offset) from ledger l
                where l.log_partition = c.log_partition and l.appended_at >= to_timestamp($3::double precision / 1000)),
                c.next_offset
            from rollup_cursor c
        )
        select log_partition, ends, continues from pair where ends is distinct from continues order by 1, 2 limit $4",
    )
    .bind(query.from_ms as f64)
    .bind(query.to_ms as f64)
    .bind(since_ms as f64)
    .bind(GAPS_MAX)
    .fetch_all(&mut *connection)
    .await?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let breaks = accepted_breaks(connection).await?;
    let mut gaps = Vec::new();
    for row in &rows {
        let (partition, ends, continues) = (row.try_get(0)?, row.try_get::<Option<i64>, _>(1)?, row.try_get(2)?);
        // Nothing before it: of everything, that is where the books begin; of the last days, it has to be looked for.
        let is_beginning = ends.is_none() && (since_ms == 0 || continues == 0);
        let gap = Gap { partition, ends: ends.unwrap_or(0), continues };
        if !is_beginning && !gap.is_accepted(&breaks) {
            gaps.push(gap);
        }
    }
    Ok(gaps)
}

/// Where every accepted break leads, by partition and where it begins. Each was a person's decision: there are few.
async fn accepted_breaks(connection: &mut PgConnection) -> Result<BTreeMap<(i32, i64), i64>, sqlx::Error> {
    let sql = "select log_partition, position_before, max(position_after) from log_break group by 1, 2";
    let rows = sqlx::query(sql).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?))).collect()
}

impl Gap {
    /// Whether accepted breaks lead from one end to the other.
    fn is_accepted(&self, breaks: &BTreeMap<(i32, i64), i64>) -> bool {
        let mut at = self.ends;
        while at < self.continues {
            // Every break leads forward: the database checks it.
            match breaks.get(&(self.partition, at)) {
                Some(after) => at = *after,
                None => return false,
            }
        }
        at == self.continues
    }
}

async fn breaks(connection: &mut PgConnection, query: ReconcileQuery) -> Result<Vec<Value>, sqlx::Error> {
    let rows = sqlx::query(
        "select log_partition, kind, records_lost, floor(extract(epoch from accepted_at) * 1000)::bigint from log_break
        where accepted_at >= to_timestamp($1::double precision / 1000)
            and accepted_at < to_timestamp($2::double precision / 1000)
        order by log_break_id",
    )
    .bind(query.from_ms as f64)
    .bind(query.to_ms as f64)
    .fetch_all(connection)
    .await?;
    let row = |row: &PgRow| -> Result<Value, sqlx::Error> {
        let (partition, kind): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        let (records_lost, at_ms): (Option<i64>, i64) = (row.try_get(2)?, row.try_get(3)?);
        Ok(json!({"partition": partition, "kind": kind, "records_lost": records_lost, "accepted_ms": at_ms}))
    };
    rows.iter().map(row).collect()
}

/// Whole days (UTC) that overlap the range and whose rollups are kept: how many were compared, and those that differ. Days
/// before the horizon of the hours are gone and cannot be compared.
async fn days(connection: &mut PgConnection, project: i64, query: ReconcileQuery) -> Result<Days, sqlx::Error> {
    let up = |second: i64| (second + DAY_S - 1).div_euclid(DAY_S) * DAY_S;
    let kept_s = up(read_horizons(connection).await?.hour_s);
    let low_s = (query.from_ms.div_euclid(1000 * DAY_S) * DAY_S).max(kept_s);
    let high_s = up(query.to_ms.div_euclid(1000) + i64::from(query.to_ms.rem_euclid(1000) > 0));
    let mut sums: BTreeMap<(i64, u32), (i64, i64)> = BTreeMap::new();
    let rows = sqlx::query(
        "select extract(epoch from day)::bigint, log_partition, rolled_up from ledger_day
        where project_id = $1 and day >= (to_timestamp($2) at time zone 'UTC')::date
            and day < (to_timestamp($3) at time zone 'UTC')::date",
    )
    .bind(project)
    .bind(low_s as f64)
    .bind(high_s as f64)
    .fetch_all(&mut *connection)
    .await?;
    for row in &rows {
        let partition: i32 = row.try_get(1)?;
        sums.entry((row.try_get(0)?, partition.unsigned_abs())).or_default().0 = row.try_get(2)?;
    }
    let rolled_up = events_by_day(connection, ProjectId(project.cast_unsigned()), low_s, high_s).await?;
    for (place, events) in rolled_up {
        sums.entry(place).or_default().1 = events.cast_signed();
    }
    let (mut off, mut compared) = (Vec::new(), BTreeSet::new());
    let since = (!sums.is_empty()).then(|| date(low_s));
    for ((day_s, partition), (booked, rollups)) in sums {
        compared.insert(day_s);
        if booked != rollups {
            off.push(DayOff { day: date(day_s), partition: partition.cast_signed(), booked, rollups });
        }
    }
    Ok(Days { since, compared: compared.len(), off })
}

/// `2026-11-20`
fn date(second: i64) -> String {
    let timestamp = jiff::Timestamp::from_second(second);
    timestamp.map_or_else(|_| second.to_string(), |time| time.strftime("%Y-%m-%d").to_string())
}

const DAY_S: i64 = 86_400;

/// More would not say more.
const GAPS_MAX: i64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_accepted_when_breaks_lead_across_it_and_nowhere_else() {
        let breaks = BTreeMap::from([((0, 10), 100), ((0, 100), 200), ((1, 10), 100)]);
        let gap = |partition, ends, continues| Gap { partition, ends, continues }.is_accepted(&breaks);
        assert!(gap(0, 10, 100) && gap(0, 10, 200) && gap(1, 10, 100));
        assert!(!gap(0, 10, 150), "past the end of a break");
        assert!(!gap(0, 9, 100) && !gap(1, 10, 200) && !gap(2, 10, 100));
        assert!(!gap(0, 100, 10), "an overlap");
    }
}
