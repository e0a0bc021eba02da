//! Notices when the wall clock jumps.
//!
//! Receive times come from the wall clock: `ts` defaults to them and the age of an event is measured by them. Arrives: both
//! clocks, a few times a second. Leaves: by how much the wall clock moved more, or less, than time itself during the last
//! seconds, when that is more than a correction of the usual kind. Whoever routes traffic can then choose a machine with a
//! better clock. It heals by itself: a jump is history once it is older than the span that is looked at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use peep_chassis::clock::Clock;

/// Both clocks over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Drift {
    seen: VecDeque<(Instant, i64)>,
    verdict: Option<i64>,
}

impl Drift {
    /// Reads both clocks; see [`Drift::observe`]. A thread that was kept waiting between the two readings has read nothing
    /// that could be compared.
    pub(crate) fn look(&mut self, wall: &Clock) -> Option<i64> {
        let before = Instant::now();
        let wall_ms = wall.now_ms();
        if before.elapsed() < READING_MAX {
            self.verdict = self.observe(before, wall_ms);
        }
        self.verdict
    }

    /// Milliseconds by which the wall clock ran ahead (or behind, below zero), if that is suspicious.
    fn observe(&mut self, time: Instant, wall_ms: i64) -> Option<i64> {
        while self.seen.front().is_some_and(|(at, _)| time.duration_since(*at) > SPAN) {
            self.seen.pop_front();
        }
        let drift = |(at, then_ms): &(Instant, i64)| {
            let passed_ms = i64::try_from(time.duration_since(*at).as_millis()).unwrap_or(i64::MAX);
            wall_ms.saturating_sub(*then_ms).saturating_sub(passed_ms)
        };
        // Against every moment of the span: a jump and a jump back are two jumps.
        let worst = self.seen.iter().map(drift).max_by_key(|drift| drift.unsigned_abs()).unwrap_or(0);
        self.seen.push_back((time, wall_ms));
        (worst.unsigned_abs() > DRIFT_MS_MAX).then_some(worst)
    }
}

const READING_MAX: Duration = Duration::from_millis(100);
const SPAN: Duration = Duration::from_secs(10);
/// Clock daemons slew by at most half a millisecond per second; what moves a second within ten was set.
const DRIFT_MS_MAX: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers while the wall clock reads `wall_ms(second)`, four times a second.
    fn watch(seconds: u32, wall_ms: impl Fn(f64) -> i64) -> Vec<Option<i64>> {
        let (start, mut drift) = (Instant::now(), Drift::default());
        let step = |n: u32| drift.observe(start + Duration::from_millis(250) * n, wall_ms(f64::from(n) / 4.0));
        (0..seconds * 4).map(step).collect()
    }

    #[test]
    fn a_steady_clock_is_trusted_even_when_it_is_slewed() {
        assert!(watch(100, |s| (s * 1000.0) as i64).iter().all(Option::is_none));
        assert!(watch(100, |s| (s * 1000.5) as i64).iter().all(Option::is_none));
        assert_eq!(watch(100, |s| if s < 50.0 { 0 } else { 900 } + (s * 1000.0) as i64)[250], None);
    }

    #[test]
    fn a_jump_either_way_is_noticed_and_forgotten_ten_seconds_later() {
        for jump_ms in [3_600_000, -3_600_000, 1_500] {
            let seen = watch(100, |s| if s < 50.0 { 0 } else { jump_ms } + (s * 1000.0) as i64);
            assert!(seen[..200].iter().all(Option::is_none));
            assert!(seen[200..240].iter().all(|drift| *drift == Some(jump_ms)), "{seen:?}");
            assert!(seen[242..].iter().all(Option::is_none));
        }
    }

    #[test]
    fn a_clock_that_stands_still_is_a_drift() {
        assert_eq!(watch(3, |_| 5).last(), Some(&Some(-2750)));
    }
}
