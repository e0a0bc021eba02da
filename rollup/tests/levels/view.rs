//! All rollup rows in one snapshot, read by the rules that the levels promise, in the plainest way.

use std::collections::BTreeMap;

use peep_rollup::level::Level;
use peep_wire::histogram::{Histogram, Totals};
use sqlx::PgPool;

/// What a bucket of a series holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sum {
    count: u64,
    errors: u64,
    latency: Histogram,
    last_s: i64,
}

/// Sums by bucket and series.
pub(crate) type Sums = BTreeMap<(i64, i64), Sum>;

struct Row {
    bucket_s: i64,
    series_id: i64,
    partition: i32,
    up_to: i64,
    count: u64,
    errors: u64,
    latency: Option<(Vec<u8>, Totals)>,
    last_s: i64,
}

/// One snapshot.
pub(crate) struct View {
    rows: BTreeMap<Level, Vec<Row>>,
    done: BTreeMap<(i32, String), i64>,
    horizons: BTreeMap<String, i64>,
}

impl View {
    pub(crate) async fn read(pool: &PgPool) -> Self {
        let mut snapshot =
            pool.begin_with("begin isolation level repeatable read, read only").await.expect("begin a snapshot");
        let mut rows = BTreeMap::new();
        for level in Level::ALL {
            type Columns = (i64, i64, i32, i64, i64, i64, i64, Option<i64>, Option<i64>, Option<Vec<u8>>, i64);
            let last = if level == Level::TenSeconds { "bucket" } else { "last_10s" };
            let sql = format!(
                "select extract(epoch from bucket)::bigint, series_id, log_partition, up_to_offset, count, errors, sum_us,
                    min_us, max_us, histogram, extract(epoch from {last})::bigint from rollup_{}",
                level.name()
            );
            let found: Vec<Columns> =
                sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *snapshot).await.expect("read rollups");
            let row =
                |(bucket_s, series_id, partition, up_to, count, errors, sum_us, min, max, bytes, last_s): Columns| {
                    let totals = Totals {
                        sum_us: sum_us as u64,
                        min_us: min.unwrap_or(0) as u64,
                        max_us: max.unwrap_or(0) as u64,
                    };
                    let latency = bytes.map(|bytes| (bytes, totals));
                    let (count, errors) = (count as u64, errors as u64);
                    Row { bucket_s, series_id, partition, up_to, count, errors, latency, last_s }
                };
            rows.insert(level, found.into_iter().map(row).collect());
        }
        let done: Vec<(i32, String, i64)> =
            sqlx::query_as("select log_partition, level, done_offset from rollup_level")
                .fetch_all(&mut *snapshot)
                .await
                .expect("read levels");
        let horizons: Vec<(String, i64)> =
            sqlx::query_as("select level, extract(epoch from since)::bigint from rollup_horizon")
                .fetch_all(&mut *snapshot)
                .await
                .expect("read horizons");
        snapshot.commit().await.expect("end the snapshot");
        let done = done.into_iter().map(|(partition, level, done)| ((partition, level), done)).collect();
        Self { rows, done, horizons: horizons.into_iter().collect() }
    }

    fn rows(&self, level: Level) -> &[Row] {
        &self.rows[&level]
    }

    fn done(&self, partition: i32, level: Level) -> i64 {
        self.done.get(&(partition, level.name().to_owned())).copied().unwrap_or(0)
    }

    /// A level, and what the finer ones have beyond it.
    pub(crate) fn stitched(&self, level: Level) -> Sums {
        self.stitched_since(level, i64::MIN)
    }

    /// The same from some second on, in hours, so that levels can be compared.
    pub(crate) fn stitched_since(&self, level: Level, since_s: i64) -> Sums {
        let width = if since_s == i64::MIN { level } else { Level::Hour };
        let mut sums = Sums::new();
        let fresh = |row: &&Row, next: Level| row.up_to > self.done(row.partition, next);
        let parts = [(Level::TenSeconds, Level::Minute), (Level::Minute, Level::Hour)];
        for row in self.rows(level).iter().filter(|row| row.bucket_s >= since_s) {
            add(&mut sums, row, width);
        }
        for (finer, next) in parts.into_iter().filter(|(finer, _)| *finer < level) {
            let rows = self.rows(finer).iter().filter(|row| row.bucket_s >= since_s);
            rows.filter(|row| fresh(row, next)).for_each(|row| add(&mut sums, row, width));
        }
        sums
    }

    pub(crate) fn stitched_count(&self, level: Level) -> u64 {
        self.stitched(level).values().map(|sum| sum.count).sum()
    }

    /// The truth, while ten seconds are still there for all of time.
    pub(crate) fn truth(&self, width: Level) -> Sums {
        let mut sums = Sums::new();
        self.rows(Level::TenSeconds).iter().for_each(|row| add(&mut sums, row, width));
        sums
    }

    /// Events in the rows of a level alone.
    pub(crate) fn count(&self, level: Level) -> u64 {
        self.rows(level).iter().map(|row| row.count).sum()
    }

    /// The most pieces that a series has in a bucket of one partition.
    pub(crate) fn pieces_per_series(&self, level: Level) -> usize {
        let mut pieces: BTreeMap<(i64, i64, i32), usize> = BTreeMap::new();
        for row in self.rows(level) {
            *pieces.entry((row.bucket_s, row.series_id, row.partition)).or_default() += 1;
        }
        pieces.into_values().max().unwrap_or(0)
    }

    pub(crate) fn horizon(&self, level: Level) -> i64 {
        self.horizons[level.name()]
    }

    pub(crate) fn oldest(&self, level: Level) -> Option<i64> {
        self.rows(level).iter().map(|row| row.bucket_s).min()
    }
}

fn add(sums: &mut Sums, row: &Row, width: Level) {
    let sum =
        sums.entry((width.start_of(row.bucket_s), row.series_id)).or_insert(Sum { last_s: i64::MIN, ..Sum::default() });
    sum.count += row.count;
    sum.errors += row.errors;
    sum.last_s = sum.last_s.max(row.last_s);
    if let Some((bytes, totals)) = &row.latency {
        sum.latency.merge_v2(bytes, *totals).expect("our own encoding");
    }
}
