use peep_wire::histogram::Histogram;
use peep_wire::record::Series;

use super::*;
use crate::labels::Dimension;

const PROJECT: ProjectId = ProjectId(7);

fn question(group_by: &[Dimension]) -> Question {
    let window = Window { from_s: 1000, to_s: 1060, step_s: 20 };
    let group_by = GroupBy::new(group_by.iter().copied());
    Question { project: PROJECT, window, filters: Filters::default(), group_by, statuses: true }
}

fn cell(project: u64, route: &str, slot_s: i64, durations_us: &[u64]) -> LiveCell {
    let series = Series { service: "shop", env: "default", route, method: "GET", status: 200 };
    let mut histogram = Histogram::new();
    durations_us.iter().for_each(|&us| histogram.record(us));
    let count = durations_us.len() as u64;
    LiveCell { project: ProjectId(project), series: series.to_key_bytes(), slot_s, count, errors: 0, histogram }
}

fn frame(mut cells: Vec<LiveCell>) -> LiveFrame {
    cells.sort_by_key(|cell| cell.project);
    LiveFrame { partition: 0, epoch: 1, from: 0, to: 1, published_ms: 0, newest_received_ms: 1_031_250, cells }
}

fn encoded(durations_us: &[u64]) -> (Vec<u8>, Totals) {
    let mut histogram = Histogram::new();
    durations_us.iter().for_each(|&us| histogram.record(us));
    let mut bytes = Vec::new();
    histogram.encode_v2(&mut bytes);
    (bytes, histogram.totals().expect("some durations"))
}

#[test]
fn rows_and_cells_of_one_step_add_up() {
    let mut grouped = Grouped::new(question(&[Dimension::Route]), 1 << 20);
    let labels =
        Labels { env: "default", service: "shop", route: "/a", method: "GET", status: 200, version: "", host: "" };
    let group = grouped.group_of(&labels).expect("no filters");
    let (bytes, totals) = encoded(&[10, 30]);
    let piece = Piece { bucket_s: 1020, last_s: 1020, count: 3, errors: 1, latency: Some((&bytes, totals)) };
    grouped.add_piece(group, 200, piece).expect("fits");
    grouped.add_frame(&frame(vec![cell(7, "/a", 1031, &[20]), cell(7, "/a", 1029, &[40])])).expect("fits");
    let groups = grouped.into_groups(10);
    assert_eq!(groups.len(), 1);
    let step = &groups[0].steps[&1020];
    assert_eq!((step.count, step.errors, step.latency.count(), step.latency.sum_us()), (5, 1, 4, 100));
    assert_eq!(groups[0].last_seen, Seen::within(1030, 10), "of a route as exactly as is stored");
}

#[test]
fn services_are_last_seen_to_the_millisecond_once_they_are_stored_and_to_the_second_before() {
    let mut grouped = Grouped::new(question(&[Dimension::Service]), 1 << 20);
    let mut store = |service, bucket_s| {
        let labels = Labels { env: "default", service, route: "", method: "", status: 0, version: "1", host: "" };
        let group = grouped.group_of(&labels).expect("no filters");
        let piece = Piece { bucket_s, last_s: bucket_s, count: 1, errors: 0, latency: None };
        grouped.add_piece(group, 0, piece).expect("fits");
    };
    store("shop", 1020);
    store("cart", 1010);
    store("cart", 1030);
    // The shop was also seen after the window, so nobody knows when it was in it.
    let newest = [("default", "cart", 1_033_417), ("eu", "cart", 1_012_000), ("default", "shop", 1_990_000)];
    grouped.learn_newest(newest);
    let seen = |grouped: &Grouped| {
        let seen = |group: &Group| (group.key.texts()[0].clone(), group.last_seen.from_ms);
        let mut seen: Vec<_> = grouped.groups.iter().map(seen).collect();
        seen.sort();
        seen
    };
    assert_eq!(seen(&grouped), [("cart".to_owned(), 1_033_417), ("shop".to_owned(), 1_020_000)]);
    grouped.add_frame(&frame(vec![cell(7, "/a", 1031, &[20])])).expect("fits");
    assert_eq!(seen(&grouped)[1].1, 1_031_000);
}

#[test]
fn what_was_last_seen_does_not_go_back_when_it_is_stored() {
    let live = |group_by: &[Dimension]| {
        let mut grouped = Grouped::new(question(group_by), 1 << 20);
        grouped.add_frame(&frame(vec![cell(7, "/a", 1037, &[20])])).expect("fits");
        grouped.newest().known_ms()
    };
    assert_eq!(live(&[Dimension::Route]), Some(1_030_000));
    assert_eq!(live(&[Dimension::Service]), Some(1_037_000));
}

#[test]
fn other_projects_and_other_times_are_not_counted() {
    let mut grouped = Grouped::new(question(&[]), 1 << 20);
    let cells =
        vec![cell(6, "/a", 1010, &[1]), cell(8, "/a", 1010, &[1]), cell(7, "/a", 999, &[1]), cell(7, "/a", 1060, &[1])];
    grouped.add_frame(&frame(cells)).expect("fits");
    assert!(grouped.into_groups(10).is_empty());
}

#[test]
fn the_smallest_groups_beyond_the_budget_are_one_and_nothing_is_lost() {
    let mut grouped = Grouped::new(question(&[Dimension::Route]), 1 << 20);
    let cells = (1..=5).map(|n| cell(7, &format!("/{n}"), 1010, &vec![100; n])).collect();
    grouped.add_frame(&frame(cells)).expect("fits");
    let groups = grouped.into_groups(3);
    let counts: Vec<u64> = groups.iter().map(|group| group.total().count).collect();
    assert_eq!(counts, [5, 4, 6]);
    assert!(groups[2].key.is_other());
}

#[test]
fn memory_is_bounded() {
    let mut grouped = Grouped::new(question(&[Dimension::Route]), 10_000);
    let cells = (0..200).map(|n| cell(7, &format!("/{n}"), 1010, &[100])).collect();
    assert_eq!(grouped.add_frame(&frame(cells)), Err(PourError::TooWide));
}

#[test]
fn answers_share_their_memory_and_one_that_is_gone_gives_it_back() {
    let room = Room::new(2 * SHARE_STEP);
    let start = || Grouped::within(question(&[Dimension::Route]), 1 << 20, room.clone());
    let wide = || frame((0..20).map(|n| cell(7, &format!("/{n}"), 1010, &[100])).collect());
    let (mut first, mut second, mut third) = (start(), start(), start());
    assert_eq!((first.add_frame(&wide()), second.add_frame(&wide())), (Ok(()), Ok(())));
    assert_eq!(third.add_frame(&wide()), Err(PourError::NoRoom));
    drop(first);
    assert_eq!(third.add_frame(&wide()), Ok(()));
}

#[test]
fn an_unreadable_series_is_skipped_and_the_others_count() {
    let mut grouped = Grouped::new(question(&[]), 1 << 20);
    let broken = LiveCell { series: vec![0xff; 3], ..cell(7, "/a", 1010, &[1]) };
    grouped.add_frame(&frame(vec![broken, cell(7, "/b", 1010, &[1])])).expect("fits");
    assert_eq!(grouped.into_groups(10)[0].total().count, 1);
}
