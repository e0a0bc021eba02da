use proptest::prelude::*;

use super::*;

fn quantile(text: &str) -> Quantile {
    text.parse().expect("a quantile")
}

/// A reproducible stream of durations: log-normal in shape, so with a long tail.
struct Durations(u64);

impl Durations {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn sample(&mut self, count: u64, stretch: impl Fn(f64) -> f64) -> Sample {
        let mut latency = Histogram::new();
        for _ in 0..count {
            let (rank, angle) = (self.uniform().max(1e-12), self.uniform());
            let normal = (-2.0 * rank.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
            let us = 20_000.0 * (0.8 * normal).exp();
            latency.record((us * stretch(us)) as u64);
        }
        Sample { count, errors: 0, latency, kept: None }
    }
}

const QUANTILES: [&str; 8] = ["0.5", "0.75", "0.9", "0.95", "0.98", "0.99", "0.999", "0.9999"];

fn all(a: &Sample, b: &Sample) -> Vec<Compared> {
    compare(a, b, &QUANTILES.map(quantile))
}

#[test]
fn two_samples_of_the_same_distribution_rarely_differ() {
    let (mut wrong, mut said) = (0, 0);
    for seed in 0..200 {
        let mut durations = Durations(seed);
        let (a, b) = (durations.sample(2000, |_| 1.0), durations.sample(3000, |_| 1.0));
        let compared = all(&a, &b);
        said += compared.iter().filter(|one| one.enough).count();
        wrong += compared.iter().filter(|one| one.significant).count();
    }
    assert!(said > 1000, "there was enough to say: {said}");
    // Two 99 % intervals that do not touch are far rarer than one in a hundred.
    assert!(wrong * 200 <= said, "{wrong} of {said}");
}

#[test]
fn intervals_hold_the_true_value_as_often_as_they_say() {
    for (text, z) in [("0.5", 0.0f64), ("0.9", 1.281_551_566), ("0.99", 2.326_347_874)] {
        let truth = 20_000.0 * (0.8 * z).exp();
        let inside = (0..400).filter(|seed| {
            let sample = Durations(1_000_003 * seed).sample(1500, |_| 1.0);
            let interval = sample.intervals(&[quantile(text)])[0].expect("not empty");
            interval.low_us as f64 * 0.999 <= truth && truth <= interval.high_us as f64 * 1.001
        });
        // 396 of 400 are expected; below 388 is less than one in two thousand.
        let inside = inside.count();
        assert!(inside >= 388, "p{text}: {inside} of 400");
    }
}

#[test]
fn a_shifted_distribution_differs_at_every_quantile_and_a_longer_tail_only_there() {
    let mut durations = Durations(7);
    let (a, slower) = (durations.sample(20_000, |_| 1.0), durations.sample(20_000, |_| 1.3));
    let shifted = all(&a, &slower);
    assert!(shifted[..6].iter().all(|one| one.significant), "{shifted:?}");
    let tail = durations.sample(20_000, |us| if us > 90_000.0 { 4.0 } else { 1.0 });
    let compared = all(&a, &tail);
    assert!(compared[..3].iter().all(|one| !one.significant), "{compared:?}");
    assert!(compared[4..6].iter().all(|one| one.significant), "{compared:?}");
}

#[test]
fn what_rests_on_too_little_is_not_decided() {
    let mut durations = Durations(3);
    let (few, many) = (durations.sample(199, |_| 1.0), durations.sample(5000, |_| 9.0));
    assert!(all(&few, &many).iter().all(|one| !one.enough && !one.significant));
    let compared = all(&durations.sample(1000, |_| 1.0), &many);
    let enough: Vec<bool> = compared.iter().map(|one| one.enough).collect();
    assert_eq!(enough, [true, true, true, true, true, true, false, false], "p99.9 of a thousand is one request");
    assert_eq!(all(&Sample::default(), &many)[0].a, None);
}

#[test]
fn a_sample_counts_for_as_many_as_were_kept() {
    let mut durations = Durations(5);
    let (a, b) = (durations.sample(40_000, |_| 1.0), durations.sample(40_000, |_| 1.06));
    assert!(all(&a, &b)[0].significant);
    let sampled = |sample: &Sample| Sample { kept: Some(400), ..sample.clone() };
    let (a, b) = (sampled(&a), sampled(&b));
    let compared = all(&a, &b)[0];
    assert!(compared.enough && !compared.significant, "{compared:?}");
}

#[test]
fn failures_differ_only_when_their_intervals_do_not_touch() {
    let sample = |count, errors| Sample { count, errors, ..Sample::default() };
    assert!(errors_differ(&sample(10_000, 12), &sample(10_000, 421)));
    assert!(!errors_differ(&sample(10_000, 12), &sample(10_000, 16)));
    assert!(!errors_differ(&sample(199, 0), &sample(10_000, 9_000)));
    assert!(!errors_differ(&Sample { kept: Some(300), ..sample(30_000, 300) }, &sample(300, 9)));
}

#[test]
fn ranks_agree_with_tables() {
    // Binomial(100, 0.5): 37 to 63 holds 99 %; as order statistics 37 and 64.
    let bounds = rank_bounds(100, Quantile::P50);
    assert!((37..=38).contains(&bounds.low) && (63..=64).contains(&bounds.high) && bounds.is_closed, "{bounds:?}");
    // Of a thousand, 10 are expected above p99; 3 to 19 hold 99 %.
    assert_eq!(rank_bounds(1000, Quantile::P99), RankBounds { low: 981, high: 998, is_closed: true });
    assert!(!rank_bounds(200, Quantile::P99).is_closed);
}

proptest! {
    #[test]
    fn an_interval_holds_its_value(n in 1u64..1_000_000_000, parts in 0u32..1_000_000_001) {
        let text = format!("{}.{:09}", parts / 1_000_000_000, parts % 1_000_000_000);
        let quantile = quantile(&text);
        let bounds = rank_bounds(n, quantile);
        prop_assert!(1 <= bounds.low && bounds.low <= bounds.high && bounds.high <= n);
        prop_assert!(!bounds.is_closed || (bounds.low..=bounds.high).contains(&quantile.rank_of(n)));
        let more = rank_bounds(n * 2, quantile);
        prop_assert!(more.high - more.low <= (bounds.high - bounds.low) * 2 + 4, "more requests say it more exactly");
    }

    #[test]
    fn comparing_is_the_same_from_both_sides(seed in 0u64..1000, count in 200u64..2000, stretch in 0.5..2.0f64) {
        let mut durations = Durations(seed);
        let (a, b) = (durations.sample(count, |_| 1.0), durations.sample(count, |_| stretch));
        for (there, back) in all(&a, &b).into_iter().zip(all(&b, &a)) {
            prop_assert_eq!((there.a, there.b, there.significant), (back.b, back.a, back.significant));
        }
    }
}
