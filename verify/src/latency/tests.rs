use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use proptest::prelude::*;

use super::*;

fn library() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 3).unwrap()
}

#[test]
fn every_bucket_begins_where_the_library_says() {
    let mut histogram = library();
    let mut value = 0;
    let mut index = 0;
    while value <= 3_600_000_000 {
        let (lowest, highest) = (histogram.lowest_equivalent(value), histogram.highest_equivalent(value));
        assert_eq!((u64::from(bucket_of(lowest)), u64::from(bucket_of(highest))), (lowest, lowest));
        assert_eq!(lowest_of(index), Some(lowest as u32));
        value = histogram.next_non_equivalent(value);
        index += 1;
    }
    histogram.reset();
}

proptest! {
    #[test]
    fn what_the_library_wrote_reads_as_what_was_recorded(values in prop::collection::vec(durations(), 0..300)) {
        let mut histogram = library();
        let mut latencies = Latencies::default();
        for value in values {
            histogram.record(value).unwrap();
            latencies.record(value);
        }
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&histogram, &mut bytes).unwrap();
        prop_assert_eq!(decode_v2(&bytes), Ok(latencies.buckets));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let mut histogram = Vec::new();
        V2Serializer::new().serialize(&library(), &mut histogram).unwrap();
        histogram.truncate(40);
        histogram[4..8].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        histogram.extend(bytes);
        let _ = decode_v2(&histogram);
    }

    #[test]
    fn merging_is_recording_both(first in prop::collection::vec(durations(), 0..50), second in prop::collection::vec(durations(), 0..50)) {
        let of = |values: &[u64]| {
            let mut latencies = Latencies::default();
            values.iter().for_each(|value| latencies.record(*value));
            latencies
        };
        let mut merged = of(&first);
        merged.merge(&of(&second));
        prop_assert_eq!(merged, of(&[first, second].concat()));
    }
}

fn durations() -> impl Strategy<Value = u64> {
    prop_oneof![0..4096_u64, (0..32_u32).prop_map(|bit| 1 << bit), 0..=3_600_000_000_u64]
        .prop_map(|value| value.min(3_600_000_000))
}
