//! HdrHistogram V2 payloads.

use peep_wire::histogram::{DURATION_US_MAX, Histogram, Quantile, Totals};

/// As it is, and behind the header of our layout with the right length.
pub(crate) fn check(data: &[u8]) {
    merged(data);
    let mut bytes = Vec::new();
    Histogram::new().encode_v2(&mut bytes);
    bytes[4..8].copy_from_slice(&(data.len() as u32).to_be_bytes());
    bytes.extend_from_slice(data);
    merged(&bytes);
}

/// Merged, written and merged again it is the same; refused, nothing was added.
fn merged(bytes: &[u8]) {
    let totals = Totals { sum_us: u64::MAX / 3, min_us: 1, max_us: DURATION_US_MAX };
    let mut histogram = Histogram::new();
    if histogram.merge_v2(bytes, totals).is_err() {
        assert!(histogram == Histogram::new());
        return;
    }
    reads_back(&histogram);
    let once = histogram.clone();
    match histogram.merge_v2(bytes, totals) {
        Ok(()) => assert_eq!(histogram.count(), 2 * once.count()),
        Err(_) => assert!(histogram == once, "refused, and yet something was added"),
    }
    reads_back(&histogram);
}

fn reads_back(histogram: &Histogram) {
    let mut buckets = 0;
    histogram.for_each(|_, _, count| buckets += count);
    assert_eq!(buckets, histogram.count());
    let values = histogram.values_at(&[Quantile::P50, Quantile::P999]);
    assert!(values.iter().all(|value| value.is_some() != histogram.is_empty()), "{values:?}");
    let Some(totals) = histogram.totals() else { return };
    let mut bytes = Vec::new();
    histogram.encode_v2(&mut bytes);
    let mut again = Histogram::new();
    again.merge_v2(&bytes, totals).expect("what was written reads back");
    assert!(again == *histogram, "{again:?} {histogram:?}");
}
