//! Few repeats, shown whole: minimum, median, maximum.

use std::fmt;

/// Some measurements of the same thing.
#[derive(Debug, Clone, Default)]
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

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.values.first().copied().unwrap_or(f64::NAN);
        let last = self.values.last().copied().unwrap_or(f64::NAN);
        write!(f, "{first:.3} / {:.3} / {last:.3}", self.median())
    }
}
