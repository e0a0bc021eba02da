//! How many producers a project may have: each costs the rollup a window of sequence numbers.
//!
//! Arrives: the identity of a request. Leaves: whether this producer has a place. Promises: memory is bounded, whatever
//! clients make up; producers that have a place keep it while they are heard of, also when all places are taken; a place
//! becomes free when its producer was silent for half a day to a day. Nothing is ever accepted without the protection that
//! its identity asks for: a request too many is refused, not demoted.
//!
//! Does not: survive a restart, or know what other ingest processes see. The rollup has a bound of its own; this one keeps
//! an honest mistake (a new producer for every request) from reaching it.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use parking_lot::Mutex;
use peep_wire::{Identity, ProjectId};

/// The producers of every project, as hashes.
#[derive(Debug)]
pub(crate) struct Producers {
    max: usize,
    /// Seeded by chance: nobody can prepare producers that look like one.
    hasher: RandomState,
    projects: Mutex<HashMap<ProjectId, Heard>>,
}

/// Two sets that take turns: `now` fills for half a day, then it is `before` for another half.
#[derive(Debug)]
struct Heard {
    turn: i64,
    now: HashSet<u64>,
    before: HashSet<u64>,
    /// In `before` and not in `now`.
    only_before: usize,
}

impl Producers {
    /// Places for `max` producers of each project.
    pub(crate) fn new(max: usize) -> Self {
        Producers { max, hasher: RandomState::default(), projects: Mutex::new(HashMap::new()) }
    }

    /// Whether the producer has a place, or finds one now.
    pub(crate) fn admit(&self, project: ProjectId, identity: &Identity, now_ms: i64) -> bool {
        let hash = self.hasher.hash_one(identity.producer);
        let turn = now_ms.div_euclid(TURN_MS);
        let mut projects = self.projects.lock();
        projects.entry(project).or_insert_with(|| Heard::new(turn)).admit(hash, turn, self.max)
    }

    /// Places taken, of all projects.
    pub(crate) fn len(&self) -> usize {
        self.projects.lock().values().map(|heard| heard.now.len() + heard.only_before).sum()
    }
}

impl Heard {
    fn new(turn: i64) -> Self {
        Heard { turn, now: HashSet::new(), before: HashSet::new(), only_before: 0 }
    }

    fn admit(&mut self, hash: u64, turn: i64, max: usize) -> bool {
        self.advance(turn);
        if self.now.contains(&hash) {
            return true;
        }
        if self.before.contains(&hash) {
            self.only_before -= 1;
        } else if self.now.len() + self.only_before >= max {
            return false;
        }
        self.now.insert(hash);
        true
    }

    /// A clock that is set back takes no place away: turns only go forward.
    fn advance(&mut self, turn: i64) {
        if turn <= self.turn {
            return;
        }
        let heard = std::mem::take(&mut self.now);
        self.before = if turn == self.turn + 1 { heard } else { HashSet::new() };
        self.only_before = self.before.len();
        self.turn = turn;
    }
}

const TURN_MS: i64 = 12 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: ProjectId = ProjectId(7);

    fn admit(producers: &Producers, number: u32, now_ms: i64) -> bool {
        let mut producer = [0; 16];
        producer[..4].copy_from_slice(&number.to_le_bytes());
        producers.admit(PROJECT, &Identity { producer, seq: 0 }, now_ms)
    }

    #[test]
    fn known_producers_go_on_when_all_places_are_taken() {
        let producers = Producers::new(100);
        assert!((0..100).all(|number| admit(&producers, number, 0)));
        assert!(!admit(&producers, 100, 0));
        assert!((0..100).all(|number| admit(&producers, number, 0)));
        assert_eq!(producers.len(), 100);
        assert!(producers.admit(ProjectId(8), &Identity { producer: [9; 16], seq: 0 }, 0), "others are not concerned");
    }

    #[test]
    fn a_place_is_kept_while_its_producer_is_heard_of_and_free_a_day_later() {
        let producers = Producers::new(2);
        assert!(admit(&producers, 1, 0) && admit(&producers, 2, 0));
        assert!(admit(&producers, 1, TURN_MS), "heard of in the second half");
        assert!(!admit(&producers, 3, TURN_MS), "the silent one still has its place");
        assert!(admit(&producers, 3, 2 * TURN_MS) && admit(&producers, 1, 2 * TURN_MS));
        assert!(!admit(&producers, 2, 2 * TURN_MS));
        assert!((5..7).all(|number| admit(&producers, number, 9 * TURN_MS)), "all were silent for long");
    }

    #[test]
    fn a_clock_that_is_set_back_takes_no_place_away() {
        let producers = Producers::new(1);
        assert!(admit(&producers, 1, 5 * TURN_MS) && admit(&producers, 1, 0) && !admit(&producers, 2, 0));
    }

    #[test]
    fn ten_million_made_up_producers_leave_a_bounded_set() {
        let producers = Producers::new(1000);
        let admitted = (0..10_000_000u32).filter(|number| admit(&producers, *number, 0)).count();
        assert_eq!(admitted, 1000);
        assert!(producers.projects.lock()[&PROJECT].now.capacity() < 4096);
    }
}
