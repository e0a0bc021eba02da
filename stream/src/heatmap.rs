//! Every request by duration: how many in each step of time fell into each row of durations.
//!
//! Arrives: a question with steps. Leaves: `GET /v1/heatmap`. Promises: rows begin where buckets of the histograms begin, so
//! that every request is in exactly one row and a row counts exactly; the rows of a column add up to the requests with a
//! duration in its step. Does not: choose colours, or say anything about requests without a duration.

use std::sync::LazyLock;

use peep_wire::ProjectId;
use peep_wire::histogram::{DURATION_US_MAX, Histogram, bucket_end, bucket_start};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::answer::{Answers, serialize_range, to_json};
use crate::columns::Columns;
use crate::error::ApiError;
use crate::grouped::{Grouped, Origin};
use crate::labels::GroupBy;
use crate::query::{HeatmapQuery, Quantiles, Window};

/// `GET /v1/heatmap`
pub async fn draw(answers: &Answers, project: ProjectId, query: HeatmapQuery) -> Result<Vec<u8>, ApiError> {
    let answer = answers.ask(project, query.asked, query.filters, GroupBy::default()).await?;
    to_json(&Heatmap::of(answer, &query.quantiles))
}

/// The answer.
#[derive(Debug)]
pub struct Heatmap {
    window: Window,
    origin: Origin,
    /// Bounds of the rows, one more than there are.
    row_us: Vec<u64>,
    /// By step; `None`: no requests.
    counts: Vec<Option<Vec<u64>>>,
    max: u64,
    total: u64,
    columns: Columns,
}

impl Heatmap {
    fn of(answer: Grouped, quantiles: &Quantiles) -> Self {
        let (window, origin) = (answer.question().window, answer.origin());
        let groups = answer.into_groups(1);
        let group = groups.first();
        let mut columns = Columns::new(quantiles);
        let mut counts: Vec<Option<Vec<u64>>> = Vec::new();
        for at_s in (window.from_s..window.to_s).step_by(window.step_s.unsigned_abs() as usize) {
            let figures = group.and_then(|group| group.steps.get(&at_s)).filter(|figures| figures.count > 0);
            columns.push(at_s, figures);
            counts.push(figures.map(|figures| by_row(&figures.latency)));
        }
        // The rows that are needed, and no others.
        let used = |row: &usize| counts.iter().flatten().any(|column| column[*row] > 0);
        let (first, last) = match ((0..ROWS_US.len() - 1).find(used), (0..ROWS_US.len() - 1).rfind(used)) {
            (Some(first), Some(last)) => (first, last + 1),
            _ => (0, 0),
        };
        let row_us = if first < last { ROWS_US[first..=last].to_vec() } else { Vec::new() };
        counts.iter_mut().flatten().for_each(|column| *column = column[first..last].to_vec());
        let cells = || counts.iter().flatten().flatten().copied();
        let (max, total) = (cells().max().unwrap_or(0), cells().sum());
        Self { window, origin, row_us, counts, max, total, columns }
    }
}

/// How many durations lie in each row.
pub fn by_row(histogram: &Histogram) -> Vec<u64> {
    let mut counts = vec![0; ROWS_US.len() - 1];
    let mut row = 0;
    histogram.for_each(|lowest_us, _, count| {
        while ROWS_US[row + 1] <= lowest_us {
            row += 1;
        }
        counts[row] += count;
    });
    counts
}

impl Serialize for Heatmap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("step_ms", &(self.window.step_s * 1000))?;
        serialize_range(&mut map, self.window)?;
        self.origin.serialize_into(&mut map)?;
        map.serialize_entry("rows_per_decade", &ROWS_PER_DECADE)?;
        map.serialize_entry("row_us", &self.row_us)?;
        map.serialize_entry("t", self.columns.t())?;
        map.serialize_entry("count", &self.counts)?;
        map.serialize_entry("max", &self.max)?;
        map.serialize_entry("total", &self.total)?;
        self.columns.serialize_quantiles_into(&mut map)?;
        map.end()
    }
}

/// Where rows begin, ascending, and where the last one ends. Sixteen to a decade where the microseconds allow it.
static ROWS_US: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let begin = |row: i32| bucket_start(10f64.powf(f64::from(row) / f64::from(ROWS_PER_DECADE)).ceil() as u64);
    let mut rows: Vec<u64> = vec![0];
    rows.extend((0..).map(begin).take_while(|begin_us| *begin_us < bucket_start(DURATION_US_MAX)));
    rows.push(bucket_end(DURATION_US_MAX));
    rows.dedup();
    rows
});

const ROWS_PER_DECADE: i32 = 16;

#[cfg(test)]
mod tests;
