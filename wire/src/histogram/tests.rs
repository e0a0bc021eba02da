use super::*;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use proptest::prelude::*;

type Oracle = hdrhistogram::Histogram<u64>;

fn oracle_of(values: &[u64]) -> Oracle {
    let mut oracle = Oracle::new_with_bounds(1, DURATION_US_MAX, 3).unwrap();
    for &value in values {
        oracle.record(value).unwrap();
    }
    oracle
}

fn histogram_of(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::new();
    for &value in values {
        histogram.record(value);
    }
    histogram
}

fn encoded(histogram: &Histogram) -> Vec<u8> {
    let mut bytes = Vec::new();
    histogram.encode_v2(&mut bytes);
    bytes
}

/// Values that hurt: zero, the exact range, every octave, the end.
fn durations() -> impl Strategy<Value = Vec<u64>> {
    let value = prop_oneof![
        Just(0),
        Just(1),
        Just(DURATION_US_MAX),
        0..4096u64,
        (0u32..32).prop_map(|bit| 1 << bit),
        0..=DURATION_US_MAX
    ];
    // Long enough at times to turn the list into pages.
    prop_oneof![prop::collection::vec(value.clone(), 0..200), prop::collection::vec(value, 2000..3000)]
}

fn exact_nearest_rank(sorted: &[u64], quantile: Quantile) -> u64 {
    sorted[quantile.rank_of(sorted.len() as u64) as usize - 1]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quantiles_are_within_the_bound_of_the_exact_nearest_rank(mut values in durations(), parts in 0u32..=1_000_000_000) {
        prop_assume!(!values.is_empty());
        let histogram = histogram_of(&values);
        values.sort_unstable();
        for quantile in [Quantile(parts), Quantile::P50, Quantile::P90, Quantile::P99, Quantile::P999, Quantile(0), Quantile(PARTS)] {
            let exact = exact_nearest_rank(&values, quantile) as f64;
            let got = histogram.value_at(quantile).unwrap() as f64;
            prop_assert!(got >= exact && got <= exact * (1.0 + ERROR_BOUND), "{quantile}: {got} for {exact}");
        }
        prop_assert_eq!(histogram.count(), values.len() as u64);
        prop_assert_eq!(histogram.sum_us(), values.iter().sum::<u64>());
        prop_assert_eq!(histogram.min_us(), values.first().copied());
        prop_assert_eq!(histogram.max_us(), values.last().copied());
    }

    #[test]
    fn an_independent_library_reads_the_bytes_and_writes_the_same(values in durations()) {
        let histogram = histogram_of(&values);
        let bytes = encoded(&histogram);
        let read: Oracle = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        let oracle = oracle_of(&values);
        prop_assert_eq!(&read, &oracle);
        let mut theirs = Vec::new();
        V2Serializer::new().serialize(&oracle, &mut theirs).unwrap();
        let mut back = Histogram::new();
        if let Some(totals) = histogram.totals() {
            back.merge_v2(&theirs, totals).unwrap();
        }
        prop_assert_eq!(back, histogram);
    }

    #[test]
    fn merging_equals_recording_everything_in_one(left in durations(), right in durations()) {
        let mut merged = histogram_of(&left);
        merged.merge(&histogram_of(&right));
        let mut all = left.clone();
        all.extend(&right);
        let together = histogram_of(&all);
        prop_assert_eq!(&merged, &together);
        let bounds = histogram_of(&left).totals().map(|totals| (totals.min_us, totals.max_us));
        merged.subtract(&histogram_of(&right), bounds);
        prop_assert_eq!(merged, histogram_of(&left));
    }

    #[test]
    fn merging_many_equals_recording_them_in_one(
        left in proptest::collection::vec((0u64..300_000, 1u64..6_000_000_000), 0..40),
        right in proptest::collection::vec((0u64..300_000, 1u64..6_000_000_000), 0..40),
    ) {
        let of = |counted: &[(u64, u64)]| {
            let mut histogram = Histogram::new();
            counted.iter().for_each(|&(duration_us, n)| histogram.record_n(duration_us, n));
            histogram
        };
        let together = of(&[left.as_slice(), &right].concat());
        let (mut merged, mut decoded) = (of(&left), of(&left));
        merged.merge(&of(&right));
        prop_assert_eq!(&merged, &together);
        if let Some(totals) = of(&right).totals() {
            decoded.merge_v2(&encoded(&of(&right)), totals).unwrap();
        }
        prop_assert_eq!(decoded, together);
    }

    #[test]
    fn adding_a_tally_equals_recording_everything(first in durations(), second in durations()) {
        let mut tally = Tally::default();
        let mut histogram = Histogram::new();
        for values in [&first, &second, &first] {
            let mut durations_us: Vec<u32> = values.iter().map(|value| *value as u32).collect();
            tally.count_all(&mut durations_us);
            prop_assert_eq!(tally.count(), values.len() as u64);
            histogram.add(&tally);
        }
        let all = [first.as_slice(), &second, &first].concat();
        prop_assert_eq!(encoded(&histogram), encoded(&histogram_of(&all)));
        prop_assert_eq!(histogram, histogram_of(&all));
    }

    #[test]
    fn foreign_bytes_never_panic_and_add_nothing(bytes: Vec<u8>, values in durations()) {
        let mut framed = encoded(&histogram_of(&values));
        let mut histogram = Histogram::new();
        let totals = Totals { sum_us: 1, min_us: 1, max_us: 1 };
        prop_assert!(histogram.merge_v2(&bytes, totals).is_err());
        framed.truncate(framed.len() - framed.len().min(3));
        prop_assert!(histogram.merge_v2(&framed, totals).is_err());
        prop_assert!(histogram.is_empty());
    }

    #[test]
    fn quantile_text_is_exact(parts in 0u32..=1_000_000_000) {
        let quantile = Quantile(parts);
        prop_assert_eq!(quantile.to_string().parse::<Quantile>(), Ok(quantile));
    }
}

#[test]
fn counts_beyond_32_bits_are_kept() {
    let mut histogram = Histogram::new();
    histogram.record_n(7, 5_000_000_000);
    histogram.record_n(7, 5_000_000_000);
    histogram.record(9);
    let mut back = Histogram::new();
    back.merge_v2(&encoded(&histogram), histogram.totals().unwrap()).unwrap();
    assert_eq!(back, histogram);
    assert_eq!(back.count(), 10_000_000_001);
    assert_eq!(back.value_at(Quantile::P999), Some(7));
}

#[test]
fn a_window_of_a_thousand_requests_takes_four_kilobytes_at_most() {
    let values: Vec<u64> = (0..1000).map(|step| 1000 + step * 997).collect();
    assert!(histogram_of(&values).memory_bytes() <= 4096 + size_of::<Histogram>());
}

#[test]
fn nonsense_is_no_quantile() {
    for text in ["", ".", "1.1", "-0.5", "NaN", "0,5", "0.9999999999", "2", "1.", "99"] {
        let parsed = text.parse::<Quantile>();
        assert!(parsed.is_err() || text == "1.", "{text:?} gave {parsed:?}");
    }
}
