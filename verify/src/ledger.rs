//! The books: what each row of the ledger should say, given where it begins and ends.
//!
//! Where a flush ended is not in the log, so the ledger's own ranges are taken, and then held to account: they must follow one
//! another without a gap or an overlap from the first record to the cursor, and each must hold exactly what its records hold.

use std::collections::BTreeMap;

use crate::count::{Logged, Outcome, fingerprint_of};
use crate::findings::{Findings, Row};
use crate::report::{Books, Column, Place, instant};

/// A row of `ledger`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LedgerRow {
    pub(crate) from: u64,
    pub(crate) events: Books,
    pub(crate) fingerprint: Option<Vec<u8>>,
    pub(crate) appended_ms: i64,
}

/// A row of `ledger_project`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ProjectRow(pub(crate) Books);

/// A row of `ledger_day`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DayRow(pub(crate) u64);

/// The books as the log has them, over the ranges of the ledger.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// End and beginning of each range.
    ranges: BTreeMap<u64, u64>,
    pub(crate) rows: BTreeMap<u64, LedgerRow>,
    pub(crate) by_project: BTreeMap<(i64, i64, u64), ProjectRow>,
    /// Positions in no range: the first and the one after the last.
    pub(crate) unbooked: Vec<(u64, u64)>,
}

impl Ledger {
    pub(crate) fn over(found: &BTreeMap<u64, LedgerRow>) -> Self {
        let ranges: BTreeMap<u64, u64> = found.iter().map(|(to, row)| (*to, row.from)).collect();
        let rows = ranges.iter().map(|(to, from)| (*to, LedgerRow { from: *from, ..LedgerRow::default() })).collect();
        Self { ranges, rows, ..Self::default() }
    }

    /// Sets to nothing what can only be said with the past.
    pub(crate) fn forget_the_past(&mut self) {
        self.rows.values_mut().for_each(|row| row.events.forget_the_past());
        self.by_project.values_mut().for_each(|row| row.0.forget_the_past());
    }

    /// Books what became of one record.
    pub(crate) fn book(&mut self, record: Logged<'_>, outcome: &Outcome) {
        let range = self.ranges.range(record.position + 1..).next().map(|(to, from)| (*to, *from));
        let Some((to, _)) = range.filter(|(_, from)| *from <= record.position) else {
            match self.unbooked.last_mut().filter(|(_, end)| *end == record.position) {
                Some((_, end)) => *end += 1,
                None => self.unbooked.push((record.position, record.position + 1)),
            }
            return;
        };
        let row = self.rows.entry(to).or_default();
        row.events.add(&outcome.record);
        // Of the last record of the range, which is the one that stays.
        row.fingerprint = Some(fingerprint_of(record.payload));
        row.appended_ms = ledger_ms(record.appended_ms);
        let minute_s = row.appended_ms.div_euclid(60_000) * 60;
        for (project, events) in &outcome.batches {
            self.by_project.entry((*project, minute_s, to)).or_default().0.add(events);
        }
    }
}

/// Compares the ledger of a partition with the log.
pub(crate) fn compare(
    partition: u32,
    expected: &Ledger,
    found: &BTreeMap<u64, LedgerRow>,
    found_by_project: &BTreeMap<(i64, i64, u64), ProjectRow>,
    findings: &mut Findings,
) {
    for (from, to) in &expected.unbooked {
        let place = Place { position: Some(*from), ..Place::of(partition) };
        let column = Column::new("records", to - from, "in no row of the ledger");
        findings.differs("ledger", place, vec![column]);
    }
    let mut end_of_last: Option<u64> = None;
    for (to, row) in found {
        if let Some(end) = end_of_last.filter(|end| *end > row.from) {
            let place = Place { position: Some(*to), ..Place::of(partition) };
            findings.differs("ledger", place, vec![Column::new("from_offset", format!("{end} or later"), row.from)]);
        }
        end_of_last = Some(*to);
    }
    findings.compare("ledger", &expected.rows, found, |to| Place { position: Some(*to), ..Place::of(partition) });
    findings.compare("ledger_project", &expected.by_project, found_by_project, |(project, minute_s, to)| Place {
        project: Some(*project),
        bucket: Some(instant(*minute_s)),
        position: Some(*to),
        ..Place::of(partition)
    });
}

impl Row for LedgerRow {
    fn columns(&self) -> Vec<(&'static str, String)> {
        let mut columns = vec![("from_offset", self.from.to_string()), ("records", self.events.records.to_string())];
        columns.push(("records_unreadable", self.events.records_unreadable.to_string()));
        columns.extend(event_columns(&self.events));
        columns.push(("fingerprint", self.fingerprint.as_deref().map_or_else(|| "null".to_owned(), hex)));
        columns.push(("appended_at", instant_ms(self.appended_ms)));
        columns
    }
}

impl Row for ProjectRow {
    fn columns(&self) -> Vec<(&'static str, String)> {
        event_columns(&self.0)
    }
}

impl Row for DayRow {
    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![("rolled_up", self.0.to_string())]
    }
}

fn event_columns(events: &Books) -> Vec<(&'static str, String)> {
    [
        ("accepted", events.accepted),
        ("rolled_up", events.rolled_up),
        ("dead_lettered", events.dead_lettered),
        ("duplicate", events.duplicate),
        ("unidentified", events.unidentified),
        ("uncertain", events.uncertain),
        ("folded", events.folded),
    ]
    .into_iter()
    .map(|(name, number)| (name, number.to_string()))
    .collect()
}

/// As hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn instant_ms(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| format!("{unix_ms} ms"), |at| at.to_string())
}

/// The log's stamps as the books take them: nothing before 1970, nothing after 9998.
pub(crate) fn ledger_ms(appended_ms: i64) -> i64 {
    appended_ms.clamp(0, 253_370_764_799_999)
}
