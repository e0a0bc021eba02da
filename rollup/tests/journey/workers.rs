//! Several workers over one database: who counts what, and what becomes of those who die or freeze.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::stack::{Stack, Traffic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_the_partitions_as_they_come_and_go() {
    let stack = Stack::new(7).await;
    let mut traffic = Traffic::default();
    let first = stack.start();
    wait_for_shares(&stack, &[7]).await;
    let second = stack.start();
    let started = Instant::now();
    wait_for_shares(&stack, &[3, 4]).await;
    assert!(started.elapsed() < Duration::from_secs(5), "shared after {:?}", started.elapsed());
    send(&stack, &mut traffic, 1).await;
    let third = stack.start();
    wait_for_shares(&stack, &[2, 2, 3]).await;
    send(&stack, &mut traffic, 2).await;
    second.stop().await;
    wait_for_shares(&stack, &[3, 4]).await;
    third.stop().await;
    wait_for_shares(&stack, &[7]).await;
    stack.wait_for_commit().await;
    first.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_partitions_of_a_killed_worker_are_counted_on_within_twelve_seconds() {
    let stack = Stack::new(4).await;
    let mut traffic = Traffic::default();
    let (first, second) = (stack.start(), stack.start());
    wait_for_shares(&stack, &[2, 2]).await;
    send(&stack, &mut traffic, 1).await;
    stack.wait_for_commit().await;
    first.kill();
    let killed = Instant::now();
    send(&stack, &mut traffic, 2).await;
    stack.wait_for_commit().await;
    let took = killed.elapsed();
    println!("taken over and counted after {took:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    second.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_froze_while_it_sent_rows_does_not_block_its_successor() {
    let stack = Stack::new(1).await;
    let mut traffic = Traffic::default();
    let first = stack.start();
    send(&stack, &mut traffic, 1).await;
    stack.wait_for_commit().await;
    first.kill();
    // What the database sees of a process stopped between two pieces of a COPY: no time limit of its own ends that.
    let mut frozen = stack.connection().await;
    let begin = "begin; set local statement_timeout = '2s'; set local idle_in_transaction_session_timeout = '2s';
        select pg_try_advisory_xact_lock(hashtext('peep flush ' || current_schema()), 0);
        update rollup_cursor set lease_until = clock_timestamp() + interval '8 seconds'";
    sqlx::raw_sql(begin).execute(&mut frozen).await.unwrap();
    let copy = sqlx::postgres::PgConnection::copy_in_raw(&mut frozen, "copy dead_letter from stdin").await.unwrap();
    let froze = Instant::now();
    let second = stack.start();
    send(&stack, &mut traffic, 2).await;
    stack.wait_for_commit().await;
    let took = froze.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert!(copy.finish().await.is_err(), "its connection is closed");
    second.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_can_take_little_leaves_the_rest_to_others() {
    let stack = Stack::new(5).await;
    let mut small = crate::stack::config();
    small.partitions_max = 1;
    let (first, second) = (stack.start_with(small), stack.start());
    wait_for_shares(&stack, &[1, 4]).await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_lost_its_last_commits_is_counted_again_although_nothing_new_arrives() {
    let stack = Stack::new(1).await;
    let running = stack.start();
    let traffic = Traffic::random(3, 20, 20);
    stack.send(&traffic).await;
    stack.wait_for_commit().await;
    // A failover to a replica that had seen nothing of it.
    let lose = "truncate rollup_10s, raw_event, ledger, ledger_project, ledger_day, dedup_window, series_budget,
            rollup_touched, facet_10s, facet_seen, facet_budget;
        update rollup_cursor set next_offset = 0, fingerprint = null, log_ms = 0";
    sqlx::raw_sql(lose).execute(&stack.pool).await.unwrap();
    stack.wait_for_commit().await;
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

async fn send(stack: &Stack, traffic: &mut Traffic, seed: u64) {
    let more = Traffic::random(seed, 40, 20);
    stack.send(&more).await;
    traffic.append(more);
}

/// Until the workers have so many partitions each, whoever has how many.
async fn wait_for_shares(stack: &Stack, shares: &[usize]) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let owners: Vec<String> = sqlx::query_scalar("select owner::text from rollup_cursor where owner is not null")
            .fetch_all(&stack.pool)
            .await
            .unwrap();
        let mut by_owner: BTreeMap<&String, usize> = BTreeMap::new();
        owners.iter().for_each(|owner| *by_owner.entry(owner).or_default() += 1);
        let mut found: Vec<usize> = by_owner.into_values().collect();
        found.sort_unstable();
        if found == shares {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?} instead of {shares:?}");
        sleep(Duration::from_millis(50)).await;
    }
}
