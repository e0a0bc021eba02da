use std::collections::BTreeMap;

use peep_wire::KeyId;
use peep_wire::event::Event;
use peep_wire::histogram::Histogram;
use peep_wire::live::LiveFrame;
use peep_wire::record::{EventRow, RecordBuilder, SeriesKey};
use proptest::prelude::*;

use super::*;
use crate::testing::{NOW_MS, batch, event, identified, record};

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
        facets: FacetLimits { per_scope_max: 3, total_max: 100 },
    }
}

fn apply(partition: &mut Partition, events: &[Event<'_>]) {
    let next = partition.next().0;
    partition.apply(&record(next, NOW_MS, batch(NOW_MS, events))).unwrap();
}

fn apply_all<'p>(
    partition: &mut Partition,
    requests: impl IntoIterator<Item = &'p (impl AsRef<[Bytes]> + ?Sized + 'p)>,
) {
    for payload in requests.into_iter().flat_map(AsRef::as_ref) {
        let next = partition.next().0;
        partition.apply(&record(next, NOW_MS, payload.clone())).unwrap();
    }
}

/// Publishes and cuts, as a flush does.
fn flush(partition: &mut Partition) -> Cut {
    partition.publish(1, NOW_MS);
    partition.cut().unwrap()
}

#[test]
fn a_frame_that_is_skipped_changes_no_count() {
    let [mut seen, mut unseen] = [(); 2].map(|()| partition());
    for round in 0..3 {
        let failed = Event { status: 503, ..event("shop", "/pay", NOW_MS - 11_000 * round, 9_000) };
        let untimed = Event { duration_us: None, ..event("shop", "/cart", NOW_MS, 0) };
        let events = [event("shop", "/cart", NOW_MS, 2_000 + round as u64), failed, untimed];
        apply(&mut seen, &events);
        apply(&mut unseen, &events);
        assert_eq!(seen.publish(1, NOW_MS).unwrap().cells, 2);
        unseen.skip_frame();
        assert!(!unseen.has_unpublished() && unseen.frame_bytes() == 0);
    }
    let pieces = |partition: &mut Partition| -> Vec<_> {
        let pieces = flush(partition).pieces.into_iter();
        pieces.map(|piece| (piece.series.key().to_vec(), piece.window_s, piece.cell)).collect()
    };
    assert_eq!(pieces(&mut unseen), pieces(&mut seen));
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
fn a_batch_that_comes_again_is_a_duplicate_whatever_it_says_by_then() {
    let mut partition = partition();
    let first = identified(1, 0, &[event("shop", "/", NOW_MS, 1), event("shop", "/", NOW_MS, 2)], usize::MAX);
    // Ingest may have accepted another subset of its events the second time.
    let retry = identified(1, 0, &[event("shop", "/", NOW_MS, 1)], usize::MAX);
    apply_all(&mut partition, [&first, &retry, &first]);
    let cut = flush(&mut partition);
    let total = cut.books.total;
    assert_eq!((total.accepted, total.rolled_up, total.duplicate), (5, 2, 3));
    let again: Vec<_> =
        cut.duplicates.iter().map(|duplicate| (duplicate.offset, duplicate.seq, duplicate.events)).collect();
    assert_eq!(again, [(1, 0, 1), (2, 0, 2)]);
    assert_eq!(
        (cut.pieces[0].cell.count, cut.raw.tally.offered),
        (2, 2),
        "a duplicate is in no window and in no sample"
    );
}

#[test]
fn a_batch_of_which_nobody_knows_is_buried_with_all_its_bytes() {
    let mut partition = partition();
    let late = identified(1, 0, &[event("shop", "/", NOW_MS, 1)], usize::MAX);
    let far = identified(1, 5000, &[event("shop", "/", NOW_MS, 1)], usize::MAX);
    let routes: Vec<String> = (0..500).map(|number| format!("/{number}")).collect();
    let many: Vec<_> = routes.iter().map(|route| event("shop", route, NOW_MS, 1)).collect();
    let (fine, coarse) = (identified(2, 0, &many, 4096), identified(2, 0, &many, 8192));
    apply_all(&mut partition, [&far, &late, &fine[..1], &coarse]);
    let cut = flush(&mut partition);
    let letters: Vec<_> = cut.dead_letters.iter().map(|letter| (letter.offset, letter.reason)).collect();
    assert_eq!(letters[0], (1, Reason::DedupWindowExceeded));
    assert!(letters.len() > 2 && letters[1..].iter().all(|(_, reason)| *reason == Reason::IdentityConflict));
    assert_eq!(cut.dead_letters[0].bytes.as_ref(), late[0].as_ref());
    assert_eq!(cut.books.total.dead_lettered, 1 + 500);
    assert_eq!((cut.dead_letters[1].event_index, cut.dead_letters[1].received_ms), (0, Some(NOW_MS)));
}

#[test]
fn a_request_of_several_records_is_completed_by_its_retry() {
    let mut partition = partition();
    let routes: Vec<String> = (0..500).map(|number| format!("/{number}")).collect();
    let many: Vec<_> = routes.iter().map(|route| event("shop", route, NOW_MS, 1)).collect();
    let parts = identified(1, 0, &many, 4096);
    assert!(parts.len() > 3);
    // The second record was not taken by the log; the whole request comes again, and again.
    apply_all(&mut partition, [&parts[..1], &parts[2..], &parts, &parts]);
    let cut = flush(&mut partition);
    assert_eq!((cut.books.total.rolled_up, cut.books.total.duplicate), (500, cut.books.total.accepted - 500));
    assert!(cut.pieces.iter().all(|piece| piece.cell.count == 1));
}

#[test]
fn books_tell_certain_events_from_uncertain_and_unidentified_ones() {
    let mut partition = partition();
    let two = [event("shop", "/", NOW_MS, 1), event("shop", "/", NOW_MS + HOUR_MS, 1)];
    apply(&mut partition, &two);
    apply_all(&mut partition, [&identified(1, 7, &two, usize::MAX), &identified(1, 8, &two, usize::MAX)]);
    let total = flush(&mut partition).books.total;
    assert_eq!((total.rolled_up, total.dead_lettered), (3, 3), "the future is a dead letter");
    assert_eq!((total.unidentified, total.uncertain), (1, 1), "of what is rolled up");
}

#[test]
fn a_leap_of_the_logs_clock_makes_no_producer_forgotten() {
    let mut partition = partition();
    let batch = identified(1, 3, &[event("shop", "/", NOW_MS, 1)], usize::MAX).remove(0);
    partition.apply(&record(0, NOW_MS, batch.clone())).unwrap();
    partition.apply(&record(1, NOW_MS + 1000 * HOUR_MS, b"noise".as_slice().into())).unwrap();
    assert_eq!(partition.log_ms(), NOW_MS + HOUR_MS);
    partition.apply(&record(2, NOW_MS, batch.clone())).unwrap();
    assert_eq!(flush(&mut partition).books.total.duplicate, 1);
    // Days of records do.
    for offset in 3..40 {
        partition.apply(&record(offset, NOW_MS + 1000 * HOUR_MS, b"noise".as_slice().into())).unwrap();
    }
    partition.apply(&record(40, NOW_MS + 1000 * HOUR_MS, batch)).unwrap();
    assert_eq!(flush(&mut partition).books.total.duplicate, 0);
}

#[test]
fn a_project_that_no_table_can_hold_is_not_believed() {
    let mut partition = partition();
    for project in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let mut builder = RecordBuilder::default();
        builder.start(NOW_MS);
        builder.push(&event("shop", "/", NOW_MS, 1));
        let next = partition.next().0;
        let payload = builder.finish(ProjectId(project), KeyId(1), None).remove(0);
        partition.apply(&record(next, NOW_MS, payload)).unwrap();
    }
    let cut = flush(&mut partition);
    assert_eq!((cut.books.total.rolled_up, cut.books.records_unreadable), (1, 2));
    assert!(cut.balances() && cut.dead_letters.iter().all(|letter| letter.project.is_none()));
}

#[test]
fn missing_offsets_and_newer_formats_stop_the_partition_and_change_nothing() {
    let mut partition = partition();
    let payload = batch(NOW_MS, &[event("shop", "/", NOW_MS, 1)]);
    assert_eq!(partition.apply(&record(1, NOW_MS, payload)), Err(ApplyError::Gap { expected: 0, found: 1 }));
    // A record of format 3: checksum field, then field 2 with value 3.
    let body = [2 << 3, 3];
    let mut newer = vec![1 << 3 | 5];
    newer.extend(crc32fast::hash(&body).to_le_bytes());
    newer.extend(body);
    let refused = partition.apply(&record(0, NOW_MS, newer.into()));
    assert_eq!(refused, Err(ApplyError::NewerFormat { offset: 0, format: 3 }));
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

/// Pieces of facets merged by facet and window.
type MergedFacets = BTreeMap<(FacetKind, String, i64), (u64, u64, Vec<(u64, u64)>)>;

/// When each was first and last heard of.
type FacetSpans = BTreeMap<(FacetKind, String), (i64, i64)>;

fn facets(cuts: &[Cut]) -> (MergedFacets, FacetSpans) {
    let mut cells: BTreeMap<(FacetKind, String, i64), Cell> = BTreeMap::new();
    let mut seen: BTreeMap<(FacetKind, String), (i64, i64)> = BTreeMap::new();
    for cut in cuts {
        for piece in &cut.facets.pieces {
            let key = (piece.facet.kind, piece.facet.value.to_string(), piece.window_s);
            cells.entry(key).or_default().merge(&piece.cell);
        }
        for of in &cut.facets.seen {
            let known = seen.entry((of.facet.kind, of.facet.value.to_string())).or_insert((of.first_ms, of.last_ms));
            *known = (known.0.min(of.first_ms), known.1.max(of.last_ms));
        }
    }
    let flat = |(key, cell): (_, Cell)| (key, (cell.count, cell.errors, buckets(&cell.histogram)));
    (cells.into_iter().map(flat).collect(), seen)
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

/// Records and events in all, by project and minute, and by project and day.
type AddedUp = (u64, Counts, BTreeMap<(u64, i64), Counts>, BTreeMap<(u64, i64), u64>);

/// The lines of all books, added up as a reader of the tables does.
fn added_up(cuts: &[Cut]) -> AddedUp {
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
    batch(NOW_MS, &events_of(sent))
}

/// Without a number, which stands for a client that sends none.
fn with_identity(producer: u8, seq: u64, events: &[Event<'_>]) -> Bytes {
    match producer {
        0 => batch(NOW_MS, events),
        _ => identified(producer, seq * 400, events, usize::MAX).remove(0),
    }
}

/// What the store remembers for the next owner.
#[derive(Default)]
struct Tables {
    next: u64,
    log_ms: i64,
    windows: BTreeMap<(ProjectId, Producer), Window>,
    budgets: Vec<SeenSeries>,
    facet_budgets: Vec<SeenFacets>,
}

impl Tables {
    fn keep(&mut self, cut: &Cut) {
        assert_eq!(self.next, cut.from);
        (self.next, self.log_ms) = (cut.to, cut.log_ms);
        cut.dedup.forgotten.iter().for_each(|key| drop(self.windows.remove(key)));
        let windows = cut.dedup.windows.iter().map(|window| ((window.project, window.producer), window.clone()));
        self.windows.extend(windows);
        self.budgets.extend(cut.budgets.iter().cloned());
        self.facet_budgets.extend(cut.facets.budgets.iter().cloned());
    }

    fn restored(&self) -> Restored {
        let windows = self.windows.values().cloned().collect();
        let (budgets, facet_budgets) = (self.budgets.clone(), self.facet_budgets.clone());
        Restored { log_ms: self.log_ms, windows, budgets, facet_budgets }
    }
}

fn events_of(sent: &[Sent]) -> Vec<Event<'static>> {
    let routes = ["/a", "/b", "/c", "/d"];
    sent.iter()
        .map(|sent| Event {
            duration_us: sent.duration_us,
            error: sent.error.then_some("boom"),
            // Hosts beyond their budget.
            host: [None, Some("a"), Some("b"), Some("c"), Some("d")][sent.age_ms as usize / 100 % 5],
            version: [Some("v1"), Some("v2")][usize::from(sent.route) % 2],
            ..event("shop", routes[usize::from(sent.route)], NOW_MS - sent.age_ms, 0)
        })
        .collect()
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

        prop_assert_eq!(facets(&cuts), facets(std::slice::from_ref(&whole)));
        prop_assert_eq!(added_up(&cuts), added_up(std::slice::from_ref(&whole)));
        prop_assert!(whole.balances() && cuts.iter().all(Cut::balances));
        let sent: u64 = batches.iter().map(|batch| batch.len() as u64).sum();
        prop_assert_eq!(whole.books.total.accepted, sent);
        let letters: Vec<_> = cuts.iter().flat_map(|cut| cut.dead_letters.clone()).collect();
        prop_assert_eq!(letters, whole.dead_letters);
    }

    #[test]
    fn a_worker_that_dies_and_goes_on_from_the_tables_books_what_one_that_lives_books(
        batches in prop::collection::vec((0u8..3, 0u64..6, prop::collection::vec(sent(), 1..6)), 1..60),
        then in prop::collection::vec(0u8..8, 60),
        hours in prop::collection::vec(0i64..3, 60),
    ) {
        let mut lives = partition();
        let (mut dies, mut tables) = (partition(), Tables::default());
        let mut cuts = Vec::new();
        let mut appended_ms = NOW_MS;
        let mut records = Vec::new();
        for (at, (producer, seq, events)) in batches.iter().enumerate() {
            appended_ms += hours[at] * HOUR_MS;
            let payload = with_identity(*producer, *seq, &events_of(events));
            records.push(record(at as u64, appended_ms, payload));
            lives.apply(&records[at]).unwrap();
        }
        let mut at = 0;
        let mut deaths = 0;
        while at < records.len() {
            dies.apply(&records[at]).unwrap();
            at += 1;
            match then[at - 1] {
                0 => {
                    let cut = flush(&mut dies);
                    tables.keep(&cut);
                    cuts.push(cut);
                }
                // The outcome of the last flush is what the tables say, and so is where to begin.
                1 if deaths < 20 => {
                    deaths += 1;
                    at = tables.next as usize;
                    dies = Partition::restored(3, Offset(tables.next), limits(), tables.restored());
                }
                _ => {}
            }
        }
        if dies.has_uncut() {
            cuts.push(flush(&mut dies));
        }
        let whole = flush(&mut lives);
        prop_assert_eq!(added_up(&cuts), added_up(std::slice::from_ref(&whole)));
        prop_assert_eq!(facets(&cuts), facets(std::slice::from_ref(&whole)));
        prop_assert_eq!(dies.facets.places(), lives.facets.places());
        prop_assert_eq!(dies.log_ms(), lives.log_ms());
        prop_assert_eq!(dies.dedup().windows(dies.log_ms()), lives.dedup().windows(lives.log_ms()));
        let duplicates: Vec<_> = cuts.iter().flat_map(|cut| cut.duplicates.clone()).collect();
        prop_assert_eq!(duplicates, whole.duplicates);
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
