//! What was committed while its frames did not come: counted from the rollups.
//!
//! Rare: frames were dropped under load, or the live log lost some. A piece of the finest level says which flush wrote it, and cursors
//! stand where flushes end, so the pieces between two cursors are exactly the events between them. Only buckets of the last
//! hours are looked through; the books say whether that was all.

use parking_lot::Mutex;
use peep_wire::ProjectId;
use peep_wire::histogram::{Histogram, Totals};
use sqlx::{PgPool, Row};

use super::counters::{Counters, LabelSet};
use crate::freshness::PROJECT;
use crate::labels::Labels;
use crate::metrics;

pub(super) async fn count(
    pool: &PgPool,
    counters: &Mutex<Counters>,
    partition: u32,
    from: u64,
    to: u64,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let range = [from.cast_signed(), to.cast_signed()];
    let booked: i64 = sqlx::query_scalar(
        "select coalesce(sum(rolled_up), 0)::bigint from ledger_project
        where log_partition = $1 and to_offset > $2 and to_offset <= $3 and project_id <> $4",
    )
    .bind(partition.cast_signed())
    .bind(range[0])
    .bind(range[1])
    .bind(PROJECT.0.cast_signed())
    .fetch_one(pool)
    .await?;
    let rows = sqlx::query(
        "select project_id, env, service, route, method, status, count, errors, sum_us, min_us, max_us, histogram
        from rollup_10s join series using (project_id, series_id)
        where log_partition = $1 and up_to_offset > $2 and up_to_offset <= $3 and bucket >= to_timestamp($4)
            and project_id <> $5",
    )
    .bind(partition.cast_signed())
    .bind(range[0])
    .bind(range[1])
    .bind((now_ms - LOOK_BACK_MS) as f64 / 1000.0)
    .bind(PROJECT.0.cast_signed())
    .fetch_all(pool)
    .await?;
    let mut found = 0;
    // Read whole before anything is counted: a round that fails is done again.
    let mut pieces = Vec::with_capacity(rows.len());
    for row in &rows {
        let number = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        let status: i16 = row.try_get("status")?;
        let labels = Labels {
            env: row.try_get("env")?,
            service: row.try_get("service")?,
            route: row.try_get("route")?,
            method: row.try_get("method")?,
            status: status.unsigned_abs(),
            version: "",
            host: "",
        };
        let mut latency = Histogram::new();
        if let Some(bytes) = row.try_get::<Option<&[u8]>, _>("histogram")? {
            let totals = Totals { sum_us: number("sum_us")?, min_us: number("min_us")?, max_us: number("max_us")? };
            if latency.merge_v2(bytes, totals).is_err() {
                tracing::error!(partition, "a stored histogram is unreadable");
            }
        }
        let project = ProjectId(number("project_id")?);
        found += number("count")?;
        pieces.push((LabelSet::of(project, &labels), number("count")?, number("errors")?, latency));
    }
    let mut counters = counters.lock();
    for (set, count, errors, latency) in pieces {
        counters.add(set, count, errors, &latency, now_ms);
    }
    let missed = booked.unsigned_abs().saturating_sub(found);
    metrics::prometheus_recovered(found, missed);
    if missed > 0 {
        tracing::warn!(
            partition,
            missed,
            "events of long ago came without live frames; Prometheus does not count them"
        );
    }
    Ok(())
}

const LOOK_BACK_MS: i64 = 3 * 3_600_000;
