//! What is known about a set of requests: counts, and their durations as a histogram.
//!
//! Arrives: rows of the rollup table and cells of live frames. Leaves: sums that other sums can be added to or taken
//! from. Promises: everything is exact except the quantiles, which keep the histogram's error bound; adding and then
//! taking away leaves what was there. Does not: know about time, groups or JSON.

use peep_wire::histogram::Histogram;

/// Sums over some requests.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Requests, with or without a duration.
    pub count: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Requests by status class, indexed by [`StatusClass`].
    pub statuses: [u64; StatusClass::COUNT],
    /// Requests that had a duration.
    pub latency: Histogram,
}

/// First digit of an HTTP status, or that there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusClass(usize);

impl StatusClass {
    /// Five classes and "unknown".
    pub const COUNT: usize = 6;
    /// Names in the order of the indices.
    pub const NAMES: [&'static str; Self::COUNT] = ["1xx", "2xx", "3xx", "4xx", "5xx", "unknown"];

    /// One of [`StatusClass::NAMES`].
    pub fn name(self) -> &'static str {
        Self::NAMES[self.0]
    }

    /// 0 and anything outside of 100..=599 is unknown.
    pub fn of(status: u16) -> Self {
        match status / 100 {
            class @ 1..=5 => Self(usize::from(class) - 1),
            _ => Self(5),
        }
    }
}

impl Figures {
    /// Adds requests that share one status.
    pub fn add(&mut self, status: u16, count: u64, errors: u64, latency: &Histogram) {
        self.count += count;
        self.errors += errors;
        self.statuses[StatusClass::of(status).0] += count;
        self.latency.merge(latency);
    }

    /// Adds everything `other` counted.
    pub fn merge(&mut self, other: &Figures) {
        self.count += other.count;
        self.errors += other.errors;
        for (sum, more) in self.statuses.iter_mut().zip(other.statuses) {
            *sum += more;
        }
        self.latency.merge(&other.latency);
    }

    /// Takes away what was merged before. Smallest and largest duration cannot be taken back, so the caller gives
    /// those of what remains (`None`: nothing with a duration remains).
    pub fn subtract(&mut self, other: &Figures, bounds_us: Option<(u64, u64)>) {
        debug_assert!(other.count <= self.count, "only what was merged can be taken away");
        self.count = self.count.saturating_sub(other.count);
        self.errors = self.errors.saturating_sub(other.errors);
        for (sum, less) in self.statuses.iter_mut().zip(other.statuses) {
            *sum = sum.saturating_sub(less);
        }
        self.latency.subtract(&other.latency, bounds_us);
    }

    /// Smallest and largest duration.
    pub fn bounds_us(&self) -> Option<(u64, u64)> {
        Some((self.latency.min_us()?, self.latency.max_us()?))
    }

    /// Failed requests as a share of all, unknown without requests.
    pub fn error_rate(&self) -> Option<f64> {
        (self.count > 0).then(|| self.errors as f64 / self.count as f64)
    }

    /// Bytes kept, the struct itself included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Histogram>() + self.latency.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(status: u16, durations_us: &[u64]) -> Figures {
        let mut latency = Histogram::new();
        durations_us.iter().for_each(|&duration| latency.record(duration));
        let mut figures = Figures::default();
        figures.add(status, durations_us.len() as u64, u64::from(status >= 500), &latency);
        figures
    }

    #[test]
    fn taking_away_leaves_what_was_there() {
        let kept = figures(200, &[10, 2_000_000]);
        let mut sum = kept.clone();
        let gone = figures(503, &[5, 7, 900_000_000]);
        sum.merge(&gone);
        sum.subtract(&gone, kept.bounds_us());
        assert_eq!(sum, kept);
    }

    #[test]
    fn a_status_outside_of_http_is_unknown() {
        for (status, index) in [(0, 5), (99, 5), (100, 0), (204, 1), (304, 2), (404, 3), (599, 4), (600, 5)] {
            assert_eq!(StatusClass::of(status), StatusClass(index), "{status}");
        }
    }
}
