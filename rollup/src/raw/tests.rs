use std::collections::BTreeMap;

use peep_wire::event::Event;
use peep_wire::record::parse;

use super::*;
use crate::key::SeriesTable;
use crate::testing::{NOW_MS, batch, event};

/// A sampler with the series table it needs.
struct Bench {
    sampler: Sampler,
    series: SeriesTable,
}

impl Bench {
    fn new(events_per_second_max: u32, bytes_max: usize) -> Self {
        let limits = RawLimits { events_per_second_max, burst_events_max: events_per_second_max, bytes_max };
        Self { sampler: Sampler::new(limits), series: SeriesTable::default() }
    }

    fn offer(&mut self, offset: u64, events: &[Event<'_>]) {
        self.offer_at(NOW_MS, offset, events);
    }

    fn offer_at(&mut self, log_ms: i64, offset: u64, events: &[Event<'_>]) {
        let payload = batch(NOW_MS, events);
        let batch = parse(&payload).unwrap();
        for (event_index, event) in batch.heads().enumerate() {
            let event = event.unwrap();
            let series = self.series.intern(batch.header.project, event.series.as_bytes()).unwrap();
            let error = event.has_error || self.series.is_failed(series);
            let place = Place { partition: 0, offset, event_index: event_index as u32 };
            let offered =
                Offered { place, header: &batch.header, series, true_key: None, event: &event, error, log_ms };
            self.sampler.offer(&offered).unwrap();
        }
    }

    fn cut(&mut self) -> RawCut {
        let series = &self.series;
        self.sampler.cut(|at| Arc::clone(series.get(at)))
    }
}

/// A hundred batches of a thousand requests to ten routes, one in a hundred failed, all in one second of log time.
fn storm(bench: &mut Bench) {
    let routes: Vec<String> = (0..10).map(|number| format!("/{number}")).collect();
    for offset in 0..100u64 {
        let one = |n: u64| {
            let number = offset * 1000 + n;
            let status = if n.is_multiple_of(100) { 500 } else { 200 };
            let duration_us = number.wrapping_mul(7_919) % 1_000_003;
            Event { status, ..event("shop", &routes[(n % 10) as usize], NOW_MS, duration_us) }
        };
        bench.offer(offset, &(0..1000).map(one).collect::<Vec<_>>());
    }
}

fn weight_sum(rows: &[CutRow], error: bool) -> f64 {
    rows.iter().filter(|row| row.error == error).map(|row| f64::from(row.weight)).sum()
}

#[test]
fn while_the_rate_is_low_every_event_is_kept_with_weight_one() {
    let mut bench = Bench::new(1000, 1 << 20);
    bench.offer(0, &[event("shop", "/a", NOW_MS, 1), event("shop", "/b", NOW_MS, 2)]);
    let cut = bench.cut();
    assert_eq!(cut.rows.iter().map(|row| row.weight).collect::<Vec<_>>(), [1.0, 1.0]);
    assert!(bench.cut().rows.is_empty());
}

#[test]
fn above_the_budget_weights_add_up_to_the_count_and_every_error_is_kept() {
    let mut bench = Bench::new(1000, 16 << 20);
    storm(&mut bench);
    let cut = bench.cut();
    assert_eq!(weight_sum(&cut.rows, true), 1000.0, "errors: all, weight one");
    assert_eq!(cut.rows.iter().filter(|row| row.error).count(), 1000);
    let others = cut.rows.iter().filter(|row| !row.error).count();
    assert!((400..=1010).contains(&others), "{others} rows");
    // One in 128 is kept: the estimate's standard deviation is about 3.6 %.
    let estimate = weight_sum(&cut.rows, false);
    assert!((estimate - 99_000.0).abs() < 0.15 * 99_000.0, "{estimate}");
    assert_eq!(cut.tally, Tally { offered: 100_000, errors_dropped: 0, slowest_given_up: 0 });
}

#[test]
fn the_slowest_event_of_each_series_is_kept_for_certain() {
    let mut bench = Bench::new(10, 16 << 20);
    storm(&mut bench);
    // The slowest of all comes early and must survive everything after it.
    let mut early = Bench::new(10, 16 << 20);
    early.offer(1_000, &[event("shop", "/0", NOW_MS, 3_000_000)]);
    storm(&mut early);
    for (bench, expected) in [(bench, 11), (early, 11)] {
        let mut bench = bench;
        let cut = bench.cut();
        let certain: BTreeMap<_, _> = cut
            .rows
            .iter()
            .filter(|row| row.weight == 1.0)
            .map(|row| (row.series.key().to_vec(), row.ended_s))
            .collect();
        assert_eq!(certain.len(), expected, "ten routes, and the failed ones of the first");
    }
}

#[test]
fn the_same_log_gives_the_same_sample() {
    let sample = || {
        let mut bench = Bench::new(100, 1 << 20);
        storm(&mut bench);
        let cut = bench.cut();
        let mut bytes = Vec::new();
        cut.rows.iter().for_each(|row| cut.encode_row(row, &mut bytes));
        bytes
    };
    assert!(sample() == sample());
}

#[test]
fn a_flood_of_errors_is_sampled_with_weights_and_counted() {
    let mut bench = Bench::new(100, 16 << 20);
    for offset in 0..50 {
        let failed = Event { status: 500, duration_us: None, ..event("shop", "/", NOW_MS, 0) };
        bench.offer(offset, &vec![failed; 1000]);
    }
    let cut = bench.cut();
    assert!(cut.rows.len() <= 400, "{} rows", cut.rows.len());
    assert_eq!(cut.tally.errors_dropped, 50_000 - cut.rows.len() as u64);
    let estimate = weight_sum(&cut.rows, true);
    assert!((estimate - 50_000.0).abs() < 0.25 * 50_000.0, "{estimate}");
}

#[test]
fn memory_is_bounded_when_every_event_is_huge_and_slower_than_the_last() {
    let bytes_max = 1 << 20;
    let mut bench = Bench::new(1_000_000, bytes_max);
    let stack = "x".repeat(8000);
    for offset in 0..2000u64 {
        let slow = Event { error: Some(&stack), ..event("shop", "/", NOW_MS, 1000 + offset) };
        bench.offer(offset, &[slow]);
        assert!(bench.sampler.memory_bytes() < 3 * bytes_max, "{}", bench.sampler.memory_bytes());
    }
    let cut = bench.cut();
    assert!(!cut.rows.is_empty());
    let estimate = weight_sum(&cut.rows, true);
    assert!((estimate - 2000.0).abs() < 1000.0, "{estimate}");
}

#[test]
fn the_budget_grows_with_the_time_of_the_log() {
    let mut bench = Bench::new(100, 16 << 20);
    // Ninety a second for ten seconds: below the budget, though far more than one second's worth.
    let payload = batch(NOW_MS, &vec![event("shop", "/", NOW_MS, 5); 90]);
    let batch = parse(&payload).unwrap();
    for second in 0..10 {
        for (event_index, event) in batch.heads().enumerate() {
            let event = event.unwrap();
            let series = bench.series.intern(batch.header.project, event.series.as_bytes()).unwrap();
            let place = Place { partition: 0, offset: second, event_index: event_index as u32 };
            let log_ms = NOW_MS + second as i64 * 1000;
            let offered =
                Offered { place, header: &batch.header, series, true_key: None, event: &event, error: false, log_ms };
            bench.sampler.offer(&offered).unwrap();
        }
    }
    let cut = bench.cut();
    assert_eq!((cut.rows.len(), weight_sum(&cut.rows, false)), (900, 900.0));
}

#[test]
fn a_burst_after_a_quiet_time_is_kept_whole_and_is_paid_back() {
    let mut bench = Bench::new(1000, 16 << 20);
    let events: Vec<_> = (0..1000).map(|number| event("shop", "/a", NOW_MS, number)).collect();
    let mut kept = |log_ms, offset| {
        bench.offer_at(log_ms, offset, &events);
        bench.cut().rows.len()
    };
    assert_eq!(kept(NOW_MS, 0), 1000, "the burst");
    assert!(kept(NOW_MS + 100, 1) < 300, "nothing is left of it a moment later");
    assert_eq!(kept(NOW_MS + 60_000, 2), 1000, "and a quiet minute restores it");
}
