//! What is old goes: partitions of the tables, made before they are needed and dropped when their time is over, and rows of
//! the few tables that have none.
//!
//! Arrives: the clock of the database. Leaves: empty partitions for the time ahead; old ones gone, with their disk space, at
//! once and without a row being deleted.
//!
//! A level is dropped in two steps. First its horizon moves: from then on flushes write older pieces to the next level, and
//! readers take older times from there. Then, when the leveler has raised all that lies below, its partitions go.
//!
//! Promises: nothing is dropped that the next level does not have. Safe with several workers (one pass at a time, by advisory
//! lock) and safe to interrupt: a detach that was cut off is finished by the next pass, a detached table is found by its name
//! and dropped. Detaching concurrently never makes a reader wait. A flush that needs a partition of any other day makes it
//! itself (`flush`), and the next pass drops it again if it is too old: late events never fail for want of a partition.
//!
//! Does not: touch the log's tables (the log does), or keep a default partition (attaching would have to scan it).

use std::time::Duration;

use peep_chassis::lifecycle::Shutdown;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tokio::time::{sleep, timeout};

use crate::level::{Family, Horizons, Level};
use crate::metrics;
use crate::postgres::partitions::{TimeTable, ensure, execute};
use crate::postgres::{budget, dedup, facet, level};

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// `rollup_10s` and `facet_10s`.
    pub ten_seconds: Duration,
    /// `rollup_1m`, `facet_1m`, `dead_letter`, `duplicate_batch` and `series_overflow`.
    pub minutes: Duration,
    /// `rollup_1h`, `facet_1h`, `facet_seen` and the ledger.
    pub hours: Duration,
    /// `raw_event`.
    pub raw: Duration,
    /// `dedup_window`, by the time of the log.
    pub dedup: Duration,
}

impl Retention {
    /// Where the horizons should be.
    fn horizons(&self, now_s: i64) -> Horizons {
        let before = |keep: Duration| now_s - i64::try_from(keep.as_secs()).unwrap_or(i64::MAX).min(now_s);
        Horizons {
            ten_seconds_s: TimeTable::Rollup10s.start_of(before(self.ten_seconds)),
            minute_s: TimeTable::Rollup1m.start_of(before(self.minutes)),
            hour_s: TimeTable::Rollup1h.start_of(before(self.hours)),
        }
    }
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Partitions made.
    pub made: u64,
    /// Partitions dropped.
    pub dropped: u64,
    /// Levels whose old partitions stay until the leveler has been there.
    pub held_back: u64,
}

/// Passes, one a minute, until shutdown.
pub async fn run(options: PgConnectOptions, retention: Retention, shutdown: Shutdown) {
    loop {
        match timeout(PASS_DEADLINE, pass(&options, retention)).await {
            Ok(Ok(done)) if done.dropped > 0 => tracing::info!(dropped = done.dropped, made = done.made, "retention"),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => failed(&error.to_string()),
            Err(_) => failed("no answer in time"),
        }
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(PASS_INTERVAL) => {}
        }
    }
}

/// One pass, on a connection of its own: detaching concurrently needs to be outside of any transaction.
pub async fn pass(options: &PgConnectOptions, retention: Retention) -> sqlx::Result<Pass> {
    let mut connection = options.connect().await?;
    let limits = "set lock_timeout = '2s'; set statement_timeout = '60s'";
    sqlx::raw_sql(limits).execute(&mut connection).await?;
    // Per schema: several installations may share a database. Ends with the connection.
    let lock = "select pg_try_advisory_lock(hashtextextended('peep retention ' || current_schema(), 0))";
    let alone: bool = sqlx::query_scalar(lock).fetch_one(&mut connection).await?;
    let mut done = Pass::default();
    if alone {
        let now_s: f64 =
            sqlx::query_scalar("select extract(epoch from now())::double precision").fetch_one(&mut connection).await?;
        let now_s = now_s as i64;
        for table in TimeTable::ALL {
            done.made += make_ahead(&mut connection, table, now_s).await?;
        }
        let wanted = retention.horizons(now_s);
        let horizons = move_horizons(&mut connection, wanted).await?;
        for (family, level) in Family::ALL.into_iter().flat_map(|family| Level::ALL.map(|level| (family, level))) {
            if is_raised(&mut connection, family, level, &horizons).await? {
                done.dropped += drop_before(&mut connection, TimeTable::of(family, level), horizons.of(level)).await?;
            } else {
                done.held_back += 1;
            }
        }
        let raw_s = now_s - i64::try_from(retention.raw.as_secs()).unwrap_or(now_s);
        for (table, before_s) in [
            (TimeTable::RawEvent, raw_s),
            (TimeTable::Ledger, horizons.hour_s),
            (TimeTable::LedgerProject, horizons.hour_s),
        ] {
            done.dropped += drop_before(&mut connection, table, before_s).await?;
        }
        sweep(&mut connection, retention, &horizons).await?;
        metrics::table_partitions("made", done.made);
        metrics::table_partitions("dropped", done.dropped);
    }
    connection.close().await?;
    Ok(done)
}

/// Forward if necessary and possible. Flushes that keep the lock busy are not disturbed: there is another pass.
async fn move_horizons(connection: &mut PgConnection, wanted: Horizons) -> sqlx::Result<Horizons> {
    let known = level::horizons(connection).await?;
    if Level::ALL.iter().all(|level| wanted.of(*level) <= known.of(*level)) {
        return Ok(known);
    }
    match level::move_horizons(connection, wanted).await {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(LOCK_NOT_AVAILABLE) => Ok(known),
        moved => moved,
    }
}

/// Whether everything of a level that is older than its horizon is in the next one.
async fn is_raised(
    connection: &mut PgConnection,
    family: Family,
    level: Level,
    horizons: &Horizons,
) -> sqlx::Result<bool> {
    // Also the levels below it: what the leveler is about to write there has to go on upwards first. Buckets are ascending.
    let below = Level::ALL.iter().filter(|below| **below <= level);
    let below: Vec<&str> = below.map(|below| family.level_name(*below)).collect();
    let sql = "select not exists (select from rollup_touched where level = any ($1) and buckets[1] < $2)";
    sqlx::query_scalar(sql).bind(below).bind(horizons.of(level)).fetch_one(connection).await
}

async fn make_ahead(connection: &mut PgConnection, table: TimeTable, now_s: i64) -> sqlx::Result<u64> {
    let first = table.start_of(now_s);
    let starts: Vec<i64> = (0..=PARTITIONS_AHEAD).map(|step| first + step * table.width_s()).collect();
    let made = ensure(connection, table, &starts).await?;
    Ok(u64::try_from(made).unwrap_or(0))
}

async fn drop_before(connection: &mut PgConnection, table: TimeTable, before_s: i64) -> sqlx::Result<u64> {
    let sql = "select child, state from time_partition_list($1)
        where starts + $2 * interval '1 second' <= to_timestamp($3) order by starts";
    let old = sqlx::query(sql)
        .bind(table.name())
        .bind(table.width_s() as f64)
        .bind(before_s as f64)
        .fetch_all(&mut *connection)
        .await?;
    for row in &old {
        // The list only has names that match `<table>_<8 digits>_<2 digits>`.
        let (child, state): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let parent = table.name();
        match state.as_str() {
            "attached" => {
                execute(connection, format!("alter table {parent} detach partition {child} concurrently")).await?;
            }
            "detaching" => {
                execute(connection, format!("alter table {parent} detach partition {child} finalize")).await?
            }
            _ => {}
        }
        execute(connection, format!("drop table {child}")).await?;
    }
    Ok(old.len() as u64)
}

/// Rows that do not go with a partition.
async fn sweep(connection: &mut PgConnection, retention: Retention, horizons: &Horizons) -> sqlx::Result<()> {
    let keep_s = retention.minutes.as_secs_f64();
    let letters = "delete from dead_letter where recorded_at < now() - $1 * interval '1 second'";
    sqlx::query(letters).bind(keep_s).execute(&mut *connection).await?;
    let days = "delete from ledger_day where day < (to_timestamp($1) at time zone 'UTC')::date";
    sqlx::query(days).bind(horizons.hour_s as f64).execute(&mut *connection).await?;
    let gains = "delete from rollup_gain
        where level in ('1m', 'facet_1m') and span_start < $1 or level in ('1h', 'facet_1h') and span_start < $2";
    sqlx::query(gains).bind(horizons.minute_s).bind(horizons.hour_s).execute(&mut *connection).await?;
    dedup::sweep(connection, retention.dedup, retention.minutes).await?;
    budget::sweep(connection, retention.minutes).await?;
    facet::sweep(connection, horizons.hour_s).await?;
    Ok(())
}

fn failed(error: &str) {
    metrics::retention_failed();
    tracing::warn!(error, "retention pass failed; the next one goes on where it stopped");
}

const PASS_INTERVAL: Duration = Duration::from_secs(60);
const PASS_DEADLINE: Duration = Duration::from_secs(300);
/// Two days of rollups, half a day of raw events: should all workers stop, nothing is missing when they come back.
const PARTITIONS_AHEAD: i64 = 2;
/// SQLSTATE of a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
