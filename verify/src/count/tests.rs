use std::time::Duration;

use peep_log::{LogRecord, Offset};
use peep_rollup::cardinality::SeriesLimits;
use peep_rollup::dedup::DedupLimits;
use peep_rollup::facet::FacetLimits;
use peep_rollup::partition::{Cut, Partition, PartitionLimits};
use peep_rollup::raw::RawLimits;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::memory::{self, SeenFacets, SeenRow, SeenRows};
use crate::producers::Producer;
use crate::record::tests::{Sealed, event, series};

/// Tight, so that every rule is at work within a hundred records.
const RULES: Rules = Rules {
    event_age_max: Duration::from_hours(2),
    event_ahead_max: Duration::from_mins(1),
    dedup_retention: Duration::from_mins(30),
    producers_max: 3,
    series_max: 6,
    series_total_max: 9,
    facets_max: 2,
    facets_total_max: 7,
    folds_max: 3,
    dedup_bytes_max: 1 << 20,
    ..Rules::DEFAULT
};

fn limits() -> PartitionLimits {
    PartitionLimits {
        event_age_max: RULES.event_age_max,
        event_ahead_max: RULES.event_ahead_max,
        raw_age_max: Duration::from_hours(1),
        raw: RawLimits { events_per_second_max: 10, burst_events_max: 10, bytes_max: 1 << 20 },
        dedup: DedupLimits {
            retention_ms: RULES.dedup_retention.as_millis() as i64,
            producers_max: RULES.producers_max,
            bytes_max: RULES.dedup_bytes_max,
        },
        series: SeriesLimits {
            series_max: RULES.series_max,
            total_max: RULES.series_total_max,
            folds_max: RULES.folds_max,
        },
        facets: FacetLimits { per_scope_max: RULES.facets_max, total_max: RULES.facets_total_max },
    }
}

/// One record of a generated log.
#[derive(Clone)]
struct Made {
    appended_ms: i64,
    payload: Vec<u8>,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at {}: {:?}", self.appended_ms, record::open(&self.payload))
    }
}

/// The same log through the rollup's partition, with a flush after every few records, and its tables after the last.
struct Tables {
    cells: BTreeMap<(i64, Series, i64), Cell>,
    facet_cells: BTreeMap<(i64, Series, i64), Cell>,
    facets_seen: BTreeMap<(i64, Series), FacetSeen>,
    facets_budgeted: SeenFacets,
    dead_letters: BTreeMap<(u64, u32), DeadLetter>,
    duplicates: BTreeMap<(u64, u32), Duplicate>,
    windows: BTreeMap<(i64, [u8; 16]), Producer>,
    seen: SeenRows,
    days: BTreeMap<(i64, i64), u64>,
    events: Books,
    log_ms: i64,
}

fn through_the_rollup(log: &[Made], flush_every: usize) -> Tables {
    let mut partition = Partition::restored(0, Offset(0), limits(), Default::default());
    let mut tables = Tables {
        cells: BTreeMap::new(),
        facet_cells: BTreeMap::new(),
        facets_seen: BTreeMap::new(),
        facets_budgeted: SeenFacets::new(),
        dead_letters: BTreeMap::new(),
        duplicates: BTreeMap::new(),
        windows: BTreeMap::new(),
        seen: SeenRows::new(),
        days: BTreeMap::new(),
        events: Books::default(),
        log_ms: 0,
    };
    for (offset, made) in log.iter().enumerate() {
        let payload = made.payload.clone().into();
        let record = LogRecord { offset: Offset(offset as u64), appended_ms: made.appended_ms, payload };
        partition.apply(&record).expect("generated logs can be passed");
        if (offset + 1) % flush_every == 0 || offset + 1 == log.len() {
            partition.publish(1, 0);
            tables.write(partition.cut().expect("there was a record"));
        }
    }
    tables
}

impl Tables {
    fn write(&mut self, cut: Cut) {
        for piece in &cut.pieces {
            let series = Series::read(piece.series.key()).expect("the rollup writes canonical keys");
            let key = (piece.series.project.0 as i64, series, piece.window_s);
            let cell = stored(&piece.cell, piece.window_s);
            self.cells.entry(key).or_default().merge(&cell);
        }
        let named = |facet: &peep_rollup::facet::Facet| {
            let series = Series::facet(&facet.env, &facet.service, facet.kind.name(), &facet.value);
            (facet.project.0 as i64, series)
        };
        for piece in &cut.facets.pieces {
            let (project, facet) = named(&piece.facet);
            let cell = stored(&piece.cell, piece.window_s);
            self.facet_cells.entry((project, facet, piece.window_s)).or_default().merge(&cell);
        }
        for seen in &cut.facets.seen {
            let here = FacetSeen { first_ms: seen.first_ms, last_ms: seen.last_ms };
            let known = self.facets_seen.entry(named(&seen.facet)).or_insert(here);
            known.first_ms = known.first_ms.min(seen.first_ms);
            known.last_ms = known.last_ms.max(seen.last_ms);
        }
        for seen in &cut.facets.budgets {
            let key = (i64::from(seen.day), seen.project.0 as i64, seen.scope);
            self.facets_budgeted.entry(key).or_default().0.extend(&seen.hashes);
        }
        for letter in &cut.dead_letters {
            let row = DeadLetter {
                reason: letter.reason.as_str().to_owned(),
                project: letter.project.map(|project| project.0 as i64),
                key: letter.key.map(|key| key.0 as i64),
                received_ms: letter.received_ms,
                appended_ms: letter.appended_ms,
                events: letter.events,
                bytes_len: letter.bytes.len() as u64,
                bytes_crc32: crc32fast::hash(&letter.bytes),
            };
            self.dead_letters.insert((letter.offset, letter.event_index), row);
        }
        for duplicate in &cut.duplicates {
            let (project, producer, seq) = (duplicate.project.0 as i64, duplicate.producer, duplicate.seq);
            let row = Duplicate { project, producer, seq, part: duplicate.part, events: duplicate.events };
            self.duplicates.insert((duplicate.offset, duplicate.first_event), row);
        }
        for (project, producer) in &cut.dedup.forgotten {
            self.windows.remove(&(project.0 as i64, *producer));
        }
        for window in &cut.dedup.windows {
            let numbers = [window.high_seq, window.begun_seq, window.last_offset];
            let (seen, partial) = (window.seen.to_bytes(), window.partial_to_bytes());
            let row = Producer::stored(numbers, window.last_event, window.last_ms, &seen, partial.as_deref())
                .expect("a window");
            self.windows.insert((window.project.0 as i64, window.producer), row);
        }
        for seen in &cut.budgets {
            let row: &mut SeenRow = self.seen.entry((i64::from(seen.day), seen.project.0 as i64)).or_default();
            row.0.extend(&seen.hashes);
        }
        for day in &cut.books.days {
            *self.days.entry((day.project.0 as i64, day.day_s / 86_400)).or_default() += day.rolled_up;
        }
        let of = cut.books.total;
        self.events.add(&Books {
            records: cut.books.records,
            records_unreadable: cut.books.records_unreadable,
            accepted: of.accepted,
            rolled_up: of.rolled_up,
            dead_lettered: of.dead_lettered,
            duplicate: of.duplicate,
            unidentified: of.unidentified,
            uncertain: of.uncertain,
            folded: of.folded,
        });
        self.log_ms = cut.log_ms;
    }
}

/// A cell as the tables would give it back.
fn stored(cell: &peep_rollup::window::Cell, window_s: i64) -> Cell {
    let histogram = &cell.histogram;
    let mut stored = Vec::new();
    histogram.encode_v2(&mut stored);
    let latencies = Latencies {
        count: histogram.count(),
        sum_us: histogram.sum_us(),
        min_us: histogram.min_us(),
        max_us: histogram.max_us(),
        buckets: crate::latency::decode_v2(&stored).expect("the rollup writes HdrHistogram V2"),
    };
    Cell { count: cell.count, errors: cell.errors, latencies, last_10s: window_s }
}

fn count(log: &[Made]) -> Counted {
    let mut counter = Counter::new(RULES, Past::none(BTreeMap::new()));
    for (position, made) in log.iter().enumerate() {
        let record = Logged { position: position as u64, appended_ms: made.appended_ms, payload: &made.payload };
        counter.count(record).expect("generated logs can be passed");
    }
    counter.finish()
}

/// A record of a few producers and projects, with everything that may be wrong with it.
fn record() -> impl Strategy<Value = Sealed> {
    let identity = prop_oneof![
        1 => Just(None),
        8 => (1..6_u8, prop_oneof![6 => 0..12_u64, 1 => 1000..1040_u64, 1 => any::<u64>()]).prop_map(Some),
    ];
    let parts = prop_oneof![6 => Just((0, 0)), 3 => (0..3_u32, 2..4_u32), 1 => (0..6_u32, 0..6_u32)];
    let events = prop::collection::vec(event(), 1..5);
    let announced = prop_oneof![20 => Just(0_i64), 1 => -1..3_i64];
    let project = prop_oneof![30 => 1..3_u64, 1 => Just(i64::MAX as u64), 1 => Just(1 << 63)];
    (project, identity, parts, events, announced, -8_000..8_000_i64, any::<prop::sample::Index>(), 0..40_u8).prop_map(
        |(project, identity, parts, events, announced, skew_ms, at, damage)| Sealed {
            project,
            identity,
            parts,
            events,
            announced,
            skew_ms,
            damage: (damage < 3).then_some((damage, at)),
        },
    )
}

/// By hand, because the batches may be damaged.
fn bundle(batches: &[Vec<u8>], damage: u8) -> Vec<u8> {
    let events: u64 = batches.iter().map(|bytes| announced(bytes)).sum();
    let mut body = vec![2 << 3, 2];
    let number = |body: &mut Vec<u8>, key: u8, value: u64| {
        body.push(key);
        prost::encoding::encode_varint(value, body);
    };
    match (events, damage) {
        (events, 0) => number(&mut body, 8 << 3, events + 1),
        (0, _) => {}
        (events, _) => number(&mut body, 8 << 3, events),
    }
    for bytes in batches {
        number(&mut body, 15 << 3 | 2, bytes.len() as u64);
        body.extend_from_slice(bytes);
    }
    if damage == 1 {
        number(&mut body, 14 << 3, 7);
    }
    let mut record = vec![1 << 3 | 5];
    record.extend(crc32fast::hash(&body).to_le_bytes());
    record.extend(body);
    record
}

fn announced(bytes: &[u8]) -> u64 {
    match record::open(bytes) {
        Opened::Batches(batches) => batches.iter().map(|batch| u64::from(batch.header.event_count)).sum(),
        _ => 0,
    }
}

/// Records with the time between them: usually seconds, at times long enough to be forgotten, at times backwards.
fn log() -> impl Strategy<Value = Vec<Made>> {
    let pause_ms =
        prop_oneof![12 => 0..20_000_i64, 2 => 0..2_400_000_i64, 1 => Just(30 * 3_600_000_i64), 1 => -60_000..0_i64];
    // Mostly one batch a record, at times a bundle, and now and then one that is not what it says.
    let batches = prop_oneof![3 => prop::collection::vec(record(), 1..2), 2 => prop::collection::vec(record(), 2..5)];
    prop::collection::vec((pause_ms, batches, 0..60_u8), 1..60).prop_map(|records| {
        let mut appended_ms = 1_700_000_000_000;
        let made = |(pause_ms, batches, damage): (i64, Vec<Sealed>, u8)| {
            appended_ms += pause_ms;
            let batches: Vec<_> = batches.iter().map(|sealed| sealed.bytes(appended_ms)).collect();
            let payload = if batches.len() == 1 { batches[0].clone() } else { bundle(&batches, damage) };
            Made { appended_ms, payload }
        };
        records.into_iter().map(made).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn two_programs_that_share_no_code_say_the_same(log in log(), flush_every in 1..30_usize) {
        let tables = through_the_rollup(&log, flush_every);
        let counted = count(&log);
        prop_assert_eq!(&counted.dead_letters, &tables.dead_letters);
        prop_assert_eq!(&counted.duplicates, &tables.duplicates);
        prop_assert_eq!(counted.events, tables.events);
        prop_assert_eq!(&counted.days, &tables.days);
        prop_assert_eq!(counted.log_ms, tables.log_ms);
        let by_name = |cells: &BTreeMap<(SeriesNumber, i64), Cell>, numbers: &SeriesNumbers| {
            let named = |((number, bucket_s), cell): (&(SeriesNumber, i64), &Cell)| {
                let (project, series) = numbers.name(*number).clone();
                ((project, series, *bucket_s), cell.clone())
            };
            cells.iter().map(named).collect::<BTreeMap<(i64, Series, i64), Cell>>()
        };
        prop_assert_eq!(by_name(&counted.cells, &counted.series), tables.cells);
        prop_assert_eq!(by_name(&counted.facet_cells, &counted.facets), tables.facet_cells);
        prop_assert_eq!(&counted.facets_seen, &tables.facets_seen);
        let living = counted.producers.living(&RULES, counted.log_ms);
        let mut windows = tables.windows;
        windows.retain(|_, window| !window.is_expired(&RULES, counted.log_ms));
        prop_assert_eq!(living, windows);
        let day = counted.budgets.day;
        let mut seen = tables.seen;
        seen.retain(|(of, _), _| (day - 1..=day).contains(of));
        prop_assert_eq!(memory::seen_rows(&counted.budgets), seen);
        let mut facets_budgeted = tables.facets_budgeted;
        facets_budgeted.retain(|(of, _, _), _| (day - 1..=day).contains(of));
        prop_assert_eq!(memory::seen_facets(&counted.facet_budgets), facets_budgeted);
    }
}

#[test]
fn a_record_of_another_format_is_not_passed() {
    let header = Header { format: 3, event_count: 1, ..Header::default() };
    let payload = record::tests::sealed(&header.encode_to_vec());
    let record = Logged { position: 0, appended_ms: 1, payload: &payload };
    assert_eq!(Counter::new(RULES, Past::none(BTreeMap::new())).count(record).unwrap_err().0, 3);
}

#[test]
fn whoever_asks_is_told_where_each_event_belongs_and_which_came_again() {
    let event = (series("/a", 200), 0, Some(5), false);
    let sealed = Sealed { project: 1, identity: Some((7, 0)), events: vec![event], ..Sealed::default() };
    let mut counter = Counter::with_witnesses(RULES, Past::none(BTreeMap::new()));
    for position in 0..2 {
        let payload = sealed.bytes(1_700_000_000_000);
        counter.count(Logged { position, appended_ms: 1_700_000_000_000, payload: &payload }).unwrap();
    }
    let came_again: Vec<bool> = counter.witnesses.iter().flatten().map(|witness| witness.came_again).collect();
    assert_eq!(came_again, [false, false, false, true, true, true], "in its series, its version and its host");
}
