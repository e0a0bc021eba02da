//! What the rollup has to remember at the cursor: producers and series. Wrong memory is a wrong count later.

use std::collections::{BTreeMap, BTreeSet};
#[allow(
    deprecated,
    reason = "SipHash-2-4 with the key 0 is what is stored, and the standard library's replacement is another"
)]
use std::hash::{Hasher, SipHasher};

use crate::budget::{Budgets, FacetBudgets};
use crate::findings::Row;
use crate::producers::{Partial, Producer};
use crate::record::Series;

/// Days and projects, with the hashes of the series that were seen on the day.
pub(crate) type SeenRows = BTreeMap<(i64, i64), SeenRow>;

/// Days, projects and scopes, with the hashes of the versions or hosts that were seen on the day.
pub(crate) type SeenFacets = BTreeMap<(i64, i64, u64), SeenRow>;

/// What the rows of `series_budget` of one day and project say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SeenRow(pub(crate) BTreeSet<u64>);

impl Producer {
    /// Out of the columns of `dedup_window`. `None` when they make no sense.
    pub(crate) fn stored(
        [high_seq, begun_seq, last_position]: [u64; 3],
        last_event: u32,
        last_ms: i64,
        seen: &[u8],
        partial: Option<&[u8]>,
    ) -> Option<Producer> {
        let bits = (0..seen.len() as u64 * 8).filter(|bit| seen[(bit / 8) as usize] >> (bit % 8) & 1 == 1);
        let complete = bits.map(|bit| high_seq.checked_sub(bit)).collect::<Option<BTreeSet<u64>>>()?;
        let partial = match partial {
            Some(bytes) => partials(bytes)?,
            None => BTreeMap::new(),
        };
        Some(Producer { begun_seq, high_seq, complete, partial, last_ms, last_position, last_event })
    }
}

/// For each: number (8 bytes), parts (4), torn (1), how many follow (4), and of each of those part (4) and events (4).
fn partials(bytes: &[u8]) -> Option<BTreeMap<u64, Partial>> {
    let mut partials = BTreeMap::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let seq = u64::from_be_bytes(take(&mut rest)?);
        let parts = u32::from_be_bytes(take(&mut rest)?);
        let [torn] = take(&mut rest)?;
        let mut seen = BTreeMap::new();
        for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
            seen.insert(u32::from_be_bytes(take(&mut rest)?), u32::from_be_bytes(take(&mut rest)?));
        }
        partials.insert(seq, Partial { parts, torn: torn != 0, seen });
    }
    Some(partials)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// The rows of `series_budget` that matter at the cursor, as they should be.
pub(crate) fn seen_rows(budgets: &Budgets) -> SeenRows {
    let mut rows = SeenRows::new();
    for (project, seen) in &budgets.projects {
        for (day, series) in [(budgets.day, &seen.today), (budgets.day - 1, &seen.before)] {
            if !series.is_empty() {
                rows.insert((day, *project), SeenRow(series.iter().map(hash_of).collect()));
            }
        }
    }
    rows
}

/// The same for versions and hosts.
pub(crate) fn seen_facets(budgets: &FacetBudgets) -> SeenFacets {
    let mut rows = SeenFacets::new();
    for ((project, scope), seen) in &budgets.scopes {
        let scope = sip(scope.join("\0").as_bytes());
        for (day, values) in [(budgets.day, &seen.today), (budgets.day - 1, &seen.before)] {
            if !values.is_empty() {
                rows.insert(
                    (day, *project, scope),
                    SeenRow(values.iter().map(|value| sip(value.as_bytes())).collect()),
                );
            }
        }
    }
    rows
}

fn hash_of(series: &Series) -> u64 {
    sip(&series.to_bytes())
}

#[allow(deprecated, reason = "see the import")]
fn sip(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

impl Row for Producer {
    fn columns(&self) -> Vec<(&'static str, String)> {
        let numbers: Vec<String> = self.complete.iter().map(u64::to_string).collect();
        let partial = |(seq, partial): (&u64, &Partial)| {
            format!(
                "{seq}: {} of {} parts{}",
                partial.seen.len(),
                partial.parts,
                if partial.torn { ", torn" } else { "" }
            )
        };
        let partials: Vec<String> = self.partial.iter().map(partial).collect();
        vec![
            ("high_seq", self.high_seq.to_string()),
            ("begun_seq", self.begun_seq.to_string()),
            ("seen", numbers.join(" ")),
            ("partial", partials.join(", ")),
            ("last_ms", self.last_ms.to_string()),
            ("last_offset", self.last_position.to_string()),
            ("last_event", self.last_event.to_string()),
        ]
    }
}

impl Row for SeenRow {
    fn columns(&self) -> Vec<(&'static str, String)> {
        let digest = self.0.iter().fold(0, |digest, hash| digest ^ hash);
        vec![("hashes", format!("{} values, together {digest:016x}", self.0.len()))]
    }
}
