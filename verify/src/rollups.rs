//! The rollups: pieces out of a table, merged, against the cells out of the log.
//!
//! Promises: every cell of both sides is looked at, with every column and every bucket of the histogram. Of the table only one
//! cell is held at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::count::{Cell, SeriesNumber, SeriesNumbers};
use crate::findings::Findings;
use crate::latency::{Latencies, decode_v2};
use crate::record::Series;
use crate::report::{Column, Place, instant};
use crate::snapshot::Done;
use crate::suspects::Clue;

/// Which pieces to merge, and what they are called.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// For people.
    pub(crate) table: &'static str,
    width_s: i64,
    sql: String,
}

/// The tables of a family, from fine to coarse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables([&'static str; 3]);

/// Of series.
pub(crate) const ROLLUPS: Tables = Tables(["rollup_10s", "rollup_1m", "rollup_1h"]);
/// Of versions and hosts.
pub(crate) const FACETS: Tables = Tables(["facet_10s", "facet_1m", "facet_1h"]);

impl Source {
    /// The pieces of ten seconds above a position.
    pub(crate) fn ten_seconds(Tables([fine, _, _]): Tables, above: u64) -> Source {
        Source { table: fine, width_s: 10, sql: ordered(&[select(fine, "bucket", 10, above)]) }
    }

    /// Everything there is of minutes: the level itself, and what it has not got yet.
    pub(crate) fn minutes(Tables([fine, minutes, _]): Tables, done: Done) -> Source {
        let parts = [select(minutes, "last_10s", 60, 0), select(fine, "bucket", 60, done.minute)];
        Source { table: minutes, width_s: 60, sql: ordered(&parts) }
    }

    /// Everything there is of hours.
    pub(crate) fn hours(Tables([fine, minutes, hours]): Tables, done: Done) -> Source {
        let parts = [
            select(hours, "last_10s", 3600, 0),
            select(minutes, "last_10s", 3600, done.hour),
            select(fine, "bucket", 3600, done.minute),
        ];
        Source { table: hours, width_s: 3600, sql: ordered(&parts) }
    }
}

/// The pieces of a partition above a position, as if the level had another width.
fn select(table: &str, last_10s: &str, width_s: i64, above: u64) -> String {
    format!(
        "select project_id, series_id, up_to_offset, count, errors, latency_count, sum_us, min_us, max_us, histogram,
            floor(extract(epoch from bucket) / {width_s})::bigint * {width_s} bucket_s,
            extract(epoch from {last_10s})::bigint last_10s
        from {table} where log_partition = $1 and up_to_offset > {above}"
    )
}

fn ordered(parts: &[String]) -> String {
    format!("{} order by project_id, bucket_s, series_id", parts.join(" union all "))
}

/// Cells of wider buckets.
pub(crate) fn widen(cells: BTreeMap<(SeriesNumber, i64), Cell>, width_s: i64) -> BTreeMap<(SeriesNumber, i64), Cell> {
    let mut wide: BTreeMap<(SeriesNumber, i64), Cell> = BTreeMap::new();
    for ((series, bucket_s), cell) in cells {
        wide.entry((series, bucket_s - bucket_s.rem_euclid(width_s))).or_default().merge(&cell);
    }
    wide
}

/// One piece, as a row.
struct Piece {
    project: i64,
    series_id: i64,
    bucket_s: i64,
    up_to: u64,
    cell: Result<Cell, String>,
}

/// What of the two sides can be compared.
#[derive(Debug, Clone)]
pub(crate) struct Scope<'a> {
    pub(crate) partition: u32,
    pub(crate) cursor: u64,
    /// By row id.
    pub(crate) series: &'a BTreeMap<i64, (i64, Series)>,
    /// As the log has them.
    pub(crate) numbers: &'a SeriesNumbers,
    /// Projects whose series cannot be told apart; `None`: all of them.
    pub(crate) together: Option<&'a BTreeSet<i64>>,
    /// Buckets that begin here, Unix seconds.
    pub(crate) buckets: Range<i64>,
    /// Whether everything in them is known; otherwise there may be more in the table.
    pub(crate) exactly: bool,
}

/// Compares all cells of `source` with `expected`.
pub(crate) async fn compare(
    connection: &mut PgConnection,
    source: &Source,
    scope: &Scope<'_>,
    expected: &BTreeMap<(SeriesNumber, i64), Cell>,
    findings: &mut Findings,
) -> sqlx::Result<()> {
    let mut comparison = Comparison { source, scope, expected, findings, met: BTreeSet::new() };
    let mut rows = sqlx::query(AssertSqlSafe(source.sql.clone())).bind(scope.partition as i32).fetch(connection);
    let mut open: Option<(Key, Result<Cell, String>)> = None;
    while let Some(row) = rows.try_next().await? {
        let piece = read(&row)?;
        if piece.up_to > scope.cursor {
            comparison.beyond_the_cursor(&piece);
        }
        let together = scope.together.is_none_or(|projects| projects.contains(&piece.project));
        let Piece { project, bucket_s, series_id, cell, .. } = piece;
        let key = Key { project, bucket_s, series_id: (!together).then_some(series_id) };
        open = match open {
            Some((same, before)) if same == key => Some((key, merged(before, cell))),
            Some((done, merged)) => {
                comparison.judge(done, merged);
                Some((key, cell))
            }
            None => Some((key, cell)),
        };
    }
    if let Some((key, cell)) = open {
        comparison.judge(key, cell);
    }
    comparison.finish();
    Ok(())
}

/// A cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    project: i64,
    bucket_s: i64,
    /// `None` for all series together.
    series_id: Option<i64>,
}

struct Comparison<'a> {
    source: &'a Source,
    scope: &'a Scope<'a>,
    expected: &'a BTreeMap<(SeriesNumber, i64), Cell>,
    findings: &'a mut Findings,
    /// Expected cells that were found.
    met: BTreeSet<(SeriesNumber, i64)>,
}

impl Comparison<'_> {
    /// One merged cell of the table.
    fn judge(&mut self, key: Key, cell: Result<Cell, String>) {
        let Key { project, bucket_s, series_id } = key;
        let Scope { buckets, exactly, .. } = self.scope;
        if !buckets.contains(&bucket_s) {
            return;
        }
        self.findings.compared(self.source.table, 1);
        let place = Place::of(self.scope.partition);
        let place = Place { project: Some(project), bucket: Some(instant(bucket_s)), ..place };
        let all = (project, Series::all());
        let named = match series_id {
            Some(series_id) => self.scope.series.get(&series_id).filter(|(owner, _)| *owner == project),
            None => Some(&all),
        };
        let Some(named) = named else {
            let column = Column::new("series_id", "a series of this project", series_id.unwrap_or_default());
            return self.findings.differs(self.source.table, place, vec![column]);
        };
        let place = place.series(project, &named.1);
        let found = match cell {
            Ok(found) => found,
            Err(reason) => {
                let column = Column::new("histogram", "HdrHistogram V2", reason);
                return self.findings.differs(self.source.table, place, vec![column]);
            }
        };
        let key = self.scope.numbers.find(named).map(|number| (number, bucket_s));
        match key.and_then(|key| self.expected.get_key_value(&key)) {
            Some((key, expected)) => {
                self.met.insert(*key);
                let agrees = if *exactly { *expected == found } else { found.holds(expected) };
                if !agrees {
                    self.differs(named, bucket_s, place, expected, &found);
                }
            }
            None if !exactly => {}
            None => self.differs(named, bucket_s, place, &Cell::default(), &found),
        }
    }

    fn differs(&mut self, named: &(i64, Series), bucket_s: i64, place: Place, expected: &Cell, found: &Cell) {
        let columns = if expected.count == 0 || found.count == 0 {
            vec![Column::new("count", expected.count, found.count)]
        } else {
            unequal(expected, found)
        };
        let buckets = bucket_differences(expected, found).into_iter().map(|(bucket, _, _)| bucket).collect();
        let (project, series) = named.clone();
        let too_much = found.count > expected.count;
        let clue = Clue { project, series, bucket_s, width_s: self.source.width_s, buckets, too_much };
        self.findings.differs_as(self.source.table, place, columns, Some(clue));
    }

    fn beyond_the_cursor(&mut self, piece: &Piece) {
        let place = Place {
            project: Some(piece.project),
            bucket: Some(instant(piece.bucket_s)),
            ..Place::of(self.scope.partition)
        };
        let expected = format!("at most the cursor, {}", self.scope.cursor);
        self.findings.differs(self.source.table, place, vec![Column::new("up_to_offset", expected, piece.up_to)]);
    }

    /// What the log has and the table has not.
    fn finish(mut self) {
        let Self { scope, expected, .. } = self;
        for (key, cell) in expected.iter().filter(|(key, _)| scope.buckets.contains(&key.1)) {
            if self.met.contains(key) {
                continue;
            }
            self.findings.compared(self.source.table, 1);
            let (number, bucket_s) = *key;
            let named = scope.numbers.name(number);
            let place = Place { bucket: Some(instant(bucket_s)), ..Place::of(scope.partition) };
            self.differs(named, bucket_s, place.series(named.0, &named.1), cell, &Cell::default());
        }
    }
}

fn read(row: &sqlx::postgres::PgRow) -> sqlx::Result<Piece> {
    let number = |name: &str| row.try_get::<i64, _>(name).map(|number| number as u64);
    let optional = |name: &str| row.try_get::<Option<i64>, _>(name).map(|number| number.map(|number| number as u64));
    let histogram: Option<&[u8]> = row.try_get("histogram")?;
    let latencies = |buckets| -> sqlx::Result<Latencies> {
        Ok(Latencies {
            count: number("latency_count")?,
            sum_us: number("sum_us")?,
            min_us: optional("min_us")?,
            max_us: optional("max_us")?,
            buckets,
        })
    };
    let cell = match histogram.map_or_else(|| Ok(BTreeMap::new()), decode_v2) {
        Ok(buckets) => Ok(Cell {
            count: number("count")?,
            errors: number("errors")?,
            latencies: latencies(buckets)?,
            last_10s: row.try_get("last_10s")?,
        }),
        Err(reason) => Err(reason.to_owned()),
    };
    Ok(Piece {
        project: row.try_get("project_id")?,
        series_id: row.try_get("series_id")?,
        bucket_s: row.try_get("bucket_s")?,
        up_to: number("up_to_offset")?,
        cell,
    })
}

fn merged(first: Result<Cell, String>, second: Result<Cell, String>) -> Result<Cell, String> {
    let mut cell = first?;
    cell.merge(&second?);
    Ok(cell)
}

impl Cell {
    /// Whether everything in `part` may be in here.
    fn holds(&self, part: &Cell) -> bool {
        let (mine, parts) = (&self.latencies, &part.latencies);
        let bucket = |bucket| mine.buckets.get(bucket).copied().unwrap_or(0);
        self.count >= part.count
            && self.errors >= part.errors
            && mine.count >= parts.count
            && mine.sum_us >= parts.sum_us
            && (parts.count == 0 || (mine.min_us <= parts.min_us && mine.max_us >= parts.max_us))
            && parts.buckets.iter().all(|(lowest, count)| bucket(lowest) >= *count)
    }
}

/// The columns in which two cells differ; of the histogram the buckets.
pub(crate) fn unequal(expected: &Cell, found: &Cell) -> Vec<Column> {
    let optional = |value: Option<u64>| value.map_or_else(|| "null".to_owned(), |value| value.to_string());
    let columns = |cell: &Cell| {
        let Cell { count, errors, latencies, last_10s } = cell;
        [
            ("count", count.to_string()),
            ("errors", errors.to_string()),
            ("latency_count", latencies.count.to_string()),
            ("sum_us", latencies.sum_us.to_string()),
            ("min_us", optional(latencies.min_us)),
            ("max_us", optional(latencies.max_us)),
            ("last_10s", instant(*last_10s)),
        ]
    };
    let mut unequal: Vec<Column> = std::iter::zip(columns(expected), columns(found))
        .filter(|((_, expected), (_, found))| expected != found)
        .map(|((name, expected), (_, found))| Column::new(name, expected, found))
        .collect();
    for (bucket, expected, found) in bucket_differences(expected, found).into_iter().take(BUCKETS_TOLD_MAX) {
        unequal.push(Column::new(format!("histogram from {bucket} µs"), expected, found));
    }
    unequal
}

/// Buckets that hold different numbers, with both.
pub(crate) fn bucket_differences(expected: &Cell, found: &Cell) -> Vec<(u32, u64, u64)> {
    let (expected, found) = (&expected.latencies.buckets, &found.latencies.buckets);
    let both: BTreeSet<u32> = expected.keys().chain(found.keys()).copied().collect();
    let of = |buckets: &BTreeMap<u32, u64>, bucket| buckets.get(&bucket).copied().unwrap_or(0);
    let pairs = both.into_iter().map(|bucket| (bucket, of(expected, bucket), of(found, bucket)));
    pairs.filter(|(_, expected, found)| expected != found).collect()
}

/// A handful shows what happened; thousands would hide it.
const BUCKETS_TOLD_MAX: usize = 4;
