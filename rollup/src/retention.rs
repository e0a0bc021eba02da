//! Partitions of the tables: made before they are needed, dropped when they are too old.
//!
//! Arrives: the clock of the database. Leaves: empty partitions for the hours and days ahead; old ones gone, with their disk
//! space, at once and without a row being deleted.
//!
//! Promises: safe with several workers (one pass at a time, by advisory lock) and safe to interrupt: a detach that was cut
//! off is finished by the next pass, a detached table is found by its name and dropped. Detaching concurrently never makes
//! a reader wait. A flush that needs a partition of any other day makes it itself (`postgres`), and the next pass drops it
//! again if it is too old: late events never fail for want of a partition.
//!
//! Does not: touch the log's tables (the log does), or keep a default partition (attaching would have to scan it).

use std::time::Duration;

use peep_chassis::lifecycle::Shutdown;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tokio::time::{sleep, timeout};

use crate::metrics;
use crate::postgres::partitions::{self, TimeTable, execute};

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// `rollup_10s` and `dead_letter`.
    pub rollups: Duration,
    /// `raw_event`.
    pub raw: Duration,
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Partitions made.
    pub made: u64,
    /// Partitions dropped.
    pub dropped: u64,
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
        for (table, keep) in [(TimeTable::Rollup10s, retention.rollups), (TimeTable::RawEvent, retention.raw)] {
            done.made += make_ahead(&mut connection, table).await?;
            done.dropped += drop_old(&mut connection, table, keep).await?;
        }
        drop_dead_letters(&mut connection, retention.rollups).await?;
        metrics::table_partitions("made", done.made);
        metrics::table_partitions("dropped", done.dropped);
    }
    connection.close().await?;
    Ok(done)
}

async fn make_ahead(connection: &mut PgConnection, table: TimeTable) -> sqlx::Result<u64> {
    let now_s: f64 =
        sqlx::query_scalar("select extract(epoch from now())::double precision").fetch_one(&mut *connection).await?;
    let first = table.start_of(now_s as i64);
    let starts: Vec<i64> = (0..=PARTITIONS_AHEAD).map(|step| first + step * table.width_s()).collect();
    let made = partitions::ensure(connection, table, &starts).await?;
    Ok(u64::try_from(made).unwrap_or(0))
}

async fn drop_old(connection: &mut PgConnection, table: TimeTable, keep: Duration) -> sqlx::Result<u64> {
    let sql = "select child, state from time_partition_list($1)
        where starts + $2 * interval '1 second' <= now() - $3 * interval '1 second' order by starts";
    let old = sqlx::query(sql)
        .bind(table.name())
        .bind(table.width_s() as f64)
        .bind(keep.as_secs_f64())
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

async fn drop_dead_letters(connection: &mut PgConnection, keep: Duration) -> sqlx::Result<()> {
    let sql = "delete from dead_letter where recorded_at < now() - $1 * interval '1 second'";
    sqlx::query(sql).bind(keep.as_secs_f64()).execute(connection).await?;
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
