//! The rollups: pieces out of a table, merged, against the cells out of the log.
//!
//! Promises: every cell of both sides is looked at, with every column and every bucket of the histogram. Of the table only one
//! cell is held at a time.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::count::{Cell, Counted, SeriesNumber};
use crate::findings::Findings;
use crate::latency::{Latencies, decode_v2};
use crate::record::Series;
use crate::report::{Column, Place, instant};
use crate::snapshot::Done;

/// Which pieces to merge, and what they are called.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// For people.
    pub(crate) table: &'static str,
    sql: String,
}

impl Source {
    /// The pieces of ten seconds above a position.
    pub(crate) fn ten_seconds(above: u64) -> Source {
        Source { table: "rollup_10s", sql: ordered(&[select("rollup_10s", "bucket", 10, above)]) }
    }

    /// Everything there is of minutes: the level itself, and what it has not got yet.
    pub(crate) fn minutes(done: Done) -> Source {
        let parts = [select("rollup_1m", "last_10s", 60, 0), select("rollup_10s", "bucket", 60, done.minute)];
        Source { table: "rollup_1m", sql: ordered(&parts) }
    }

    /// Everything there is of hours.
    pub(crate) fn hours(done: Done) -> Source {
        let parts = [
            select("rollup_1h", "last_10s", 3600, 0),
            select("rollup_1m", "last_10s", 3600, done.hour),
            select("rollup_10s", "bucket", 3600, done.minute),
        ];
        Source { table: "rollup_1h", sql: ordered(&parts) }
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
pub(crate) struct Scope<'a> {
    pub(crate) partition: u32,
    pub(crate) cursor: u64,
    pub(crate) series: &'a BTreeMap<i64, (i64, Series)>,
    /// Whether a bucket can be judged.
    pub(crate) bucket: &'a dyn Fn(i64) -> bool,
}

/// Compares all cells of `source` with `expected`.
pub(crate) async fn compare(
    connection: &mut PgConnection,
    source: &Source,
    scope: &Scope<'_>,
    counted: &Counted,
    expected: &BTreeMap<(SeriesNumber, i64), Cell>,
    findings: &mut Findings,
) -> sqlx::Result<()> {
    let mut comparison = Comparison { source, scope, counted, expected, findings, met: BTreeSet::new() };
    let mut rows = sqlx::query(AssertSqlSafe(source.sql.clone())).bind(scope.partition as i32).fetch(connection);
    let mut open: Option<(i64, i64, i64, Result<Cell, String>)> = None;
    while let Some(row) = rows.try_next().await? {
        let piece = read(&row)?;
        if piece.up_to > scope.cursor {
            comparison.beyond_the_cursor(&piece);
        }
        let key = (piece.project, piece.bucket_s, piece.series_id);
        open = match open {
            Some((project, bucket_s, series_id, cell)) if (project, bucket_s, series_id) == key => {
                Some((project, bucket_s, series_id, merged(cell, piece.cell)))
            }
            Some((project, bucket_s, series_id, cell)) => {
                comparison.judge(project, bucket_s, series_id, cell);
                Some((piece.project, piece.bucket_s, piece.series_id, piece.cell))
            }
            None => Some((piece.project, piece.bucket_s, piece.series_id, piece.cell)),
        };
    }
    if let Some((project, bucket_s, series_id, cell)) = open {
        comparison.judge(project, bucket_s, series_id, cell);
    }
    comparison.finish();
    Ok(())
}

struct Comparison<'a> {
    source: &'a Source,
    scope: &'a Scope<'a>,
    counted: &'a Counted,
    expected: &'a BTreeMap<(SeriesNumber, i64), Cell>,
    findings: &'a mut Findings,
    /// Expected cells that were found.
    met: BTreeSet<(SeriesNumber, i64)>,
}

impl Comparison<'_> {
    /// One merged cell of the table.
    fn judge(&mut self, project: i64, bucket_s: i64, series_id: i64, cell: Result<Cell, String>) {
        if !(self.scope.bucket)(bucket_s) {
            return;
        }
        self.findings.compared(self.source.table, 1);
        let place = Place::of(self.scope.partition);
        let place = Place { project: Some(project), bucket: Some(instant(bucket_s)), ..place };
        let Some(named) = self.scope.series.get(&series_id).filter(|(owner, _)| *owner == project) else {
            let column = Column::new("series_id", "a series of this project", series_id);
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
        let key = self.counted.series.find(named).map(|number| (number, bucket_s));
        match key.and_then(|key| self.expected.get_key_value(&key)) {
            Some((key, expected)) => {
                self.met.insert(*key);
                if *expected != found {
                    self.findings.differs(self.source.table, place, unequal(expected, &found));
                }
            }
            None => self.findings.differs(self.source.table, place, vec![Column::new("count", 0, found.count)]),
        }
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
    fn finish(self) {
        let unmet = self.expected.iter().filter(|(key, _)| !self.met.contains(key) && (self.scope.bucket)(key.1));
        for ((number, bucket_s), cell) in unmet {
            self.findings.compared(self.source.table, 1);
            let (project, series) = self.counted.series.name(*number);
            let place = Place { bucket: Some(instant(*bucket_s)), ..Place::of(self.scope.partition) };
            let place = place.series(*project, series);
            self.findings.differs(self.source.table, place, vec![Column::new("count", cell.count, 0)]);
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
