use peep_wire::histogram::Histogram;
use proptest::prelude::*;

use super::*;

#[test]
fn rows_ascend_from_nothing_to_an_hour_sixteen_to_a_decade() {
    assert!(ROWS_US.is_sorted() && ROWS_US.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!((ROWS_US[0], *ROWS_US.last().unwrap()), (0, bucket_end(DURATION_US_MAX)));
    for decade in [1_000u64, 10_000, 1_000_000, 100_000_000] {
        let inside = ROWS_US.iter().filter(|begin| (decade..decade * 10).contains(*begin)).count();
        // A row begins with the bucket that holds its bound, which may begin a little below the decade.
        assert!((15..=17).contains(&inside), "{decade}: {inside}");
    }
    assert!(ROWS_US[..ROWS_US.len() - 1].iter().all(|begin| bucket_start(*begin) == *begin), "no bucket is cut in two");
}

proptest! {
    #[test]
    fn every_duration_is_in_the_row_that_holds_it_and_the_rows_add_up(
        durations in prop::collection::vec(prop_oneof![0u64..3_000, 0u64..=DURATION_US_MAX], 0..300),
    ) {
        let mut histogram = Histogram::new();
        durations.iter().for_each(|duration_us| histogram.record(*duration_us));
        let mut expected = vec![0; ROWS_US.len() - 1];
        for duration_us in &durations {
            expected[ROWS_US.partition_point(|begin| begin <= duration_us) - 1] += 1;
        }
        let counts = by_row(&histogram);
        prop_assert_eq!(&counts, &expected);
        prop_assert_eq!(counts.iter().sum::<u64>(), durations.len() as u64);
    }
}
