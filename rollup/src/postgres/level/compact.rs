//! One piece out of several.
//!
//! A client whose clock stands still, or that sends the same old minutes again and again, leaves a piece in the same bucket with
//! every flush. Once the next level has read them they are merged, so that a reader never meets thousands of them.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::{CoarseRow, LevelError, Range, balance, copy_coarse, take_back};
use crate::level::{Family, Level, Merger, Sums};
use crate::postgres::partitions::TimeTable;

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) family: Family,
    pub(super) level: Level,
    pub(super) partition: u32,
    pub(super) project: u64,
    /// First and one beyond the last second of the buckets.
    pub(super) from_s: i64,
    pub(super) to_s: i64,
    /// Only pieces that the next level has read.
    pub(super) up_to: i64,
    /// Fewer are left alone.
    pub(super) pieces_min: i64,
}

/// Merges where there are too many; answers how many pieces are gone.
pub(super) async fn compact(connection: &mut PgConnection, place: Place) -> Result<u64, LevelError> {
    let mut gone = 0;
    for (bucket_s, series) in crowded(connection, place).await? {
        for series in series.chunks(SERIES_PER_STATEMENT) {
            let Place { family, level, partition, project, up_to, .. } = place;
            let project_id = super::signed(project);
            let range = Range { family, level, partition, project: project_id, bucket_s, series, above: -1, to: up_to };
            let mut merger = Merger::default();
            let (newest, taken) = take_back(connection, range, &mut merger).await?;
            let expected = merger.taken();
            let rows: Vec<CoarseRow> = merger
                .into_series()
                .map(|(series_id, merged)| {
                    let up_to = newest.get(&series_id).copied().unwrap_or_default().unsigned_abs();
                    CoarseRow { project, bucket_s, series_id, up_to, merged }
                })
                .collect();
            balance("compacted pieces", expected, rows.iter().map(|row| Sums::of(&row.merged.cell)).sum())?;
            copy_coarse(connection, family, level, partition, &rows).await?;
            gone += taken.saturating_sub(rows.len() as u64);
        }
    }
    Ok(gone)
}

/// Series by bucket that have too many pieces.
async fn crowded(connection: &mut PgConnection, place: Place) -> sqlx::Result<BTreeMap<i64, Vec<i64>>> {
    let table = TimeTable::of(place.family, place.level).name();
    // Only columns of the primary key: no row is read for this.
    let sql = format!(
        "select date_part('epoch', bucket)::bigint, series_id from {table}
        where project_id = $1 and bucket >= to_timestamp($2) and bucket < to_timestamp($3) and log_partition = $4
            and up_to_offset <= $5
        group by bucket, series_id having count(*) >= $6
        limit $7"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(super::signed(place.project))
        .bind(place.from_s as f64)
        .bind(place.to_s as f64)
        .bind(place.partition as i32)
        .bind(place.up_to)
        .bind(place.pieces_min)
        .bind(SERIES_PER_PLACE_MAX)
        .fetch_all(connection)
        .await?;
    let mut crowded: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for row in &rows {
        crowded.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    Ok(crowded)
}

/// At most a few megabytes of histograms in memory.
const SERIES_PER_STATEMENT: usize = 500;
/// The rest waits for the next pass that touches the place.
const SERIES_PER_PLACE_MAX: i64 = 10_000;
