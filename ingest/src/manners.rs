//! How the client of one connection takes being told to wait.
//!
//! Arrives: its requests, and refusals with their `Retry-After`. Leaves: how long the connection rests after a refusal, that is, how
//! long nothing is read from it. Promised: who waits as told notices nothing, for a rest ends before `Retry-After` does; who comes
//! back sooner finds each rest twice as long as the one before, up to four times, so that a flood of those who never wait takes
//! less and less from the requests that are accepted. A client is judged by one connection alone, and anew after it has waited once.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Of one HTTP/1.1 connection.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// Nobody who waits sends before; `None` when the last request was not refused.
    back_at: Option<Instant>,
    /// Requests that came sooner, since one that did not.
    hurried: u32,
}

impl Manners {
    /// A request has come.
    pub(crate) fn request(&self, now: Instant) {
        let mut told = self.told.lock();
        if let Some(back_at) = told.back_at.take() {
            told.hurried = if now < back_at { (told.hurried + 1).min(DOUBLED_MAX) } else { 0 };
        }
    }

    /// How long to rest after refusing the request at `now`, when a first refusal would rest for `usual`.
    pub(crate) fn rest(&self, now: Instant, usual: Duration, retry_after: Duration) -> Duration {
        let mut told = self.told.lock();
        let rest = usual.min(retry_after.mul_f64(SHARE_OF_RETRY_AFTER)) * (1 << told.hurried);
        // A request that had come before the rest was over is read right after it.
        told.back_at = Some(now + retry_after.max(rest + READ_WITHIN));
        rest
    }
}

/// Of `Retry-After`; the rest of it tells who waits from who does not.
const SHARE_OF_RETRY_AFTER: f64 = 0.8;
const DOUBLED_MAX: u32 = 2;
const READ_WITHIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// Rests in milliseconds after requests at these times; those marked are refused, and told to come back after a second.
    fn rests(requests: &[(u64, bool)]) -> Vec<u128> {
        let (manners, start) = (Manners::default(), Instant::now());
        let rest = |(ms, refused): &(u64, bool)| {
            let now = start + Duration::from_millis(*ms);
            manners.request(now);
            refused.then(|| manners.rest(now, Duration::from_secs(2), Duration::from_secs(1)).as_millis())
        };
        requests.iter().filter_map(rest).collect()
    }

    #[test]
    fn who_waits_as_told_finds_the_connection_ready() {
        assert_eq!(rests(&[(0, true), (1_000, true), (2_000, true), (3_100, true)]), [800, 800, 800, 800]);
    }

    #[test]
    fn who_never_waits_rests_longer_each_time_up_to_a_bound() {
        assert_eq!(rests(&[(0, true), (801, true), (2_402, true), (5_603, true)]), [800, 1_600, 3_200, 3_200]);
    }

    #[test]
    fn being_accepted_after_coming_too_soon_makes_no_good_manners() {
        assert_eq!(rests(&[(0, true), (801, false), (9_000, true)]), [800, 1_600]);
    }

    #[test]
    fn who_waits_once_is_judged_anew() {
        assert_eq!(rests(&[(0, true), (801, true), (5_000, false), (5_001, true)]), [800, 1_600, 800]);
    }

    #[test]
    fn a_short_rest_stays_short_beside_a_long_retry_after() {
        let rest = Manners::default().rest(Instant::now(), Duration::from_millis(250), Duration::from_secs(30));
        assert_eq!(rest, Duration::from_millis(250));
    }
}
