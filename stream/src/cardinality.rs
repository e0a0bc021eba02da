//! Where a project has more series than it may: which part of a route should have been a template.
//!
//! Arrives: a project. Leaves: the segments that took the places, worst first, each with what to write instead. The counts
//! of events are exact, the number of distinct values is the rollup's estimate. Nothing was lost: events without a place are
//! counted in the series `(other)` of their service and environment.

use std::time::Duration;

use peep_wire::ProjectId;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgRow};

use crate::error::ApiError;
use crate::history::set_statement_timeout;

/// The answer of `GET /v1/cardinality`. Must run to its end, like [`crate::history::read`].
pub async fn list(pool: &PgPool, project: ProjectId, time_max: Duration) -> Result<Value, ApiError> {
    read(pool, project, time_max).await.map_err(|error| ApiError::of_database(&error))
}

async fn read(pool: &PgPool, project: ProjectId, time_max: Duration) -> Result<Value, sqlx::Error> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut snapshot, time_max).await?;
    let rows = sqlx::query(
        "select service, segment, max(distinct_values), sum(events)::bigint, (array_agg(example order by last_at desc))[1],
            floor(extract(epoch from min(first_at)) * 1000)::bigint, floor(extract(epoch from max(last_at)) * 1000)::bigint
        from series_overflow where project_id = $1
        group by service, segment order by 3 desc, 4 desc, 1, 2 limit $2",
    )
    .bind(project.0.cast_signed())
    .bind(SEGMENTS_MAX)
    .fetch_all(&mut *snapshot)
    .await?;
    let partitions = sqlx::query(
        "select log_partition, (sum(length(hashes)) / 8)::bigint from series_budget b
        where project_id = $1
            and day = (select max(day) from series_budget n where n.log_partition = b.log_partition and n.project_id = $1)
        group by log_partition order by log_partition",
    )
    .bind(project.0.cast_signed())
    .fetch_all(&mut *snapshot)
    .await?;
    snapshot.commit().await?;
    let partition = |row: &PgRow| -> Result<Value, sqlx::Error> {
        Ok(json!({"partition": row.try_get::<i32, _>(0)?, "series": row.try_get::<i64, _>(1)?}))
    };
    Ok(json!({
        "segments": rows.iter().map(segment).collect::<Result<Vec<_>, _>>()?,
        "series_by_partition": partitions.iter().map(partition).collect::<Result<Vec<_>, _>>()?,
    }))
}

fn segment(row: &PgRow) -> Result<Value, sqlx::Error> {
    let (service, segment): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let (distinct_values, events): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
    let (example, first_ms, last_ms): (String, i64, i64) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
    Ok(json!({
        "service": service,
        "segment": segment,
        "distinct_values": distinct_values,
        "events": events,
        "example": example,
        "first_ms": first_ms,
        "last_ms": last_ms,
        "advice": advice(&segment, distinct_values),
    }))
}

/// `/api/orders/*` should have been `/api/orders/{id}`.
fn advice(segment: &str, distinct_values: i64) -> String {
    match segment {
        "(service)" => "name services after what they do, and not after an instance, a job or a tenant".to_owned(),
        "(env)" => "send fewer environments: each multiplies all series of a service".to_owned(),
        "(status)" => "send the status codes of HTTP, and details as `error` or in `attrs`".to_owned(),
        OTHER => "many small causes: look at the segments with the most values first".to_owned(),
        _ if distinct_values < BLAMELESS => {
            "not too many by itself: it came when all places were taken, see the segments with more values".to_owned()
        }
        _ => match segment.split_once("?*") {
            Some((path, _)) => format!("send the route without its query: `route` is `{path}`"),
            None => format!(
                "send the route as a template: `route` is `{}` for all of them, and not a path with a value in it",
                segment.replace('*', "{id}")
            ),
        },
    }
}

/// What the rollup calls the rest.
const OTHER: &str = "(other)";
/// So few values of a segment are hardly a template gone wrong.
const BLAMELESS: i64 = 50;
const SEGMENTS_MAX: i64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_the_template() {
        assert!(advice("/api/orders/*", 9_000).contains("`/api/orders/{id}`"));
        assert!(advice("/users/*/orders/*", 9_000).contains("`/users/{id}/orders/{id}`"));
        assert!(advice("/search?*", 9_000).contains("`/search`"));
        assert!(advice("(env)", 500).contains("environments"));
        assert!(advice("/login*", 3).contains("not too many"));
    }
}
