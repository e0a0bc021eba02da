//! Whether two sets of requests differ, quantile by quantile, or only happen to look different.
//!
//! Arrives: two histograms, and how many requests each rests on. Leaves: per quantile both values with the interval that
//! holds the true one in 99 of 100 cases, and whether they differ. Promises: nothing is assumed about how durations are
//! distributed: the intervals are order statistics, whose ranks are binomial. A difference is only called one when the
//! intervals do not touch, the histogram's own error added. Does not: read anything.

use peep_wire::histogram::{ERROR_BOUND, Histogram, Quantile};

/// Requests of one side.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Requests, with or without a duration. Of a sample: as many as it stands for.
    pub count: u64,
    /// Failed ones.
    pub errors: u64,
    /// Their durations, likewise.
    pub latency: Histogram,
    /// How many requests that rests on, when not all were kept: their effective number.
    pub kept: Option<u64>,
}

/// One quantile of both sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// Which.
    pub quantile: Quantile,
    /// Value and interval, µs.
    pub a: Option<Interval>,
    /// Likewise.
    pub b: Option<Interval>,
    /// Whether both sides have enough requests for a statement.
    pub enough: bool,
    /// Whether they differ.
    pub significant: bool,
}

/// A value and where the true one lies, µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Lower end.
    pub low_us: u64,
    /// Nearest rank.
    pub value_us: u64,
    /// Upper end.
    pub high_us: u64,
    /// False when the interval would reach beyond the shortest or longest request.
    pub is_closed: bool,
}

impl Sample {
    /// Requests that a statement about durations rests on.
    fn timed(&self) -> u64 {
        let timed = self.latency.count();
        // The part of the kept ones that has a duration.
        self.kept.map_or(timed, |kept| {
            let part = if self.count == 0 { 0.0 } else { timed as f64 / self.count as f64 };
            (kept as f64 * part.min(1.0)) as u64
        })
    }

    /// Requests that a statement about failures rests on.
    fn known(&self) -> u64 {
        self.kept.unwrap_or(self.count)
    }

    /// Failed requests as a share of all.
    pub fn error_share(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.errors as f64 / self.count as f64 }
    }

    fn intervals(&self, quantiles: &[Quantile]) -> Vec<Option<Interval>> {
        let (all, rests_on) = (self.latency.count(), self.timed());
        if all == 0 {
            return vec![None; quantiles.len()];
        }
        // Ranks among those that are known, stretched to those they stand for.
        let stretch = all as f64 / rests_on.max(1) as f64;
        let stretched = |rank: u64| ((rank as f64 * stretch).round() as u64).clamp(1, all);
        let bounds: Vec<RankBounds> = quantiles.iter().map(|quantile| rank_bounds(rests_on, *quantile)).collect();
        let ranks: Vec<u64> = quantiles
            .iter()
            .zip(&bounds)
            .flat_map(|(quantile, bounds)| [stretched(bounds.low), quantile.rank_of(all), stretched(bounds.high)])
            .collect();
        let values = values_at_ranks(&self.latency, &ranks);
        let interval = |(values, bounds): (&[u64], &RankBounds)| {
            let [low_us, value_us, high_us] = [values[0].min(values[1]), values[1], values[2].max(values[1])];
            Some(Interval { low_us, value_us, high_us, is_closed: bounds.is_closed })
        };
        values.chunks(3).zip(&bounds).map(interval).collect()
    }
}

/// Both sides at each quantile.
pub fn compare(a: &Sample, b: &Sample, quantiles: &[Quantile]) -> Vec<Compared> {
    let are_many = a.timed() >= REQUESTS_MIN && b.timed() >= REQUESTS_MIN;
    let sides = a.intervals(quantiles).into_iter().zip(b.intervals(quantiles));
    let compared = |(quantile, (a, b)): (&Quantile, (Option<Interval>, Option<Interval>))| {
        let is_closed = |side: &Option<Interval>| side.is_some_and(|interval| interval.is_closed);
        let enough = are_many && is_closed(&a) && is_closed(&b);
        let significant = enough && a.zip(b).is_some_and(|(a, b)| is_apart(a, b) || is_apart(b, a));
        Compared { quantile: *quantile, a, b, enough, significant }
    };
    quantiles.iter().zip(sides).map(compared).collect()
}

/// Whether one side fails more often than the other: 99 % intervals (Wilson) that do not touch.
pub fn errors_differ(a: &Sample, b: &Sample) -> bool {
    let interval = |sample: &Sample| wilson(sample.error_share(), sample.known() as f64);
    let ((a_low, a_high), (b_low, b_high)) = (interval(a), interval(b));
    a.known() >= REQUESTS_MIN && b.known() >= REQUESTS_MIN && (a_high < b_low || b_high < a_low)
}

/// Beyond what the buckets of both may be off by.
fn is_apart(below: Interval, above: Interval) -> bool {
    below.high_us as f64 * (1.0 + ERROR_BOUND) < above.low_us as f64 * (1.0 - ERROR_BOUND)
}

fn wilson(share: f64, n: f64) -> (f64, f64) {
    if n < 1.0 {
        return (0.0, 1.0);
    }
    let z2 = Z_99 * Z_99;
    let middle = share + z2 / (2.0 * n);
    let half = Z_99 * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    (((middle - half) / (1.0 + z2 / n)).max(0.0), ((middle + half) / (1.0 + z2 / n)).min(1.0))
}

/// Ranks, 1-based, between which the true quantile lies in 99 of 100 cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RankBounds {
    low: u64,
    high: u64,
    is_closed: bool,
}

/// The number of requests at or below the true quantile is binomial.
fn rank_bounds(n: u64, quantile: Quantile) -> RankBounds {
    let q = share_of(quantile);
    let above = n as f64 * (1.0 - q);
    let below = n as f64 * q;
    let (low, high) = if above < EXACT_MAX && above <= below {
        // Counted from the end: how many lie above is as good as Poisson, and exact is as easy.
        let (least, most) = binomial_range(n, 1.0 - q);
        (n as i128 - i128::from(most), n as i128 - i128::from(least) + 1)
    } else if below < EXACT_MAX {
        let (least, most) = binomial_range(n, q);
        (i128::from(least), i128::from(most) + 1)
    } else {
        let half = Z_99 * (n as f64 * q * (1.0 - q)).sqrt();
        ((below - half).floor() as i128, (below + half).ceil() as i128 + 1)
    };
    let is_closed = low >= 1 && high <= i128::from(n);
    let rank = |rank: i128| rank.clamp(1, i128::from(n.max(1))) as u64;
    RankBounds { low: rank(low), high: rank(high), is_closed }
}

/// The range a binomial count lies in but for half of one per cent at either end. Few are expected.
fn binomial_range(n: u64, p: f64) -> (u64, u64) {
    if p <= 0.0 {
        return (0, 0);
    }
    let mut probability = (n as f64 * (-p).ln_1p()).exp();
    let (mut sum, mut least) = (probability, None);
    for count in 0..n {
        if least.is_none() && sum > TAIL {
            least = Some(count);
        }
        if sum >= 1.0 - TAIL {
            return (least.unwrap_or(0), count);
        }
        probability *= (n - count) as f64 / (count + 1) as f64 * p / (1.0 - p);
        sum += probability;
    }
    (least.unwrap_or(n), n)
}

fn share_of(quantile: Quantile) -> f64 {
    // Exact to nine places, as a quantile is.
    quantile.rank_of(PARTS) as f64 / PARTS as f64
}

/// Values at ranks, 1-based; ranks need not ascend. The histogram is not empty.
fn values_at_ranks(histogram: &Histogram, ranks: &[u64]) -> Vec<u64> {
    let mut order: Vec<(u64, usize)> = ranks.iter().enumerate().map(|(slot, rank)| (*rank, slot)).collect();
    order.sort_unstable();
    let (mut waiting, mut seen) = (order.into_iter().peekable(), 0u64);
    let (min_us, max_us) = (histogram.min_us().unwrap_or(0), histogram.max_us().unwrap_or(0));
    let mut values = vec![max_us; ranks.len()];
    histogram.for_each(|_, highest_us, count| {
        seen += count;
        while let Some((_, slot)) = waiting.next_if(|(rank, _)| *rank <= seen) {
            values[slot] = highest_us.min(max_us).max(min_us);
        }
    });
    values
}

/// Below that, nothing is said about a side.
pub const REQUESTS_MIN: u64 = 200;
/// Two-sided 99 %.
const Z_99: f64 = 2.575_829_304;
const TAIL: f64 = 0.005;
/// From here on the normal distribution is as good: its error is below that of the buckets.
const EXACT_MAX: f64 = 100.0;
const PARTS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests;
