//! From the log to rows in a real Postgres, through the public door of the rollup: `peep_rollup::run`.

mod breaks;

mod cardinality;

mod dedup;

mod stack;

mod workers;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peep_log::{Log, Offset, Partition};
use peep_rollup::Config;
use peep_rollup::flush::{FlushError, Flusher};
use peep_rollup::limits::Budget;
use peep_rollup::partition::Partition as State;
use peep_rollup::postgres::PostgresStore;
use peep_rollup::postgres::partitions::{self, TimeTable};
use peep_rollup::retention::{self, Retention};
use peep_rollup::store::{Claim, LEASE, Owner, Store};
use peep_testkit::Server;
use peep_wire::histogram::{ERROR_BOUND, Quantile};
use peep_wire::live::LiveFrame;
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;
use uuid::Uuid;

use stack::{Sent, Stack, Traffic, config, now_ms, record};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_exact_and_quantiles_within_the_bound() {
    let stack = Stack::new(4).await;
    let traffic = Traffic::random(7, 200, 60);
    let running = stack.start();
    stack.send(&traffic).await;
    stack.wait_for_commit().await;
    running.stop().await;
    let rollups = stack.rollups().await;
    assert_eq!(rollups.len(), traffic.series().len());
    for (series, durations) in traffic.series() {
        let rollup = &rollups[&series];
        assert_eq!((rollup.count, rollup.errors), (durations.len() as u64, traffic.errors(&series)), "{series:?}");
        for quantile in [Quantile::P50, Quantile::P95, Quantile::P99] {
            let exact = durations[quantile.rank_of(durations.len() as u64) as usize - 1] as f64;
            let got = rollup.histogram.value_at(quantile).unwrap() as f64;
            assert!(got >= exact && got <= exact * (1.0 + ERROR_BOUND), "{series:?} {quantile}: {got} for {exact}");
        }
    }
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_at_any_moment_neither_loses_nor_doubles() {
    let stack = Stack::new(2).await;
    let mut traffic = Traffic::default();
    for round in 0..12u64 {
        let more = Traffic::random(round, 30, 40);
        let running = stack.start();
        stack.send(&more).await;
        traffic.append(more);
        // From before the first read to after a few flushes; flushes under way become zombies.
        sleep(Duration::from_millis(round * round * 2)).await;
        running.kill();
        stack.expire_leases().await;
    }
    let running = stack.start();
    stack.wait_for_commit().await;
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_that_steal_from_each_other_count_each_event_once() {
    let stack = Stack::new(3).await;
    let (first, second) = (stack.start(), stack.start());
    let mut traffic = Traffic::default();
    for round in 0..10 {
        let more = Traffic::random(round, 20, 40);
        stack.send(&more).await;
        traffic.append(more);
        // Whoever looks first takes all; the loser does not know yet and goes on writing.
        stack.expire_leases().await;
        sleep(Duration::from_millis(300)).await;
    }
    stack.wait_for_commit().await;
    first.stop().await;
    second.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_in_between_costs_nothing_but_time() {
    let server = Server::start().await;
    let stack = Stack::on(server.database().await, 2).await;
    let running = stack.start();
    let mut traffic = Traffic::random(1, 50, 40);
    stack.send(&traffic).await;
    sleep(Duration::from_millis(150)).await;
    server.kill().await;
    let more = Traffic::random(2, 50, 40);
    stack.send(&more).await;
    traffic.append(more);
    sleep(Duration::from_millis(500)).await;
    server.start_again().await;
    stack.wait_for_commit().await;
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_at_any_moment_leave_exact_counts() {
    let stack = Stack::new(2).await;
    let mut settings = config();
    settings.publish_interval = Duration::from_millis(1);
    settings.flush_interval = Duration::from_millis(1);
    let running = stack.start_with(settings);
    let mut traffic = Traffic::default();
    // Also between COMMIT and its answer, which is the moment when nobody knows.
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'";
    let (mut round, mut epochs) = (0, BTreeSet::new());
    // Until a dozen leases were needed. Most hits come while the worker waits to try again.
    while epochs.len() < 12 {
        epochs.extend(stack.epochs().await);
        assert!(round < 1_000, "hardly a flush was cut off");
        let more = Traffic::random(round, 4, 40);
        stack.send(&more).await;
        traffic.append(more);
        for _ in 0..10 {
            sleep(Duration::from_millis(round * 7 % 12)).await;
            sqlx::query(cut).execute(&stack.pool).await.unwrap();
        }
        round += 1;
    }
    stack.wait_for_commit().await;
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_whose_lease_was_taken_can_not_write() {
    let stack = Stack::new(1).await;
    let (old, new) = (Owner(Uuid::new_v4()), Owner(Uuid::new_v4()));
    let store = Arc::new(PostgresStore::new(stack.pool.clone(), stack.database.options(), 1));
    let free = || Claim { partitions: 1, again: Vec::new(), count_max: 9 };
    store.open(1).await.unwrap();
    let lease = store.claim(old, free()).await.unwrap().remove(0);
    assert!(store.claim(new, free()).await.unwrap().is_empty(), "the lease still runs");
    stack.expire_leases().await;
    let taken = store.claim(new, free()).await.unwrap().remove(0);
    assert!(taken.epoch > lease.epoch && taken.next == lease.next);
    assert!(store.renew(old, 9).await.unwrap().held.is_empty());

    let flush = |owner: Owner, epoch: u64| {
        let limits = config().partition_limits(1);
        let mut partition = State::new(0, Offset(0), limits);
        partition.apply(&record(0, &[Sent::now("shop", "/", 5)])).unwrap();
        partition.publish(epoch, now_ms());
        let account = Budget::new(1 << 30, 1).account(0);
        Flusher::new(owner, store.clone(), 1).start(epoch, partition.cut().unwrap(), account)
    };
    let fenced = flush(old, lease.epoch).await.unwrap();
    assert!(matches!(fenced, Err(FlushError::Fenced)), "{fenced:?}");
    let fenced = flush(new, taken.epoch - 1).await.unwrap();
    assert!(matches!(fenced, Err(FlushError::Fenced)), "the owner is right, the epoch is not: {fenced:?}");
    assert!(stack.rollups().await.is_empty());
    flush(new, taken.epoch).await.unwrap().unwrap();
    let again = flush(new, taken.epoch).await.unwrap();
    assert!(matches!(again, Err(FlushError::Fenced)), "the cursor has moved on: {again:?}");
    assert_eq!(stack.rollups().await.values().map(|rollup| rollup.count).sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_record_is_dead_lettered_and_the_rest_is_counted() {
    let stack = Stack::new(1).await;
    let mut flipped = record(0, &[Sent::now("shop", "/", 5)]).payload.to_vec();
    *flipped.last_mut().unwrap() ^= 1;
    let traffic = Traffic::random(3, 5, 10);
    let running = stack.start();
    stack.send(&traffic).await;
    stack.events.append(Partition(0), flipped.clone().into()).await.unwrap();
    stack.send(&traffic).await;
    stack.wait_for_commit().await;
    running.stop().await;
    type Letter = (i64, i32, String, Option<i64>, Vec<u8>);
    let letters: Vec<Letter> =
        sqlx::query_as("select log_offset, event_index, reason, project_id, bytes from dead_letter")
            .fetch_all(&stack.pool)
            .await
            .unwrap();
    assert_eq!(letters, [(5, 0, "checksum".to_owned(), None, flipped)]);
    assert_eq!(stack.rollups().await.values().map(|rollup| rollup.count).sum::<u64>(), 2 * traffic.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_event_lands_in_its_own_bucket_and_a_too_late_one_is_dead_lettered() {
    let stack = Stack::new(1).await;
    let day_ms = 86_400_000;
    let late_ms = now_ms() - 20 * day_ms;
    let late = Sent { ended_ms: late_ms, ..Sent::now("shop", "/late", 5) };
    let too_late = Sent { ended_ms: now_ms() - 40 * day_ms, ..late.clone() };
    // Else it would land in its own minute; see the tests of the levels.
    let month = Duration::from_hours(30 * 24);
    let running = stack.start_with(Config { retention: month, ..config() });
    stack.send_batch(0, &[Sent::now("shop", "/", 5), late, too_late]).await;
    stack.wait_for_commit().await;
    running.stop().await;
    let buckets: Vec<(f64, i64)> = sqlx::query_as(
        "select extract(epoch from bucket)::float8, count from rollup_10s join series using (series_id) where route = '/late'",
    )
    .fetch_all(&stack.pool)
    .await
    .unwrap();
    assert_eq!(buckets, [((late_ms / 10_000 * 10) as f64, 1)]);
    let reasons: Vec<(String,)> =
        sqlx::query_as("select reason from dead_letter").fetch_all(&stack.pool).await.unwrap();
    assert_eq!(reasons, [("too_old".to_owned(),)]);
    // Beyond the raw retention it is counted, not kept.
    assert_eq!(stack.count("raw_event").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn raw_weights_add_up_to_the_counts_and_errors_are_all_there() {
    let stack = Stack::new(1).await;
    let mut settings = config();
    settings.raw_events_per_second_max = 200;
    settings.raw_burst_events_max = 200;
    let event = |n: u64| Sent {
        status: if n.is_multiple_of(50) { 500 } else { 200 },
        error: n.is_multiple_of(100).then_some("boom"),
        ..Sent::now("shop", "/", n % 977 + 1)
    };
    for batch in 0..20 {
        let events: Vec<Sent> = (0..1000).map(|n| event(batch * 1000 + n)).collect();
        stack.send_batch(0, &events).await;
    }
    let running = stack.start_with(settings);
    stack.wait_for_commit().await;
    running.stop().await;
    let (rows, errors, weight): (i64, i64, f64) = sqlx::query_as(
        "select count(*), count(*) filter (where status = 500 and weight = 1), sum(weight)::float8 from raw_event",
    )
    .fetch_one(&stack.pool)
    .await
    .unwrap();
    assert_eq!(errors, 400);
    assert!(rows < 5_000, "{rows} rows");
    assert!((weight - 20_000.0).abs() < 4_000.0, "{weight}");
    let slowest: (i64, f32) = sqlx::query_as(
        "select duration_us, weight from raw_event where status = 200 order by duration_us desc limit 1",
    )
    .fetch_one(&stack.pool)
    .await
    .unwrap();
    assert_eq!(slowest, (977, 1.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raw_event_keeps_every_field() {
    let stack = Stack::new(1).await;
    let running = stack.start();
    let sent = Sent { error: Some("nul \0 and ünicode"), host: Some("web-1"), ..Sent::now("shop", "/cart", 1_234) };
    stack.send_batch(0, std::slice::from_ref(&sent)).await;
    stack.wait_for_commit().await;
    running.stop().await;
    type Raw = (i64, String, String, Option<i16>, Option<i64>, Option<String>, Option<String>, String);
    let row: Raw = sqlx::query_as(
        "select (extract(epoch from ts) * 1000)::bigint, route, method, status, duration_us, error, host, source from raw_event",
    )
    .fetch_one(&stack.pool)
    .await
    .unwrap();
    let text = |text: &str| Some(text.to_owned());
    let expected = (
        sent.ended_ms,
        "/cart".to_owned(),
        "GET".to_owned(),
        Some(200),
        Some(1_234),
        text("nul \u{fffd} and ünicode"),
        text("web-1"),
        "api".to_owned(),
    );
    assert_eq!(row, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_records_breaks_the_partition_and_moves_no_cursor() {
    let stack = Stack::new(2).await;
    stack.send(&Traffic::random(1, 20, 5)).await;
    stack.events.truncate(Partition(1), Offset(3));
    let running = stack.start();
    let reason = running.not_ready("broken").await;
    assert!(reason.contains("partition 1") && reason.contains("3 records expired"), "{reason}");
    assert_eq!(stack.cursor(1).await, 0);
    stack.wait_for_commit_of(0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_replaced_under_the_same_name_is_recognised() {
    let stack = Stack::new(1).await;
    stack.send(&Traffic::random(1, 10, 5)).await;
    let running = stack.start();
    stack.wait_for_commit().await;
    running.stop().await;
    let before = stack.rollups().await.values().map(|rollup| rollup.count).sum::<u64>();

    let replaced = stack.with_new_log();
    replaced.send(&Traffic::random(2, 20, 5)).await;
    let running = replaced.start();
    let reason = running.not_ready("broken").await;
    assert!(reason.contains("is not the one that was counted"), "{reason}");
    running.stop().await;
    assert_eq!(stack.rollups().await.values().map(|rollup| rollup.count).sum::<u64>(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_frames_line_up_and_hold_what_is_committed() {
    let stack = Stack::new(1).await;
    let traffic = Traffic::random(5, 60, 20);
    let running = stack.start();
    for batch in traffic.batches() {
        stack.send_batch(0, batch).await;
        sleep(Duration::from_millis(10)).await;
    }
    stack.wait_for_commit().await;
    running.stop().await;
    let mut reader = stack.live.reader(Partition(0), Offset(0)).await.unwrap();
    let records = reader.next(usize::MAX, Duration::from_secs(1)).await.unwrap();
    let mut frames: Vec<LiveFrame> = Vec::new();
    for record in &records {
        let frame = LiveFrame::decode(&record.payload).unwrap();
        // On a machine too busy to renew a lease there is a next epoch, which tells again what was not committed.
        while let Some(told) = frames.pop_if(|told| told.to > frame.from) {
            assert!(told.epoch < frame.epoch, "an epoch tells nothing twice");
        }
        frames.push(frame);
    }
    assert!(frames.len() > 3, "{} frames", frames.len());
    assert_eq!(frames[0].from, 0);
    assert!(frames.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].epoch <= pair[1].epoch));
    let cells = frames.iter().flat_map(|frame| &frame.cells);
    assert_eq!(cells.map(|cell| cell.count).sum::<u64>(), traffic.len());
    let ends: Vec<(i64,)> =
        sqlx::query_as("select distinct up_to_offset from rollup_10s").fetch_all(&stack.pool).await.unwrap();
    assert!(ends.iter().all(|(end,)| frames.iter().any(|frame| frame.to == *end as u64)), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_topic_that_is_down_delays_no_flush() {
    let stack = Stack::new(1).await;
    stack.live.stall();
    let traffic = Traffic::random(6, 50, 20);
    let running = stack.start();
    stack.send(&traffic).await;
    stack.wait_for_commit().await;
    stack.assert_exact(&traffic).await;
    stack.live.resume();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_away_for_a_while_is_waited_for() {
    let stack = Stack::new(1).await;
    let mut traffic = Traffic::random(8, 20, 20);
    let running = stack.start();
    stack.send(&traffic).await;
    stack.events.stop();
    sleep(Duration::from_millis(400)).await;
    stack.events.resume();
    let more = Traffic::random(9, 20, 20);
    stack.send(&more).await;
    traffic.append(more);
    stack.wait_for_commit().await;
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hardly_any_memory_it_flushes_more_often_and_counts_the_same() {
    let stack = Stack::new(2).await;
    let mut settings = config();
    settings.memory_bytes_max = 512 << 10;
    settings.flush_interval = Duration::from_secs(600);
    let mut traffic = Traffic::default();
    for round in 0..10 {
        traffic.append(Traffic::wide(round, 10, 200));
    }
    stack.send(&traffic).await;
    let running = stack.start_with(settings);
    // None of them because of the time: that would be ten minutes.
    let began = Instant::now();
    loop {
        let flushes: i64 = sqlx::query_scalar("select count(distinct (log_partition, up_to_offset)) from rollup_10s")
            .fetch_one(&stack.pool)
            .await
            .unwrap();
        if flushes > 4 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{flushes} flushes");
        sleep(Duration::from_millis(50)).await;
    }
    running.stop().await;
    let running = stack.start();
    stack.wait_for_commit().await;
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_commits_everything_that_was_read() {
    let stack = Stack::new(2).await;
    let mut settings = config();
    settings.flush_interval = Duration::from_secs(600);
    let traffic = Traffic::random(4, 20, 20);
    stack.send(&traffic).await;
    let running = stack.start_with(settings);
    stack.wait_until_read().await;
    assert_eq!(stack.count("rollup_10s").await, 0, "the time has not come");
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_hands_its_partitions_over_at_once() {
    let stack = Stack::new(4).await;
    let traffic = Traffic::random(1, 40, 5);
    let first = stack.start();
    stack.send(&traffic).await;
    stack.wait_for_commit().await;
    first.stop().await;
    let started = Instant::now();
    let second = stack.start();
    stack.send(&traffic).await;
    stack.wait_for_commit().await;
    assert!(started.elapsed() < LEASE / 2);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_of_tables_are_made_ahead_and_dropped_by_retention() {
    let stack = Stack::new(1).await;
    let options = stack.database.options();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let day_s = 86_400;
    let now_s = now_ms() / 1000;
    let old: Vec<i64> = [40, 35, 29].map(|days| TimeTable::Rollup10s.start_of(now_s - days * day_s)).to_vec();
    partitions::ensure(&mut connection, TimeTable::Rollup10s, &old).await.unwrap();
    partitions::ensure(&mut connection, TimeTable::RawEvent, &[TimeTable::RawEvent.start_of(now_s - 3 * day_s)])
        .await
        .unwrap();
    // A worker that died between detaching and dropping.
    let (orphan,): (String,) =
        sqlx::query_as("select child from time_partition_list('rollup_10s') order by starts limit 1")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    let detach = format!("alter table rollup_10s detach partition {orphan}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(detach)).execute(&mut connection).await.unwrap();

    let [ten_seconds, minutes, hours, raw, dedup] = [30, 35, 400, 2, 1].map(|days| Duration::from_hours(24 * days));
    let keep = Retention { ten_seconds, minutes, hours, raw, dedup };
    let pass = retention::pass(&options, keep).await.unwrap();
    assert_eq!((pass.dropped, pass.made), (3, 27), "of nine tables, three ahead of each");
    let (left,): (i64,) = sqlx::query_as("select count(*) from time_partition_list('rollup_10s')")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(left, 4, "three ahead and the one of 29 days ago");
    let pass = retention::pass(&options, keep).await.unwrap();
    assert_eq!((pass.dropped, pass.made), (0, 0));
}
