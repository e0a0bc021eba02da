//! Which events a difference may be about.
//!
//! Arrives: rows of a rollup that are not as they should be. Leaves: the same, with the events that by the log belong there and
//! fit what is missing or too much: those of the histogram buckets that differ, else those of the whole window. Events of batches
//! that came again stand first where there is too much: they should not have been counted.
//!
//! Takes a second reading of the log, so it is only done when there is something to explain. Bounded: some events for each of
//! the differences that are described.

use std::collections::{BTreeMap, BTreeSet};

use crate::latency::bucket_of;
use crate::record::Series;
use crate::report::{self, Difference, Suspect};

/// Where an event of the log belongs.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    pub(crate) project: i64,
    pub(crate) series: Series,
    /// Unix seconds.
    pub(crate) ended_s: i64,
    pub(crate) duration_us: Option<u64>,
    pub(crate) identity: Option<([u8; 16], u64)>,
    pub(crate) position: u64,
    pub(crate) event_index: u32,
    /// It is in a batch that came again, and should not be counted.
    pub(crate) came_again: bool,
}

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clue {
    pub(crate) project: i64,
    pub(crate) series: Series,
    pub(crate) bucket_s: i64,
    pub(crate) width_s: i64,
    /// Histogram buckets that differ; empty when it is about events without a duration, or nobody knows.
    pub(crate) buckets: BTreeSet<u32>,
    /// More was found than should be there.
    pub(crate) too_much: bool,
}

/// Differences that events can be found for.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    wanted: BTreeMap<(i64, Series), Vec<&'a mut Difference>>,
}

impl<'a> Search<'a> {
    /// `None` when there is nothing to find.
    pub(crate) fn of(differences: &'a mut [Difference]) -> Option<Self> {
        let mut wanted: BTreeMap<(i64, Series), Vec<&mut Difference>> = BTreeMap::new();
        for difference in differences {
            if let Some(clue) = &difference.clue {
                wanted.entry((clue.project, clue.series.clone())).or_default().push(difference);
            }
        }
        (!wanted.is_empty()).then_some(Self { wanted })
    }

    /// Adds an event to the differences it may be about.
    pub(crate) fn hear(&mut self, witness: Witness) {
        let (position, event_index, duration_us) = (witness.position, witness.event_index, witness.duration_us);
        let producer = witness.identity.map(|(producer, _)| report::producer(producer));
        let seq = witness.identity.map(|(_, seq)| seq);
        let suspect = Suspect { producer, seq, position, event_index, duration_us, came_again: witness.came_again };
        let ended_s = witness.ended_s;
        let differences = self.wanted.get_mut(&(witness.project, witness.series)).into_iter().flatten();
        for difference in differences {
            let Some(clue) = &difference.clue else { continue };
            if !clue.fits(ended_s, duration_us) {
                continue;
            }
            if !suspect.came_again {
                if difference.suspects.len() < SUSPECTS_MAX {
                    difference.suspects.push(suspect.clone());
                }
            } else if clue.too_much {
                let before = difference.suspects.iter().take_while(|suspect| suspect.came_again).count();
                difference.suspects.insert(before, suspect.clone());
                difference.suspects.truncate(SUSPECTS_MAX);
            }
        }
    }
}

impl Clue {
    fn fits(&self, ended_s: i64, duration_us: Option<u64>) -> bool {
        let in_time = (self.bucket_s..self.bucket_s + self.width_s).contains(&ended_s);
        let in_bucket = duration_us.is_some_and(|duration_us| self.buckets.contains(&bucket_of(duration_us)));
        in_time && (self.buckets.is_empty() || in_bucket)
    }
}

/// One is what a person wants to see, a handful what they can look into.
const SUSPECTS_MAX: usize = 5;
