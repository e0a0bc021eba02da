use std::collections::BTreeMap;

use peep_wire::event::Event;
use peep_wire::histogram::Histogram;
use peep_wire::live::LiveFrame;
use peep_wire::record::SeriesKey;
use proptest::prelude::*;

use super::*;
use crate::testing::{NOW_MS, batch, event, record};

const HOUR_MS: i64 = 3_600_000;

fn partition() -> Partition {
    Partition::new(3, Offset(0), limits())
}

fn limits() -> PartitionLimits {
    PartitionLimits {
        event_age_max: Duration::from_hours(24),
        event_ahead_max: Duration::from_mins(10),
        raw_age_max: Duration::from_hours(2),
        raw: RawLimits { events_per_second_max: 1000, burst_events_max: 1000, bytes_max: 1 << 20 },
        dedup: DedupLimits { retention_ms: 24 * HOUR_MS, producers_max: 1000, bytes_max: 1 << 20 },
        series: SeriesLimits { series_max: 10_000, total_max: 100_000, folds_max: 1_000 },
    }
}

fn apply(partition: &mut Partition, events: &[Event<'_>]) {
    let next = partition.next().0;
    partition.apply(&record(next, NOW_MS, batch(NOW_MS, events))).unwrap();
}

/// Publishes and cuts, as a flush does.
fn flush(partition: &mut Partition) -> Cut {
    partition.publish(1, NOW_MS);
    partition.cut().unwrap()
}

#[test]
fn events_are_counted_in_the_window_in_which_they_ended() {
    let mut partition = partition();
    let failed = Event { status: 503, ..event("shop", "/pay", NOW_MS, 9_000) };
    let untimed = Event { duration_us: None, error: Some("timeout"), ..event("shop", "/cart", NOW_MS, 0) };
    let late = event("shop", "/cart", NOW_MS - 5 * HOUR_MS, 1_000);
    apply(&mut partition, &[event("shop", "/cart", NOW_MS, 2_000), failed, untimed, late]);
    let cut = flush(&mut partition);
    let seen: Vec<_> = cut
        .pieces
        .iter()
        .map(|piece| {
            let Cell { count, errors, histogram } = &piece.cell;
            let fields = piece.series.fields();
            ((fields.route, fields.status), piece.window_s, (*count, *errors, histogram.count()))
        })
        .collect();
    let now_s = NOW_MS / 1000;
    assert_eq!(
        seen,
        [
            (("/cart", 200), now_s, (2, 1, 1)),
            (("/pay", 503), now_s, (1, 1, 1)),
            (("/cart", 200), now_s - 5 * 3600, (1, 0, 1)),
        ]
    );
    assert_eq!((cut.from, cut.to), (0, 1));
    assert_eq!((cut.books.total.accepted, cut.books.total.rolled_up, cut.books.total.unidentified), (4, 4, 4));
    assert_eq!(cut.raw.rows.len(), 3, "beyond the raw retention an event is counted but not kept");
}

#[test]
fn events_outside_of_the_accepted_time_are_dead_lettered_with_their_bytes() {
    let mut partition = partition();
    let old = event("shop", "/", NOW_MS - 25 * HOUR_MS, 1);
    let future = event("shop", "/", NOW_MS + HOUR_MS, 1);
    apply(&mut partition, &[event("shop", "/", NOW_MS, 1), old, future]);
    let cut = flush(&mut partition);
    let letters: Vec<_> = cut.dead_letters.iter().map(|letter| (letter.event_index, letter.reason)).collect();
    assert_eq!(letters, [(1, Reason::TooOld), (2, Reason::InFuture)]);
    assert!(cut.dead_letters.iter().all(|letter| letter.project == Some(ProjectId(1))));
    let buried = EventRow::decode(&cut.dead_letters[0].bytes, NOW_MS).unwrap();
    assert_eq!(buried.ended_ms, NOW_MS - 25 * HOUR_MS);
    assert_eq!((cut.books.total.accepted, cut.books.total.rolled_up, cut.books.total.dead_lettered), (3, 1, 2));
}

#[test]
fn lateness_is_judged_by_the_time_of_the_log_and_not_by_a_clock_that_is_wrong() {
    let mut partition = partition();
    // Ingest's clock is a year ahead; the log's is right.
    let year_ms = 365 * 24 * HOUR_MS;
    let payload = batch(NOW_MS + year_ms, &[event("shop", "/", NOW_MS, 1)]);
    partition.apply(&record(0, NOW_MS, payload)).unwrap();
    assert_eq!(flush(&mut partition).books.total.rolled_up, 1);
}

#[test]
fn a_poisoned_record_is_buried_whole_and_the_next_one_counts() {
    let mut partition = partition();
    let mut flipped = batch(NOW_MS, &[event("shop", "/", NOW_MS, 1)]).to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    partition.apply(&record(0, NOW_MS, flipped.clone().into())).unwrap();
    partition.apply(&record(1, NOW_MS, b"not ours".as_slice().into())).unwrap();
    apply(&mut partition, &[event("shop", "/", NOW_MS, 1)]);
    let cut = flush(&mut partition);
    assert_eq!(cut.dead_letters[0].bytes.as_ref(), flipped);
    let reasons: Vec<_> = cut.dead_letters.iter().map(|letter| (letter.offset, letter.reason)).collect();
    assert_eq!(reasons, [(0, Reason::Checksum), (1, Reason::Malformed)]);
    assert_eq!((cut.books.records, cut.books.records_unreadable, cut.books.total.rolled_up), (3, 2, 1));
}

#[test]
fn missing_offsets_and_newer_formats_stop_the_partition_and_change_nothing() {
    let mut partition = partition();
    let payload = batch(NOW_MS, &[event("shop", "/", NOW_MS, 1)]);
    assert_eq!(partition.apply(&record(1, NOW_MS, payload)), Err(ApplyError::Gap { expected: 0, found: 1 }));
    // A record of format 2: checksum field, then field 2 with value 2.
    let body = [2 << 3, 2];
    let mut newer = vec![1 << 3 | 5];
    newer.extend(crc32fast::hash(&body).to_le_bytes());
    newer.extend(body);
    let refused = partition.apply(&record(0, NOW_MS, newer.into()));
    assert_eq!(refused, Err(ApplyError::NewerFormat { offset: 0, format: 2 }));
    assert!(!partition.has_uncut() && partition.next() == Offset(0));
}

#[test]
fn frames_line_up_and_every_cut_ends_where_a_frame_ends() {
    let mut partition = partition();
    let mut frames = Vec::new();
    let mut cuts = Vec::new();
    for step in 0..12 {
        apply(&mut partition, &[event("shop", "/", NOW_MS + step, 1)]);
        if step % 2 == 1 {
            frames.push(LiveFrame::decode(&partition.publish(5, NOW_MS).unwrap().payload).unwrap());
        }
        if step % 6 == 5 {
            cuts.push(partition.cut().unwrap());
        }
    }
    assert!(partition.publish(5, NOW_MS).is_none() && partition.cut().is_none());
    let ranges: Vec<_> = frames.iter().map(|frame| (frame.partition, frame.epoch, frame.from, frame.to)).collect();
    assert_eq!(ranges, (0..6).map(|at| (3, 5, 2 * at, 2 * at + 2)).collect::<Vec<_>>());
    assert_eq!(cuts.iter().map(|cut| (cut.from, cut.to)).collect::<Vec<_>>(), [(0, 6), (6, 12)]);
}

#[test]
fn ten_thousand_series_in_open_windows_take_a_few_megabytes_and_give_them_back() {
    let mut partition = partition();
    let routes: Vec<String> = (0..10_000).map(|number| format!("/api/resource-{number}/{{id}}")).collect();
    for (chunk, routes) in routes.chunks(1000).enumerate() {
        let events: Vec<_> =
            (0..20).flat_map(|n| routes.iter().map(move |route| event("shop", route, NOW_MS, 1000 * n))).collect();
        for events in events.chunks(5000) {
            apply(&mut partition, events);
        }
        assert!(partition.memory_bytes() < 32 << 20, "after {chunk}: {}", partition.memory_bytes());
    }
    assert_eq!(partition.series_len(), 10_000);
    partition.publish(1, NOW_MS);
    assert_eq!(partition.open_windows(), 10_000);
    let held = partition.memory_bytes();
    let cut = partition.cut().unwrap();
    assert!(cut.memory_bytes > 0 && partition.delta_bytes() < held / 3);
    partition.shrink();
    // But for the hashes of the series that have a place.
    assert!(partition.memory_bytes() < 256 << 10, "{}", partition.memory_bytes());
}

#[test]
fn an_event_without_a_place_is_counted_in_another_series_and_kept_as_it_was() {
    let series = SeriesLimits { series_max: 2, ..limits().series };
    let mut partition = Partition::new(3, Offset(0), PartitionLimits { series, ..limits() });
    let lost = || Event { status: 503, ..event("shop", "/orders/17", NOW_MS, 9_000) };
    apply(&mut partition, &[event("shop", "/a", NOW_MS, 1), event("shop", "/b", NOW_MS, 1), lost(), lost()]);
    let cut = flush(&mut partition);
    let counted: Vec<_> = cut
        .pieces
        .iter()
        .map(|piece| (piece.series.fields().route, piece.series.fields().status, piece.cell.count, piece.cell.errors))
        .collect();
    assert_eq!(counted, [("/a", 200, 1, 0), ("/b", 200, 1, 0), ("(other)", 500, 2, 2)]);
    assert_eq!((cut.books.total.rolled_up, cut.books.total.folded), (4, 2));
    assert_eq!((cut.overflow[0].segment.as_str(), cut.overflow[0].events), ("/orders/*", 2));
    let mut rows = Vec::new();
    cut.raw.rows.iter().for_each(|row| cut.raw.encode_row(row, &mut rows));
    let holds = |text: &str| rows.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("/orders/17") && !holds("(other)"));
}

#[test]
fn a_partition_that_goes_on_admits_what_its_predecessor_would_have() {
    let series = SeriesLimits { series_max: 3, ..limits().series };
    let limits = PartitionLimits { series, ..limits() };
    let mut first = Partition::new(3, Offset(0), limits);
    apply(&mut first, &["/a", "/b"].map(|route| event("shop", route, NOW_MS, 1)));
    let cut = flush(&mut first);
    let restored = Restored { log_ms: cut.log_ms, budgets: cut.budgets, ..Restored::default() };
    let mut second = Partition::restored(3, Offset(1), limits, restored);
    for partition in [&mut first, &mut second] {
        apply(partition, &["/c", "/d", "/a"].map(|route| event("shop", route, NOW_MS, 1)));
        let cut = flush(partition);
        let mut routes: Vec<_> = cut.pieces.iter().map(|piece| piece.series.fields().route).collect();
        routes.sort_unstable();
        assert_eq!(routes, ["(other)", "/a", "/c"]);
        assert_eq!(cut.budgets.iter().map(|seen| seen.hashes.len()).sum::<usize>(), 2);
    }
}

/// What the tables would hold: pieces merged by series and window.
type Merged = BTreeMap<(Vec<u8>, i64), (u64, u64, Vec<(u64, u64)>)>;

fn buckets(histogram: &Histogram) -> Vec<(u64, u64)> {
    let mut buckets = Vec::new();
    histogram.for_each(|lowest, _, count| buckets.push((lowest, count)));
    buckets
}

fn merged(cells: impl IntoIterator<Item = (Vec<u8>, i64, Cell)>) -> Merged {
    let mut by_place: BTreeMap<(Vec<u8>, i64), Cell> = BTreeMap::new();
    for (key, window_s, cell) in cells {
        by_place.entry((key, window_s)).or_default().merge(&cell);
    }
    let figures = |cell: Cell| (cell.count, cell.errors, buckets(&cell.histogram));
    by_place.into_iter().map(|(place, cell)| (place, figures(cell))).collect()
}

/// The lines of all books, added up as a reader of the tables does.
fn added_up(cuts: &[Cut]) -> (u64, Counts, BTreeMap<(u64, i64), Counts>, BTreeMap<(u64, i64), u64>) {
    let (mut records, mut total) = (0, Counts::default());
    let (mut minutes, mut days) = (BTreeMap::<_, Counts>::new(), BTreeMap::new());
    for books in cuts.iter().map(|cut| &cut.books) {
        records += books.records;
        total.add(&books.total);
        books
            .minutes
            .iter()
            .for_each(|line| minutes.entry((line.project.0, line.minute_s)).or_default().add(&line.events));
        books.days.iter().for_each(|line| *days.entry((line.project.0, line.day_s)).or_default() += line.rolled_up);
    }
    (records, total, minutes, days)
}

#[derive(Debug, Clone)]
struct Sent {
    route: u8,
    age_ms: i64,
    duration_us: Option<u64>,
    error: bool,
}

fn sent() -> impl Strategy<Value = Sent> {
    // Now and then older than a day or in the future, which ends in a dead letter.
    let age_ms = prop_oneof![8 => 0i64..30_000, 1 => 0i64..30 * HOUR_MS, 1 => -HOUR_MS..0];
    (0u8..4, age_ms, prop::option::of(0u64..5_000_000), prop::bool::weighted(0.1))
        .prop_map(|(route, age_ms, duration_us, error)| Sent { route, age_ms, duration_us, error })
}

fn payload(sent: &[Sent]) -> Bytes {
    let routes = ["/a", "/b", "/c", "/d"];
    let events: Vec<_> = sent
        .iter()
        .map(|sent| Event {
            duration_us: sent.duration_us,
            error: sent.error.then_some("boom"),
            ..event("shop", routes[usize::from(sent.route)], NOW_MS - sent.age_ms, 0)
        })
        .collect();
    batch(NOW_MS, &events)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn however_records_are_cut_into_frames_and_flushes_the_rollups_are_the_same(
        batches in prop::collection::vec(prop::collection::vec(sent(), 0..40), 1..20),
        publish_after in prop::collection::vec(any::<bool>(), 20),
        cut_after in prop::collection::vec(any::<bool>(), 20),
    ) {
        let payloads: Vec<Bytes> = batches.iter().map(|batch| payload(batch)).collect();
        let mut whole = partition();
        let mut split = partition();
        let mut cuts = Vec::new();
        let mut frames = Vec::new();
        for (at, payload) in payloads.iter().enumerate() {
            let record = record(at as u64, NOW_MS, payload.clone());
            whole.apply(&record).unwrap();
            split.apply(&record).unwrap();
            if publish_after[at] || cut_after[at] {
                frames.extend(split.publish(1, NOW_MS));
            }
            if cut_after[at] {
                cuts.extend(split.cut());
            }
        }
        frames.extend(split.publish(1, NOW_MS));
        cuts.extend(split.cut());
        let whole = flush(&mut whole);

        let pieces = |cut: &Cut| -> Vec<_> {
            cut.pieces.iter().map(|piece| (piece.series.key().to_vec(), piece.window_s, piece.cell.clone())).collect()
        };
        let expected = merged(pieces(&whole));
        prop_assert_eq!(&merged(cuts.iter().flat_map(pieces)), &expected);
        // The live view counts the same, second by second.
        let live = frames.iter().flat_map(|frame| LiveFrame::decode(&frame.payload).unwrap().cells).map(|cell| {
            let window_s = window_of(cell.slot_s);
            (cell.series, window_s, Cell { count: cell.count, errors: cell.errors, histogram: cell.histogram })
        });
        prop_assert_eq!(&merged(live), &expected);

        prop_assert_eq!(added_up(&cuts), added_up(std::slice::from_ref(&whole)));
        prop_assert!(whole.balances() && cuts.iter().all(Cut::balances));
        let sent: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
        prop_assert_eq!(whole.books.total.accepted, sent);
        let letters: Vec<_> = cuts.iter().flat_map(|cut| cut.dead_letters.clone()).collect();
        prop_assert_eq!(letters, whole.dead_letters);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_always_leave_a_trace(bytes: Vec<u8>) {
        let mut partition = partition();
        partition.apply(&record(0, NOW_MS, bytes.into())).unwrap();
        let cut = flush(&mut partition);
        prop_assert_eq!((cut.dead_letters.len(), cut.pieces.len()), (1, 0));
    }
}

#[test]
fn a_series_key_reads_back_from_the_frame() {
    let mut partition = partition();
    apply(&mut partition, &[event("shop", "/cart", NOW_MS, 1)]);
    let frame = LiveFrame::decode(&partition.publish(1, NOW_MS).unwrap().payload).unwrap();
    assert_eq!(SeriesKey::parse(&frame.cells[0].series).unwrap().decode().unwrap().route, "/cart");
}
