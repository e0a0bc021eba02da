//! Tables that are partitioned by time: which there are, and how their partitions are made.
//!
//! Does not: drop any; see `retention`.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::level::{Family, Horizons, Level};
use crate::partition::Cut;

/// A table that is partitioned by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TimeTable {
    /// Rollups in ten seconds, a day to a partition.
    Rollup10s,
    /// Rollups in minutes, a day to a partition.
    Rollup1m,
    /// Rollups in hours, ten days to a partition: they are few and kept for long.
    Rollup1h,
    /// The same three for versions and hosts.
    Facet10s,
    /// In minutes.
    Facet1m,
    /// In hours.
    Facet1h,
    /// Raw events, six hours to a partition: the retention is short and should not overshoot by a day.
    RawEvent,
    /// Books by flush, ten days to a partition.
    Ledger,
    /// Books by project and minute, ten days to a partition.
    LedgerProject,
}

impl TimeTable {
    /// All of them.
    pub const ALL: [TimeTable; 9] = [
        TimeTable::Rollup10s,
        TimeTable::Rollup1m,
        TimeTable::Rollup1h,
        TimeTable::Facet10s,
        TimeTable::Facet1m,
        TimeTable::Facet1h,
        TimeTable::RawEvent,
        TimeTable::Ledger,
        TimeTable::LedgerProject,
    ];

    /// The table of a level.
    pub fn of(family: Family, level: Level) -> Self {
        match (family, level) {
            (Family::Series, Level::TenSeconds) => TimeTable::Rollup10s,
            (Family::Series, Level::Minute) => TimeTable::Rollup1m,
            (Family::Series, Level::Hour) => TimeTable::Rollup1h,
            (Family::Facets, Level::TenSeconds) => TimeTable::Facet10s,
            (Family::Facets, Level::Minute) => TimeTable::Facet1m,
            (Family::Facets, Level::Hour) => TimeTable::Facet1h,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            TimeTable::Rollup10s => "rollup_10s",
            TimeTable::Rollup1m => "rollup_1m",
            TimeTable::Rollup1h => "rollup_1h",
            TimeTable::Facet10s => "facet_10s",
            TimeTable::Facet1m => "facet_1m",
            TimeTable::Facet1h => "facet_1h",
            TimeTable::RawEvent => "raw_event",
            TimeTable::Ledger => "ledger",
            TimeTable::LedgerProject => "ledger_project",
        }
    }

    /// Length of a partition.
    pub fn width_s(self) -> i64 {
        match self {
            TimeTable::Rollup10s | TimeTable::Rollup1m | TimeTable::Facet10s | TimeTable::Facet1m => DAY_S,
            TimeTable::Rollup1h | TimeTable::Facet1h | TimeTable::Ledger | TimeTable::LedgerProject => 10 * DAY_S,
            TimeTable::RawEvent => DAY_S / 4,
        }
    }

    /// Start of the partition that holds a second.
    pub fn start_of(self, second: i64) -> i64 {
        second - second.rem_euclid(self.width_s())
    }
}

/// The partitions that the rows of a cut need, the horizons being what they are.
pub(super) fn partitions_of(cut: &Cut, horizons: &Horizons) -> BTreeSet<(TimeTable, i64)> {
    let table_of = |family, window_s: i64| TimeTable::of(family, horizons.level_of(window_s));
    let pieces = cut.pieces.iter().map(|piece| (table_of(Family::Series, piece.window_s), piece.window_s));
    let facets = cut.facets.pieces.iter().map(|piece| (table_of(Family::Facets, piece.window_s), piece.window_s));
    let raw = cut.raw.rows.iter().map(|row| (TimeTable::RawEvent, row.ended_s));
    let ledger = [(TimeTable::Ledger, cut.appended_ms.div_euclid(1000))];
    let minutes = cut.books.minutes.iter().map(|minute| (TimeTable::LedgerProject, minute.minute_s));
    let all = pieces.chain(facets).chain(raw).chain(ledger).chain(minutes);
    all.map(|(table, second)| (table, table.start_of(second))).collect()
}

/// Makes the partitions that are missing and answers how many.
pub async fn ensure(connection: &mut PgConnection, table: TimeTable, starts_s: &[i64]) -> sqlx::Result<i32> {
    let sql = "select time_partition_ensure($1, array(select to_timestamp(s) from unnest($2::double precision[]) s order by s),
        $3 * interval '1 second')";
    let starts: Vec<f64> = starts_s.iter().map(|start| *start as f64).collect();
    sqlx::query_scalar(sql).bind(table.name()).bind(starts).bind(table.width_s() as f64).fetch_one(connection).await
}

/// For statements that cannot take parameters.
pub(crate) async fn execute(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

const DAY_S: i64 = 86_400;
