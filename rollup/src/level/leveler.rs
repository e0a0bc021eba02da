//! When levels are made.
//!
//! Arrives: time passing. Leaves: `rollup_1m` and `rollup_1h` at most some minutes behind the cursors.
//!
//! Every worker runs one, over all partitions of the log, also those that nobody counts at the moment: a pass is a transaction
//! with a lock and a compare-and-swap of its own (`postgres::level::raise`), so it needs no lease, and workers that meet go on
//! to the next partition. What is due is asked of the database, so that several workers do not make it more often.
//!
//! Promises: never in the way of a flush; nothing depends on it being on time, because readers take from the finer level
//! what a coarser one lacks. A pass that fails is reported, rolled back and tried again at the next interval.
//!
//! Does not: remember anything between two rounds but which partitions of the tables exist.

use std::collections::HashSet;
use std::time::Duration;

use peep_chassis::lifecycle::Shutdown;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};
use tokio::time::{Instant, sleep, timeout};

use super::{Family, Level};
use crate::metrics;
use crate::postgres::level::LevelError;
use crate::postgres::level::raise::{RaiseLimits, Raised, raise};
use crate::postgres::partitions::{self, TimeTable};

/// How often, and with how much.
#[derive(Debug, Clone, Copy)]
pub struct LevelerLimits {
    /// Between two passes over the same partition for the minutes; for the hours ten times as long.
    pub interval: Duration,
    /// Memory of merged pieces.
    pub bytes_max: usize,
    /// Flushes raised in one transaction; more are taken in several.
    pub flushes_max: u32,
}

impl LevelerLimits {
    /// Twenty minutes of flushes at the usual interval.
    pub const FLUSHES_MAX: u32 = 256;
}

/// Makes levels of what is due, until shutdown.
pub async fn run(options: PgConnectOptions, limits: LevelerLimits, shutdown: Shutdown) {
    let mut leveler = Leveler::new(limits);
    loop {
        // Half an interval late at worst.
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(limits.interval / 2) => {}
        }
        tokio::select! {
            // A transaction in the middle is rolled back with its connection.
            () = shutdown.requested() => return,
            round = timeout(ROUND_DEADLINE, leveler.round(&options, Due::AfterInterval)) => match round {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => report(None, &error),
                Err(_) => tracing::warn!("levels: no answer in time; the next round goes on where this one stopped"),
            }
        }
    }
}

/// Which partitions are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Whose last pass was an interval ago.
    AfterInterval,
    /// All.
    Now,
}

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Passes that changed something.
    pub passes: u64,
    /// Events raised to minutes, and minutes raised to hours, added up.
    pub events: u64,
    /// Pieces written.
    pub rows_written: u64,
    /// Pieces that compaction made unnecessary.
    pub rows_compacted: u64,
    /// Passes that failed and were reported.
    pub failed: u64,
}

/// Makes levels.
#[derive(Debug)]
pub struct Leveler {
    limits: LevelerLimits,
    /// Partitions of tables that exist as far as we know. Forgotten after any failure.
    known: HashSet<(TimeTable, i64)>,
}

impl Leveler {
    /// With nothing known.
    pub fn new(limits: LevelerLimits) -> Self {
        Self { limits, known: HashSet::new() }
    }

    /// Makes everything that is due.
    ///
    /// # Errors
    /// Only when the database does not say what is due; failed passes are reported and counted.
    pub async fn round(&mut self, options: &PgConnectOptions, due: Due) -> Result<Round, LevelError> {
        let mut connection = options.connect().await?;
        let mut round = Round::default();
        for target in TARGETS {
            for partition in self.due(&mut connection, target, due).await? {
                if let Err(error) = self.catch_up(&mut connection, partition, target, &mut round).await {
                    self.known.clear();
                    round.failed += 1;
                    report(Some((partition, target)), &error);
                    connection = options.connect().await?;
                }
            }
        }
        connection.close().await?;
        Ok(round)
    }

    /// Partitions whose level is behind, those that have waited longest first.
    async fn due(
        &self,
        connection: &mut PgConnection,
        (family, target): (Family, Level),
        due: Due,
    ) -> sqlx::Result<Vec<u32>> {
        let rows = "insert into rollup_level (log_partition, level, updated_at)
            select log_partition, level, 'epoch' from rollup_cursor, unnest($1::text[]) as levels (level)
            where not exists (
                select from rollup_level l where l.log_partition = rollup_cursor.log_partition and l.level = levels.level)
            on conflict do nothing";
        let names = [Level::Minute, Level::Hour].map(|level| family.level_name(level));
        sqlx::query(rows).bind(names).execute(&mut *connection).await?;
        let sql = match target {
            Level::Hour => {
                "select l.log_partition from rollup_level l
                join rollup_level m on m.log_partition = l.log_partition and m.level = $2
                where l.level = $3 and l.done_offset < m.done_offset and l.updated_at <= now() - $1 * interval '1 second'
                order by l.updated_at, l.log_partition"
            }
            _ => {
                "select l.log_partition from rollup_level l join rollup_cursor c using (log_partition)
                where l.level = $2 and $3::text is not null and l.done_offset < c.next_offset
                    and l.updated_at <= now() - $1 * interval '1 second'
                order by l.updated_at, l.log_partition"
            }
        };
        let interval = match target {
            Level::Hour => self.limits.interval * HOURS_EVERY,
            _ => self.limits.interval,
        };
        let waited = if due == Due::Now { Duration::ZERO } else { interval };
        let [minutes, hours] = names;
        let query = sqlx::query(sql).bind(waited.as_secs_f64()).bind(minutes).bind(hours);
        let rows = query.fetch_all(connection).await?;
        rows.iter().map(|row| Ok(row.try_get::<i32, _>(0)?.unsigned_abs())).collect()
    }

    async fn catch_up(
        &mut self,
        connection: &mut PgConnection,
        partition: u32,
        target: (Family, Level),
        round: &mut Round,
    ) -> Result<(), LevelError> {
        let limits = RaiseLimits { bytes_max: self.limits.bytes_max, flushes_max: self.limits.flushes_max.into() };
        loop {
            let started = Instant::now();
            match raise(connection, partition, target, &self.known, limits).await? {
                Raised::Current | Raised::Busy => return Ok(()),
                Raised::Needs(starts_s) => {
                    let table = TimeTable::of(target.0, target.1);
                    let made = partitions::ensure(connection, table, &starts_s).await?;
                    metrics::table_partitions("made", u64::try_from(made).unwrap_or(0));
                    self.known.extend(starts_s.into_iter().map(|start_s| (table, start_s)));
                }
                Raised::Done(pass) => {
                    metrics::level_made(target, &pass, started.elapsed());
                    round.passes += 1;
                    round.events += if target.0 == Family::Series { pass.events } else { 0 };
                    round.rows_written += pass.rows_written;
                    round.rows_compacted += pass.rows_compacted;
                }
            }
        }
    }
}

fn report(place: Option<(u32, (Family, Level))>, error: &LevelError) {
    let level = place.map_or("", |(_, (family, level))| family.level_name(level));
    let partition = place.map(|(partition, _)| partition);
    match error {
        LevelError::Database(error) => {
            metrics::level_failed(place.map(|(_, target)| target), "failed");
            tracing::warn!(partition, level, %error, "level not made; tried again at the next interval");
        }
        LevelError::Merge(_) | LevelError::Unbalanced { .. } => {
            metrics::level_failed(place.map(|(_, target)| target), "refused");
            tracing::error!(
                partition,
                level,
                %error,
                "level not made because its sums are not those of the level below; answers use that one until this is resolved"
            );
        }
    }
}

/// A level after the one it is made from.
const TARGETS: [(Family, Level); 4] = [
    (Family::Series, Level::Minute),
    (Family::Series, Level::Hour),
    (Family::Facets, Level::Minute),
    (Family::Facets, Level::Hour),
];
/// An hour is looked at ten times less often than a minute.
const HOURS_EVERY: u32 = 10;
/// Everything that a night without levelers has left should fit; if not, the next round goes on.
const ROUND_DEADLINE: Duration = Duration::from_secs(600);
