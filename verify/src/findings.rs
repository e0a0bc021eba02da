//! Differences as they are found: all are counted, the first ones kept.

use std::collections::BTreeMap;

use crate::report::{Column, Difference, Place};
use crate::suspects::Clue;

/// See the module.
#[derive(Debug)]
pub(crate) struct Findings {
    kept_max: usize,
    pub(crate) total: u64,
    pub(crate) kept: Vec<Difference>,
    pub(crate) compared: BTreeMap<&'static str, u64>,
    pub(crate) not_compared: Vec<String>,
}

/// A row of a table that is compared as a whole.
pub(crate) trait Row: PartialEq {
    /// Its columns, as people should read them.
    fn columns(&self) -> Vec<(&'static str, String)>;
}

impl Findings {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { kept_max, total: 0, kept: Vec::new(), compared: BTreeMap::new(), not_compared: Vec::new() }
    }

    /// Notes a difference.
    pub(crate) fn differs(&mut self, table: &'static str, place: Place, columns: Vec<Column>) {
        self.differs_as(table, place, columns, None);
    }

    /// Notes a difference whose events can be looked for.
    pub(crate) fn differs_as(&mut self, table: &'static str, place: Place, columns: Vec<Column>, clue: Option<Clue>) {
        self.total += 1;
        if self.kept.len() < self.kept_max {
            self.kept.push(Difference { table, place, columns, suspects: Vec::new(), clue });
        }
    }

    /// Notes that rows were compared.
    pub(crate) fn compared(&mut self, table: &'static str, rows: u64) {
        *self.compared.entry(table).or_default() += rows;
    }

    /// Notes what was left out.
    pub(crate) fn skipped(&mut self, what: String) {
        self.not_compared.push(what);
    }

    /// Compares two tables row by row.
    pub(crate) fn compare<K: Ord, R: Row>(
        &mut self,
        table: &'static str,
        expected: &BTreeMap<K, R>,
        found: &BTreeMap<K, R>,
        place: impl Fn(&K) -> Place,
    ) {
        for (key, row) in expected {
            self.compared(table, 1);
            match found.get(key) {
                Some(same) if same == row => {}
                Some(other) => self.differs(table, place(key), unequal(row, other)),
                None => self.differs(table, place(key), missing(row)),
            }
        }
        for (key, row) in found.iter().filter(|(key, _)| !expected.contains_key(key)) {
            self.compared(table, 1);
            self.differs(table, place(key), surplus(row));
        }
    }
}

fn unequal<R: Row>(expected: &R, found: &R) -> Vec<Column> {
    let pairs = expected.columns().into_iter().zip(found.columns());
    pairs
        .filter(|((_, expected), (_, found))| expected != found)
        .map(|((name, expected), (_, found))| Column::new(name, expected, found))
        .collect()
}

fn missing<R: Row>(expected: &R) -> Vec<Column> {
    expected.columns().into_iter().map(|(name, value)| Column::new(name, value, "no row")).collect()
}

fn surplus<R: Row>(found: &R) -> Vec<Column> {
    found.columns().into_iter().map(|(name, value)| Column::new(name, "no row", value)).collect()
}
