//! Dead letters of a project: what was accepted and could not be counted, newest first.
//!
//! Arrives: a [`RejectsQuery`]. Leaves: a page of letters with reason, advice and a preview of their events. Promises:
//! pages line up without repetition or hole; bytes read are bounded, whatever lies in the letters: beyond the budget a letter
//! is listed without its preview. Does not: show letters that are nobody's (a record whose header could not be trusted);
//! `peep rejects` does.

pub mod contents;

pub mod summary;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use peep_wire::ProjectId;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};
use std::time::Duration;

use crate::error::ApiError;
use crate::history::set_statement_timeout;
use crate::query::RejectsQuery;
use contents::Contents;

/// The answer of `GET /v1/rejects`. Must run to its end, like [`crate::history::read`].
pub async fn list(
    pool: &PgPool,
    project: ProjectId,
    query: &RejectsQuery,
    time_max: Duration,
) -> Result<Value, ApiError> {
    let before = match &query.cursor {
        Some(text) => Place::parse(text)
            .ok_or_else(|| ApiError::invalid_parameter("cursor", "is not a `next_cursor` of an earlier answer"))?,
        None => Place { recorded_us: query.to_ms.saturating_mul(1000), ..Place::FIRST },
    };
    page(pool, project, query, before, time_max).await.map_err(|error| ApiError::of_database(&error))
}

async fn page(
    pool: &PgPool,
    project: ProjectId,
    query: &RejectsQuery,
    before: Place,
    time_max: Duration,
) -> Result<Value, sqlx::Error> {
    let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await?;
    set_statement_timeout(&mut snapshot, time_max).await?;
    let rows = letters(&mut snapshot, project, query, before).await?;
    let (mut letters, mut left, mut last) = (Vec::with_capacity(rows.len()), PREVIEW_BYTES_MAX, None);
    for row in rows.iter().take(query.limit) {
        let place = Place::of(row)?;
        let size: i32 = row.try_get("size")?;
        let size = size.unsigned_abs() as usize;
        let bytes = if size <= left { bytes(&mut snapshot, place).await? } else { None };
        left -= bytes.as_ref().map_or(0, Vec::len).min(left);
        letters.push(letter(row, place, size, bytes.as_deref())?);
        last = Some(place);
    }
    snapshot.commit().await?;
    let next = last.filter(|_| rows.len() > query.limit);
    Ok(json!({"rejects": letters, "next_cursor": next.map(|place| place.to_string())}))
}

async fn letters(
    connection: &mut PgConnection,
    project: ProjectId,
    query: &RejectsQuery,
    before: Place,
) -> Result<Vec<PgRow>, sqlx::Error> {
    sqlx::query(
        "select (extract(epoch from recorded_at) * 1000000)::bigint as recorded_us, log_partition, log_offset, event_index,
            floor(extract(epoch from appended_at) * 1000)::bigint as appended_ms,
            floor(extract(epoch from replayed_at) * 1000)::bigint as replayed_ms,
            received_ms, reason, events, octet_length(bytes) as size
        from dead_letter
        where project_id = $1
            and recorded_at >= to_timestamp($2::double precision / 1000)
            and recorded_at <= to_timestamp($3::double precision / 1000000)
            and (recorded_at, log_partition, log_offset, event_index)
                < (to_timestamp($3::double precision / 1000000), $4::int, $5::bigint, $6::int)
            and (cardinality($7::text[]) = 0 or reason = any ($7))
        order by recorded_at desc, log_partition desc, log_offset desc, event_index desc
        limit $8",
    )
    .bind(project.0.cast_signed())
    .bind(query.from_ms as f64)
    .bind(before.recorded_us as f64)
    .bind(before.partition)
    .bind(before.position)
    .bind(before.index)
    .bind(&query.reasons)
    // One more than asked tells whether there is another page.
    .bind(query.limit as i64 + 1)
    .fetch_all(connection)
    .await
}

/// Of one letter, by its key. `None`: swept meanwhile.
async fn bytes(connection: &mut PgConnection, place: Place) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar(
        "select bytes from dead_letter where log_partition = $1 and log_offset = $2 and event_index = $3",
    )
    .bind(place.partition)
    .bind(place.position)
    .bind(place.index)
    .fetch_optional(connection)
    .await
}

fn letter(row: &PgRow, place: Place, size: usize, bytes: Option<&[u8]>) -> Result<Value, sqlx::Error> {
    let reason: String = row.try_get("reason")?;
    let received_ms: Option<i64> = row.try_get("received_ms")?;
    let contents = bytes.map(|bytes| Contents::of(bytes, received_ms));
    Ok(json!({
        "id": format!("{}:{}:{}", place.partition, place.position, place.index),
        "reason": reason,
        "advice": advice(&reason),
        "events": row.try_get::<Option<i32>, _>("events")?,
        "recorded_ms": place.recorded_us.div_euclid(1000),
        "accepted_ms": row.try_get::<Option<i64>, _>("appended_ms")?,
        "replayed_ms": row.try_get::<Option<i64>, _>("replayed_ms")?,
        "bytes": size,
        "preview": contents.map(|contents| contents.preview(PREVIEW_EVENTS)),
    }))
}

/// What to do about a reason. The reasons are the rollup's; one that this build does not know has no advice.
pub fn advice(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "checksum" => "the record changed after it was written: check the disks and memory of the log's machines",
        "malformed" => "not written by this version of peep: check who else appends to the topic",
        "invalid_series" => "a label cannot be stored; look at the preview and fix what sends it",
        "invalid_duration" => "durations are at most one hour: check the unit, it is milliseconds",
        "too_old" => {
            "ended longer before its receipt than events are kept (PEEP_ROLLUP_EVENT_AGE_MAX): check `ts` and the sender's clock"
        }
        "in_future" => {
            "ended further after its receipt than clocks may differ (PEEP_ROLLUP_EVENT_AHEAD_MAX): check the sender's clock"
        }
        "dedup_window_exceeded" => {
            "the producer was far ahead already, so nobody can tell whether this batch was counted before: keep at most 1024 \
             batches in flight, or replay it if you know that it was not"
        }
        "identity_conflict" => {
            "this Peep-Producer and Peep-Seq were used before for another batch: never change a batch between two tries, and \
             make up a new producer when a process starts"
        }
        _ => return None,
    })
}

/// Those of the rollup.
pub const REASONS: [&str; 8] = [
    "checksum",
    "malformed",
    "invalid_series",
    "invalid_duration",
    "too_old",
    "in_future",
    "dedup_window_exceeded",
    "identity_conflict",
];

/// Where a letter lies in the order of the answer; total, because the last three are the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    recorded_us: i64,
    partition: i32,
    position: i64,
    index: i32,
}

impl Place {
    /// Below every letter of its instant.
    const FIRST: Place = Place { recorded_us: 0, partition: -1, position: -1, index: -1 };

    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            recorded_us: row.try_get("recorded_us")?,
            partition: row.try_get("log_partition")?,
            position: row.try_get("log_offset")?,
            index: row.try_get("event_index")?,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut parts = str::from_utf8(&bytes).ok()?.split('.');
        let place = Self {
            recorded_us: parts.next()?.parse().ok()?,
            partition: parts.next()?.parse().ok()?,
            position: parts.next()?.parse().ok()?,
            index: parts.next()?.parse().ok()?,
        };
        let in_range = (0..=YEAR_9999_US).contains(&place.recorded_us);
        (parts.next().is_none() && in_range).then_some(place)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{}.{}.{}.{}", self.recorded_us, self.partition, self.position, self.index);
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

/// Of one letter.
const PREVIEW_EVENTS: usize = 3;
/// Of one page: letters hold up to a megabyte each.
const PREVIEW_BYTES_MAX: usize = 8 << 20;
const YEAR_9999_US: i64 = 253_402_300_799_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_advice() {
        assert!(REASONS.into_iter().all(|reason| advice(reason).is_some()));
    }

    #[test]
    fn a_cursor_reads_back_and_nonsense_is_refused() {
        let place = Place { recorded_us: 1_795_183_203_123_456, partition: 3, position: 1 << 41, index: 7 };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        for nonsense in ["", "abc", "MS4yLjM", "MS4yLjMuNC41", "LTEuMC4wLjA"] {
            assert_eq!(Place::parse(nonsense), None, "{nonsense}");
        }
    }
}
