//! Columnar series in the shape charts draw: one array per quantity, all over the same instants.
//!
//! Arrives: figures per step, ascending. Leaves: JSON. Promises: `t` ascends strictly; every column is as long as `t`;
//! a step without requests is `null` in every column, so that no line is drawn across a gap; a value that does not
//! exist (a mean without durations) is `null`, never 0. Does not: decide which steps there are, or average anything:
//! quantiles come from the histogram of the step.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::figures::{Figures, StatusClass};
use crate::query::Quantiles;

/// Columns of one group. Built by pushing steps in order.
#[derive(Debug, Clone)]
pub struct Columns {
    quantiles: Quantiles,
    t: Vec<i64>,
    count: Vec<Option<u64>>,
    errors: Vec<Option<u64>>,
    latency_count: Vec<Option<u64>>,
    mean_ms: Vec<Option<f64>>,
    max_ms: Vec<Option<f64>>,
    statuses: [Vec<Option<u64>>; StatusClass::COUNT],
    quantiles_ms: Vec<Vec<Option<f64>>>,
}

/// The figures of one step as they are drawn: what is expensive to compute, computed once.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// In the order of the asked quantiles.
    quantiles_us: Vec<Option<u64>>,
}

impl Drawn {
    /// One pass over the histogram.
    pub fn of(figures: &Figures, quantiles: &Quantiles) -> Self {
        Self { quantiles_us: figures.latency.values_at(quantiles.as_slice()) }
    }
}

impl Columns {
    /// No steps yet.
    pub fn new(quantiles: &Quantiles) -> Self {
        Self {
            t: Vec::new(),
            count: Vec::new(),
            errors: Vec::new(),
            latency_count: Vec::new(),
            mean_ms: Vec::new(),
            max_ms: Vec::new(),
            statuses: Default::default(),
            quantiles_ms: vec![Vec::new(); quantiles.as_slice().len()],
            quantiles: quantiles.clone(),
        }
    }

    /// Appends a step, `None` or no requests = a gap.
    pub fn push(&mut self, at_s: i64, figures: Option<&Figures>) {
        match figures {
            Some(figures) if figures.count > 0 => self.push_drawn(at_s, figures, &Drawn::of(figures, &self.quantiles)),
            _ => self.push_gap(at_s),
        }
    }

    /// Appends a step whose quantiles are known already.
    pub fn push_drawn(&mut self, at_s: i64, figures: &Figures, drawn: &Drawn) {
        self.push_t(at_s);
        self.count.push(Some(figures.count));
        self.errors.push(Some(figures.errors));
        self.latency_count.push(Some(figures.latency.count()));
        self.mean_ms.push(mean_ms(figures));
        self.max_ms.push(figures.latency.max_us().map(ms));
        for (column, count) in self.statuses.iter_mut().zip(figures.statuses) {
            column.push(Some(count));
        }
        for (column, value) in self.quantiles_ms.iter_mut().zip(&drawn.quantiles_us) {
            column.push(value.map(ms));
        }
        self.check();
    }

    fn push_gap(&mut self, at_s: i64) {
        self.push_t(at_s);
        let counts = [&mut self.count, &mut self.errors, &mut self.latency_count];
        counts.into_iter().chain(&mut self.statuses).for_each(|column| column.push(None));
        let values = [&mut self.mean_ms, &mut self.max_ms];
        values.into_iter().chain(&mut self.quantiles_ms).for_each(|column| column.push(None));
        self.check();
    }

    fn push_t(&mut self, at_s: i64) {
        debug_assert!(self.t.last().is_none_or(|last| *last < at_s * 1000), "t ascends strictly");
        self.t.push(at_s * 1000);
    }

    fn check(&self) {
        debug_assert!(
            self.mean_ms.len() == self.t.len() && self.quantiles_ms.iter().all(|column| column.len() == self.t.len()),
            "every column is as long as t"
        );
    }

    /// Of some requests nobody knows how many had which status.
    pub fn forget_statuses(&mut self) {
        self.statuses.iter_mut().flatten().for_each(|count| *count = None);
    }

    /// Instants, Unix milliseconds.
    pub fn t(&self) -> &[i64] {
        &self.t
    }

    /// Writes `t` and the columns as entries of an open map.
    pub fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("t", &self.t)?;
        self.serialize_values_into(map)
    }

    /// The columns without `t`, for groups that share it.
    pub fn serialize_values_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("count", &self.count)?;
        map.serialize_entry("errors", &self.errors)?;
        map.serialize_entry("latency_count", &self.latency_count)?;
        map.serialize_entry("mean_ms", &self.mean_ms)?;
        map.serialize_entry("max_ms", &self.max_ms)?;
        map.serialize_entry("status", &Entries(StatusClass::NAMES.iter().zip(&self.statuses)))?;
        self.serialize_quantiles_into(map)
    }

    /// Only the quantiles.
    pub fn serialize_quantiles_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry("quantiles_ms", &Entries(self.quantiles.as_slice().iter().zip(&self.quantiles_ms)))
    }
}

/// One row of totals: counts, rates and quantiles of everything in it.
pub struct Totals<'a> {
    /// The sums.
    pub figures: &'a Figures,
    /// What a rate divides by.
    pub elapsed_s: f64,
    /// Asked quantiles.
    pub quantiles: &'a Quantiles,
}

impl Totals<'_> {
    /// Writes the fields of a row as entries of an open map.
    pub fn serialize_into<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let figures = self.figures;
        map.serialize_entry("count", &figures.count)?;
        map.serialize_entry("errors", &figures.errors)?;
        map.serialize_entry("rate", &(figures.count as f64 / self.elapsed_s))?;
        map.serialize_entry("error_rate", &figures.error_rate())?;
        map.serialize_entry("latency_count", &figures.latency.count())?;
        map.serialize_entry("sum_ms", &ms(figures.latency.sum_us()))?;
        map.serialize_entry("mean_ms", &mean_ms(figures))?;
        map.serialize_entry("min_ms", &figures.latency.min_us().map(ms))?;
        map.serialize_entry("max_ms", &figures.latency.max_us().map(ms))?;
        let drawn = Drawn::of(figures, self.quantiles);
        let values = drawn.quantiles_us.iter().map(|value| value.map(ms));
        map.serialize_entry("quantiles_ms", &Entries(self.quantiles.as_slice().iter().zip(values)))
    }
}

impl Serialize for Totals<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.serialize_into(&mut map)?;
        map.end()
    }
}

/// Pairs as an object, keys by their `Display`, in the order given.
struct Entries<I>(I);

impl<K: std::fmt::Display, V: Serialize, I: Iterator<Item = (K, V)> + Clone> Serialize for Entries<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone().map(|(key, value)| (key.to_string(), value)))
    }
}

/// Exact: a double holds every µs count up to 285 years.
fn ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

/// To 0.1 µs: more digits would be noise on the wire.
fn mean_ms(figures: &Figures) -> Option<f64> {
    figures.latency.mean_us().map(|us| (us * 10.0).round() / 10_000.0)
}

#[cfg(test)]
mod tests;
