use std::collections::{BTreeMap, BTreeSet};

use peep_wire::KeyId;
use proptest::prelude::*;

use super::*;

const SHOP: ProjectId = ProjectId(1);
const COUNT: Verdict = Verdict::Count { uncertain: false };
const UNCERTAIN: Verdict = Verdict::Count { uncertain: true };
const HOUR_MS: i64 = 3_600_000;

fn limits() -> DedupLimits {
    DedupLimits { retention_ms: 24 * HOUR_MS, producers_max: 1000, bytes_max: 1 << 20 }
}

/// What a record says about its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sent {
    project: u64,
    producer: u8,
    seq: u64,
    part: u32,
    parts: u32,
    events: u32,
}

fn single(producer: u8, seq: u64) -> Sent {
    Sent { project: 1, producer, seq, part: 0, parts: 0, events: 10 }
}

fn part(part: u32, parts: u32) -> Sent {
    Sent { part, parts, ..single(1, 0) }
}

/// A log of nothing but headers.
struct Bench {
    dedup: Dedup,
    order: u64,
    log_ms: i64,
}

impl Bench {
    fn new(limits: DedupLimits) -> Self {
        Self { dedup: Dedup::new(limits), order: 0, log_ms: HOUR_MS }
    }

    fn judge(&mut self, sent: Sent) -> Verdict {
        let identity = Identity { producer: [sent.producer; 16], seq: sent.seq };
        let header = BatchHeader {
            project: ProjectId(sent.project),
            key: KeyId(1),
            identity: Some(identity),
            received_ms: 0,
            event_count: sent.events,
            part: sent.part,
            parts: sent.parts,
        };
        self.order += 1;
        // Three batches a record.
        let (position, first_event) = (self.order / 3, (self.order % 3) as u32 * 7);
        self.dedup.judge(&header, &identity, Moment { position, first_event, log_ms: self.log_ms })
    }

    fn judge_seqs(&mut self, seqs: impl IntoIterator<Item = u64>) -> Vec<Verdict> {
        seqs.into_iter().map(|seq| self.judge(single(1, seq))).collect()
    }
}

#[test]
fn a_batch_counts_once_in_whatever_order_and_however_often_it_comes() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.judge_seqs([0, 1, 5, 3, 5, 0, 2, 3]), {
        let again = Verdict::Duplicate;
        [COUNT, COUNT, COUNT, COUNT, again, again, COUNT, again]
    });
}

#[test]
fn the_same_number_of_two_producers_or_two_projects_is_two_batches() {
    let mut bench = Bench::new(limits());
    let verdicts = [single(1, 0), single(2, 0), Sent { project: 2, ..single(1, 0) }].map(|sent| bench.judge(sent));
    assert_eq!(verdicts, [COUNT; 3]);
}

#[test]
fn nobody_knows_about_what_is_below_the_window() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.judge_seqs([0, WINDOW, 1, 0]), [COUNT, COUNT, COUNT, Verdict::BelowWindow]);
    // Numbers from one end to the other.
    assert_eq!(bench.judge_seqs([u64::MAX, u64::MAX, 2]), [COUNT, Verdict::Duplicate, Verdict::BelowWindow]);
}

#[test]
fn a_producer_that_is_unknown_and_does_not_begin_at_zero_is_uncertain_up_to_its_first_number() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.judge_seqs([7, 8, 6, 0, 7]), [UNCERTAIN, COUNT, UNCERTAIN, COUNT, Verdict::Duplicate]);
}

#[test]
fn a_producer_is_forgotten_after_a_day_of_silence_and_not_a_moment_earlier() {
    let mut bench = Bench::new(limits());
    bench.judge(single(1, 4));
    bench.log_ms += 24 * HOUR_MS;
    assert_eq!(bench.judge(single(1, 4)), Verdict::Duplicate, "which is a sign of life");
    bench.log_ms += 24 * HOUR_MS + 1;
    assert_eq!(bench.judge(single(1, 4)), UNCERTAIN);
    bench.log_ms += 25 * HOUR_MS;
    bench.dedup.cut(bench.log_ms);
    assert!(bench.dedup.is_empty());
}

#[test]
fn a_retry_of_several_records_adds_exactly_the_parts_that_are_missing() {
    let mut bench = Bench::new(limits());
    let first_try = [part(0, 3), part(2, 3)].map(|sent| bench.judge(sent));
    let retry = [0, 1, 2].map(|number| bench.judge(part(number, 3)));
    let once_more = [0, 1, 2].map(|number| bench.judge(part(number, 3)));
    assert_eq!(first_try, [COUNT, COUNT]);
    assert_eq!(retry, [Verdict::Duplicate, COUNT, Verdict::Duplicate]);
    assert_eq!(once_more, [Verdict::Duplicate; 3]);
    assert_eq!(bench.judge(single(1, 0)), Verdict::Duplicate, "a complete batch is complete however it is cut");
}

#[test]
fn a_retry_that_is_cut_differently_is_refused_with_all_that_it_would_add() {
    for wrong in [single(1, 0), part(1, 2), part(2, 4), Sent { events: 11, ..part(0, 3) }] {
        let mut bench = Bench::new(limits());
        bench.judge(part(0, 3));
        assert_eq!(bench.judge(wrong), Verdict::Conflict, "{wrong:?}");
        assert_eq!(bench.judge(part(1, 3)), Verdict::Conflict, "what is missing can not be told any more");
        assert_eq!(bench.judge(part(0, 3)), Verdict::Duplicate);
        assert_eq!(bench.judge(single(1, 1)), COUNT, "the next batch is a new one");
    }
}

#[test]
fn a_header_that_contradicts_itself_is_refused_and_is_no_sign_of_life() {
    let mut bench = Bench::new(limits());
    for wrong in [part(3, 3), part(1, 0), part(0, PARTS_MAX + 1), part(u32::MAX, u32::MAX)] {
        assert_eq!(bench.judge(wrong), Verdict::Conflict);
    }
    assert!(bench.dedup.is_empty());
    assert_eq!(bench.judge(part(0, 1)), COUNT);
    assert_eq!(bench.judge(part(0, 0)), Verdict::Duplicate);
}

#[test]
fn an_incomplete_request_that_leaves_the_window_holds_no_memory() {
    let mut bench = Bench::new(limits());
    for seq in 0..10_000 {
        bench.judge(Sent { seq, ..part(1, 2) });
    }
    let held: usize = bench.dedup.partial_bytes;
    assert!(held <= WINDOW as usize * 60, "{held}");
    bench.judge(single(1, 20_000));
    assert_eq!(bench.dedup.partial_bytes, 0);
}

#[test]
fn of_too_many_producers_the_one_not_heard_of_for_longest_is_forgotten() {
    let mut bench = Bench::new(DedupLimits { producers_max: 2, ..limits() });
    bench.judge(single(1, 5));
    bench.judge(single(2, 5));
    bench.dedup.cut(bench.log_ms);
    bench.judge(single(1, 6));
    bench.judge(single(3, 0));
    let cut = bench.dedup.cut(bench.log_ms);
    assert_eq!((cut.forgotten, cut.evictions), (vec![(SHOP, [2; 16])], 1));
    assert_eq!(bench.judge(single(1, 6)), Verdict::Duplicate);
    assert_eq!(bench.judge(single(2, 5)), UNCERTAIN);
}

#[test]
fn a_project_with_too_many_producers_costs_no_other_project_its_own() {
    let mut bench = Bench::new(DedupLimits { bytes_max: 20 * ENTRY_BYTES, ..limits() });
    let quiet = Sent { project: 2, ..single(1, 3) };
    bench.judge(quiet);
    for producer in 0..200 {
        bench.judge(single(producer, 0));
    }
    assert_eq!(bench.dedup.len(), 20);
    assert_eq!(bench.judge(quiet), Verdict::Duplicate);
}

#[test]
fn whatever_comes_memory_stays_within_its_limit_and_is_given_back() {
    let limits = DedupLimits { bytes_max: 4 << 20, producers_max: usize::MAX, ..limits() };
    let mut bench = Bench::new(limits);
    for number in 0..100_000u64 {
        let mut producer = [0; 16];
        producer[..8].copy_from_slice(&number.to_le_bytes());
        let identity = Identity { producer, seq: number };
        let header = BatchHeader {
            project: ProjectId(number % 7),
            key: KeyId(1),
            identity: Some(identity),
            received_ms: 0,
            event_count: 1,
            part: (number % 3) as u32,
            parts: 3,
        };
        bench.dedup.judge(&header, &identity, Moment { position: number, first_event: 0, log_ms: HOUR_MS });
        if number % 1000 == 0 {
            bench.dedup.cut(HOUR_MS);
        }
    }
    assert!(bench.dedup.len() > 4_000, "{}", bench.dedup.len());
    assert!(bench.dedup.memory_bytes() < limits.bytes_max + (256 << 10), "{}", bench.dedup.memory_bytes());
    bench.dedup.cut(30 * HOUR_MS);
    assert!(bench.dedup.is_empty() && bench.dedup.memory_bytes() < 64 << 10, "{}", bench.dedup.memory_bytes());
}

#[test]
fn columns_that_nobody_of_ours_wrote_are_refused() {
    assert_eq!(Seen::from_bytes(&[0; 129]), None);
    assert_eq!(Window::partial_from_bytes(&[1, 2, 3]), None);
    let absurd =
        Window { partial: vec![Partial { seq: 1, parts: u32::MAX, torn: false, seen: vec![(1, 1)] }], ..window() };
    assert_eq!(Window::partial_from_bytes(&absurd.partial_to_bytes().unwrap()), None);
}

fn window() -> Window {
    Window::begun(SHOP, &Identity { producer: [1; 16], seq: 0 })
}

/// The rules, written down once more with sets and nothing to save memory.
#[derive(Default)]
struct Model {
    producers: BTreeMap<(u64, u8), Known>,
}

struct Known {
    high: u64,
    begun: u64,
    last_ms: i64,
    last: u64,
    complete: BTreeSet<u64>,
    /// By number: parts, those seen with their events, and whether a retry was cut differently.
    partial: BTreeMap<u64, (u32, BTreeMap<u32, u32>, bool)>,
}

impl Model {
    fn judge(&mut self, sent: Sent, position: u64, log_ms: i64, limits: DedupLimits) -> Verdict {
        let (parts, seq) = (sent.parts.max(1), sent.seq);
        if sent.part >= parts || parts > PARTS_MAX {
            return Verdict::Conflict;
        }
        self.producers.retain(|_, known| log_ms - known.last_ms <= limits.retention_ms);
        let new = || Known {
            high: seq,
            begun: seq,
            last_ms: 0,
            last: 0,
            complete: BTreeSet::new(),
            partial: BTreeMap::new(),
        };
        let known = self.producers.entry((sent.project, sent.producer)).or_insert_with(new);
        (known.last_ms, known.last) = (log_ms, position);
        let verdict = known.judge(sent, parts);
        let of_project = |project| self.producers.iter().filter(move |((of, _), _)| *of == project);
        if of_project(sent.project).count() > limits.producers_max {
            let oldest = of_project(sent.project).min_by_key(|(_, known)| known.last).map(|(key, _)| *key);
            self.producers.remove(&oldest.unwrap());
        }
        verdict
    }
}

impl Known {
    fn judge(&mut self, sent: Sent, parts: u32) -> Verdict {
        let seq = sent.seq;
        let count = Verdict::Count { uncertain: seq > 0 && seq <= self.begun };
        self.high = self.high.max(seq);
        let high = self.high;
        self.complete.retain(|seq| high - seq < WINDOW);
        self.partial.retain(|seq, _| high - seq < WINDOW);
        if high - seq >= WINDOW {
            return Verdict::BelowWindow;
        }
        if self.complete.contains(&seq) {
            return Verdict::Duplicate;
        }
        let (of, seen, torn) = self.partial.entry(seq).or_insert_with(|| (parts, BTreeMap::new(), false));
        let known = seen.get(&sent.part);
        if *of == parts && known == Some(&sent.events) {
            return Verdict::Duplicate;
        }
        if *of != parts || known.is_some() || *torn {
            *torn = true;
            return Verdict::Conflict;
        }
        seen.insert(sent.part, sent.events);
        if seen.len() == parts as usize {
            self.partial.remove(&seq);
            self.complete.insert(seq);
        }
        count
    }
}

fn sent() -> impl Strategy<Value = Sent> {
    // Mostly close together, now and then a leap of about a window.
    let seq = prop_oneof![12 => 0u64..12, 2 => 1000u64..1060, 1 => 2040u64..2060, 1 => any::<u64>()];
    let shape = prop_oneof![3 => Just((0, 0)), 4 => (0u32..3).prop_map(|part| (part, 3)), 1 => (0u32..3, 0u32..4)];
    (1u64..3, 0u8..3, seq, shape, prop_oneof![9 => Just(10u32), 1 => Just(11)]).prop_map(
        |(project, producer, seq, (part, parts), events)| Sent { project, producer, seq, part, parts, events },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_window_is_a_set_that_forgets_what_it_promised_to_forget(
        steps in prop::collection::vec((sent(), prop_oneof![20 => 0i64..HOUR_MS, 1 => 20 * HOUR_MS..30 * HOUR_MS]), 1..200),
        producers_max in 1usize..4,
    ) {
        let limits = DedupLimits { producers_max, ..limits() };
        let mut bench = Bench::new(limits);
        let mut model = Model::default();
        for (sent, elapsed_ms) in steps {
            bench.log_ms += elapsed_ms;
            let verdict = bench.judge(sent);
            prop_assert_eq!(verdict, model.judge(sent, bench.order, bench.log_ms, limits), "{:?}", sent);
        }
        model.producers.retain(|_, known| bench.log_ms - known.last_ms <= limits.retention_ms);
        let known: BTreeSet<_> = model.producers.iter().map(|((project, producer), known)| {
            (ProjectId(*project), [*producer; 16], known.high, known.last)
        }).collect();
        let windows = bench.dedup.windows(bench.log_ms);
        let windows: BTreeSet<_> =
            windows.iter().map(|window| (window.project, window.producer, window.high_seq, order_of(window))).collect();
        prop_assert_eq!(windows, known);
    }

    #[test]
    fn whoever_takes_over_from_the_tables_decides_as_if_nothing_had_happened(
        steps in prop::collection::vec((sent(), 0i64..4 * HOUR_MS, 0u8..6), 1..200),
        producers_max in 1usize..4,
        entries_max in 1usize..6,
    ) {
        let limits = DedupLimits { producers_max, bytes_max: entries_max * ENTRY_BYTES, ..limits() };
        let mut never = Bench::new(limits);
        let mut often = Bench::new(limits);
        let mut tables: BTreeMap<(ProjectId, Producer), Vec<u8>> = BTreeMap::new();
        for (sent, elapsed_ms, then) in steps {
            never.log_ms += elapsed_ms;
            often.log_ms += elapsed_ms;
            prop_assert_eq!(often.judge(sent), never.judge(sent));
            if then == 0 {
                let cut = often.dedup.cut(often.log_ms);
                cut.forgotten.iter().for_each(|key| { tables.remove(key); });
                for window in &cut.windows {
                    tables.insert((window.project, window.producer), columns(window));
                }
                let stored = tables.iter().map(|(key, columns)| of_columns(*key, columns)).collect();
                often.dedup = Dedup::restored(limits, stored, often.log_ms);
                prop_assert_eq!(often.dedup.windows(often.log_ms), never.dedup.windows(never.log_ms));
                prop_assert_eq!(often.dedup.partial_bytes, often.dedup.windows(0).iter().map(Window::partial_bytes).sum::<usize>());
            } else if then == 1 {
                never.dedup.cut(never.log_ms);
            }
        }
    }
}

fn order_of(window: &Window) -> u64 {
    window.last_offset * 3 + u64::from(window.last_event) / 7
}

/// As the tables hold it.
fn columns(window: &Window) -> Vec<u8> {
    let seen = window.seen.to_bytes();
    let mut out = Vec::new();
    out.extend(window.high_seq.to_be_bytes());
    out.extend(window.begun_seq.to_be_bytes());
    out.extend(window.last_ms.to_be_bytes());
    out.extend(window.last_offset.to_be_bytes());
    out.extend(u64::from(window.last_event).to_be_bytes());
    out.push(seen.len() as u8);
    out.extend(seen);
    out.extend(window.partial_to_bytes().unwrap_or_default());
    out
}

fn of_columns((project, producer): (ProjectId, Producer), mut columns: &[u8]) -> Window {
    let input = &mut columns;
    let mut number = || u64::from_be_bytes(take(input).unwrap());
    let (high_seq, begun_seq, last_ms, last_offset) = (number(), number(), number() as i64, number());
    let last_event = number() as u32;
    let [len] = take::<1>(input).unwrap();
    let (seen, partial) = input.split_at(len.into());
    Window {
        project,
        producer,
        high_seq,
        begun_seq,
        seen: Seen::from_bytes(seen).unwrap(),
        partial: Window::partial_from_bytes(partial).unwrap(),
        last_ms,
        last_offset,
        last_event,
    }
}
