//! How long to wait before the next try.
//!
//! In: the number of failures so far, what the server asked for, a random number. Out: a pause. Exponential with full
//! jitter (anything between nothing and the ceiling), so that many processes that lost the same server do not return in
//! step; a `Retry-After` is a floor, because the server knows better. Vectors: `sdk/fixtures/backoff.json`.

use std::time::Duration;

/// A server that asks for more than this is asked again after it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// The jitter on top of what the server asked for.
const SPREAD_MAX: Duration = Duration::from_secs(1);

/// `failures` counts from 1; `random` is in `0.0..1.0`.
pub(crate) fn pause(
    first: Duration,
    most: Duration,
    failures: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    let first_ms = u64::try_from(first.as_millis()).unwrap_or(u64::MAX);
    let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    let ceiling_ms = first_ms.saturating_mul(1 << failures.saturating_sub(1).min(30)).min(most_ms);
    let jittered = Duration::from_millis((random * (ceiling_ms as f64 + 1.0)) as u64);
    match retry_after {
        Some(asked) => asked.min(RETRY_AFTER_MAX) + jittered.min(SPREAD_MAX),
        None => jittered,
    }
}

/// Uniform in `0.0..1.0`: the random bits of a fresh version 4 UUID, the one random source that is needed anyway.
pub(crate) fn random() -> f64 {
    (uuid::Uuid::new_v4().as_u64_pair().1 & ((1 << 53) - 1)) as f64 / (1_u64 << 53) as f64
}
