//! The verdict: the journal against the rollups, and nothing else.
//!
//! Arrives: what the clients know ([`Entries`]) and what was counted ([`Counted`]). Leaves: [`Findings`], which is empty
//! only when every acknowledged batch is counted once, every unknown one at most once and everything else not at all.
//!
//! Promises: a lost or doubled batch, and up to two single events of a page, are named; whatever is not understood is a
//! finding as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::batch::{BATCH_EVENTS, Batch, PAGE_EVENTS, Page, SPREAD, Sums, duration_us};
use super::journal::{Entries, Outcome};

/// Sums of each page, as the rollups have them.
pub type Counted = BTreeMap<Page, Sums>;

/// What one page shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    pub page: Page,
    /// Counted minus expected.
    pub difference: Sums,
    pub what: Vec<Suspect>,
}

/// Something that would explain a difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suspect {
    LostBatch(Batch),
    DoubledBatch(Batch),
    /// Was refused for good, and yet counted.
    RefusedBatch(Batch),
    LostEvent(Batch, u64),
    DoubledEvent(Batch, u64),
    Unexplained,
}

/// The whole comparison.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub acked_events: u64,
    pub acked_batches: u64,
    /// Given up without an answer, and how many of those were counted.
    pub unknown_batches: u64,
    pub unknown_counted: u64,
    pub refused_batches: u64,
    /// 202 answers beyond the first of a batch: what must show up as duplicates.
    pub extra_acks: u64,
    pub findings: Vec<Finding>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Acknowledged events that are missing, as far as the sums tell.
    pub fn lost(&self) -> u64 {
        self.findings.iter().flat_map(|finding| &finding.what).map(|suspect| suspect.lost()).sum::<u64>()
            + self.unexplained(|count| count < 0)
    }

    /// Events that are counted although they should not be, or more often than they should.
    pub fn doubled(&self) -> u64 {
        self.findings.iter().flat_map(|finding| &finding.what).map(|suspect| suspect.doubled()).sum::<u64>()
            + self.unexplained(|count| count >= 0)
    }

    /// At least one event, even where the count is right and only the sum is not.
    fn unexplained(&self, sign: impl Fn(i64) -> bool) -> u64 {
        let unexplained = self.findings.iter().filter(|finding| finding.what == [Suspect::Unexplained]);
        let counts = unexplained.map(|finding| finding.difference.count).filter(|count| sign(*count));
        counts.map(|count| count.unsigned_abs().max(1)).sum()
    }
}

impl Suspect {
    fn lost(self) -> u64 {
        match self {
            Self::LostBatch(_) => BATCH_EVENTS,
            Self::LostEvent(..) => 1,
            _ => 0,
        }
    }

    fn doubled(self) -> u64 {
        match self {
            Self::DoubledBatch(_) | Self::RefusedBatch(_) => BATCH_EVENTS,
            Self::DoubledEvent(..) => 1,
            _ => 0,
        }
    }
}

/// Compares.
pub fn audit(entries: &Entries, counted: &Counted) -> Findings {
    let mut findings = Findings::default();
    for entry in entries.values() {
        match entry.outcome {
            Outcome::Acked => {
                findings.acked_batches += 1;
                findings.acked_events += BATCH_EVENTS;
                findings.extra_acks += u64::from(entry.acks.saturating_sub(1));
            }
            Outcome::Final => findings.refused_batches += 1,
            Outcome::Unknown => findings.unknown_batches += 1,
        }
    }
    let pages: BTreeSet<Page> = entries.keys().map(|batch| batch.page()).chain(counted.keys().copied()).collect();
    for page in pages {
        let got = counted.get(&page).copied().unwrap_or_default();
        match judge(page, entries, got) {
            Ok(unknown_counted) => findings.unknown_counted += unknown_counted,
            Err(finding) => findings.findings.push(finding),
        }
    }
    findings
}

/// How many of the unknown batches of a page were counted, when the page can be right.
fn judge(page: Page, entries: &Entries, got: Sums) -> Result<u64, Finding> {
    let with = |outcome: Outcome| -> Vec<Batch> {
        page.batches().filter(|batch| entries.get(batch).is_some_and(|entry| entry.outcome == outcome)).collect()
    };
    let (acked, unknown) = (with(Outcome::Acked), with(Outcome::Unknown));
    let expected = acked.iter().fold(Sums::default(), |sums, batch| sums + batch.sums());
    let difference = got - expected;
    // At most ten batches: every subset can be tried.
    let subsets = 0..1_u32 << unknown.len();
    let sums_of = |subset: u32| {
        let chosen = unknown.iter().enumerate().filter(|(bit, _)| subset & (1 << bit) != 0);
        chosen.fold(Sums::default(), |sums, (_, batch)| sums + batch.sums())
    };
    if let Some(subset) = subsets.clone().find(|subset| sums_of(*subset) == difference) {
        return Ok(u64::from(subset.count_ones()));
    }
    // The simplest story first: one wrong thing, then two.
    let sent: Vec<Batch> = page.batches().filter(|batch| entries.contains_key(batch)).collect();
    let suspects: Vec<(Suspect, Sums)> = acked
        .iter()
        .map(|batch| (Suspect::LostBatch(*batch), Sums::default() - batch.sums()))
        .chain(acked.iter().chain(&unknown).map(|batch| (Suspect::DoubledBatch(*batch), batch.sums())))
        .chain(with(Outcome::Final).iter().map(|batch| (Suspect::RefusedBatch(*batch), batch.sums())))
        .collect();
    let what = subsets
        .clone()
        .filter_map(|subset| explain(page, &sent, &suspects, difference - sums_of(subset)))
        .min_by_key(Vec::len)
        .unwrap_or_else(|| vec![Suspect::Unexplained]);
    Err(Finding { page, difference, what })
}

fn explain(page: Page, sent: &[Batch], suspects: &[(Suspect, Sums)], rest: Sums) -> Option<Vec<Suspect>> {
    if let Some(events) = events(page, sent, rest) {
        return Some(events);
    }
    if let Some((suspect, _)) = suspects.iter().find(|(_, sums)| *sums == rest) {
        return Some(vec![*suspect]);
    }
    for (number, (one, sums)) in suspects.iter().enumerate() {
        if let Some((two, _)) = suspects[number..].iter().find(|(_, others)| *sums + *others == rest) {
            return Some(vec![*one, *two]);
        }
    }
    // Any number of whole batches in one direction, such as everything a partition lost.
    let one_way = |wanted: fn(&Suspect) -> bool| {
        let all: Vec<&(Suspect, Sums)> = suspects.iter().filter(|(suspect, _)| wanted(suspect)).collect();
        (0..1_u32 << all.len().min(12)).find_map(|subset| {
            let chosen: Vec<_> =
                all.iter().enumerate().filter(|(bit, _)| subset & (1 << bit) != 0).map(|(_, item)| item).collect();
            let total = chosen.iter().fold(Sums::default(), |total, (_, sums)| total + *sums);
            (total == rest).then(|| chosen.iter().map(|(suspect, _)| *suspect).collect::<Vec<_>>())
        })
    };
    one_way(|suspect| matches!(suspect, Suspect::LostBatch(_)))
        .or_else(|| one_way(|suspect| matches!(suspect, Suspect::DoubledBatch(_))))
}

/// One or two single events, from the sums of n and of n squared.
fn events(page: Page, sent: &[Batch], rest: Sums) -> Option<Vec<Suspect>> {
    // |sum of n| of two events is at most half of SPREAD, either sign.
    let linear = (rest.sum_us + SPREAD / 2).rem_euclid(SPREAD) - SPREAD / 2;
    let squares = (rest.sum_us - linear) / SPREAD;
    let suspect = |number: i64, lost: bool| {
        let number = u64::try_from(number).ok().filter(|number| (1..=PAGE_EVENTS).contains(number))?;
        let batch = page.batch_of(number);
        sent.contains(&batch).then_some(if lost {
            Suspect::LostEvent(batch, number)
        } else {
            Suspect::DoubledEvent(batch, number)
        })
    };
    let sign = rest.count.signum();
    match rest.count {
        -1 | 1 if duration_us((sign * linear).unsigned_abs()) == sign * rest.sum_us => {
            Some(vec![suspect(sign * linear, sign < 0)?])
        }
        -2 | 2 => {
            // a + b and a² + b².
            let (sum, squares) = (sign * linear, sign * squares);
            let root = exact_root(2 * squares - sum * sum)?;
            Some(vec![suspect((sum - root) / 2, sign < 0)?, suspect((sum + root) / 2, sign < 0)?])
        }
        0 if linear != 0 && squares % linear == 0 => {
            // One doubled, one lost: a - b and a² - b² = (a - b)(a + b).
            let sum = squares / linear;
            Some(vec![suspect((sum + linear) / 2, false)?, suspect((sum - linear) / 2, true)?])
        }
        _ => None,
    }
    .filter(|found: &Vec<Suspect>| {
        let signed = |suspect: &Suspect| match suspect {
            Suspect::LostEvent(_, number) => -duration_us(*number),
            Suspect::DoubledEvent(_, number) => duration_us(*number),
            _ => 0,
        };
        found.iter().map(signed).sum::<i64>() == rest.sum_us
    })
}

fn exact_root(square: i64) -> Option<i64> {
    let root = (u64::try_from(square).ok()?).isqrt() as i64;
    (root * root == square).then_some(root)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Page { producer, number } = self.page;
        write!(f, "producer {producer}, page {number} ({} {}): ", self.page.service(), self.page.route())?;
        for (position, suspect) in self.what.iter().enumerate() {
            write!(f, "{}{suspect}", if position == 0 { "" } else { ", " })?;
        }
        write!(f, " (count {:+}, sum {:+} us)", self.difference.count, self.difference.sum_us)
    }
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LostBatch(batch) => write!(f, "batch {} lost", batch.seq),
            Self::DoubledBatch(batch) => write!(f, "batch {} counted once too often", batch.seq),
            Self::RefusedBatch(batch) => write!(f, "batch {} counted although it was refused", batch.seq),
            Self::LostEvent(batch, number) => write!(f, "event {number} (batch {}) lost", batch.seq),
            Self::DoubledEvent(batch, number) => {
                write!(f, "event {number} (batch {}) counted once too often", batch.seq)
            }
            Self::Unexplained => write!(f, "something that no one or two events or batches explain"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auditor::journal::Entry;

    const PAGE: Page = Page { producer: 4, number: 2 };

    fn batch(position: u64) -> Batch {
        Batch { producer: 4, seq: 20 + position }
    }

    /// Ten batches: nine acknowledged, one of unknown outcome (9).
    fn world() -> (Entries, Sums) {
        let mut entries = Entries::new();
        for position in 0..9 {
            entries.insert(batch(position), Entry { outcome: Outcome::Acked, acks: 1 });
        }
        entries.insert(batch(9), Entry { outcome: Outcome::Unknown, acks: 0 });
        let right = (0..9).fold(Sums::default(), |sums, position| sums + batch(position).sums());
        (entries, right)
    }

    fn verdict(change: impl Fn(Sums) -> Sums) -> Vec<Suspect> {
        let (entries, right) = world();
        let findings = audit(&entries, &Counted::from([(PAGE, change(right))]));
        findings.findings.into_iter().flat_map(|finding| finding.what).collect()
    }

    fn event(sign: i64, number: u64) -> Sums {
        Sums { count: sign, sum_us: sign * duration_us(number) }
    }

    #[test]
    fn everything_acknowledged_once_is_clean_with_or_without_the_unknown() {
        assert_eq!(verdict(|right| right), []);
        assert_eq!(verdict(|right| right + batch(9).sums()), []);
    }

    #[test]
    fn lost_and_doubled_batches_are_named() {
        assert_eq!(verdict(|right| right - batch(3).sums()), [Suspect::LostBatch(batch(3))]);
        assert_eq!(verdict(|right| right + batch(3).sums()), [Suspect::DoubledBatch(batch(3))]);
        assert_eq!(
            verdict(|right| right + batch(9).sums() + batch(9).sums()),
            [Suspect::DoubledBatch(batch(9))],
            "an unknown one may be counted once, not twice"
        );
        assert_eq!(
            verdict(|right| right - batch(1).sums() - batch(2).sums() - batch(3).sums()),
            [1, 2, 3].map(|position| Suspect::LostBatch(batch(position)))
        );
    }

    #[test]
    fn every_single_event_is_named_lost_or_doubled() {
        for number in 1..=PAGE_EVENTS - BATCH_EVENTS {
            let of = PAGE.batch_of(number);
            assert_eq!(verdict(|right| right + event(-1, number)), [Suspect::LostEvent(of, number)]);
            assert_eq!(verdict(|right| right + event(1, number)), [Suspect::DoubledEvent(of, number)]);
        }
    }

    #[test]
    fn two_single_events_are_named() {
        let (one, two) = (17, 500);
        let (of_one, of_two) = (PAGE.batch_of(one), PAGE.batch_of(two));
        assert_eq!(
            verdict(|right| right + event(-1, one) + event(-1, two)),
            [Suspect::LostEvent(of_one, one), Suspect::LostEvent(of_two, two)]
        );
        assert_eq!(
            verdict(|right| right + event(-1, one) + event(1, two)),
            [Suspect::DoubledEvent(of_two, two), Suspect::LostEvent(of_one, one)],
            "the count is right, the sum is not"
        );
    }

    #[test]
    fn what_is_not_understood_is_a_finding_too() {
        assert_eq!(verdict(|right| right + Sums { count: 7, sum_us: 1 }), [Suspect::Unexplained]);
        let (mut entries, right) = world();
        entries.insert(batch(0), Entry { outcome: Outcome::Final, acks: 0 });
        let findings = audit(&entries, &Counted::from([(PAGE, right)]));
        assert_eq!(findings.findings[0].what, [Suspect::RefusedBatch(batch(0))]);
        let foreign = Page { producer: 99, number: 0 };
        assert!(!audit(&entries, &Counted::from([(foreign, right)])).is_clean());
    }
}
