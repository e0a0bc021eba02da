//! The contract of the log, one suite for every backend: memory, Postgres and Kafka.
//!
//! A case is a function of a [`World`], which hides how a backend is opened, mistreated and made to forget. The only
//! exemption is written at the end of the file: a log in memory does not outlive its process.

mod world;

mod writer;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use peep_log::{AppendError, Log, LogConfig, Offset, Partition, ReadError, Watermarks};
use world::World;

const P: Partition = Partition(1);
const MANY_BYTES: usize = 64 << 20;
const SOON: Duration = Duration::from_secs(5);

/// Many tasks append to the same partitions: offsets have no gaps, and each task's records keep the order of its calls.
async fn concurrent_appends_get_gapless_offsets_in_call_order(world: World) {
    let log = world.open().await;
    let (tasks, records_each) = (8_u32, 50_u32);
    let appended = join_all((0..tasks).map(|task| {
        let log = Arc::clone(&log);
        async move {
            let calls = (0..records_each).map(|n| {
                let partition = Partition(n % 2);
                log.append(partition, format!("{task} {n}").into())
            });
            join_all(calls.collect::<Vec<_>>()).await
        }
    }))
    .await;
    for results in appended {
        let offsets: Vec<Offset> = results.into_iter().map(|r| r.expect("append")).collect();
        for partition in 0..2 {
            assert!(offsets.iter().skip(partition).step_by(2).is_sorted());
        }
    }
    for partition in [Partition(0), Partition(1)] {
        let read = read_all(&*log, partition, tasks * records_each / 2).await;
        for task in 0..tasks {
            let mine = read
                .iter()
                .filter_map(|text| text.strip_prefix(&format!("{task} ")))
                .map(|n| n.parse::<u32>().expect("a number"));
            assert!(mine.is_sorted(), "task {task} in order in {partition}");
        }
    }
}

async fn records_come_back_unchanged_from_any_offset(world: World) {
    let log = world.open().await;
    let payloads: Vec<Bytes> = (0..40_usize).map(|n| vec![n as u8; n * 997].into()).collect();
    for payload in &payloads {
        log.append(P, payload.clone()).await.expect("append");
    }
    for from in [0, 1, 17, 39] {
        let mut reader = log.reader(P, Offset(from)).await.expect("reader");
        let mut read = Vec::new();
        while read.len() < payloads.len() - from as usize {
            let records = reader.next(MANY_BYTES, SOON).await.expect("next");
            assert!(!records.is_empty(), "all records come");
            read.extend(records);
        }
        for (n, record) in read.iter().enumerate() {
            assert_eq!(record.offset, Offset(from + n as u64));
            assert_eq!(record.payload, payloads[from as usize + n]);
        }
    }
}

async fn time_of_append_is_the_logs_and_never_runs_backwards(world: World) {
    let log = world.open().await;
    let before = world::now_ms();
    for _ in 0..5 {
        log.append(P, "x".into()).await.expect("append");
    }
    let mut reader = log.reader(P, Offset(0)).await.expect("reader");
    let mut times = vec![before];
    while times.len() < 6 {
        let records = reader.next(MANY_BYTES, SOON).await.expect("next");
        times.extend(records.iter().map(|record| record.appended_ms));
    }
    times.push(world::now_ms());
    assert!(times.is_sorted(), "{times:?}");
}

async fn watermarks_show_what_can_be_read(world: World) {
    let log = world.open().await;
    assert_eq!(log.watermarks(P).await.expect("watermarks"), marks(0, 0));
    append_many(&*log, 7).await;
    assert_eq!(log.watermarks(P).await.expect("watermarks"), marks(0, 7));
    world.forget_what_is_there(&*log).await;
    let after = log.watermarks(P).await.expect("watermarks");
    assert!(after.low >= Offset(7) && after.low <= after.high, "{after:?}");
}

async fn a_reader_outside_of_the_log_is_refused(world: World) {
    let log = world.open().await;
    append_many(&*log, 5).await;
    assert_eq!(refused_reader(&*log, 6).await, out_of_range(0, 5));
    world.forget_what_is_there(&*log).await;
    let Watermarks { low, high } = log.watermarks(P).await.expect("watermarks");
    assert_eq!(refused_reader(&*log, low.0 - 1).await, out_of_range(low.0, high.0));
}

/// Retention overtakes a reader: it is told, not moved. More than any backend reads ahead by itself.
async fn a_reader_that_was_overtaken_by_retention_is_told(world: World) {
    let log = world.open().await;
    let payload = incompressible(900_000);
    for _ in 0..24 {
        log.append(P, payload.clone()).await.expect("append");
    }
    let mut reader = log.reader(P, Offset(0)).await.expect("reader");
    reader.next(1, SOON).await.expect("next");
    world.forget_what_is_there(&*log).await;
    append_many(&*log, 1).await;
    let mut next = 1;
    let told = loop {
        match reader.next(1, SOON).await {
            // Read ahead before they went.
            Ok(records) if !records.is_empty() => {
                assert_eq!(records[0].offset, Offset(next));
                next += records.len() as u64;
            }
            other => break other,
        }
    };
    let low = log.watermarks(P).await.expect("watermarks").low;
    assert_eq!(told, Err(out_of_range(low.0, 25)));
}

async fn a_waiting_reader_sees_a_new_record_promptly(world: World) {
    let log = world.open().await;
    let other = world.open_again(&log).await;
    append_many(&*log, 1).await;
    let mut reader = other.reader(P, Offset(0)).await.expect("reader");
    assert_eq!(reader.next(MANY_BYTES, SOON).await.expect("next").len(), 1);
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let waiting = tokio::spawn(async move {
            let records = reader.next(MANY_BYTES, SOON).await.expect("next");
            assert_eq!(records.len(), 1);
            (reader, Instant::now())
        });
        tokio::time::sleep(Duration::from_millis(120)).await;
        log.append(P, "new".into()).await.expect("append");
        let appended = Instant::now();
        let seen;
        (reader, seen) = waiting.await.expect("reader task");
        slowest = slowest.max(seen.saturating_duration_since(appended));
    }
    assert!(slowest < Duration::from_millis(200), "{slowest:?}");
}

async fn a_reader_at_the_end_gets_nothing_when_its_time_is_up(world: World) {
    let log = world.open().await;
    append_many(&*log, 2).await;
    let mut reader = log.reader(P, Offset(2)).await.expect("reader");
    let started = Instant::now();
    let records = reader.next(MANY_BYTES, Duration::from_millis(150)).await;
    assert_eq!(records, Ok(Vec::new()));
    assert!(started.elapsed() < Duration::from_secs(2));
}

async fn an_answer_is_bounded_by_bytes_but_never_empty(world: World) {
    let log = world.open().await;
    for _ in 0..6 {
        log.append(P, vec![7; 1000].into()).await.expect("append");
    }
    let mut reader = log.reader(P, Offset(0)).await.expect("reader");
    let mut next = 0;
    for bytes_max in [1, 2_999, 100, 2_000] {
        let records = reader.next(bytes_max, SOON).await.expect("next");
        assert!(records.len() <= (bytes_max / 1000).max(1), "{bytes_max}");
        assert_eq!(records[0].offset, Offset(next));
        next += records.len() as u64;
    }
    assert!(next <= 6);
}

/// Cancelling a wait loses nothing.
async fn a_dropped_wait_loses_no_record(world: World) {
    let log = world.open().await;
    let mut reader = log.reader(P, Offset(0)).await.expect("reader");
    let writing = {
        let log = Arc::clone(&log);
        tokio::spawn(async move { append_many(&*log, 100).await })
    };
    let mut read = Vec::new();
    let deadline = Instant::now() + SOON;
    while read.len() < 100 && Instant::now() < deadline {
        let wait = reader.next(MANY_BYTES, SOON);
        if let Ok(records) = tokio::time::timeout(Duration::from_micros(700), wait).await {
            read.extend(records.expect("next").into_iter().map(|record| record.offset.0));
        }
    }
    writing.await.expect("writer task");
    assert_eq!(read, (0..100).collect::<Vec<_>>());
}

async fn a_record_above_the_limit_is_refused_by_size(world: World) {
    let log = world.open_with(|config| config.record_bytes_max = 2_000).await;
    assert_eq!(log.append(P, vec![0; 2_001].into()).await, Err(AppendError::TooLarge { bytes: 2_001, max: 2_000 }));
    assert_eq!(log.append(P, vec![0; 2_000].into()).await, Ok(Offset(0)));
}

/// The largest record the defaults allow really passes.
async fn a_record_of_exactly_the_limit_is_taken(world: World) {
    let log = world.open().await;
    let payload = incompressible(LogConfig::default().record_bytes_max);
    assert_eq!(log.append(P, payload.clone()).await, Ok(Offset(0)));
    let mut reader = log.reader(P, Offset(0)).await.expect("reader");
    let records = reader.next(1, SOON).await.expect("next");
    assert_eq!(records[0].payload, payload);
}

/// More bytes at once than the queue holds: some are refused at once, the others are taken, and then there is room again.
async fn a_full_queue_refuses_and_recovers(world: World) {
    let log = world.open_with(|config| config.queue_bytes_max = 64 << 10).await;
    world.hold_up_appends();
    // No await between the calls: nothing can be written meanwhile on this single-threaded runtime, or in microseconds.
    let calls: Vec<_> = (0..100).map(|_| log.append(P, vec![1; 10 << 10].into())).collect();
    world.let_appends_go();
    let results = join_all(calls).await;
    let full = results.iter().filter(|result| matches!(result, Err(AppendError::Full { .. }))).count();
    let offsets: BTreeSet<u64> = results.iter().flatten().map(|offset| offset.0).collect();
    assert!(full >= 50, "{full} were refused");
    assert_eq!(full + offsets.len(), 100, "{results:?}");
    // A queue may give its room back a moment after it has answered.
    let deadline = Instant::now() + SOON;
    while let Err(error) = log.append(P, vec![1; 10 << 10].into()).await {
        assert!(Instant::now() < deadline, "there is room again: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(log.ready(), Ok(()));
}

/// Nothing answers: appends fail within their timeout, readiness says so, and all recovers without help.
async fn an_unreachable_log_refuses_in_time_and_recovers(mut world: World) {
    world.use_a_server_of_its_own().await;
    let timeout = LogConfig::default().append_timeout;
    let log = world.open().await;
    append_many(&*log, 3).await;
    world.stop_server().await;
    for _ in 0..3 {
        let started = Instant::now();
        let result = log.append(P, "lost?".into()).await;
        assert!(matches!(result, Err(AppendError::Unavailable { .. })), "{result:?}");
        assert!(started.elapsed() < timeout + Duration::from_millis(500));
    }
    assert!(eventually(|| log.ready().is_err()).await, "readiness turns red");
    world.start_server_again().await;
    assert!(eventually(|| log.ready().is_ok()).await, "readiness returns");
    log.append(P, "back".into()).await.expect("append");
    let mut reader = log.reader(P, Offset(0)).await.expect("reader");
    let mut read = Vec::new();
    while read.last().is_none_or(|payload| payload != "back") {
        let records = reader.next(MANY_BYTES, SOON).await.expect("next");
        assert!(!records.is_empty(), "only {read:?}");
        read.extend(records.into_iter().map(|record| record.payload));
    }
}

/// Nothing refuses, but nothing answers either: appends still fail in time, and nothing acknowledged gets lost or doubled.
async fn a_hanging_log_refuses_in_time_and_recovers(mut world: World) {
    world.use_a_server_of_its_own().await;
    let timeout = LogConfig::default().append_timeout;
    let log = world.open().await;
    append_many(&*log, 3).await;
    let hanging = world.hang().await;
    let started = Instant::now();
    let results = join_all((0..5).map(|n| log.append(P, format!("late {n}").into()))).await;
    assert!(started.elapsed() < timeout + Duration::from_millis(500), "{:?}", started.elapsed());
    for result in results {
        assert!(matches!(result, Err(AppendError::Unavailable { .. })), "{result:?}");
    }
    world.stop_hanging(hanging).await;
    assert!(eventually(|| log.ready().is_ok()).await, "readiness returns");
    let back = log.append(P, "back".into()).await.expect("append");
    let read = read_all(&*log, P, back.0 as u32 + 1).await;
    assert_eq!(read.last().map(String::as_str), Some("back"));
    // Those without an answer are there or not, but none is there twice.
    let distinct: BTreeSet<_> = read.iter().collect();
    assert_eq!(distinct.len(), read.len(), "{read:?}");
}

/// Two instances, as in two processes, write to the same partition while a reader follows: it never sees a gap.
async fn two_writers_share_a_partition_without_gaps(world: World) {
    let one = world.open().await;
    let two = world.open_again(&one).await;
    let mut reader = one.reader(P, Offset(0)).await.expect("reader");
    let each = 300_u32;
    let writers = [one, two].map(|log| {
        tokio::spawn(async move {
            for start in (0..each).step_by(10) {
                let calls: Vec<_> = (start..start + 10).map(|n| log.append(P, n.to_string().into())).collect();
                for result in join_all(calls).await {
                    result.expect("append");
                }
            }
        })
    });
    let mut next = 0;
    while next < u64::from(2 * each) {
        let records = reader.next(MANY_BYTES, SOON).await.expect("next");
        assert!(!records.is_empty(), "stuck at {next}");
        for record in records {
            assert_eq!(record.offset, Offset(next));
            next += 1;
        }
    }
    for writer in writers {
        writer.await.expect("writer task");
    }
}

async fn a_topic_keeps_its_number_of_partitions(world: World) {
    let log = world.open().await;
    let again = world.open_with(|config| config.partitions = 9).await.partitions();
    assert_eq!(again, log.partitions());
}

async fn closing_acknowledges_what_waits_and_refuses_the_rest(world: World) {
    let log = world.open().await;
    let calls: Vec<_> = (0..20).map(|_| log.append(P, "x".into())).collect();
    log.close().await;
    for result in join_all(calls).await {
        result.expect("append before close");
    }
    assert!(matches!(log.append(P, "y".into()).await, Err(AppendError::Unavailable { .. })));
}

/// Kill -9 in mid-stream: every record that was acknowledged to the dead process is in the log, once, at its offset.
async fn acknowledged_records_survive_a_killed_writer(world: World) {
    for round in 0..3 {
        let acknowledged = writer::run_and_kill(&world, 200 + 150 * round).await;
        let log = world.open().await;
        for (partition, records) in acknowledged {
            let Watermarks { high, .. } = log.watermarks(partition).await.expect("watermarks");
            let read = read_all(&*log, partition, high.0 as u32).await;
            for (offset, payload) in records {
                assert_eq!(read[offset as usize], payload);
                let copies = read.iter().filter(|known| **known == payload).count();
                assert_eq!(copies, 1, "{payload} in {partition}");
            }
        }
    }
}

macro_rules! suite {
    ($($case:ident),* $(,)?) => {
        mod memory { $( #[tokio::test] async fn $case() { super::$case(super::World::memory()).await } )* }
        mod postgres { $( #[tokio::test] async fn $case() { super::$case(super::World::postgres().await).await } )* }
        mod kafka { $( #[tokio::test] async fn $case() { super::$case(super::World::kafka().await).await } )* }
    };
}

suite!(
    concurrent_appends_get_gapless_offsets_in_call_order,
    records_come_back_unchanged_from_any_offset,
    time_of_append_is_the_logs_and_never_runs_backwards,
    watermarks_show_what_can_be_read,
    a_reader_outside_of_the_log_is_refused,
    a_reader_that_was_overtaken_by_retention_is_told,
    a_waiting_reader_sees_a_new_record_promptly,
    a_reader_at_the_end_gets_nothing_when_its_time_is_up,
    an_answer_is_bounded_by_bytes_but_never_empty,
    a_dropped_wait_loses_no_record,
    a_record_above_the_limit_is_refused_by_size,
    a_record_of_exactly_the_limit_is_taken,
    a_full_queue_refuses_and_recovers,
    an_unreachable_log_refuses_in_time_and_recovers,
    a_hanging_log_refuses_in_time_and_recovers,
    two_writers_share_a_partition_without_gaps,
    a_topic_keeps_its_number_of_partitions,
    closing_acknowledges_what_waits_and_refuses_the_rest,
);

/// Not for memory, whose records are gone with the process that holds them: that is what `Backend::Memory` says.
mod outliving_the_process {
    #[tokio::test]
    async fn postgres() {
        super::acknowledged_records_survive_a_killed_writer(super::World::postgres().await).await;
    }

    #[tokio::test]
    async fn kafka() {
        super::acknowledged_records_survive_a_killed_writer(super::World::kafka().await).await;
    }
}

/// All records of a partition from offset 0, as text; checks that offsets have no gaps.
async fn read_all(log: &dyn Log, partition: Partition, count: u32) -> Vec<String> {
    let mut reader = log.reader(partition, Offset(0)).await.expect("reader");
    let mut read = Vec::new();
    while read.len() < count as usize {
        let records = reader.next(MANY_BYTES, SOON).await.expect("next");
        assert!(!records.is_empty(), "{} of {count} records", read.len());
        for record in records {
            assert_eq!(record.offset, Offset(read.len() as u64));
            read.push(String::from_utf8(record.payload.to_vec()).expect("text"));
        }
    }
    read
}

async fn append_many(log: &dyn Log, count: u32) {
    for n in 0..count {
        log.append(P, n.to_string().into()).await.expect("append");
    }
}

/// So that no codec makes it smaller than it is.
fn incompressible(bytes: usize) -> Bytes {
    let mut state = 1_u64;
    let random = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    random.take(bytes).collect()
}

async fn refused_reader(log: &dyn Log, from: u64) -> ReadError {
    match log.reader(P, Offset(from)).await {
        Ok(_) => panic!("a reader at {from}"),
        Err(error) => error,
    }
}

async fn eventually(holds: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

fn marks(low: u64, high: u64) -> Watermarks {
    Watermarks { low: Offset(low), high: Offset(high) }
}

fn out_of_range(low: u64, high: u64) -> ReadError {
    ReadError::OutOfRange { low: Offset(low), high: Offset(high) }
}
