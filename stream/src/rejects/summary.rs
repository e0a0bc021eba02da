//! What was not counted, by reason: what ingest refused, and what was accepted and set aside later.
//!
//! Arrives: a range. Leaves: one row per reason and stage with a count, the last time, the key, an example and the fix.
//! Promises: what ingest refused comes from what its processes noted ([`peep_chassis::keys::usage`]), by whole hours and some
//! seconds late; where nobody ever noted anything it says so. Does not: count requests without a valid key: they are nobody's.

use std::time::Duration;

use peep_wire::ProjectId;
use serde_json::{Map, Value, json};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};

use super::advice;
use super::contents::Contents;
use crate::error::ApiError;
use crate::history::set_statement_timeout;
use crate::query::RejectsSummaryQuery;

/// The answer of `GET /v1/rejects/summary`. Must run to its end, like [`crate::history::read`].
pub async fn of(
    pool: &PgPool,
    project: ProjectId,
    query: RejectsSummaryQuery,
    time_max: Duration,
) -> Result<Value, ApiError> {
    read(pool, project, query, time_max).await.map_err(|error| ApiError::of_database(&error))
}

async fn read(
    pool: &PgPool,
    project: ProjectId,
    query: RejectsSummaryQuery,
    time_max: Duration,
) -> Result<Value, sqlx::Error> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut snapshot, time_max).await?;
    let mut reasons = refused(&mut snapshot, project, query).await?;
    reasons.extend(set_aside(&mut snapshot, project, query).await?);
    // Whoever uses keys notes it; where no use of any key was ever noted, no refusal would have been either.
    let is_noted: bool = sqlx::query_scalar("select exists (select from key_usage)").fetch_one(&mut *snapshot).await?;
    snapshot.commit().await?;
    reasons.sort_by_key(|row| std::cmp::Reverse(row["last_seen_ms"].as_i64()));
    let note = (!is_noted).then_some("no use of keys was noted yet, so nothing is known of what ingest refused");
    Ok(json!({
        "from_ms": query.from_ms,
        "to_ms": query.to_ms,
        "reasons": reasons,
        "refused_available": is_noted,
        "note": note,
    }))
}

async fn refused(
    connection: &mut PgConnection,
    project: ProjectId,
    query: RejectsSummaryQuery,
) -> Result<Vec<Value>, sqlx::Error> {
    let rows = sqlx::query(
        "select r.reason, sum(r.count)::bigint, floor(extract(epoch from max(r.last_at)) * 1000)::bigint,
            (array_agg(r.example order by r.last_at desc))[1], r.key_id, k.prefix
        from ingest_refusal r left join api_key k using (key_id)
        where r.project_id = $1
            and r.hour > to_timestamp($2::double precision / 1000) - interval '1 hour'
            and r.last_at >= to_timestamp($2::double precision / 1000)
            and r.hour < to_timestamp($3::double precision / 1000)
        group by r.reason, r.key_id, k.prefix order by 3 desc limit $4",
    )
    .bind(project.0.cast_signed())
    .bind(query.from_ms as f64)
    .bind(query.to_ms as f64)
    .bind(ROWS_MAX)
    .fetch_all(connection)
    .await?;
    let row = |row: &PgRow| -> Result<Value, sqlx::Error> {
        let reason: String = row.try_get(0)?;
        let example: String = row.try_get(3)?;
        Ok(json!({
            "reason": reason,
            "stage": "refused",
            "meaning": meaning(&reason),
            "fix": fix(&reason),
            "count": row.try_get::<i64, _>(1)?,
            "last_seen_ms": row.try_get::<i64, _>(2)?,
            "key": key(row.try_get(4)?, row.try_get(5)?),
            "example": {"message": example},
        }))
    };
    rows.iter().map(row).collect()
}

async fn set_aside(
    connection: &mut PgConnection,
    project: ProjectId,
    query: RejectsSummaryQuery,
) -> Result<Vec<Value>, sqlx::Error> {
    let rows = sqlx::query(
        "with reasons as (
            select reason, coalesce(sum(events), 0)::bigint as events, max(recorded_at) as last_at
            from dead_letter
            where project_id = $1
                and recorded_at >= to_timestamp($2::double precision / 1000)
                and recorded_at < to_timestamp($3::double precision / 1000)
            group by reason
        )
        select r.reason, r.events, floor(extract(epoch from r.last_at) * 1000)::bigint,
            l.key_id, k.prefix, l.received_ms, l.bytes
        from reasons r
        cross join lateral (
            select key_id, received_ms, case when octet_length(bytes) <= $4 then bytes end as bytes from dead_letter
            where project_id = $1 and reason = r.reason and recorded_at = r.last_at limit 1
        ) l
        left join api_key k on k.key_id = l.key_id",
    )
    .bind(project.0.cast_signed())
    .bind(query.from_ms as f64)
    .bind(query.to_ms as f64)
    .bind(EXAMPLE_BYTES_MAX)
    .fetch_all(connection)
    .await?;
    let row = |row: &PgRow| -> Result<Value, sqlx::Error> {
        let reason: String = row.try_get(0)?;
        let (key_id, received_ms): (Option<i64>, Option<i64>) = (row.try_get(3)?, row.try_get(5)?);
        let bytes: Option<&[u8]> = row.try_get(6)?;
        let preview = bytes.map(|bytes| Contents::of(bytes, received_ms).preview(1));
        let example = preview.as_ref().and_then(|events| events.get(0)).cloned().map(without_secrets);
        Ok(json!({
            "reason": reason,
            "stage": "dead_lettered",
            "meaning": meaning(&reason),
            "fix": advice(&reason),
            "count": row.try_get::<i64, _>(1)?,
            "last_seen_ms": row.try_get::<i64, _>(2)?,
            "key": key(key_id, row.try_get(4)?),
            "example": example,
        }))
    };
    rows.iter().map(row).collect()
}

fn key(id: Option<i64>, prefix: Option<String>) -> Option<Value> {
    let (id, prefix) = (id?, prefix?);
    Some(json!({"id": id.to_string(), "prefix": format!("{prefix}…")}))
}

/// Values of attributes whose names sound like secrets are not shown.
fn without_secrets(mut event: Value) -> Value {
    if let Some(attrs) = event.get_mut("attrs").and_then(Value::as_object_mut) {
        let attrs: &mut Map<String, Value> = attrs;
        for (name, value) in attrs.iter_mut() {
            let name = name.to_lowercase();
            if SECRET_WORDS.iter().any(|word| name.contains(word)) {
                *value = "(redacted)".into();
            }
        }
    }
    event
}

/// In one sentence for people.
fn meaning(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "invalid_json" => "the body, or a line of it, is not JSON",
        "invalid_utf8" => "a text is not UTF-8",
        "invalid_protobuf" => "the body is not OTLP in protobuf",
        "no_valid_event" => "none of the events could be accepted",
        "payload_too_large" => "more events or bytes than one request may hold",
        "missing_service" => "an event does not say which service it is about",
        "invalid_service" => "the name of the service cannot be used",
        "invalid_duration" => "a duration is no number of milliseconds from 0 to one hour",
        "invalid_ts" => "the time of an event cannot be read",
        "not_an_object" => "an event is no JSON object",
        "too_deep" => "an event is nested too deeply",
        "invalid_attrs" => "`attrs` is no flat object of texts, numbers and flags, or has too many keys",
        "invalid_status" => "a status is no number from 100 to 599",
        "env_mismatch" | "forbidden" => "the events name another environment than the key is bound to",
        "event_too_large" => "an event is larger than it may be",
        "too_old" | "ts_too_old" => "the event ended too long before it was received",
        "in_future" | "ts_in_future" => "the event ended after it was received",
        "checksum" => "the record changed after it was written",
        "malformed" => "the record cannot be read",
        "invalid_series" => "a label cannot be stored",
        "dedup_window_exceeded" => "nobody can tell whether this batch was counted before",
        "identity_conflict" => "the identity was used before for another batch",
        _ => return None,
    })
}

/// What to do about what ingest refused.
fn fix(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "invalid_json" | "invalid_utf8" => "send one JSON object, an array, or one object per line, in UTF-8",
        "invalid_protobuf" => "set OTEL_EXPORTER_OTLP_PROTOCOL to what the endpoint is sent",
        "payload_too_large" | "event_too_large" => "send smaller batches, and leave large values out of `attrs`",
        "missing_service" | "invalid_service" => "set `service` to 1 to 128 of letters, digits and . _ - /",
        "invalid_duration" => "send `duration_ms` in milliseconds, fractions allowed, or leave it out",
        "invalid_ts" => "send `ts` as Unix milliseconds or RFC 3339, or leave it out",
        "invalid_status" => "send the HTTP status, or leave it out",
        "env_mismatch" | "forbidden" => "leave `env` out, or use a key that is bound to no environment",
        "ts_too_old" | "ts_in_future" => "check the sender's clock and `ts`",
        "not_an_object" | "too_deep" | "invalid_attrs" => {
            "send an event as one object of plain values, and `attrs` flat"
        }
        "no_valid_event" => "put at least one event into a request; a batch without any need not be sent",
        _ => "read the example: it says what was refused, and why",
    })
}

const SECRET_WORDS: [&str; 8] =
    ["password", "passwd", "secret", "token", "authorization", "cookie", "api_key", "apikey"];
const ROWS_MAX: i64 = 200;
const EXAMPLE_BYTES_MAX: i32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_about_a_body_without_events_does_not_speak_of_one() {
        for reason in ["no_valid_event", "client_gone"] {
            assert!(!fix(reason).expect("always there").contains("names the event"), "{reason}");
        }
    }

    #[test]
    fn what_sounds_like_a_secret_is_not_shown() {
        let shown = without_secrets(json!({"service": "a", "attrs": {"user": "x", "Session-Token": "y"}}));
        assert_eq!(shown["attrs"], json!({"user": "x", "Session-Token": "(redacted)"}));
    }
}
