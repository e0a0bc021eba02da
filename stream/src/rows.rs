//! Histograms as rows that can be drawn: sixteen to a decade of durations.
//!
//! Arrives: histograms. Leaves: bounds that all of them share, and how many requests each has in every row. Promises: every
//! request is in exactly one row; bounds ascend strictly. Does not: round; a row begins at a whole microsecond.

use peep_wire::histogram::Histogram;
use serde_json::{Value, json};

/// Rows of one or several histograms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rows {
    /// Where each row begins, µs, and where the last one ends: one more than rows. Empty without durations.
    pub row_us: Vec<u64>,
    /// Per histogram, per row.
    pub counts: Vec<Vec<u64>>,
}

impl Rows {
    /// From the shortest duration of all to the longest.
    pub fn of(histograms: &[&Histogram]) -> Self {
        let lowest = histograms.iter().filter_map(|histogram| histogram.min_us()).min();
        let highest = histograms.iter().filter_map(|histogram| histogram.max_us()).max();
        let (Some(lowest_us), Some(highest_us)) = (lowest, highest) else {
            return Self { row_us: Vec::new(), counts: vec![Vec::new(); histograms.len()] };
        };
        // A bucket is as wide as 0.1 % of its values and is told by its lowest one.
        let lowest_us = lowest_us - lowest_us / 1000;
        let mut row_us: Vec<u64> =
            (0..).map(bound_us).skip_while(|us| *us <= lowest_us).take_while(|us| *us <= highest_us).collect();
        row_us.insert(0, bound_below_us(lowest_us));
        row_us.push(bound_above_us(highest_us));
        row_us.dedup();
        let counts = histograms.iter().map(|histogram| counts(histogram, &row_us)).collect();
        Self { row_us, counts }
    }

    /// Of a single histogram.
    pub fn one_to_json(&self) -> Value {
        json!({"row_us": self.row_us, "count": self.counts.first()})
    }
}

fn counts(histogram: &Histogram, row_us: &[u64]) -> Vec<u64> {
    let mut counts = vec![0u64; row_us.len() - 1];
    let last = counts.len() - 1;
    histogram.for_each(|lowest_us, _, count| {
        let row = row_us.partition_point(|bound| *bound <= lowest_us).saturating_sub(1);
        counts[row.min(last)] += count;
    });
    counts
}

/// Where the row of that number begins, counted from 1 µs.
fn bound_us(row: u32) -> u64 {
    10f64.powf(f64::from(row) / f64::from(ROWS_PER_DECADE)).round() as u64
}

fn bound_below_us(us: u64) -> u64 {
    (0..=ROWS_MAX).map(bound_us).take_while(|bound| *bound <= us).last().unwrap_or(0)
}

fn bound_above_us(us: u64) -> u64 {
    (0..=ROWS_MAX).map(bound_us).find(|bound| *bound > us).unwrap_or(us + 1)
}

/// As fine as a chart of some hundred pixels shows.
pub const ROWS_PER_DECADE: u32 = 16;
/// Up to ten hours, beyond any duration.
const ROWS_MAX: u32 = 11 * ROWS_PER_DECADE;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations_us: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        durations_us.iter().for_each(|us| histogram.record(*us));
        histogram
    }

    #[test]
    fn a_decade_has_sixteen_rows() {
        let rows = Rows::of(&[&of(&[1_000, 9_999, 10_000])]);
        assert_eq!(rows.row_us.iter().filter(|us| (1_000..10_000).contains(*us)).count(), 16);
        assert_eq!((rows.row_us.first(), rows.row_us.last()), (Some(&866), Some(&11_548)));
        assert_eq!(Rows::of(&[&Histogram::new()]), Rows { row_us: vec![], counts: vec![vec![]] });
    }

    proptest! {
        #[test]
        fn every_request_is_in_one_row(
            one in proptest::collection::vec(0u64..3_600_000_001, 0..60),
            other in proptest::collection::vec(0u64..100, 0..60),
        ) {
            let rows = Rows::of(&[&of(&one), &of(&other)]);
            prop_assert!(rows.row_us.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(rows.row_us.is_empty() == (one.is_empty() && other.is_empty()));
            for (durations, counts) in [(&one, &rows.counts[0]), (&other, &rows.counts[1])] {
                prop_assert_eq!(counts.iter().sum::<u64>(), durations.len() as u64);
                prop_assert_eq!(counts.len(), rows.row_us.len().saturating_sub(1));
            }
        }
    }
}
