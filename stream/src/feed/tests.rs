use bytes::Bytes;
use peep_log::memory;
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use peep_wire::live::LiveCell;

use super::*;

fn frame(partition: u32, epoch: u64, from: u64, to: u64) -> LiveFrame {
    let cell = |project: u64| LiveCell {
        project: ProjectId(project),
        series: vec![0; 100],
        slot_s: 0,
        count: 1,
        errors: 0,
        histogram: Histogram::new(),
    };
    LiveFrame {
        partition,
        epoch,
        from,
        to,
        published_ms: from as i64 * 1000,
        newest_received_ms: 0,
        cells: vec![cell(2), cell(1)],
    }
}

fn cursors(offsets: &[(u32, u64)]) -> Cursors {
    offsets.iter().map(|&(partition, offset)| (partition, Position { offset, epoch: 1 })).collect()
}

fn offsets(feed: &Feed, cursors: &Cursors) -> Vec<u64> {
    feed.continue_from(cursors).positions.values().map(|position| position.offset).collect()
}

#[test]
fn partitions_are_continued_each_from_its_own_cursor() {
    let feed = Feed::new(1 << 20);
    feed.insert([frame(0, 1, 0, 5), frame(1, 1, 0, 3), frame(0, 1, 5, 9)]);
    let continued = feed.continue_from(&cursors(&[(0, 5)]));
    assert_eq!(continued.frames.len(), 2, "the second of partition 0, and partition 1 from its beginning");
    assert_eq!(offsets(&feed, &cursors(&[(0, 5)])), [9, 3]);
    assert!(continued.frames.iter().all(|frame| frame.cells.is_sorted_by_key(|cell| cell.project)));
}

#[test]
fn committed_frames_go_when_they_are_old_and_others_stay() {
    let feed = Feed::new(1 << 20);
    feed.insert((0..300).map(|n| frame(0, 1, n, n + 1)));
    assert!(!feed.continue_from(&cursors(&[(0, 0)])).gap, "nothing is known to be committed");
    feed.learn_committed(&cursors(&[(0, 290)]));
    assert!(feed.continue_from(&cursors(&[(0, 0)])).gap);
    assert!(!feed.continue_from(&cursors(&[(0, 200)])).gap, "the last two minutes stay for reads under way");
}

#[test]
fn the_byte_budget_is_kept_and_what_is_missing_is_a_gap() {
    let feed = Feed::new(10 * frame_bytes(&frame(0, 1, 0, 1)));
    feed.insert((0..50).map(|n| frame(0, 1, n, n + 1)));
    assert!(feed.shared.store.lock().bytes <= 10 * frame_bytes(&frame(0, 1, 0, 1)));
    assert!(feed.continue_from(&cursors(&[(0, 10)])).gap);
    assert_eq!(offsets(&feed, &cursors(&[(0, 40)])), [50]);
}

#[test]
fn the_budget_is_exact_whatever_comes_and_goes() {
    let feed = Feed::new(1 << 20);
    feed.insert((0..20).map(|n| frame(0, 1, n, n + 1)));
    feed.insert([frame(0, 1, 3, 4), frame(0, 2, 10, 12), frame(0, 1, 20, 21), frame(0, 2, 12, 13)]);
    let store = feed.shared.store.lock();
    assert_eq!(store.bytes, 12 * frame_bytes(&frame(0, 1, 0, 1)));
}

#[tokio::test]
async fn a_start_reads_back_far_enough_to_overlap_the_cursor() {
    let live = memory(1);
    let all = READ_BACK_RECORDS * 3;
    for n in 0..all {
        let payload: Bytes = frame(0, 1, n, n + 1).encode();
        live.append(Partition(0), payload).await.expect("memory takes it");
    }
    let feed = Feed::new(64 << 20);
    let next = feed.read_back(&*live, Partition(0), &cursors(&[(0, 5)])).await.expect("memory answers");
    assert_eq!(next, Offset(all));
    let continued = feed.continue_from(&cursors(&[(0, 5)]));
    assert!(!continued.gap);
    assert_eq!(continued.frames.len() as u64, all - 5);

    let recent = Feed::new(64 << 20);
    let cursor = cursors(&[(0, all - 1)]);
    recent.read_back(&*live, Partition(0), &cursor).await.expect("memory answers");
    assert!(recent.continue_from(&cursors(&[(0, 0)])).gap, "no further than needed");
    assert_eq!(recent.continue_from(&cursor).frames.len(), 1);
}

#[tokio::test]
async fn an_unreadable_record_is_a_gap_and_not_the_end() {
    let live = memory(1);
    for payload in [frame(0, 1, 0, 1).encode(), Bytes::from_static(b"\xffnot a frame"), frame(0, 1, 2, 3).encode()] {
        live.append(Partition(0), payload).await.expect("memory takes it");
    }
    let feed = Feed::new(1 << 20);
    feed.read_back(&*live, Partition(0), &cursors(&[(0, 0)])).await.expect("memory answers");
    assert!(feed.continue_from(&cursors(&[(0, 0)])).gap);
    assert_eq!(offsets(&feed, &cursors(&[(0, 2)])), [3]);
}
