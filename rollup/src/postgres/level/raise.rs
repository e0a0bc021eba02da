//! One pass of the leveler over one partition and level, in one transaction.
//!
//! Arrives: a partition. Leaves: pieces of the next level for everything the lower one has gained, `done_offset` moved, the
//! touched buckets crossed off and those of the level after next noted.
//!
//! Promises: everything or nothing, once. The row of `rollup_level` is locked for the whole pass and moved by compare-and-swap
//! from where the reading began, so any number of levelers may run, leases or not: what is read has been committed below
//! the cursor and does not change. The events read must be as many as the writers announced, the sums written must be those
//! read, asked back from the table; otherwise the pass is rolled back and says so.
//!
//! Memory: one bucket of one project at a time. Should even that be too much, the series are halved and it is read again.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::TryStreamExt;
use peep_chassis::failpoint;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::compact::{Place, compact};
use super::{
    CoarseRow, LevelError, Range, Touched, balance, copy_coarse, horizons, last_of, signed, stored, take_back,
};
use crate::level::{Family, Level, Merger, Sums};
use crate::postgres::partitions::TimeTable;

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Raised {
    /// The level has everything.
    Current,
    /// Somebody else is at it.
    Busy,
    /// These partitions of the level's table have to be made first.
    Needs(Vec<i64>),
    /// Something was done; there may be more.
    Done(Pass),
}

/// What a pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    /// Events raised.
    pub(crate) events: u64,
    /// Pieces of the lower level merged, and pieces of the level taken back.
    pub(crate) rows_read: u64,
    /// Pieces of the level written.
    pub(crate) rows_written: u64,
    /// Pieces that compaction made unnecessary.
    pub(crate) rows_compacted: u64,
}

/// What a pass may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RaiseLimits {
    /// Of merged pieces in memory.
    pub(crate) bytes_max: usize,
    /// Flushes in one transaction.
    pub(crate) flushes_max: i64,
}

/// Brings `target` of a partition up to date, or a good way towards it. After an error the connection is of no more use.
pub(crate) async fn raise(
    connection: &mut PgConnection,
    partition: u32,
    (family, target): (Family, Level),
    known: &HashSet<(TimeTable, i64)>,
    limits: RaiseLimits,
) -> Result<Raised, LevelError> {
    let begin = "begin; set local lock_timeout = '2s'; set local statement_timeout = '60s'; \
                 set local idle_in_transaction_session_timeout = '30s'";
    sqlx::raw_sql(begin).execute(&mut *connection).await?;
    let raised = match Step::next(connection, partition, (family, target), limits).await? {
        Found::Step(step) => step.take(connection, known, limits.bytes_max).await?,
        Found::Current => Raised::Current,
        Found::Busy => Raised::Busy,
    };
    let end = match raised {
        Raised::Done(_) => {
            failpoint::hit("rollup.level.before_commit");
            "commit"
        }
        _ => "rollback",
    };
    sqlx::raw_sql(end).execute(connection).await?;
    Ok(raised)
}

enum Found {
    Step(Step),
    Current,
    Busy,
}

/// From where to where.
#[derive(Debug)]
struct Step {
    partition: u32,
    family: Family,
    source: Level,
    target: Level,
    /// `done_offset` before and after.
    from: i64,
    to: i64,
    /// Pieces of the target above it are in no other level: they may be taken back.
    own_above: i64,
    /// The log's time at the cursor.
    log_s: i64,
    /// Flushes write buckets before this straight into the target.
    straight_before_s: i64,
}

impl Step {
    async fn next(
        connection: &mut PgConnection,
        partition: u32,
        (family, target): (Family, Level),
        limits: RaiseLimits,
    ) -> Result<Found, LevelError> {
        // Both rows: the two levels of a partition share the pieces of the minutes.
        let sql = "select level, done_offset from rollup_level where log_partition = $1 and level = any ($2)
            for update skip locked";
        let names = [Level::Minute, Level::Hour].map(|level| family.level_name(level));
        let rows = sqlx::query(sql).bind(partition as i32).bind(names).fetch_all(&mut *connection).await?;
        let mut done: BTreeMap<String, i64> = BTreeMap::new();
        for row in &rows {
            done.insert(row.try_get(0)?, row.try_get(1)?);
        }
        let (Some(&minute), Some(&hour)) = (done.get(names[0]), done.get(names[1])) else { return Ok(Found::Busy) };
        let sql = "select next_offset, log_ms from rollup_cursor where log_partition = $1";
        let row = sqlx::query(sql).bind(partition as i32).fetch_one(&mut *connection).await?;
        let (cursor, log_s) = (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?.div_euclid(1000));
        let horizons = horizons(connection).await?;
        let (source, from, to, own_above) = match target {
            Level::Hour => (Level::Minute, hour, minute, -1),
            _ => {
                let to = last_flush(connection, family, partition, minute, cursor, limits.flushes_max).await?;
                (Level::TenSeconds, minute, to, hour)
            }
        };
        if to <= from {
            return Ok(Found::Current);
        }
        let straight_before_s = horizons.of(source);
        Ok(Found::Step(Step { partition, family, source, target, from, to, own_above, log_s, straight_before_s }))
    }

    async fn take(
        self,
        connection: &mut PgConnection,
        known: &HashSet<(TimeTable, i64)>,
        bytes_max: usize,
    ) -> Result<Raised, LevelError> {
        let (buckets, announced) = self.announced(connection).await?;
        let table = TimeTable::of(self.family, self.target);
        let missing: BTreeSet<i64> = buckets
            .values()
            .flatten()
            .map(|bucket_s| table.start_of(*bucket_s))
            .filter(|start_s| !known.contains(&(table, *start_s)))
            .collect();
        if !missing.is_empty() {
            return Ok(Raised::Needs(missing.into_iter().collect()));
        }
        let mut writing = Writing { step: &self, pass: Pass::default(), written: Sums::default(), rows: Vec::new() };
        let mut touched = Touched::default();
        let (mut gained, mut again) = (Sums::default(), Sums::default());
        for (&project, buckets) in &buckets {
            for &bucket_s in buckets {
                let mut parts = vec![(i64::MIN, i64::MAX)];
                while let Some((first, last)) = parts.pop() {
                    let unit = Unit { project, bucket_s, first, last };
                    let mut merger = Merger::default();
                    match self.read(connection, unit, &mut merger, bytes_max).await? {
                        Read::All { rows } => writing.pass.rows_read += rows,
                        Read::TooMuch { middle } => {
                            parts.extend([(middle, last), (first, middle - 1)]);
                            continue;
                        }
                    }
                    let of_unit = merger.taken();
                    gained = gained + of_unit;
                    if of_unit.count > 0 {
                        touched.add(self.family, self.target, project, bucket_s, of_unit.count);
                    }
                    again = again + self.take_again(connection, unit, &mut merger, &mut writing.pass).await?;
                    writing.add(connection, unit, merger, bytes_max).await?;
                }
            }
        }
        if gained.count != announced {
            return Err(LevelError::Unbalanced {
                what: "pieces of the lower level",
                expected: format!("{announced} events"),
                found: format!("{} events", gained.count),
            });
        }
        writing.flush(connection).await?;
        let (mut pass, written) = (writing.pass, writing.written);
        balance("merged pieces", gained + again, written)?;
        balance("written pieces", written, self.ask_back(connection, &buckets).await?)?;
        self.cross_off(connection, touched).await?;
        pass.events = gained.count;
        pass.rows_compacted = self.compact(connection, &buckets).await?;
        Ok(Raised::Done(pass))
    }

    /// Which buckets of the target have news, by project, and how many events in all.
    async fn announced(&self, connection: &mut PgConnection) -> sqlx::Result<(BTreeMap<u64, BTreeSet<i64>>, u64)> {
        let sql = "select project_id, buckets, events from rollup_touched
            where level = $1 and log_partition = $2 and up_to_offset > $3 and up_to_offset <= $4";
        let mut rows = sqlx::query(sql)
            .bind(self.family.level_name(self.source))
            .bind(self.partition as i32)
            .bind(self.from)
            .bind(self.to)
            .fetch(connection);
        let (mut buckets, mut events) = (BTreeMap::<u64, BTreeSet<i64>>::new(), 0);
        while let Some(row) = rows.try_next().await? {
            let project: i64 = row.try_get(0)?;
            buckets.entry(project.unsigned_abs()).or_default().extend(row.try_get::<Vec<i64>, _>(1)?);
            events += row.try_get::<i64, _>(2)?.unsigned_abs();
        }
        Ok((buckets, events))
    }

    async fn read(
        &self,
        connection: &mut PgConnection,
        unit: Unit,
        merger: &mut Merger,
        bytes_max: usize,
    ) -> Result<Read, LevelError> {
        let (table, last) = (TimeTable::of(self.family, self.source).name(), last_of(self.source));
        let sql = format!(
            "select series_id, count, errors, latency_count, sum_us, min_us, max_us, histogram,
                date_part('epoch', {last})::bigint
            from {table}
            where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3)
                and series_id between $4 and $5 and log_partition = $6 and up_to_offset > $7 and up_to_offset <= $8"
        );
        let mut rows = sqlx::query(AssertSqlSafe(sql))
            .bind(signed(unit.project))
            .bind(unit.bucket_s as f64)
            .bind((unit.bucket_s + self.target.width_s()) as f64)
            .bind(unit.first)
            .bind(unit.last)
            .bind(self.partition as i32)
            .bind(self.from)
            .bind(self.to)
            .fetch(connection);
        let mut count = 0;
        while let Some(row) = rows.try_next().await? {
            merger.add(&stored(&row)?)?;
            count += 1;
            if merger.memory_bytes() > bytes_max {
                let series: Vec<i64> = merger.series().collect();
                // A single series is as small as it gets.
                if let [_, .., _] = series[..] {
                    return Ok(Read::TooMuch { middle: series[series.len() / 2] });
                }
            }
        }
        Ok(Read::All { rows: count })
    }

    /// Takes back what the target has of the same series and nobody else has read yet, so that it becomes one piece again.
    async fn take_again(
        &self,
        connection: &mut PgConnection,
        unit: Unit,
        merger: &mut Merger,
        pass: &mut Pass,
    ) -> Result<Sums, LevelError> {
        let mut series: Vec<i64> = merger.series().collect();
        let before = merger.taken();
        if unit.bucket_s < self.straight_before_s {
            series.extend(self.straight(connection, unit).await?);
        }
        let range = Range {
            family: self.family,
            level: self.target,
            partition: self.partition,
            project: signed(unit.project),
            bucket_s: unit.bucket_s,
            series: &series,
            above: self.own_above,
            to: self.to,
        };
        let (_, rows) = take_back(connection, range, merger).await?;
        pass.rows_read += rows;
        Ok(merger.taken() - before)
    }

    /// Series that the flush at the end of this step wrote into the target itself: their key is that of this step.
    async fn straight(&self, connection: &mut PgConnection, unit: Unit) -> sqlx::Result<Vec<i64>> {
        let table = TimeTable::of(self.family, self.target).name();
        let sql = format!(
            "select series_id from {table}
            where project_id = $1 and bucket = to_timestamp($2) and series_id between $3 and $4 and log_partition = $5
                and up_to_offset = $6"
        );
        sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(signed(unit.project))
            .bind(unit.bucket_s as f64)
            .bind(unit.first)
            .bind(unit.last)
            .bind(self.partition as i32)
            .bind(self.to)
            .fetch_all(connection)
            .await
    }

    /// What the table has of this step, as it will be committed.
    async fn ask_back(
        &self,
        connection: &mut PgConnection,
        buckets: &BTreeMap<u64, BTreeSet<i64>>,
    ) -> sqlx::Result<Sums> {
        let table = TimeTable::of(self.family, self.target).name();
        let sql = format!(
            "select coalesce(sum(count), 0)::bigint, coalesce(sum(errors), 0)::bigint,
                coalesce(sum(latency_count), 0)::bigint, coalesce(sum(sum_us), 0)::text
            from {table}
            where project_id = $1 and bucket = to_timestamp($2) and log_partition = $3 and up_to_offset = $4"
        );
        let mut sums = Sums::default();
        for (project, buckets) in buckets {
            for bucket_s in buckets {
                let row = sqlx::query(AssertSqlSafe(sql.clone()))
                    .bind(signed(*project))
                    .bind(*bucket_s as f64)
                    .bind(self.partition as i32)
                    .bind(self.to)
                    .fetch_one(&mut *connection)
                    .await?;
                let number = |at: usize| -> sqlx::Result<u64> { Ok(row.try_get::<i64, _>(at)?.unsigned_abs()) };
                let sum_us: &str = row.try_get(3)?;
                let sum_us = sum_us.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                sums = sums + Sums { count: number(0)?, errors: number(1)?, latency_count: number(2)?, sum_us };
            }
        }
        Ok(sums)
    }

    async fn cross_off(&self, connection: &mut PgConnection, touched: Touched) -> Result<(), LevelError> {
        let sql = "update rollup_level set done_offset = $4, updated_at = now()
            where log_partition = $1 and level = $2 and done_offset = $3";
        let moved = sqlx::query(sql)
            .bind(self.partition as i32)
            .bind(self.family.level_name(self.target))
            .bind(self.from)
            .bind(self.to)
            .execute(&mut *connection)
            .await?;
        if moved.rows_affected() != 1 {
            return Err(LevelError::Unbalanced {
                what: "offsets of the level",
                expected: self.from.to_string(),
                found: "another".to_owned(),
            });
        }
        let sql = "delete from rollup_touched where level = $1 and log_partition = $2 and up_to_offset <= $3";
        sqlx::query(sql)
            .bind(self.family.level_name(self.source))
            .bind(self.partition as i32)
            .bind(self.to)
            .execute(&mut *connection)
            .await?;
        touched.insert(connection, self.partition, self.to.unsigned_abs()).await?;
        Ok(())
    }

    /// Of buckets that are over, the pieces that have just been read.
    async fn compact(
        &self,
        connection: &mut PgConnection,
        buckets: &BTreeMap<u64, BTreeSet<i64>>,
    ) -> Result<u64, LevelError> {
        let (closed_after_s, pieces_min) = match self.source {
            Level::TenSeconds => (FINE_CLOSED_AFTER_S, FINE_PIECES_MIN),
            _ => (0, COARSE_PIECES_MIN),
        };
        let mut gone = 0;
        for (&project, buckets) in buckets {
            for &from_s in buckets {
                let to_s = from_s + self.target.width_s();
                if to_s + closed_after_s <= self.log_s {
                    let Self { family, source: level, partition, to: up_to, .. } = *self;
                    let place = Place { family, level, partition, project, from_s, to_s, up_to, pieces_min };
                    gone += compact(connection, place).await?;
                }
            }
        }
        Ok(gone)
    }
}

/// The offset of the last flush that one transaction takes on: the cursor, unless there are very many before it.
async fn last_flush(
    connection: &mut PgConnection,
    family: Family,
    partition: u32,
    from: i64,
    cursor: i64,
    flushes_max: i64,
) -> sqlx::Result<i64> {
    let sql = "select count(*), max(up_to_offset) from (
            select distinct up_to_offset from rollup_touched
            where level = $5 and log_partition = $1 and up_to_offset > $2 and up_to_offset <= $3
            order by up_to_offset limit $4) as flushes";
    let row = sqlx::query(sql)
        .bind(partition as i32)
        .bind(from)
        .bind(cursor)
        .bind(flushes_max)
        .bind(family.level_name(Level::TenSeconds))
        .fetch_one(connection)
        .await?;
    let full = row.try_get::<i64, _>(0)? == flushes_max;
    Ok(if full { row.try_get(1)? } else { cursor })
}

/// Some series of one bucket of the target.
#[derive(Debug, Clone, Copy)]
struct Unit {
    project: u64,
    bucket_s: i64,
    first: i64,
    last: i64,
}

enum Read {
    All {
        rows: u64,
    },
    /// Beyond the memory; the series in the middle.
    TooMuch {
        middle: i64,
    },
}

/// Rows on their way into the target.
struct Writing<'s> {
    step: &'s Step,
    pass: Pass,
    written: Sums,
    rows: Vec<CoarseRow>,
}

impl Writing<'_> {
    async fn add(
        &mut self,
        connection: &mut PgConnection,
        unit: Unit,
        merger: Merger,
        bytes_max: usize,
    ) -> sqlx::Result<()> {
        let bytes = merger.memory_bytes();
        let up_to = self.step.to.unsigned_abs();
        let row = |(series_id, merged)| CoarseRow {
            project: unit.project,
            bucket_s: unit.bucket_s,
            series_id,
            up_to,
            merged,
        };
        self.rows.extend(merger.into_series().map(row));
        // Small buckets share a COPY, large ones do not wait for each other.
        if self.rows.len() >= ROWS_PER_COPY || bytes > bytes_max / 8 {
            self.flush(connection).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, connection: &mut PgConnection) -> sqlx::Result<()> {
        copy_coarse(connection, self.step.family, self.step.target, self.step.partition, &self.rows).await?;
        self.written = self.written + self.rows.iter().map(|row| Sums::of(&row.merged.cell)).sum();
        self.pass.rows_written += self.rows.len() as u64;
        self.rows.clear();
        Ok(())
    }
}

/// At most some megabytes in small buckets.
const ROWS_PER_COPY: usize = 512;
/// Ten minutes: what comes regularly has come.
const FINE_CLOSED_AFTER_S: i64 = 600;
/// Two or three pieces are usual, and merging them would cost more than reading them; see docs/decisions.
const FINE_PIECES_MIN: i64 = 8;
const COARSE_PIECES_MIN: i64 = 2;
