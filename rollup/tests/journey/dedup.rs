//! Batches with an identity, sent more than once, and the books that say what became of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use peep_log::{Log, LogRecord, Offset, Partition};
use peep_rollup::partition::{Cut, Partition as State};
use peep_rollup::postgres::PostgresStore;
use peep_rollup::retention;
use peep_rollup::store::{Claim, Flushed, Owner, Store};
use peep_testkit::Database;
use sqlx::PgPool;
use tokio::time::sleep;
use uuid::Uuid;

use crate::stack::{Sent, Stack, config, identified, now_ms};

/// Clients that number their batches and try again whenever they like.
#[derive(Default)]
struct Clients {
    next: BTreeMap<u8, u64>,
    sent: Vec<Bytes>,
    /// Of different batches.
    events: u64,
    /// Of all records.
    accepted: u64,
    retried: u64,
}

impl Clients {
    async fn send_new(&mut self, stack: &Stack, producer: u8, events: u64) {
        let seq = self.next.entry(producer).or_default();
        let sent: Vec<Sent> = (0..events).map(|n| Sent::now("shop", &format!("/{}", n % 3), 100 * n)).collect();
        let payload = identified(producer, *seq, &sent);
        *seq += 1;
        self.events += events;
        self.accepted += events;
        self.sent.push(payload.clone());
        stack.append(u32::from(producer) % 2, payload).await;
    }

    async fn send_again(&mut self, stack: &Stack, at: usize, producer_of: u32, events: u64) {
        self.accepted += events;
        self.retried += 1;
        stack.append(producer_of, self.sent[at].clone()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_sent_again_counts_once_over_kills_and_takeovers_and_the_books_say_so() {
    let stack = Stack::new(2).await;
    let mut clients = Clients::default();
    let mut places = Vec::new();
    for round in 0..10u64 {
        let running = stack.start();
        for step in 0..20u64 {
            let producer = (step % 5) as u8;
            clients.send_new(&stack, producer, 10).await;
            places.push(u32::from(producer) % 2);
            // One of the last ones, and now and then one that was counted by another worker.
            for at in
                [places.len() - 1 - (step as usize % 3).min(places.len() - 1), (step * round) as usize % places.len()]
            {
                if step % 3 == 0 {
                    clients.send_again(&stack, at, places[at], 10).await;
                }
            }
        }
        sleep(Duration::from_millis(round * round * 3)).await;
        running.kill();
        stack.expire_leases().await;
    }
    let running = stack.start();
    stack.wait_for_commit().await;
    running.stop().await;

    let rollups = stack.rollups().await;
    assert_eq!(rollups.values().map(|rollup| rollup.count).sum::<u64>(), clients.events);
    assert_eq!(stack.count("duplicate_batch").await as u64, clients.retried);
    assert_eq!(stack.count("dedup_window").await, 5);
    let booked = Sums::read(&stack.pool, "ledger").await;
    assert_eq!((booked.accepted as u64, booked.rolled_up as u64), (clients.accepted, clients.events));
    assert_eq!((booked.dead_lettered, booked.unidentified, booked.uncertain), (0, 0, 0));
    assert_eq!(Sums::read(&stack.pool, "ledger_project").await, booked);
    assert_books_are_gapless_and_agree_with_the_rollups(&stack.pool).await;
}

#[tokio::test]
async fn books_that_do_not_balance_undo_the_whole_flush() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let store = PostgresStore::new(pool.clone(), database.options(), 1);
    let owner = Owner(Uuid::from_u128(1));
    store.open(1).await.unwrap();
    let claim = Claim { partitions: 1, again: vec![], count_max: 1 };
    let lease = store.claim(owner, claim).await.unwrap().remove(0);
    let mut cut = cut_of(&[identified(1, 0, &[Sent::now("shop", "/", 5)])]);
    cut.books.total.duplicate += 1;
    let refused = store.flush(owner, lease.epoch, Arc::new(cut)).await.unwrap_err();
    assert!(refused.to_string().contains("ledger"), "{refused}");
    let rows: i64 = sqlx::query_scalar("select count(*) from rollup_10s").fetch_one(&pool).await.unwrap();
    let next: i64 = sqlx::query_scalar("select next_offset from rollup_cursor").fetch_one(&pool).await.unwrap();
    assert_eq!((rows, next), (0, 0));
}

#[tokio::test]
async fn what_was_written_is_what_is_restored() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let store = PostgresStore::new(pool, database.options(), 1);
    let owner = Owner(Uuid::from_u128(1));
    store.open(1).await.unwrap();
    let claim = Claim { partitions: 1, again: vec![], count_max: 1 };
    let lease = store.claim(owner, claim).await.unwrap().remove(0);
    let one = [Sent::now("shop", "/", 5)];
    let many: Vec<Sent> = (0..300).map(|n| Sent::now("shop", &format!("/{n}"), 5)).collect();
    // Far apart, at the end of all numbers, with a gap; and a request of which the first record is missing.
    let mut payloads: Vec<Bytes> = [0, 700, 699, u64::MAX]
        .iter()
        .zip([1, 1, 1, 2])
        .map(|(seq, producer)| identified(producer, *seq, &one))
        .collect();
    payloads.extend(crate::stack::identified_in_parts(3, 9, &many, 4096).into_iter().skip(1));
    let mut state = partition();
    for payload in &payloads {
        apply(&mut state, payload.clone());
    }
    state.publish(1, 0);
    let cut = state.cut().unwrap();
    assert_eq!(store.flush(owner, lease.epoch, Arc::new(cut)).await, Ok(Flushed::Committed));
    let restored = store.restore(0).await.unwrap();
    assert_eq!(restored.log_ms, state.log_ms());
    let mut windows = restored.windows;
    windows.sort_by_key(|window| (window.project, window.producer));
    assert_eq!(windows, state.dedup().windows(state.log_ms()));
    assert!(windows[2].partial.len() == 1 && windows[1].high_seq == u64::MAX);
}

#[tokio::test]
async fn a_sweep_forgets_by_the_time_of_the_log_and_not_by_the_clock() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    // A log that stands still for a year is a year of silence that nobody kept.
    sqlx::raw_sql(
        "insert into rollup_cursor (log_partition, log_ms) values (0, 100 * 86400000::bigint), (1, 10);
         insert into dedup_window (log_partition, project_id, producer, high_seq, begun_seq, seen, last_ms, last_offset)
            select p, 1, gen_random_uuid(), 0, 0, '\\x01', ms, 0
            from (values (0, 99 * 86400000::bigint - 1), (0, 99 * 86400000::bigint), (1, 5::bigint)) as w (p, ms);
         insert into duplicate_batch (log_partition, log_offset, project_id, producer, seq, part, events, recorded_at)
            select 0, age, 1, gen_random_uuid(), 0, 0, 1, now() - age * interval '1 day' from generate_series(0, 60) age",
    )
    .execute(&pool)
    .await
    .unwrap();
    retention::pass(&database.options(), config().keep()).await.unwrap();
    let left: Vec<(i32, i64)> =
        sqlx::query_as("select log_partition, last_ms from dedup_window order by 1, 2").fetch_all(&pool).await.unwrap();
    assert_eq!(left, [(0, 99 * 86_400_000), (1, 5)]);
    let duplicates: i64 = sqlx::query_scalar("select count(*) from duplicate_batch").fetch_one(&pool).await.unwrap();
    assert_eq!(duplicates, 35);
}

/// What a table of the books adds up to.
#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Sums {
    accepted: i64,
    rolled_up: i64,
    dead_lettered: i64,
    duplicate: i64,
    unidentified: i64,
    uncertain: i64,
    folded: i64,
}

impl Sums {
    async fn read(pool: &PgPool, table: &'static str) -> Self {
        let sums = ["accepted", "rolled_up", "dead_lettered", "duplicate", "unidentified", "uncertain", "folded"]
            .map(|column| format!("sum({column})::bigint as {column}"))
            .join(", ");
        let sql = format!("select {sums} from {table}");
        sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await.unwrap()
    }
}

async fn assert_books_are_gapless_and_agree_with_the_rollups(pool: &PgPool) {
    let gaps = "select count(*) from (select log_partition, from_offset,
            lag(to_offset, 1, 0::bigint) over (partition by log_partition order by to_offset) as expected from ledger) as chain
        where from_offset <> expected";
    let heads = "select count(*) from rollup_cursor c
        where next_offset <> coalesce((select max(to_offset) from ledger l where l.log_partition = c.log_partition), 0)";
    let days = "select count(*) from
            (select project_id, (bucket at time zone 'UTC')::date as day, sum(count) as events from rollup_10s group by 1, 2) r
        full join (select project_id, day, sum(rolled_up) as events from ledger_day group by 1, 2) l using (project_id, day)
        where r.events is distinct from l.events";
    for (what, sql) in [("a gap", gaps), ("a head", heads), ("a day", days)] {
        let wrong: i64 = sqlx::query_scalar(sql).fetch_one(pool).await.unwrap();
        assert_eq!(wrong, 0, "{what}");
    }
}

fn partition() -> State {
    State::new(0, Offset(0), config().partition_limits(1))
}

fn apply(state: &mut State, payload: Bytes) {
    let offset = state.next();
    state.apply(&LogRecord { offset, appended_ms: now_ms(), payload }).unwrap();
}

fn cut_of(payloads: &[Bytes]) -> Cut {
    let mut state = partition();
    payloads.iter().for_each(|payload| apply(&mut state, payload.clone()));
    state.publish(1, 0);
    state.cut().unwrap()
}

impl Stack {
    async fn append(&self, partition: u32, payload: Bytes) {
        self.events.append(Partition(partition), payload).await.expect("the log takes it");
    }
}
