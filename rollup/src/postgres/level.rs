//! Levels in the tables: what a flush writes for them here, what the leveler does in [`raise`], and what both share.
//!
//! Arrives: the pieces of a [`Cut`], or a partition whose next level is behind. Leaves: rows of `rollup_10s`, `rollup_1m` and
//! `rollup_1h`, and in `rollup_touched` what the leveler has to look at.
//!
//! Promises: what `level` says always holds. A flush decides by the horizons which table a piece belongs to, holds the shared
//! side of an advisory lock from then to its commit, and looks at the horizons again under it; whoever moves a horizon takes
//! the exclusive side. So below a horizon no row appears in a level any more, and its partitions can be dropped.
//!
//! Does not: decide when a horizon moves (`retention`).

pub(crate) mod raise;

mod compact;

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use peep_wire::ProjectId;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::copy;
use super::partitions::TimeTable;
use super::write::copy_rows;
use crate::level::{Family, Horizons, Level, MergeError, Merged, Merger, Stored, Sums};
use crate::partition::Cut;
use crate::window::Cell;

/// Why a level could not be made. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// Postgres refused, or the connection broke.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A stored piece is corrupt.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// What was read is not what was announced, or what was written is not what was read.
    #[error("the {what} do not add up: expected {expected}, found {found}")]
    Unbalanced {
        /// Which sums.
        what: &'static str,
        /// What there should be.
        expected: String,
        /// What there is.
        found: String,
    },
}

/// The name of the advisory lock around horizons. Per schema: several installations may share a database.
macro_rules! horizon_lock {
    () => {
        "hashtextextended('peep rollup horizons ' || current_schema(), 0)"
    };
}

/// Part of the beginning of a flush's transaction: from here to its end no horizon moves.
pub(super) const HOLD_HORIZONS: &str = concat!("select pg_advisory_xact_lock_shared(", horizon_lock!(), ")");

/// The horizons as they are.
pub(crate) async fn horizons(connection: &mut PgConnection) -> sqlx::Result<Horizons> {
    let sql = "select level, extract(epoch from since)::bigint from rollup_horizon";
    let mut horizons = Horizons::default();
    for row in sqlx::query(sql).fetch_all(connection).await? {
        let since_s = row.try_get(1)?;
        match row.try_get(0)? {
            "10s" => horizons.ten_seconds_s = since_s,
            "1m" => horizons.minute_s = since_s,
            _ => horizons.hour_s = since_s,
        }
    }
    Ok(horizons)
}

/// Moves horizons forward, never back, when no flush is in the middle of something. Answers the horizons then.
pub(crate) async fn move_horizons(connection: &mut PgConnection, wanted: Horizons) -> sqlx::Result<Horizons> {
    // A flush that comes while this waits would wait behind it, so it does not wait long; the next attempt is soon.
    let begin = concat!("begin; set local lock_timeout = '500ms'; select pg_advisory_xact_lock(", horizon_lock!(), ")");
    let moved = async {
        sqlx::raw_sql(begin).execute(&mut *connection).await?;
        let sql = "update rollup_horizon h set since = to_timestamp(w.since_s)
            from unnest($1::text[], $2::double precision[]) as w (level, since_s)
            where h.level = w.level and h.since < to_timestamp(w.since_s)";
        let names = Level::ALL.map(Level::name);
        let since = Level::ALL.map(|level| wanted.of(level) as f64);
        sqlx::query(sql).bind(names).bind(since).execute(&mut *connection).await?;
        sqlx::raw_sql("commit").execute(&mut *connection).await?;
        Ok(())
    };
    if let Err(error) = moved.await {
        sqlx::raw_sql("rollback").execute(&mut *connection).await?;
        return Err(error);
    }
    horizons(connection).await
}

/// A piece of either family on its way into a table.
#[derive(Debug, Clone, Copy)]
struct Row10s<'c> {
    project: u64,
    series_id: i64,
    window_s: i64,
    cell: &'c Cell,
}

fn rows_of(cut: &Cut, family: Family) -> Vec<Row10s<'_>> {
    let row = |project: ProjectId, row: Option<i64>, window_s, cell| {
        let series_id = row.expect("ids were resolved before the transaction");
        Row10s { project: project.0, series_id, window_s, cell }
    };
    match family {
        Family::Series => {
            let pieces = cut.pieces.iter();
            pieces.map(|piece| row(piece.series.project, piece.series.row(), piece.window_s, &piece.cell)).collect()
        }
        Family::Facets => {
            let pieces = cut.facets.pieces.iter();
            pieces.map(|piece| row(piece.facet.project, piece.facet.row(), piece.window_s, &piece.cell)).collect()
        }
    }
}

/// Writes the pieces of a cut, each into the level that the horizons say.
pub(super) async fn copy_pieces(connection: &mut PgConnection, cut: &Cut, horizons: &Horizons) -> sqlx::Result<()> {
    for family in Family::ALL {
        copy_family(connection, family, cut, horizons).await?;
    }
    Ok(())
}

async fn copy_family(
    connection: &mut PgConnection,
    family: Family,
    cut: &Cut,
    horizons: &Horizons,
) -> sqlx::Result<()> {
    // In the order of the primary key: neighbours land on the same index page, and the same log gives the same rows.
    let pieces = rows_of(cut, family);
    let mut fine: Vec<Row10s<'_>> = Vec::with_capacity(pieces.len());
    let mut coarse: BTreeMap<(Level, u64, i64), Merger> = BTreeMap::new();
    for piece in pieces {
        match horizons.level_of(piece.window_s) {
            Level::TenSeconds => fine.push(piece),
            level => {
                let place = (level, piece.project, level.start_of(piece.window_s));
                coarse.entry(place).or_default().add_cell(piece.series_id, piece.window_s, piece.cell);
            }
        }
    }
    fine.sort_by_key(|piece| (piece.project, piece.window_s, piece.series_id));
    let partition = cut.partition;
    let mut histogram = Vec::new();
    copy_rows(connection, &copy_sql(family, Level::TenSeconds), &fine, |piece, out| {
        let Row10s { project, series_id, window_s: bucket_s, cell } = *piece;
        encode(out, &Key { project, bucket_s, series_id, partition, up_to: cut.to }, cell, None, &mut histogram);
    })
    .await?;
    let mut rows: BTreeMap<Level, Vec<CoarseRow>> = BTreeMap::new();
    for ((level, project, bucket_s), merger) in coarse {
        let row = |(series_id, merged)| CoarseRow { project, bucket_s, series_id, up_to: cut.to, merged };
        rows.entry(level).or_default().extend(merger.into_series().map(row));
    }
    for (level, rows) in rows {
        copy_coarse(connection, family, level, partition, &rows).await?;
    }
    Ok(())
}

/// Notes which buckets of the next level the cut has pieces for.
pub(super) async fn touched(connection: &mut PgConnection, cut: &Cut, horizons: &Horizons) -> sqlx::Result<()> {
    let mut touched = Touched::default();
    for piece in &cut.pieces {
        let level = horizons.level_of(piece.window_s);
        touched.add(Family::Series, level, piece.series.project.0, piece.window_s, piece.cell.count);
    }
    for piece in &cut.facets.pieces {
        let level = horizons.level_of(piece.window_s);
        touched.add(Family::Facets, level, piece.facet.project.0, piece.window_s, piece.cell.count);
    }
    touched.insert(connection, cut.partition, cut.to).await
}

/// Events by level and project, and by a time.
type Events = BTreeMap<(Family, Level, u64, i64), u64>;

/// What was written, for those who read it.
#[derive(Debug, Default)]
struct Touched {
    /// By bucket of the next level, which the leveler has to look at.
    next: Events,
    /// By span of a coarse level, for readers who remember its sum.
    gained: Events,
}

impl Touched {
    /// Events that were not in `level` before.
    fn add(&mut self, family: Family, level: Level, project: u64, bucket_s: i64, events: u64) {
        if let Some(next) = level.next() {
            *self.next.entry((family, level, project, next.start_of(bucket_s))).or_default() += events;
        }
        if let Some(span_s) = level.gain_span_s() {
            let start_s = bucket_s - bucket_s.rem_euclid(span_s);
            *self.gained.entry((family, level, project, start_s)).or_default() += events;
        }
    }

    async fn insert(self, connection: &mut PgConnection, partition: u32, up_to: u64) -> sqlx::Result<()> {
        self.insert_gained(connection, partition).await?;
        self.insert_next(connection, partition, up_to).await
    }

    /// In the order of the key, so that a flush and a pass of the same partition never wait for each other in a circle.
    async fn insert_gained(&self, connection: &mut PgConnection, partition: u32) -> sqlx::Result<()> {
        if self.gained.is_empty() {
            return Ok(());
        }
        let sql = "insert into rollup_gain as known (project_id, level, span_start, log_partition, events)
            select project_id, level, span_start, $1, events
            from unnest($2::bigint[], $3::text[], $4::bigint[], $5::bigint[]) as t (project_id, level, span_start, events)
            order by project_id, level, span_start
            on conflict (project_id, level, span_start, log_partition) do update set events = known.events + excluded.events";
        let gained = &self.gained;
        sqlx::query(sql)
            .bind(partition as i32)
            .bind(gained.keys().map(|(_, _, project, _)| signed(*project)).collect::<Vec<_>>())
            .bind(gained.keys().map(|(family, level, _, _)| family.level_name(*level)).collect::<Vec<_>>())
            .bind(gained.keys().map(|(_, _, _, start_s)| *start_s).collect::<Vec<_>>())
            .bind(gained.values().map(|events| signed(*events)).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }

    async fn insert_next(self, connection: &mut PgConnection, partition: u32, up_to: u64) -> sqlx::Result<()> {
        let touched = self.next;
        if touched.is_empty() {
            return Ok(());
        }
        // A pass may end where a flush did that wrote to the same level.
        let sql =
            "insert into rollup_touched as known (level, log_partition, up_to_offset, project_id, buckets, events)
            select level, $1, $2, project_id, array_agg(bucket order by bucket), sum(events)
            from unnest($3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) as t (level, project_id, bucket, events)
            group by level, project_id
            on conflict (level, log_partition, up_to_offset, project_id) do update set
                buckets = array(select distinct unnest(known.buckets || excluded.buckets) as bucket order by bucket),
                events = known.events + excluded.events";
        let column = |field: fn(&(Family, Level, u64, i64)) -> i64| touched.keys().map(field).collect::<Vec<i64>>();
        sqlx::query(sql)
            .bind(partition as i32)
            .bind(signed(up_to))
            .bind(touched.keys().map(|(family, level, _, _)| family.level_name(*level)).collect::<Vec<_>>())
            .bind(column(|(_, _, project, _)| signed(*project)))
            .bind(column(|(_, _, _, bucket_s)| *bucket_s))
            .bind(touched.values().map(|events| signed(*events)).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// A row of `rollup_1m` or `rollup_1h`.
struct CoarseRow {
    project: u64,
    bucket_s: i64,
    series_id: i64,
    up_to: u64,
    merged: Merged,
}

async fn copy_coarse(
    connection: &mut PgConnection,
    family: Family,
    level: Level,
    partition: u32,
    rows: &[CoarseRow],
) -> sqlx::Result<()> {
    let mut histogram = Vec::new();
    copy_rows(connection, &copy_sql(family, level), rows, |row, out| {
        let CoarseRow { project, bucket_s, series_id, up_to, ref merged } = *row;
        let key = Key { project, bucket_s, series_id, partition, up_to };
        let last_s = (level != Level::TenSeconds).then_some(merged.last_s);
        encode(out, &key, &merged.cell, last_s, &mut histogram);
    })
    .await
}

fn copy_sql(family: Family, level: Level) -> String {
    let table = TimeTable::of(family, level).name();
    let last = if level == Level::TenSeconds { "" } else { ", last_10s" };
    format!(
        "copy {table} (project_id, bucket, series_id, log_partition, up_to_offset, count, errors, latency_count, sum_us, \
         min_us, max_us, histogram{last}) from stdin (format binary)"
    )
}

/// The primary key of a piece.
struct Key {
    project: u64,
    bucket_s: i64,
    series_id: i64,
    partition: u32,
    up_to: u64,
}

fn encode(out: &mut Vec<u8>, key: &Key, cell: &Cell, last_s: Option<i64>, histogram: &mut Vec<u8>) {
    let totals = cell.histogram.totals();
    copy::row(out, if last_s.is_some() { 13 } else { 12 });
    copy::uint8(out, key.project);
    copy::timestamp_ms(out, key.bucket_s * 1000);
    copy::int8(out, key.series_id);
    copy::int4(out, key.partition as i32);
    copy::uint8(out, key.up_to);
    copy::uint8(out, cell.count);
    copy::uint8(out, cell.errors);
    copy::uint8(out, cell.histogram.count());
    copy::uint8(out, cell.histogram.sum_us());
    copy::optional(out, totals.map(|totals| totals.min_us), copy::uint8);
    copy::optional(out, totals.map(|totals| totals.max_us), copy::uint8);
    histogram.clear();
    if totals.is_some() {
        cell.histogram.encode_v2(histogram);
    }
    copy::optional(out, totals.map(|_| histogram.as_slice()), copy::bytes);
    if let Some(last_s) = last_s {
        copy::timestamp_ms(out, last_s * 1000);
    }
}

/// Pieces of one bucket and partition, by the offsets in their keys.
#[derive(Debug, Clone, Copy)]
struct Range<'a> {
    family: Family,
    level: Level,
    partition: u32,
    project: i64,
    bucket_s: i64,
    series: &'a [i64],
    above: i64,
    to: i64,
}

/// Takes rows out of a table and into a merger. Answers the largest offset of each series among them, and their number.
async fn take_back(
    connection: &mut PgConnection,
    range: Range<'_>,
    merger: &mut Merger,
) -> Result<(BTreeMap<i64, i64>, u64), LevelError> {
    let Range { family, level, partition, project, bucket_s, series, above, to } = range;
    let (table, last) = (TimeTable::of(family, level).name(), last_of(level));
    let sql = format!(
        "delete from {table}
        where project_id = $1 and bucket = to_timestamp($2) and series_id = any ($3) and log_partition = $4
            and up_to_offset > $5 and up_to_offset <= $6
        returning series_id, count, errors, latency_count, sum_us, min_us, max_us, histogram,
            date_part('epoch', {last})::bigint, up_to_offset"
    );
    let mut rows = sqlx::query(AssertSqlSafe(sql))
        .bind(project)
        .bind(bucket_s as f64)
        .bind(series)
        .bind(partition as i32)
        .bind(above)
        .bind(to)
        .fetch(connection);
    let (mut newest, mut count) = (BTreeMap::<i64, i64>::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let stored = stored(&row)?;
        let newest = newest.entry(stored.series_id).or_default();
        *newest = row.try_get::<i64, _>(9)?.max(*newest);
        merger.add(&stored)?;
        count += 1;
    }
    Ok((newest, count))
}

/// The column or expression that says when a piece's last event happened.
fn last_of(level: Level) -> &'static str {
    if level == Level::TenSeconds { "bucket" } else { "last_10s" }
}

/// Reads series, figures, histogram and last ten seconds, in this order from the first column on.
fn stored(row: &PgRow) -> sqlx::Result<Stored<'_>> {
    let number = |at: usize| -> sqlx::Result<u64> { Ok(row.try_get::<i64, _>(at)?.unsigned_abs()) };
    let bound = |at: usize| -> sqlx::Result<u64> { Ok(row.try_get::<Option<i64>, _>(at)?.unwrap_or(0).unsigned_abs()) };
    let latency = match row.try_get::<Option<&[u8]>, _>(7)? {
        Some(histogram) => Some((histogram, bound(5)?, bound(6)?)),
        None => None,
    };
    Ok(Stored {
        series_id: row.try_get(0)?,
        sums: Sums { count: number(1)?, errors: number(2)?, latency_count: number(3)?, sum_us: number(4)?.into() },
        latency,
        last_s: row.try_get(8)?,
    })
}

fn balance(what: &'static str, expected: Sums, found: Sums) -> Result<(), LevelError> {
    if expected == found {
        return Ok(());
    }
    Err(LevelError::Unbalanced { what, expected: format!("{expected:?}"), found: format!("{found:?}") })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
