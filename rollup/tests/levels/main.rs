//! Levels on a real database: whatever the leveler has done, every question has the same answer.

#[path = "../journey/stack.rs"]
#[allow(dead_code, reason = "shared with the journeys, which use all of it")]
mod stack;

mod questions;

mod view;

use std::time::Duration;

use peep_rollup::Config;
use peep_rollup::level::leveler::{Due, Leveler, LevelerLimits, Round};
use peep_rollup::level::{Family, Level};
use peep_rollup::postgres::partitions::{TimeTable, ensure};
use peep_rollup::retention::{self, Retention};
use sqlx::{Connection, PgConnection};
use stack::{Sent, Stack, Traffic, config, now_ms};
use view::View;

const DAY_S: i64 = 86_400;
const LIMITS: LevelerLimits =
    LevelerLimits { interval: Duration::from_mins(1), bytes_max: 8 << 20, flushes_max: LevelerLimits::FLUSHES_MAX };

/// A worker whose own leveler and retention have nothing to do, so that the test decides when.
fn without_leveler() -> Config {
    let years = Duration::from_hours(5 * 365 * 24);
    let never = Duration::from_hours(1);
    Config { level_interval: never, retention: years, retention_1m: years, retention_1h: years, ..config() }
}

fn leveler() -> Leveler {
    Leveler::new(LIMITS)
}

async fn round(stack: &Stack, leveler: &mut Leveler) -> Round {
    let round = leveler.round(&stack.database.options(), Due::Now).await.expect("the database answers");
    assert_eq!(round.failed, 0, "see the log");
    round
}

async fn assert_same_answers(stack: &Stack) {
    let view = View::read(&stack.pool).await;
    for level in [Level::Minute, Level::Hour] {
        assert_eq!(view.stitched(level), view.truth(level), "{level:?}");
    }
}

/// Of every span that is still there, as many events were said to be gained as its rows hold.
async fn assert_gains_add_up(stack: &Stack) {
    let tables = [
        ("1m", "rollup_1m", 600),
        ("1h", "rollup_1h", 3600),
        ("facet_1m", "facet_1m", 600),
        ("facet_1h", "facet_1h", 3600),
    ];
    for (level, table, span_s) in tables {
        let sql = format!(
            "select count(*), count(*) filter (where r.events is distinct from g.events) from (
                select extract(epoch from bucket)::bigint / {span_s} * {span_s} as at_s, log_partition, sum(count) events
                from {table} group by 1, 2) r
            left join rollup_gain g on g.level = '{level}' and g.project_id = 1 and g.span_start = at_s
                and g.log_partition = r.log_partition"
        );
        let (spans, wrong): (i64, i64) = sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(&stack.pool).await.unwrap();
        assert!(spans > 0 && wrong == 0, "{wrong} of {spans} spans of {table}");
    }
}

/// Batches, their events moved into the past.
struct Past(Vec<Vec<Sent>>);

impl Past {
    /// Events of a moment, of some minutes ago and of some hours ago.
    fn spread(seed: u64) -> Self {
        let ages_ms = [0, 0, 0, 7 * 60_000, 3 * 3_600_000, 30 * 3_600_000];
        Self::of(seed, 2, |number| ages_ms[(number + seed as usize) % ages_ms.len()])
    }

    /// Six days, an event every hour and a bit.
    fn days(seed: u64) -> Self {
        Self::of(seed, 4, |number| number as i64 * 4_000_000 % (6 * DAY_S * 1000))
    }

    fn of(seed: u64, batches: usize, age_ms: impl Fn(usize) -> i64) -> Self {
        let mut batches = Traffic::random(seed, batches, 40).batches().to_vec();
        for (number, sent) in batches.iter_mut().flatten().enumerate() {
            sent.ended_ms -= age_ms(number);
            sent.host = [None, Some("web-1"), Some("web-2")][number % 3];
            sent.version = [None, Some("v1"), Some("v2"), Some("v3"), Some("v4")][number % 5];
        }
        Self(batches)
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|batch| batch.len() as u64).sum()
    }

    async fn send(&self, stack: &Stack, partitions: u32) {
        for (number, batch) in self.0.iter().enumerate() {
            stack.send_batch(number as u32 % partitions, batch).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_level_gives_the_same_answer_at_every_moment() {
    let stack = Stack::new(3).await;
    let worker = stack.start_with(without_leveler());
    let mut leveler = leveler();
    let mut sent = 0;
    for seed in 0..12 {
        let traffic = Past::spread(seed);
        traffic.send(&stack, 3).await;
        sent += traffic.len();
        match seed % 4 {
            // While flushes go on.
            0 | 1 => {
                round(&stack, &mut leveler).await;
            }
            2 => stack.wait_for_commit().await,
            _ => {}
        }
        assert_same_answers(&stack).await;
    }
    stack.wait_for_commit().await;
    round(&stack, &mut leveler).await;
    assert_same_answers(&stack).await;
    let view = View::read(&stack.pool).await;
    let totals = Level::ALL.map(|level| view.count(level));
    assert_eq!(totals, [sent; 3], "nothing is left to raise");
    assert_eq!(stack.count("rollup_touched").await, 0);
    assert_eq!(view.pieces_per_series(Level::Hour), 1, "an hour is one piece for each partition");
    assert_gains_add_up(&stack).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levelers_that_meet_or_are_cut_off_count_once() {
    let stack = Stack::new(2).await;
    let worker = stack.start_with(without_leveler());
    for seed in 0..10u64 {
        Past::spread(seed).send(&stack, 2).await;
        let rounds: Vec<_> = (0..3)
            .map(|number| {
                let options = stack.database.options();
                let patience = Duration::from_millis(3 + 11 * number + 7 * seed);
                tokio::spawn(async move {
                    // Dropped in the middle of whatever it was doing.
                    let _ = tokio::time::timeout(patience, leveler().round(&options, Due::Now)).await;
                })
            })
            .collect();
        for round in rounds {
            round.await.expect("no panic");
        }
        assert_same_answers(&stack).await;
    }
    stack.wait_for_commit().await;
    // A connection that was dropped may still hold its lock for a moment.
    for _ in 0..50 {
        round(&stack, &mut leveler()).await;
        if stack.count("rollup_touched").await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let view = View::read(&stack.pool).await;
    assert_eq!(view.count(Level::Hour), view.count(Level::TenSeconds));
    assert_same_answers(&stack).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lower_level_that_was_tampered_with_is_not_raised() {
    let stack = Stack::new(1).await;
    let worker = stack.start_with(without_leveler());
    stack.send(&Traffic::random(1, 3, 50)).await;
    stack.wait_for_commit().await;
    let tampering = [
        "update rollup_10s set count = count + 1 where ctid = (select min(ctid) from rollup_10s)",
        "update rollup_10s set latency_count = latency_count + 1 where ctid = (select min(ctid) from rollup_10s)",
        "delete from rollup_10s where ctid = (select min(ctid) from rollup_10s)",
    ];
    for sql in tampering {
        let mut transaction = stack.pool.begin().await.unwrap();
        sqlx::raw_sql("create table before as select * from rollup_10s").execute(&mut *transaction).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let round = leveler().round(&stack.database.options(), Due::Now).await.unwrap();
        // Versions and hosts are levels of their own, and sound.
        assert_eq!((round.failed, round.events), (1, 0), "{sql}");
        assert_eq!(stack.count("rollup_1m").await + stack.count("rollup_1h").await, 0, "{sql}");
        let repair = "delete from rollup_10s; insert into rollup_10s select * from before; drop table before";
        sqlx::raw_sql(repair).execute(&stack.pool).await.unwrap();
    }
    round(&stack, &mut leveler()).await;
    assert_same_answers(&stack).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn little_memory_takes_more_steps_to_the_same_sums() {
    let stack = Stack::new(1).await;
    let worker = stack.start_with(without_leveler());
    stack.send(&Traffic::wide(1, 4, 200)).await;
    stack.send(&Traffic::random(2, 4, 200)).await;
    stack.wait_for_commit().await;
    round(&stack, &mut Leveler::new(LevelerLimits { bytes_max: 16 << 10, ..LIMITS })).await;
    assert_same_answers(&stack).await;
    assert_eq!(stack.count("rollup_touched").await, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_clock_stands_still_does_not_leave_a_piece_with_every_flush() {
    let stack = Stack::new(1).await;
    let worker = stack.start_with(without_leveler());
    let stuck_ms = now_ms() - 3 * 3_600_000;
    let mut leveler = leveler();
    for number in 0..24 {
        let sent = Sent { ended_ms: stuck_ms, ..Sent::now("shop", "/", 1000 + number) };
        stack.send_batch(0, &[sent]).await;
        stack.wait_for_commit().await;
        if number % 3 == 2 {
            round(&stack, &mut leveler).await;
        }
    }
    let view = View::read(&stack.pool).await;
    assert!(view.pieces_per_series(Level::TenSeconds) < 8, "{}", view.pieces_per_series(Level::TenSeconds));
    assert_eq!([Level::Minute, Level::Hour].map(|level| view.pieces_per_series(level)), [1, 1]);
    assert_eq!(Level::ALL.map(|level| view.count(level)), [24; 3]);
    assert_same_answers(&stack).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_leaves_alone_what_the_next_level_has_not_read() {
    let stack = Stack::new(1).await;
    let worker = stack.start_with(without_leveler());
    let stuck_ms = now_ms() - 3 * 3_600_000;
    for number in 0..30 {
        let sent = Sent { ended_ms: stuck_ms, ..Sent::now("shop", "/", 1000 + number) };
        stack.send_batch(0, &[sent]).await;
        stack.wait_for_commit().await;
    }
    // Thirty pieces in a bucket, of which each step reads ten.
    let round = round(&stack, &mut Leveler::new(LevelerLimits { flushes_max: 10, ..LIMITS })).await;
    assert!(round.rows_compacted > 0);
    let view = View::read(&stack.pool).await;
    assert_eq!(Level::ALL.map(|level| view.count(level)), [30; 3]);
    assert_same_answers(&stack).await;
    worker.stop().await;
}

fn keep(ten_seconds_days: u64, minutes_days: u64) -> Retention {
    let days = |days: u64| Duration::from_hours(24 * days);
    Retention {
        ten_seconds: days(ten_seconds_days),
        minutes: days(minutes_days),
        hours: days(400),
        raw: days(2),
        dedup: days(1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_levels_are_dropped_once_the_next_one_has_them_and_late_events_go_on_counting() {
    let stack = Stack::new(2).await;
    let worker = stack.start_with(without_leveler());
    let first = Past::days(1);
    first.send(&stack, 2).await;
    stack.wait_for_commit().await;
    let options = stack.database.options();
    let pass = retention::pass(&options, keep(2, 4)).await.unwrap();
    assert_eq!(
        (pass.dropped, pass.held_back),
        (0, 4),
        "the leveler has not been there, neither for series nor for facets"
    );
    assert_eq!(View::read(&stack.pool).await.count(Level::TenSeconds), first.len());

    // Late events after the horizons have moved: before, while and after the fine level goes.
    let second = Past::days(2);
    second.send(&stack, 2).await;
    stack.wait_for_commit().await;
    let view = View::read(&stack.pool).await;
    assert_eq!(view.stitched_count(Level::Hour), first.len() + second.len());
    assert!(view.count(Level::Minute) > 0 && view.count(Level::Hour) > 0, "older events skip the finer levels");
    round(&stack, &mut leveler()).await;
    let pass = retention::pass(&options, keep(2, 4)).await.unwrap();
    assert!(pass.dropped >= 4 && pass.held_back == 0, "{pass:?}");
    let third = Past::days(3);
    third.send(&stack, 2).await;
    stack.wait_for_commit().await;
    let view = View::read(&stack.pool).await;
    let sent = first.len() + second.len() + third.len();
    assert_eq!(view.stitched_count(Level::Hour), sent);
    let horizon = view.horizon(Level::Minute);
    assert_eq!(view.stitched_since(Level::Minute, horizon), view.stitched_since(Level::Hour, horizon));
    let horizon = view.horizon(Level::TenSeconds);
    assert_eq!(view.stitched_since(Level::Minute, horizon), view.stitched_since(Level::TenSeconds, horizon));
    assert_eq!(view.oldest(Level::TenSeconds).unwrap().div_euclid(DAY_S) * DAY_S, horizon);
    round(&stack, &mut leveler()).await;
    assert_eq!(View::read(&stack.pool).await.count(Level::Hour), sent);
    assert_eq!(retention::pass(&options, keep(2, 4)).await.unwrap().dropped, 0, "nothing grew below a horizon");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn horizons_move_while_flushes_and_levelers_are_at_work() {
    let stack = Stack::new(2).await;
    let worker = stack.start_with(without_leveler());
    let options = stack.database.options();
    let mut sent = 0;
    let mut leveler = leveler();
    for day in (1..=5u64).rev() {
        let traffic = Past::days(day);
        let (_, passed) = tokio::join!(traffic.send(&stack, 2), retention::pass(&options, keep(day, day + 1)));
        passed.unwrap();
        sent += traffic.len();
        round(&stack, &mut leveler).await;
    }
    stack.wait_for_commit().await;
    round(&stack, &mut leveler).await;
    retention::pass(&options, keep(1, 2)).await.unwrap();
    let view = View::read(&stack.pool).await;
    assert_eq!((view.stitched_count(Level::Hour), view.count(Level::Hour)), (sent, sent));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_levels_by_itself() {
    let stack = Stack::new(2).await;
    let worker = stack.start_with(Config { level_interval: Duration::from_millis(100), ..config() });
    let traffic = Past::spread(3);
    traffic.send(&stack, 2).await;
    for _ in 0..200 {
        let view = View::read(&stack.pool).await;
        if view.count(Level::Hour) == traffic.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(View::read(&stack.pool).await.count(Level::Hour), traffic.len());
    assert_same_answers(&stack).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detach_that_was_interrupted_is_finished_on_every_level() {
    let stack = Stack::new(1).await;
    let options = stack.database.options();
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    for (family, level) in Family::ALL.into_iter().flat_map(|family| Level::ALL.map(|level| (family, level))) {
        let table = TimeTable::of(family, level);
        let starts = [table.start_of(now_ms() / 1000 - 800 * DAY_S)];
        ensure(&mut connection, table, &starts).await.unwrap();
        let child: String = sqlx::query_scalar("select child from time_partition_list($1) order by starts limit 1")
            .bind(table.name())
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let detach = format!("alter table {} detach partition {child}", table.name());
        sqlx::raw_sql(sqlx::AssertSqlSafe(detach)).execute(&mut connection).await.unwrap();
    }
    assert_eq!(retention::pass(&options, keep(3, 35)).await.unwrap().dropped, 6);
}
