//! How long to wait before the next attempt.
//!
//! In: the number of failures so far, what the server asked for, a random number. Out: a pause. Exponential with full
//! jitter (any pause between nothing and the ceiling), so that many shippers which lost the same server do not return
//! in step; a `Retry-After` is a floor, because the server knows better.

use std::time::Duration;

/// The ceiling of the first pause; doubles per failure.
const FIRST_MS: u64 = 200;

/// The ceiling of any pause that the server did not ask for.
const CEILING_MS: u64 = 15_000;

/// A server that asks for more than this is asked again after it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);

/// `failures` counts from 1; `random` is uniform over all of `u64`.
pub(crate) fn pause(failures: u32, retry_after: Option<Duration>, random: u64) -> Duration {
    let ceiling = FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(CEILING_MS);
    let jittered = Duration::from_millis(random % (ceiling + 1));
    match retry_after {
        Some(asked) => asked.min(RETRY_AFTER_MAX) + jittered.min(Duration::from_secs(1)),
        None => jittered,
    }
}

/// Random bits of a fresh version 4 UUID: the one random source this crate needs anyway.
pub(crate) fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1.rotate_left(17)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_and_ends() {
        let longest = |failures| (0..50_000).map(|random| pause(failures, None, random)).max().unwrap().as_millis();
        assert_eq!([longest(1), longest(2), longest(3), longest(40)], [200, 400, 800, 15_000]);
    }

    #[test]
    fn the_pause_may_be_anything_down_to_nothing() {
        assert_eq!(pause(5, None, 0), Duration::ZERO);
    }

    #[test]
    fn retry_after_is_a_floor_but_no_trap() {
        let asked = Duration::from_secs(3);
        assert!((0..5_000).all(|random| pause(1, Some(asked), random) >= asked));
        assert!(pause(1, Some(Duration::from_secs(1 << 40)), 7) <= RETRY_AFTER_MAX + Duration::from_secs(1));
    }
}
