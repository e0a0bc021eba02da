//! When requests happen: an open loop.
//!
//! In: a rate and a start. Out: the points in time at which events end, one after the other. They depend on the seed
//! alone and never on how fast ingest answers, so a stall shows in the latencies instead of hiding in fewer requests.

use super::incidents::busyness;
use super::random::Random;

pub(crate) struct Schedule {
    random: Random,
    rate: f64,
    /// Evenly spaced, without waves.
    steady: bool,
    next_ms: f64,
}

impl Schedule {
    /// `rate` in events a second.
    pub(crate) fn new(seed: u64, rate: f64, steady: bool, start_ms: i64) -> Self {
        Self { random: Random::new(seed ^ 0x5eed), rate, steady, next_ms: start_ms as f64 }
    }

    /// The next point in time, in Unix milliseconds with a fraction.
    pub(crate) fn next(&mut self) -> f64 {
        let at = self.next_ms;
        self.next_ms += 1000.0
            * if self.steady { 1.0 / self.rate } else { self.random.exponential(self.rate * busyness(at as i64)) };
        at
    }

    /// The next point in time without passing it.
    pub(crate) fn peek(&self) -> f64 {
        self.next_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_time() {
        for steady in [true, false] {
            let mut schedule = Schedule::new(1, 500.0, steady, 0);
            let last = (0..500 * 780).map(|_| schedule.next()).last().unwrap_or_default();
            assert!((last / 780_000.0 - 1.0).abs() < 0.05, "steady {steady}: {last}");
        }
    }

    #[test]
    fn time_only_goes_forward() {
        let mut schedule = Schedule::new(1, 50_000.0, false, 1_795_000_000_000);
        let times: Vec<f64> = (0..10_000).map(|_| schedule.next()).collect();
        assert!(times.is_sorted());
    }
}
