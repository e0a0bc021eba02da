use std::time::Duration;

use peep_log::memory::MemoryLog;
use peep_log::{LogConfig, Topic};
use peep_wire::record::{RecordBuilder, open};
use peep_wire::{KeyId, ProjectId};

use super::*;

fn record(number: u64) -> Bytes {
    let context = peep_wire::json::Context {
        bound_env: None,
        age_ms_max: i64::MAX,
        ahead_ms_max: i64::MAX,
        events_max: 10,
        event_bytes_max: 1 << 16,
        depth_max: 8,
        lines: true,
    };
    let mut builder = RecordBuilder::default();
    builder.start(1);
    let body = format!("{{\"service\":\"s{number}\",\"duration_ms\":1}}\n");
    let mut decoder = peep_wire::json::Decoder::default();
    decoder.decode(body.as_bytes(), &context, &mut builder, &mut Vec::new()).unwrap();
    builder.finish(ProjectId(number), KeyId(1), None).remove(0)
}

fn log_with(record_bytes_max: usize) -> MemoryLog {
    MemoryLog::open(&LogConfig { partitions: 2, record_bytes_max, ..LogConfig::default() }, Topic::Events)
}

fn appender(log: &MemoryLog) -> Appender {
    Appender::new(Arc::new(log.clone()), 4096)
}

fn append(appender: &Appender, number: u64) -> tokio::task::JoinHandle<Result<Placed, AppendError>> {
    let (appender, record) = (appender.clone(), record(number));
    tokio::spawn(async move { appender.append(Partition(0), record, 1).await })
}

/// By record, the projects of its batches and where each begins.
async fn kept(log: &MemoryLog) -> Vec<Vec<(u64, u32)>> {
    let mut reader = log.reader(Partition(0), Offset(0)).await.unwrap();
    let records = reader.next(64 << 20, Duration::ZERO).await.unwrap();
    let batches = |payload: &[u8]| -> Vec<(u64, u32)> {
        open(payload).unwrap().batches().map(|batch| (batch.header.project.0, batch.first_event)).collect()
    };
    records.iter().map(|record| batches(&record.payload)).collect()
}

#[tokio::test]
async fn who_finds_nothing_on_its_way_goes_alone() {
    let log = log_with(1 << 20);
    let appender = appender(&log);
    for number in 1..=3 {
        let placed = append(&appender, number).await.unwrap().unwrap();
        assert_eq!(placed, Placed { offset: Offset(number - 1), share: None });
    }
    assert_eq!(kept(&log).await, [[(1, 0)], [(2, 0)], [(3, 0)]]);
}

#[tokio::test]
async fn those_that_come_while_one_is_on_its_way_go_together_and_each_knows_its_place() {
    let log = log_with(1 << 20);
    let appender = appender(&log);
    log.stall();
    let waiting: Vec<_> = (1..=5).map(|number| append(&appender, number)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.resume();
    let mut placed = Vec::new();
    for one in waiting {
        placed.push(one.await.unwrap().unwrap());
    }
    assert_eq!(placed[0], Placed { offset: Offset(0), share: None });
    let second = |first_event| Placed { offset: Offset(1), share: Some(Share { first_event, events: 1 }) };
    assert_eq!(placed[1..], [second(0), second(2), second(4), second(6)]);
    assert_eq!(kept(&log).await, [vec![(1, 0)], vec![(2, 0), (3, 2), (4, 4), (5, 6)]]);
}

#[tokio::test]
async fn the_next_convoy_waits_for_as_many_as_the_last_had_and_not_for_ever() {
    let log = log_with(1 << 20);
    let appender = appender(&log);
    log.stall();
    let waiting: Vec<_> = (1..=9).map(|number| append(&appender, number)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.resume();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    // Eight were in the last one: they do not go one by one. The last of them is expected to have company, which does not come.
    let expected: Vec<_> = (10..=17).map(|number| append(&appender, number)).collect();
    for one in expected {
        one.await.unwrap().unwrap();
    }
    let sizes: Vec<usize> = kept(&log).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 8, 7, 1]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(append(&appender, 18).await.unwrap().unwrap().share, None, "nobody is expected any more");
}

#[tokio::test]
async fn partitions_go_together_and_each_has_its_own_records() {
    let log = log_with(1 << 20);
    let appender = appender(&log);
    log.stall();
    let to = |partition, number| {
        let (appender, record) = (appender.clone(), record(number));
        tokio::spawn(async move { appender.append(Partition(partition), record, 1).await })
    };
    let waiting: Vec<_> = (1..=7).map(|number| to(u32::from(number % 2 == 0), number)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.resume();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    let high = async |partition| log.watermarks(Partition(partition)).await.unwrap().high.0;
    assert_eq!((high(0).await, high(1).await), (2, 1), "one alone and two bundles");
}

#[tokio::test]
async fn a_full_bundle_does_not_wait_and_fits_the_log() {
    let log = log_with(1 << 10);
    let appender = Appender::new(Arc::new(log.clone()), 256);
    log.stall();
    let waiting: Vec<_> = (1..=100).map(|number| append(&appender, number)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.resume();
    for one in waiting {
        one.await.unwrap().unwrap();
    }
    let sizes: Vec<usize> = kept(&log).await.iter().map(Vec::len).collect();
    assert!(sizes.len() > 4 && sizes.len() < 20 && sizes.iter().sum::<usize>() == 100, "{sizes:?}");
}

#[tokio::test]
async fn a_client_that_leaves_changes_nothing_for_the_others() {
    let log = log_with(1 << 20);
    let appender = appender(&log);
    log.stall();
    let waiting: Vec<_> = (1..=4).map(|number| append(&appender, number)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    waiting[0].abort();
    waiting[2].abort();
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.resume();
    let mut placed = Vec::new();
    for one in waiting {
        placed.push(one.await.ok().map(Result::unwrap).map(|placed| placed.offset.0));
    }
    assert_eq!(placed, [None, Some(1), None, Some(1)]);
    assert_eq!(kept(&log).await.concat().len(), 4, "what was sent is sent");
    assert_eq!(append(&appender, 5).await.unwrap().unwrap().share, None, "the way is free again");
}

#[tokio::test]
async fn when_the_log_refuses_everybody_on_board_is_told() {
    let log = log_with(1 << 20);
    let appender = appender(&log);
    log.stall();
    let waiting: Vec<_> = (1..=3).map(|number| append(&appender, number)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    waiting[0].abort();
    log.stop();
    for one in waiting.into_iter().skip(1) {
        assert!(matches!(one.await.unwrap(), Err(AppendError::Unavailable { .. })));
    }
    log.resume();
    assert!(append(&appender, 4).await.unwrap().is_ok());
}

#[tokio::test]
async fn large_records_are_batches_already() {
    let log = log_with(1 << 20);
    let appender = Appender::new(Arc::new(log.clone()), 0);
    log.stall();
    let waiting: Vec<_> = (1..=3).map(|number| append(&appender, number)).collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    log.resume();
    for one in waiting {
        assert_eq!(one.await.unwrap().unwrap().share, None);
    }
    assert_eq!(kept(&log).await.len(), 3);
}

#[test]
fn threads_travel_together_and_each_is_told_where_it_waits() {
    let log = log_with(1 << 20);
    let appender = Appender::with_desks(Arc::new(log.clone()), 4096, 1);
    log.stall();
    // A thread stays until everybody has an answer, as in `app`.
    let all = Arc::new(tokio::sync::Barrier::new(3 * SEATS));
    let threads: Vec<_> = (1..=3 * SEATS as u64)
        .map(|number| {
            let (appender, all) = (appender.clone(), Arc::clone(&all));
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let placed = appender.append(Partition(0), record(number), 1).await;
                    all.wait().await;
                    placed
                })
            })
        })
        .collect();
    while appender.shared.desks[0].lock().gathered < threads.len() - 1 {
        std::thread::yield_now();
    }
    log.resume();
    let placed = threads.into_iter().map(|thread| thread.join().unwrap().unwrap());
    assert_eq!(placed.filter(|placed| placed.share.is_some()).count(), 3 * SEATS - 1);
}

#[test]
fn who_waits_when_the_runtime_ends_is_not_forgotten() {
    let log = log_with(1 << 20);
    let appender = appender(&log);
    log.stall();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (on_board, convoy) = runtime.block_on(async {
        let Err((_, convoy)) = appender.join(Partition(0), record(1), 1) else { panic!("nothing is on its way") };
        let Ok((on_board, _)) = appender.join(Partition(0), record(2), 1) else { panic!("one is on its way") };
        (on_board, convoy)
    });
    drop(runtime);
    drop(convoy);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(matches!(other.block_on(on_board), Err(AppendError::Unavailable { .. })));
}
