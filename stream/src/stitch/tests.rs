use proptest::prelude::*;

use super::*;

fn frame(epoch: u64, from: u64, to: u64) -> Arc<LiveFrame> {
    Arc::new(LiveFrame { partition: 0, epoch, from, to, published_ms: 0, newest_received_ms: 0, cells: Vec::new() })
}

fn held(frames: &[(u64, u64, u64)]) -> HeldPartition {
    let mut held = HeldPartition::default();
    for &(epoch, from, to) in frames {
        held.insert(frame(epoch, from, to), |_| {});
    }
    held
}

fn reach(held: &HeldPartition, offset: u64, epoch: u64) -> (u64, Reach) {
    let continuation = held.continue_from(Position { offset, epoch });
    (continuation.position.offset, continuation.reach)
}

#[test]
fn frames_continue_a_cursor_at_any_of_their_borders() {
    let held = held(&[(1, 0, 4), (1, 4, 9), (1, 9, 10)]);
    for cursor in [0, 4, 9, 10] {
        assert_eq!(reach(&held, cursor, 1), (10, Reach::Newest));
    }
    assert_eq!(reach(&held, 12, 1), (12, Reach::Newest), "the feed is behind the database");
}

#[test]
fn a_missing_frame_is_a_gap_until_the_cursor_has_passed_it() {
    let held = held(&[(1, 0, 4), (1, 6, 9)]);
    assert_eq!(reach(&held, 0, 1), (4, Reach::Gap));
    assert_eq!(reach(&held, 5, 1), (5, Reach::Gap));
    assert_eq!(reach(&held, 6, 1), (9, Reach::Newest));
}

#[test]
fn an_evicted_frame_is_a_gap() {
    let mut held = held(&[(1, 0, 4)]);
    held.evict();
    assert_eq!(reach(&held, 0, 1), (0, Reach::Gap));
    assert_eq!(reach(&held, 4, 1), (4, Reach::Newest));
    held.insert(frame(2, 1, 3), |_| {});
    assert_eq!(reach(&held, 1, 2), (3, Reach::Newest), "a take-over published it again");
}

#[test]
fn a_takeover_replaces_what_its_predecessor_had_not_committed() {
    let mut held = held(&[(4, 0, 4), (4, 4, 9), (4, 9, 12)]);
    let mut dropped = Vec::new();
    assert_eq!(held.insert(frame(5, 4, 6), |frame| dropped.push(frame.from)), Held::Replaced);
    assert_eq!(dropped, [9, 4]);
    assert_eq!(held.insert(frame(4, 12, 14), |_| {}), Held::Stale, "the old owner woke up");
    assert_eq!(reach(&held, 0, 4), (6, Reach::Newest));
    assert_eq!(reach(&held, 9, 4), (9, Reach::Superseded));
    assert_eq!(reach(&held, 4, 4), (6, Reach::Newest), "nothing beyond the take-over was counted");
}

#[test]
fn frames_of_a_replaced_owner_do_not_follow_a_newer_cursor() {
    let held = held(&[(4, 0, 4), (4, 4, 9)]);
    assert_eq!(reach(&held, 6, 5), (6, Reach::Newest));
}

#[test]
fn reading_the_live_log_again_changes_nothing() {
    let mut held = held(&[(1, 0, 4), (1, 4, 9)]);
    assert_eq!(held.insert(frame(1, 0, 4), |_| {}), Held::Known);
    assert_eq!(reach(&held, 0, 1), (9, Reach::Newest));
}

/// One owner of the partition, the present one or one that does not know yet that it was replaced.
#[derive(Clone)]
struct Owner {
    epoch: u64,
    /// Ends of its frames that are not committed yet.
    borders: Vec<u64>,
    published_to: u64,
}

/// A rollup, a live log, a feed and a topic, moved one step at a time.
struct World {
    events: u64,
    cursor: Position,
    owners: Vec<Owner>,
    live_log: Vec<Arc<LiveFrame>>,
    delivered: usize,
    held: HeldPartition,
    /// What a topic has counted: `[0, offset)` from a snapshot and frames.
    topic: Position,
}

#[derive(Debug, Clone)]
enum Step {
    Arrive(u64),
    Publish { owner: usize, events: u64 },
    Commit { frames: usize },
    TakeOver,
    Deliver(usize),
    DeliverAgain(usize),
    Evict,
    Advance,
}

impl World {
    fn new() -> Self {
        let first = Owner { epoch: 1, borders: Vec::new(), published_to: 0 };
        let cursor = Position { offset: 0, epoch: 1 };
        World {
            events: 0,
            cursor,
            owners: vec![first],
            live_log: Vec::new(),
            delivered: 0,
            held: HeldPartition::default(),
            topic: cursor,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Arrive(events) => self.events += events,
            Step::Publish { owner, events } => {
                let at = owner % self.owners.len();
                self.publish(at, events);
            }
            Step::Commit { frames } => {
                // Only the present owner passes the compare-and-swap.
                let owner = self.owners.last_mut().expect("there is always an owner");
                let frames = frames.min(owner.borders.len());
                if let Some(to) = owner.borders.drain(..frames).next_back() {
                    self.cursor = Position { offset: to, epoch: owner.epoch };
                }
            }
            Step::TakeOver => {
                let epoch = self.cursor.epoch.max(self.owners.last().expect("one").epoch) + 1;
                self.cursor.epoch = epoch;
                self.owners.push(Owner { epoch, borders: Vec::new(), published_to: self.cursor.offset });
            }
            Step::Deliver(frames) => {
                let until = (self.delivered + frames).min(self.live_log.len());
                self.deliver(self.delivered..until);
                self.delivered = until;
            }
            Step::DeliverAgain(frames) => self.deliver(self.delivered.saturating_sub(frames)..self.delivered),
            Step::Evict => {
                self.held.evict();
            }
            Step::Advance => self.advance_topic(),
        }
    }

    fn publish(&mut self, at: usize, events: u64) {
        let owner = &mut self.owners[at];
        let to = (owner.published_to + events).min(self.events);
        if to > owner.published_to {
            self.live_log.push(frame(owner.epoch, owner.published_to, to));
            owner.borders.push(to);
            owner.published_to = to;
        }
    }

    fn deliver(&mut self, range: std::ops::Range<usize>) {
        for frame in &self.live_log[range] {
            self.held.insert(Arc::clone(frame), |_| {});
        }
    }

    fn advance_topic(&mut self) {
        let continuation = self.held.continue_from(self.topic);
        assert_exact(self.topic, &continuation);
        self.topic = match continuation.reach {
            Reach::Newest => continuation.position,
            // What the hub does: count again from a snapshot.
            Reach::Gap | Reach::Superseded => {
                let again = self.held.continue_from(self.cursor);
                assert_exact(self.cursor, &again);
                assert_ne!(again.reach, Reach::Superseded, "a fresh snapshot is never superseded");
                again.position
            }
        };
    }
}

/// The frames cover exactly what lies between the positions: each event once, none missing.
fn assert_exact(start: Position, continuation: &Continuation) {
    let mut counted_to = start.offset;
    for frame in &continuation.frames {
        assert_eq!(frame.from, counted_to, "neither gap nor double");
        counted_to = frame.to;
    }
    assert_eq!(counted_to, continuation.position.offset);
    let epochs: Vec<u64> = continuation.frames.iter().map(|frame| frame.epoch).collect();
    assert!(epochs.is_sorted(), "a replaced owner never follows its successor");
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u64..20).prop_map(Step::Arrive),
        6 => (0usize..4, 1u64..12).prop_map(|(owner, events)| Step::Publish { owner, events }),
        3 => (1usize..4).prop_map(|frames| Step::Commit { frames }),
        1 => Just(Step::TakeOver),
        6 => (1usize..5).prop_map(Step::Deliver),
        1 => (1usize..9).prop_map(Step::DeliverAgain),
        1 => Just(Step::Evict),
        4 => Just(Step::Advance),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in whatever order, a snapshot plus frames counts each event once.
    #[test]
    fn any_interleaving_counts_each_event_once(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            assert_exact(world.cursor, &world.held.continue_from(world.cursor));
            assert_exact(world.topic, &world.held.continue_from(world.topic));
        }
    }

    /// Once everything has been published, delivered and committed at least to what was evicted, everything is counted.
    #[test]
    fn when_the_dust_settles_everything_is_counted(steps in steps()) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        let present = world.owners.len() - 1;
        world.step(&Step::Arrive(5));
        world.publish(present, u64::MAX / 2);
        world.step(&Step::Deliver(usize::MAX / 2));
        world.step(&Step::Commit { frames: usize::MAX });
        world.step(&Step::Advance);
        world.step(&Step::Advance);
        prop_assert_eq!(world.topic.offset, world.events);
        prop_assert_eq!(world.held.continue_from(world.cursor).position.offset, world.events);
    }
}
