//! What became of one acknowledged batch.
//!
//! Arrives: a receipt, as a 202 handed it out. Leaves: whether its record is still `pending`, was `applied`, was recognised
//! as a `duplicate`, was `dead_lettered`, or was `lost` with a log that a person gave up. Promises: `applied` is only said
//! when it can be shown: the books of the flush that took the record name every exception, and an exception that is no
//! longer kept is answered as such (410) and not as success. One look at the cursor, three look-ups by key.
//!
//! With the answer come its stations: when the batch was received, when the log had it, when it was counted, and when it was
//! sent to live views. A station that was not reached, or whose time is not remembered, says which of the two.
//!
//! A request that outgrew one record has the receipt of its last one; the others lie before it in the same partition.
//!
//! A receipt is no secret and no proof: it must name the asker's project, and says nothing about anybody else's events. So the
//! record itself is asked whose it is, or, when the log does not hold it any more, the books of its flush: where these have events
//! of several projects, nobody can tell, and it is answered so (410).
//!
//! Receipts carry offsets of the log. When a log was replaced, an offset may exist in both; the newest wins.

use std::sync::Arc;
use std::time::Duration;

use peep_log::{Log, Offset, Partition};
use peep_wire::ProjectId;
use peep_wire::receipt::Receipt;
use peep_wire::record;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::error::ApiError;
use crate::feed::Feed;
use crate::history::set_statement_timeout;
use crate::position::{generation, position};

/// The answer of `GET /v1/receipts/{receipt}`. Must run to its end, like [`crate::history::read`].
pub async fn look_up(
    pool: &PgPool,
    events: Option<&Arc<dyn Log>>,
    feed: &Feed,
    project: ProjectId,
    text: &str,
    now_ms: i64,
    time_max: Duration,
) -> Result<Value, ApiError> {
    let receipt: Receipt = text.parse().map_err(|error: peep_wire::receipt::ReceiptError| {
        ApiError::new(axum::http::StatusCode::BAD_REQUEST, "invalid_receipt", error.to_string())
    })?;
    if receipt.project != project {
        return Err(not_found());
    }
    let fate = find(pool, events, &receipt, now_ms, time_max).await?;
    let stations = stations(&fate, events, feed, &receipt).await;
    let mut answer = fate.into_json();
    answer["stations"] = stations;
    answer["receipt"] = text.into();
    answer["partition"] = receipt.partition.into();
    answer["offset"] = receipt.offset.into();
    Ok(answer)
}

/// When the record was where, in the order of its way.
async fn stations(fate: &Fate, events: Option<&Arc<dyn Log>>, feed: &Feed, receipt: &Receipt) -> Value {
    let in_log = record_times(events, receipt).await;
    let (received_ms, appended_ms) =
        in_log.map_or((None, None), |(received, appended)| (Some(received), Some(appended)));
    let gone = in_log.is_none().then_some("the log does not hold the record any more, or does not answer");
    let (counted_ms, counted_note) = match fate {
        Fate::Pending { blocked: Some(_), .. } => {
            (None, Some("counting of this partition has stopped; an operator has to decide"))
        }
        Fate::Pending { .. } => (None, Some("not yet: it is written with the next flush")),
        Fate::Applied { flushed_ms, .. } => (Some(*flushed_ms), None),
        Fate::Duplicate { flushed_ms, .. } => {
            (Some(*flushed_ms), Some("recognised as another try and not counted again"))
        }
        Fate::DeadLettered { flushed_ms, .. } => (Some(*flushed_ms), Some("set aside and not counted")),
        Fate::Lost { accepted_ms, .. } => (Some(*accepted_ms), Some("its log was given up before it was counted")),
    };
    // While a log was never replaced, offsets are positions; after that, only the newest generation is remembered anyway.
    let live_ms = feed.published_ms(receipt.partition, receipt.offset);
    let live_note = match (live_ms, fate) {
        (Some(_), _) => None,
        (None, Fate::Applied { .. }) => Some("it was; when is only remembered for some seconds"),
        (None, Fate::Pending { .. }) => Some("not yet"),
        (None, _) => Some("what is not counted is not sent"),
    };
    json!([
        {"name": "accepted", "at_ms": received_ms, "note": gone},
        {"name": "log", "at_ms": appended_ms, "note": gone},
        {"name": "counted", "at_ms": counted_ms, "note": counted_note},
        {"name": "live", "at_ms": live_ms, "note": live_note},
    ])
}

/// What became of a record.
enum Fate {
    Pending {
        /// Records that will be counted before it; unknown while nobody knows which log it is in.
        ahead: Option<u64>,
        /// Why counting stopped, when it did.
        blocked: Option<String>,
    },
    Applied {
        flushed_ms: i64,
        /// Events of the record that were not counted.
        letters: Vec<Letter>,
    },
    Duplicate {
        flushed_ms: i64,
        row: Value,
    },
    DeadLettered {
        flushed_ms: i64,
        /// `none`, or `unknown`: only the record could tell, and it is gone.
        counted: &'static str,
        letters: Vec<Letter>,
    },
    Lost {
        kind: String,
        accepted_ms: i64,
    },
}

/// One row of `dead_letter`.
struct Letter {
    /// In its batch.
    index: u32,
    events: Option<i32>,
    reason: String,
}

/// The flush that took a record.
struct Flush {
    from: u64,
    to: u64,
    dead_lettered: i64,
    duplicate: i64,
    records_unreadable: i64,
    rolled_up: i64,
    flushed_ms: i64,
    accepted: i64,
    /// When the log took its last record.
    appended_ms: i64,
}

async fn find(
    pool: &PgPool,
    events: Option<&Arc<dyn Log>>,
    receipt: &Receipt,
    now_ms: i64,
    time_max: Duration,
) -> Result<Fate, ApiError> {
    let database = |error: sqlx::Error| ApiError::of_database(&error);
    let mut snapshot = pool.begin_with("begin isolation level repeatable read, read only").await.map_err(database)?;
    set_statement_timeout(&mut snapshot, time_max).await.map_err(database)?;
    let Cursor { next, blocked } = cursor(&mut snapshot, receipt).await.map_err(database)?;
    let newest = generation(next);
    // While counting is stopped because the log is not the one that was counted, its offsets are not those of the books.
    let uncertain = blocked.is_some() && position(newest, receipt.offset) < next;
    if uncertain && in_log(events, receipt).await == InLog::Kept {
        snapshot.commit().await.map_err(database)?;
        return Ok(Fate::Pending { ahead: None, blocked });
    }
    let mut is_anothers = false;
    for number in (newest.saturating_sub(GENERATIONS_MAX)..=newest).rev() {
        let place = position(number, receipt.offset);
        // What the log holds is of the newest generation.
        let owner = if number == newest { owner(events, receipt).await } else { Owner::Gone };
        if owner == Owner::Another {
            is_anothers = true;
            continue;
        }
        if place >= next {
            if in_log(events, receipt).await != InLog::Beyond {
                snapshot.commit().await.map_err(database)?;
                return Ok(Fate::Pending { ahead: Some(place - next), blocked });
            }
            continue;
        }
        if let Some(flush) = flush_of(&mut snapshot, receipt, place, now_ms).await.map_err(database)? {
            let fate = settle(&mut snapshot, events, receipt, place, &flush, owner).await?;
            snapshot.commit().await.map_err(database)?;
            return Ok(fate);
        }
        if let Some(lost) = lost(&mut snapshot, receipt, number, place).await.map_err(database)? {
            snapshot.commit().await.map_err(database)?;
            return Ok(lost);
        }
    }
    snapshot.commit().await.map_err(database)?;
    // Beyond the end of every log there was, or of a time whose books are gone.
    Err(if is_anothers || position(newest, receipt.offset) >= next { not_found() } else { expired() })
}

struct Cursor {
    next: u64,
    blocked: Option<String>,
}

async fn cursor(connection: &mut PgConnection, receipt: &Receipt) -> Result<Cursor, sqlx::Error> {
    let row = sqlx::query("select next_offset, broken_reason from rollup_cursor where log_partition = $1")
        .bind(receipt.partition.cast_signed())
        .fetch_optional(connection)
        .await?;
    // Without a row nothing of the partition was counted yet.
    let Some(row) = row else { return Ok(Cursor { next: 0, blocked: None }) };
    Ok(Cursor { next: row.try_get::<i64, _>(0)?.cast_unsigned(), blocked: row.try_get(1)? })
}

/// Where an offset lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InLog {
    /// Its retention has been there.
    Removed,
    Kept,
    /// Not written yet.
    Beyond,
}

/// A log that does not answer is given the benefit of the doubt: an acknowledgement means that it has the record.
async fn in_log(events: Option<&Arc<dyn Log>>, receipt: &Receipt) -> InLog {
    let Some(events) = events else { return InLog::Kept };
    if receipt.partition >= events.partitions() {
        return InLog::Beyond;
    }
    match tokio::time::timeout(LOG_TIME_MAX, events.watermarks(Partition(receipt.partition))).await {
        Ok(Ok(marks)) if receipt.offset >= marks.high.0 => InLog::Beyond,
        Ok(Ok(marks)) if receipt.offset < marks.low.0 => InLog::Removed,
        _ => InLog::Kept,
    }
}

/// Whose batch lies where a receipt says, as far as the log can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Ours,
    /// Another project's, or a batch that was cut otherwise.
    Another,
    /// The log does not hold the record (any more), or it cannot be read.
    Gone,
    /// The log does not answer.
    Unknown,
}

async fn owner(events: Option<&Arc<dyn Log>>, receipt: &Receipt) -> Owner {
    let Some(log) = events else { return Owner::Gone };
    if in_log(events, receipt).await != InLog::Kept {
        return Owner::Gone;
    }
    let read = async {
        let mut reader = log.reader(Partition(receipt.partition), Offset(receipt.offset)).await.ok()?;
        reader.next(1, LOG_TIME_MAX).await.ok()
    };
    let records = tokio::time::timeout(LOG_TIME_MAX, read).await.ok().flatten().unwrap_or_default();
    let Some(found) = records.first() else { return Owner::Unknown };
    match record::open(&found.payload) {
        Ok(opened) if found.offset.0 == receipt.offset => {
            if opened.batches().any(|batch| is_meant(&batch, receipt)) {
                Owner::Ours
            } else {
                Owner::Another
            }
        }
        _ => Owner::Gone,
    }
}

/// Whether a batch of a record is the one of a receipt.
fn is_meant(batch: &record::Batch<'_>, receipt: &Receipt) -> bool {
    let indices = batch.first_event..=batch.first_event.saturating_add(batch.header.event_count);
    let last = receipt.share.map_or(0, |share| share.first_event.saturating_add(share.events));
    batch.header.project == receipt.project && indices.contains(receipt.indices().start()) && last <= *indices.end()
}

/// The flush that took a record: mostly a recent one, and the books have a partition for each of hundreds of days.
async fn flush_of(
    connection: &mut PgConnection,
    receipt: &Receipt,
    place: u64,
    now_ms: i64,
) -> Result<Option<Flush>, sqlx::Error> {
    for since_ms in [now_ms - RECENT_MS, 0] {
        let row = sqlx::query(
            "select from_offset, to_offset, dead_lettered, duplicate, records_unreadable, rolled_up,
                floor(extract(epoch from recorded_at) * 1000)::bigint, accepted,
                floor(extract(epoch from appended_at) * 1000)::bigint
            from ledger
            where log_partition = $1 and to_offset > $2 and appended_at >= to_timestamp($3::double precision / 1000)
            order by to_offset limit 1",
        )
        .bind(receipt.partition.cast_signed())
        .bind(place.cast_signed())
        .bind(since_ms as f64)
        .fetch_optional(&mut *connection)
        .await?;
        let Some(row) = row else { continue };
        let flush = Flush {
            from: row.try_get::<i64, _>(0)?.cast_unsigned(),
            to: row.try_get::<i64, _>(1)?.cast_unsigned(),
            dead_lettered: row.try_get(2)?,
            duplicate: row.try_get(3)?,
            records_unreadable: row.try_get(4)?,
            rolled_up: row.try_get(5)?,
            flushed_ms: row.try_get(6)?,
            accepted: row.try_get(7)?,
            appended_ms: row.try_get(8)?,
        };
        if flush.from <= place {
            return Ok(Some(flush));
        }
    }
    Ok(None)
}

async fn settle(
    connection: &mut PgConnection,
    events: Option<&Arc<dyn Log>>,
    receipt: &Receipt,
    place: u64,
    flush: &Flush,
    owner: Owner,
) -> Result<Fate, ApiError> {
    let database = |error: sqlx::Error| ApiError::of_database(&error);
    let flushed_ms = flush.flushed_ms;
    if flush.duplicate > 0
        && let Some(row) = duplicate(connection, receipt, place).await.map_err(database)?
    {
        return Ok(Fate::Duplicate { flushed_ms, row: row? });
    }
    let exceptions = flush.dead_lettered > 0 || flush.records_unreadable > 0;
    let letters = if exceptions { letters(connection, receipt, place).await.map_err(database)?? } else { Vec::new() };
    if letters.is_empty() {
        if owner != Owner::Ours {
            let accepted = accepted(connection, receipt, flush).await.map_err(database)?;
            accepted.show_ours(flush, owner)?;
        }
        let is_shown = all_exceptions_are_kept(connection, receipt, flush).await.map_err(database)?;
        return if is_shown { Ok(Fate::Applied { flushed_ms, letters }) } else { Err(expired()) };
    }
    let counted = if flush.rolled_up > 0 { some_were_counted(events, receipt, &letters).await } else { Some(false) };
    Ok(match counted {
        Some(true) => Fate::Applied { flushed_ms, letters },
        Some(false) => Fate::DeadLettered { flushed_ms, counted: "none", letters },
        None => Fate::DeadLettered { flushed_ms, counted: "unknown", letters },
    })
}

/// Events of a flush, by whom they were of.
struct Accepted {
    ours: i64,
    /// Of peep's own probes, which have no receipts.
    nobodys: i64,
}

/// What the books say of the flush; they go by minutes of the log and not by records. Those of a flush lie between the end of the
/// one before and its own, as far as the log's clock did not step back.
async fn accepted(connection: &mut PgConnection, receipt: &Receipt, flush: &Flush) -> Result<Accepted, sqlx::Error> {
    let row = sqlx::query(
        "select coalesce(sum(accepted) filter (where project_id = $1), 0)::bigint,
            coalesce(sum(accepted) filter (where project_id = 0), 0)::bigint
        from ledger_project
        where project_id in ($1, 0) and log_partition = $2 and to_offset = $3
            and minute >= coalesce(
                (select max(appended_at) from ledger where log_partition = $2 and to_offset = $4
                    and appended_at <= to_timestamp($5::double precision / 1000) + interval '1 hour'),
                to_timestamp($5::double precision / 1000) - interval '30 days') - interval '1 hour'
            and minute <= to_timestamp($5::double precision / 1000) + interval '1 hour'",
    )
    .bind(receipt.project.0.cast_signed())
    .bind(receipt.partition.cast_signed())
    .bind(flush.to.cast_signed())
    .bind(flush.from.cast_signed())
    .bind(flush.appended_ms as f64)
    .fetch_one(connection)
    .await?;
    Ok(Accepted { ours: row.try_get(0)?, nobodys: row.try_get(1)? })
}

impl Accepted {
    /// An error unless every record of the flush that somebody may have a receipt of is ours.
    fn show_ours(&self, flush: &Flush, owner: Owner) -> Result<(), ApiError> {
        match (self.ours, owner) {
            (0, _) => Err(not_found()),
            (ours, _) if ours + self.nobodys == flush.accepted => Ok(()),
            (_, Owner::Unknown) => Err(log_silent()),
            _ => Err(expired()),
        }
    }
}

/// The inner error: the record is somebody else's.
async fn duplicate(
    connection: &mut PgConnection,
    receipt: &Receipt,
    place: u64,
) -> Result<Option<Result<Value, ApiError>>, sqlx::Error> {
    let row = sqlx::query(
        "select project_id, events, producer, seq, part from duplicate_batch
        where log_partition = $1 and log_offset = $2 and event_index = $3",
    )
    .bind(receipt.partition.cast_signed())
    .bind(place.cast_signed())
    .bind(receipt.indices().start().cast_signed())
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.try_get::<i64, _>(0)?.cast_unsigned() != receipt.project.0 {
        return Ok(Some(Err(not_found())));
    }
    Ok(Some(Ok(json!({
        "events": row.try_get::<i32, _>(1)?,
        "producer": row.try_get::<Uuid, _>(2)?.to_string(),
        "seq": row.try_get::<i64, _>(3)?.cast_unsigned(),
        "part": row.try_get::<i32, _>(4)?,
    }))))
}

/// The inner error: the record is somebody else's. A record that could not be read is nobody's.
async fn letters(
    connection: &mut PgConnection,
    receipt: &Receipt,
    place: u64,
) -> Result<Result<Vec<Letter>, ApiError>, sqlx::Error> {
    let rows = sqlx::query(
        "select project_id, event_index, events, reason from dead_letter
        where log_partition = $1 and log_offset = $2 and (events is null or event_index between $3 and $4)
        order by event_index",
    )
    .bind(receipt.partition.cast_signed())
    .bind(place.cast_signed())
    .bind(i64::from(*receipt.indices().start()))
    .bind(i64::from(*receipt.indices().end()))
    .fetch_all(connection)
    .await?;
    let mut letters = Vec::with_capacity(rows.len());
    for row in &rows {
        let project: Option<i64> = row.try_get(0)?;
        if project.is_some_and(|project| project.cast_unsigned() != receipt.project.0) {
            return Ok(Err(not_found()));
        }
        // As the sender counts them, whose batch is all it knows.
        let index = (row.try_get::<i32, _>(1)?.cast_unsigned()).saturating_sub(*receipt.indices().start());
        letters.push(Letter { index, events: row.try_get(2)?, reason: row.try_get(3)? });
    }
    Ok(Ok(letters))
}

/// Whether the rows that tell what was not counted still add up to what the books say. Rows go after a while, books stay.
async fn all_exceptions_are_kept(
    connection: &mut PgConnection,
    receipt: &Receipt,
    flush: &Flush,
) -> Result<bool, sqlx::Error> {
    if flush.dead_lettered == 0 && flush.duplicate == 0 && flush.records_unreadable == 0 {
        return Ok(true);
    }
    let row: PgRow = sqlx::query(
        "select coalesce(sum(events), 0)::bigint, count(*) filter (where events is null),
            (select coalesce(sum(events), 0)::bigint from duplicate_batch
            where log_partition = $1 and log_offset >= $2 and log_offset < $3)
        from dead_letter where log_partition = $1 and log_offset >= $2 and log_offset < $3",
    )
    .bind(receipt.partition.cast_signed())
    .bind(flush.from.cast_signed())
    .bind(flush.to.cast_signed())
    .fetch_one(connection)
    .await?;
    let kept: (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(kept == (flush.dead_lettered, flush.records_unreadable, flush.duplicate))
}

/// Whether a record has more events than its dead letters stand for. Some reasons are about a whole record; otherwise the
/// record itself knows, while the log has it.
async fn some_were_counted(events: Option<&Arc<dyn Log>>, receipt: &Receipt, letters: &[Letter]) -> Option<bool> {
    let is_whole = |letter: &Letter| letter.events.is_none() || WHOLE_RECORD.contains(&letter.reason.as_str());
    if letters.iter().any(is_whole) {
        return Some(false);
    }
    let buried: i64 = letters.iter().filter_map(|letter| letter.events).map(i64::from).sum();
    event_count(events, receipt).await.map(|events| i64::from(events) > buried)
}

async fn event_count(events: Option<&Arc<dyn Log>>, receipt: &Receipt) -> Option<u32> {
    in_the_log(events, receipt, |batch, _| batch.header.event_count).await
}

/// When the record was received and when the log had it.
async fn record_times(events: Option<&Arc<dyn Log>>, receipt: &Receipt) -> Option<(i64, i64)> {
    in_the_log(events, receipt, |batch, appended_ms| (batch.header.received_ms, appended_ms)).await
}

/// Of the record itself, while the log has it.
async fn in_the_log<T>(
    events: Option<&Arc<dyn Log>>,
    receipt: &Receipt,
    of: impl Fn(&record::Batch<'_>, i64) -> T,
) -> Option<T> {
    let events = events.filter(|events| receipt.partition < events.partitions())?;
    let read = async {
        let mut reader = events.reader(Partition(receipt.partition), Offset(receipt.offset)).await.ok()?;
        let records = reader.next(1, LOG_TIME_MAX).await.ok()?;
        let found = records.first().filter(|record| record.offset.0 == receipt.offset)?;
        let opened = record::open(&found.payload).ok()?;
        let batch = opened.batches().find(|batch| is_meant(batch, receipt))?;
        Some(of(&batch, found.appended_ms))
    };
    tokio::time::timeout(LOG_TIME_MAX, read).await.ok().flatten()
}

/// Whether counting of this generation was given up before it reached the record.
async fn lost(
    connection: &mut PgConnection,
    receipt: &Receipt,
    number: u64,
    place: u64,
) -> Result<Option<Fate>, sqlx::Error> {
    let row = sqlx::query(
        "select kind, floor(extract(epoch from accepted_at) * 1000)::bigint from log_break
        where log_partition = $1 and position_before between $2 and $3",
    )
    .bind(receipt.partition.cast_signed())
    .bind(position(number, 0).cast_signed())
    .bind(place.cast_signed())
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok(Fate::Lost { kind: row.try_get(0)?, accepted_ms: row.try_get(1)? })).transpose()
}

impl Fate {
    fn into_json(self) -> Value {
        let list = |letters: Vec<Letter>| -> Vec<Value> {
            let row = |letter: Letter| json!({"index": letter.index, "events": letter.events, "reason": letter.reason});
            letters.into_iter().map(row).collect()
        };
        match self {
            Fate::Pending { ahead, blocked } => {
                json!({"status": "pending", "records_ahead": ahead, "blocked": blocked})
            }
            Fate::Applied { flushed_ms, letters } => {
                let counted = if letters.is_empty() { "all" } else { "some" };
                json!({"status": "applied", "settled_ms": flushed_ms, "counted": counted, "dead_lettered": list(letters)})
            }
            Fate::Duplicate { flushed_ms, row } => {
                json!({"status": "duplicate", "settled_ms": flushed_ms, "duplicate": row})
            }
            Fate::DeadLettered { flushed_ms, counted, letters } => {
                json!({"status": "dead_lettered", "settled_ms": flushed_ms, "counted": counted, "dead_lettered": list(letters)})
            }
            Fate::Lost { kind, accepted_ms } => {
                json!({"status": "lost", "settled_ms": accepted_ms, "break": kind})
            }
        }
    }
}

fn not_found() -> ApiError {
    let message = "no record of this project has this receipt; use it with a key of the project that sent the events";
    ApiError::new(axum::http::StatusCode::NOT_FOUND, "receipt_not_found", message)
}

fn expired() -> ApiError {
    let message = "this was settled long ago, and what happened to single batches of that time, or whose they were, is no \
                   longer kept; `/v1/reconcile` has the sums";
    ApiError::new(axum::http::StatusCode::GONE, "receipt_expired", message)
}

fn log_silent() -> ApiError {
    let message =
        "the log does not answer at the moment, and without it nobody can tell whose record this is; try again";
    let error = ApiError::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", message);
    ApiError { retry_after_s: Some(2), ..error }
}

/// Reasons that set a record aside as a whole.
const WHOLE_RECORD: [&str; 3] = ["checksum", "dedup_window_exceeded", "identity_conflict"];
/// What is looked through first.
const RECENT_MS: i64 = 2 * 86_400_000;
const LOG_TIME_MAX: Duration = Duration::from_secs(2);
/// Older generations are not looked at: each costs two look-ups, and each was a person's decision.
const GENERATIONS_MAX: u64 = 16;
