//! Few repeats, shown whole: minimum, median, maximum.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Some measurements of the same thing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Spread {
    values: Vec<f64>,
}

impl Spread {
    pub const fn new() -> Spread {
        Spread { values: Vec::new() }
    }

    pub fn push(&mut self, value: f64) {
        self.values.push(value);
        self.values.sort_by(f64::total_cmp);
    }

    pub fn median(&self) -> f64 {
        self.values.get(self.values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Spread {
        let mut spread = Spread::new();
        values.into_iter().for_each(|value| spread.push(value));
        spread
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.values.first().copied().unwrap_or(f64::NAN);
        let last = self.values.last().copied().unwrap_or(f64::NAN);
        // Three significant digits or so: 0.385, 17.25, 312500.
        let digits = match self.median().abs() {
            median if median < 10.0 => 3,
            median if median < 1000.0 => 2,
            _ => 0,
        };
        write!(f, "{first:.digits$} / {:.digits$} / {last:.digits$}", self.median())
    }
}
