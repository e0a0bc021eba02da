//! Counters and histograms for the way of every request: threads count without touching each other's memory.
//!
//! The recorder behind the `metrics` macros keeps one number per metric. Two cores that count there with every request spend more
//! time on handing that number to each other than on counting. A tally has a place for each thread; the places are added up
//! when somebody looks, which is before every scrape and every few seconds ([`collect`]).
//!
//! Promises: what was counted before a look is in it, each value once; what is dropped is looked at before. A histogram knows of its
//! values the bucket and the sum of each bucket, so what it reports are the means of the buckets: counts and sums are exact.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

/// A counter for every request. Cheap to clone; clones count together.
#[derive(Clone)]
pub struct Counter {
    tally: Arc<CounterTally>,
}

/// A histogram of durations for every request. Cheap to clone; clones record together.
#[derive(Clone)]
pub struct Histogram {
    tally: Arc<HistogramTally>,
}

impl Counter {
    /// Counts for `sink`.
    pub fn new(sink: metrics::Counter) -> Self {
        sink.increment(0);
        let tally = Arc::new(CounterTally { sink, places: places(|| AtomicU64::new(0)), reported: Mutex::new(0) });
        let watched: Weak<CounterTally> = Arc::downgrade(&tally);
        WATCHED.lock().push(watched);
        Self { tally }
    }

    pub fn increment(&self, by: u64) {
        self.tally.places[place()].0.fetch_add(by, Ordering::Relaxed);
    }
}

impl Histogram {
    /// Records for `sink`, whose upper bounds are these, in seconds and ascending.
    pub fn new(sink: metrics::Histogram, bounds: &[f64]) -> Self {
        let bounds_ns: Box<[u64]> = bounds.iter().map(|bound| (bound * 1e9).round() as u64).collect();
        let buckets = bounds_ns.len() + 1;
        let tally = Arc::new(HistogramTally {
            sink,
            bounds_ns,
            places: places(|| (0..buckets).map(|_| Bucket::default()).collect()),
            reported: Mutex::new(vec![(0, 0); buckets]),
        });
        let watched: Weak<HistogramTally> = Arc::downgrade(&tally);
        WATCHED.lock().push(watched);
        Self { tally }
    }

    pub fn record(&self, value: Duration) {
        let value_ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        let bounds = &self.tally.bounds_ns;
        let at = bounds.iter().position(|bound| value_ns <= *bound).unwrap_or(bounds.len());
        let bucket = &self.tally.places[place()].0[at];
        bucket.sum_ns.fetch_add(value_ns, Ordering::Relaxed);
        // After the sum, so that whoever sees the value counted finds it in the sum.
        bucket.count.fetch_add(1, Ordering::Release);
    }
}

/// Reports what was counted since the last time.
pub fn collect() {
    let watched: Vec<_> = {
        let mut watched = WATCHED.lock();
        watched.retain(|tally| tally.strong_count() > 0);
        watched.iter().filter_map(Weak::upgrade).collect()
    };
    for tally in watched {
        tally.report();
    }
}

/// Which of [`PLACES`] places is the calling thread's. Threads beyond that share.
pub fn place() -> usize {
    thread_local! {
        static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    PLACE.with(|place| *place)
}

/// More than threads that count at once; a power of two.
pub const PLACES: usize = 16;

/// Something for each thread, so far apart that no two are in one piece of memory that cores hand to each other.
#[repr(align(128))]
struct Place<T>(T);

fn places<T>(make: impl Fn() -> T) -> Box<[Place<T>]> {
    (0..PLACES).map(|_| Place(make())).collect()
}

struct CounterTally {
    sink: metrics::Counter,
    places: Box<[Place<AtomicU64>]>,
    reported: Mutex<u64>,
}

struct HistogramTally {
    sink: metrics::Histogram,
    bounds_ns: Box<[u64]>,
    places: Box<[Place<Box<[Bucket]>>]>,
    /// Count and sum of each bucket.
    reported: Mutex<Vec<(u64, u64)>>,
}

#[derive(Default)]
struct Bucket {
    count: AtomicU64,
    sum_ns: AtomicU64,
}

/// Reports to its sink what was not reported yet.
trait Report: Send + Sync {
    fn report(&self);
}

impl Report for CounterTally {
    fn report(&self) {
        let mut reported = self.reported.lock();
        let total = self.places.iter().fold(0, |sum: u64, place| sum.wrapping_add(place.0.load(Ordering::Relaxed)));
        self.sink.increment(total.wrapping_sub(*reported));
        *reported = total;
    }
}

impl Report for HistogramTally {
    fn report(&self) {
        let mut reported = self.reported.lock();
        for (at, reported) in reported.iter_mut().enumerate() {
            let sum_of = |field: fn(&Bucket) -> &AtomicU64| {
                let values = self.places.iter().map(|place| field(&place.0[at]).load(Ordering::Acquire));
                values.fold(0, u64::wrapping_add)
            };
            // The count first: a value that is recorded meanwhile may be in the sum already, and stays in its bucket.
            let count = sum_of(|bucket| &bucket.count);
            let sum_ns = sum_of(|bucket| &bucket.sum_ns);
            let new = count.wrapping_sub(reported.0);
            if let Some(mean_ns) = sum_ns.wrapping_sub(reported.1).checked_div(new) {
                let lower = at.checked_sub(1).map_or(0, |below| self.bounds_ns[below] + 1);
                let upper = self.bounds_ns.get(at).copied().unwrap_or(u64::MAX);
                let mean_s = mean_ns.clamp(lower, upper) as f64 / 1e9;
                self.sink.record_many(mean_s, usize::try_from(new).unwrap_or(usize::MAX));
                *reported = (count, sum_ns);
            }
        }
    }
}

impl Drop for CounterTally {
    fn drop(&mut self) {
        self.report();
    }
}

impl Drop for HistogramTally {
    fn drop(&mut self) {
        self.report();
    }
}

static WATCHED: Mutex<Vec<Weak<dyn Report>>> = Mutex::new(Vec::new());
static THREADS: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::local_metrics;

    #[test]
    fn what_many_threads_counted_is_reported_once() {
        let (recorder, handle) = local_metrics(&[("peep_test_seconds", &[0.001, 0.1])]).expect("buckets are not empty");
        let (counter, histogram) = metrics::with_local_recorder(&recorder, || {
            let counter = Counter::new(metrics::counter!("peep_test_total"));
            (counter, Histogram::new(metrics::histogram!("peep_test_seconds"), &[0.001, 0.1]))
        });
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for value in [500_u64, 1000, 1500, 200_000] {
                        counter.increment(2);
                        histogram.record(Duration::from_micros(value));
                    }
                });
            }
        });
        for _ in 0..2 {
            let text = handle.render();
            for line in [
                "peep_test_total 160",
                "peep_test_seconds_bucket{le=\"0.001\"} 40",
                "peep_test_seconds_bucket{le=\"0.1\"} 60",
                "peep_test_seconds_bucket{le=\"+Inf\"} 80",
                "peep_test_seconds_count 80",
            ] {
                assert!(text.contains(line), "{line} in\n{text}");
            }
            let sum = text.lines().find_map(|line| line.strip_prefix("peep_test_seconds_sum ")).expect("a sum");
            assert!((sum.parse::<f64>().expect("a number") - 4.06).abs() < 1e-6, "{sum}");
        }
    }

    #[test]
    fn what_is_dropped_is_reported() {
        let (recorder, handle) = local_metrics(&[]).expect("no bucket list is no error");
        metrics::with_local_recorder(&recorder, || {
            Counter::new(metrics::counter!("peep_dropped_total")).increment(3);
        });
        assert!(handle.render().contains("peep_dropped_total 3"));
    }
}
