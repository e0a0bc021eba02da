//! Trace ids of kept events, for the buckets they lie in.
//!
//! Only read while somebody scrapes a format that has a place for them. The slowest of the last minute: those are kept for sure, and
//! those are the ones a person wants to open.

use parking_lot::Mutex;
use peep_wire::ProjectId;
use sqlx::{PgPool, Row};

use super::counters::{Counters, Exemplar, LabelSet};
use crate::labels::Labels;

pub(super) async fn read(pool: &PgPool, counters: &Mutex<Counters>, now_ms: i64) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "select project_id, env, service, route, method, coalesce(status, 0::smallint) as status, duration_us, trace_id,
            (extract(epoch from ts) * 1000)::bigint as ts_ms
        from raw_event
        where ts >= to_timestamp($1::double precision / 1000) and trace_id is not null and duration_us is not null
        order by duration_us desc limit $2",
    )
    .bind((now_ms - LOOK_BACK_MS) as f64)
    .bind(EVENTS_MAX)
    .fetch_all(pool)
    .await?;
    let mut counters = counters.lock();
    for row in &rows {
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
        let project: i64 = row.try_get("project_id")?;
        let trace_id: &[u8] = row.try_get("trace_id")?;
        let Ok(trace_id) = trace_id.try_into() else { continue };
        let duration_us = row.try_get::<i64, _>("duration_us")?.unsigned_abs();
        let exemplar = Exemplar { trace_id, duration_us, ts_ms: row.try_get("ts_ms")? };
        counters.show(&LabelSet::of(ProjectId(project.cast_unsigned()), &labels), exemplar);
    }
    Ok(())
}

const LOOK_BACK_MS: i64 = 60_000;
const EVENTS_MAX: i64 = 1000;
