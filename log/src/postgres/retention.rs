//! Opens segments in time and removes old ones: what bounds the log by age and by bytes.
//!
//! One process at a time does it (a session lock in the database decides who), and even two would do no harm: opening is
//! a compare-and-swap in the database, removing is repeatable. What was interrupted is found again by the next round,
//! because the first step makes a segment invisible and everything after that only clears leftovers away.
//!
//! Age and bytes are bounds for what is kept, to within one segment (an eighth) and what arrives between two rounds.
//! The current segment is never removed, and neither is one with records that a reader still needs (`log_hold`). When those
//! reach the bound for bytes, appends are refused until the reader has moved on: every process finds out in its own round.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::queue::Queue;
use super::store::{self, Segment};
use crate::config::Retention;
use crate::metrics::TopicMetrics;

#[cfg(test)]
mod tests;

/// Whose segments, within which bounds, and who has to know when there is no room.
pub(super) struct Caretaker {
    pub(super) topic: Arc<str>,
    pub(super) retention: Retention,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<TopicMetrics>,
}

pub(super) fn spawn(caretaker: Caretaker, options: PgConnectOptions, stop: CancellationToken) {
    tokio::spawn(async move {
        let topic = &*caretaker.topic;
        let pause = (caretaker.retention.age / SEGMENTS_KEPT as u32).clamp(ROUND_PAUSE_MIN, ROUND_PAUSE_MAX);
        let rounds = async {
            loop {
                match timeout(ROUND_TIMEOUT, round(&caretaker, &options)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        warn!(topic, error = %error, "keep the log within its retention");
                    }
                    Err(_) => warn!(topic, "keeping the log within its retention takes too long"),
                }
                sleep(pause).await;
            }
        };
        stop.run_until_cancelled(rounds).await;
    });
}

/// What a round has to do; decided from the list of segments alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// Open the segment after this one.
    Rotate(i64),
    /// Remove this one, which is the oldest.
    Retire(i64),
}

fn next_step(segments: &[Segment], retention: Retention) -> Option<Step> {
    let (current, closed) = segments.split_last()?;
    let age_ms = i64::try_from(retention.age.as_millis()).unwrap_or(i64::MAX);
    let bytes = i64::try_from(retention.bytes).unwrap_or(i64::MAX);
    let large = current.bytes > bytes / SEGMENTS_KEPT;
    let old = current.age_ms > age_ms / SEGMENTS_KEPT;
    if (large || old) && !current.is_empty {
        return Some(Step::Rotate(current.id));
    }
    let oldest = closed.first()?;
    // Everything in the oldest segment is older than the segment after it.
    let outdated = segments[1].age_ms > age_ms;
    let crowded = stored_bytes(segments) > bytes;
    ((outdated || crowded) && !oldest.is_needed).then_some(Step::Retire(oldest.id))
}

/// Whether the topic has no room left: too large, and nothing of it may go.
fn is_full(segments: &[Segment], retention: Retention) -> bool {
    let bytes = i64::try_from(retention.bytes).unwrap_or(i64::MAX);
    segments.first().is_some_and(|oldest| oldest.is_needed) && stored_bytes(segments) > bytes
}

fn stored_bytes(segments: &[Segment]) -> i64 {
    segments.iter().map(|segment| segment.bytes).sum()
}

async fn round(caretaker: &Caretaker, options: &PgConnectOptions) -> Result<(), Error> {
    let Caretaker { topic, retention, queue, metrics } = caretaker;
    let (topic, retention) = (&**topic, *retention);
    // A connection per round: closing it releases the lock whatever happened.
    let mut connection = PgConnection::connect_with(options).await?;
    store::limit_waiting(&mut connection).await?;
    let mut segments = store::segments(&mut connection, topic).await?;
    metrics.stored_bytes(stored_bytes(&segments) as u64);
    let full = is_full(&segments, retention);
    metrics.full(full);
    if queue.set_full(full) {
        match full {
            true => error!(topic, "the log is full of records that are not rolled up yet: appends are refused"),
            false => info!(topic, "the log has room again"),
        }
    }
    if store::try_lead(&mut connection).await? {
        while let Some(step) = next_step(&segments, retention) {
            match step {
                Step::Rotate(current) => store::rotate(&mut connection, topic, current).await?,
                Step::Retire(oldest) => {
                    info!(topic, segment = oldest, "removing the log's oldest segment");
                    store::retire(&mut connection, topic, oldest).await?;
                }
            }
            segments = store::segments(&mut connection, topic).await?;
        }
        for leftover in store::leftovers(&mut connection).await? {
            store::remove(&mut connection, &leftover).await?;
        }
    }
    connection.close().await
}

/// The finer the segments, the closer the log keeps to its bounds; each is a table.
const SEGMENTS_KEPT: i64 = 8;

const ROUND_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Bytes can grow by this long's worth beyond their bound.
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(10);
const ROUND_TIMEOUT: Duration = Duration::from_mins(1);
