//! Logs that are not the ones that were counted, until a person accepts it.

use std::time::Duration;

use peep_log::{Offset, Partition};
use peep_rollup::breaks::{self, BreakError, Damage, Plan, ResumeAt};
use peep_rollup::position::Position;
use tokio::time::{Instant, sleep};

use crate::stack::{Stack, Traffic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_expired_unread_are_booked_to_the_unit_and_the_rest_is_counted() {
    let stack = Stack::new(1).await;
    let expired = Traffic::random(1, 5, 10);
    let kept = Traffic::random(2, 7, 10);
    stack.send(&expired).await;
    stack.send(&kept).await;
    stack.events.truncate(Partition(0), Offset(5));
    let running = stack.start();
    running.not_ready("broken").await;
    let (reason, since) = wait_for_reason(&stack).await;
    assert!(reason.contains("5 records expired") && since >= 0.0, "{reason}");

    let plan = accept(&stack, ResumeAt::Best).await;
    assert_eq!((plan.kind, plan.records_lost, plan.after), ("expired", Some(5), Position::new(1, Offset(5))));
    wait_for(&stack, Position::new(1, Offset(12))).await;
    running.ready().await;
    assert_eq!(reason_of(&stack).await, None);
    let again = breaks::examine(&stack.pool, &stack.events, 0).await;
    assert!(matches!(again, Err(BreakError::NotBroken { .. })), "{again:?}");
    running.stop().await;
    stack.assert_exact(&kept).await;
    let booked: (i64, i64, String, Option<i64>, String) =
        sqlx::query_as("select position_before, position_after, kind, records_lost, accepted_by from log_break")
            .fetch_one(&stack.pool)
            .await
            .unwrap();
    assert_eq!(booked, (0, (1 << 40) | 5, "expired".to_owned(), Some(5), "test".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_log_that_was_replaced_every_record_is_counted() {
    let stack = Stack::new(1).await;
    let mut traffic = Traffic::random(1, 10, 5);
    count(&stack, &traffic).await;
    // Longer than the old one, so that the cursor points into its middle.
    let replaced = stack.with_new_log();
    let new = Traffic::random(2, 20, 5);
    replaced.send(&new).await;
    let running = replaced.start();
    running.not_ready("broken").await;
    let plan = accept(&replaced, ResumeAt::Best).await;
    assert_eq!((plan.kind, plan.records_lost, plan.after), ("replaced", None, Position::new(1, Offset(0))));
    wait_for(&replaced, Position::new(1, Offset(20))).await;
    running.stop().await;
    traffic.append(new);
    replaced.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_log_that_was_cut_off_nothing_is_lost_and_what_was_counted_stays() {
    let stack = Stack::new(1).await;
    // Many flushes, so that the ledger has to be searched.
    let mut traffic = Traffic::default();
    for seed in 0..12 {
        let more = Traffic::random(seed, 3, 5);
        count(&stack, &more).await;
        traffic.append(more);
    }
    let cut_off = stack.with_log_cut_off_at(18).await;
    let running = cut_off.start();
    running.not_ready("broken").await;
    let examined = breaks::examine(&cut_off.pool, &cut_off.events, 0).await.unwrap();
    assert_eq!(examined.damage, Damage::Truncated { common: Offset(18) });
    assert!(examined.plan(ResumeAt::Offset(Offset(19))).is_err(), "there is no such offset");
    let plan = accept(&cut_off, ResumeAt::Best).await;
    assert_eq!((plan.kind, plan.records_lost, plan.records_read_again), ("truncated", Some(0), 0));
    let more = Traffic::random(99, 10, 5);
    cut_off.send(&more).await;
    traffic.append(more);
    wait_for(&cut_off, Position::new(1, Offset(28))).await;
    running.stop().await;
    cut_off.assert_exact(&traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_not_broken_or_moves_meanwhile_is_left_alone() {
    let stack = Stack::new(1).await;
    count(&stack, &Traffic::random(1, 3, 5)).await;
    let sound = breaks::examine(&stack.pool, &stack.events, 0).await;
    assert!(matches!(sound, Err(BreakError::NotBroken { partition: 0, .. })), "{sound:?}");
    assert!(matches!(breaks::examine(&stack.pool, &stack.events, 7).await, Err(BreakError::Unknown(7))));
    let replaced = stack.with_new_log();
    let examined = breaks::examine(&replaced.pool, &replaced.events, 0).await.unwrap();
    let plan = examined.plan(ResumeAt::Best).unwrap();
    sqlx::query("update rollup_cursor set next_offset = 4").execute(&stack.pool).await.unwrap();
    let moved = breaks::accept(&replaced.pool, &replaced.events, &plan, "test").await;
    assert!(matches!(moved, Err(BreakError::Moved)), "{moved:?}");
    assert_eq!(stack.count("log_break").await, 0);
}

async fn count(stack: &Stack, traffic: &Traffic) {
    stack.send(traffic).await;
    let running = stack.start();
    stack.wait_for_commit().await;
    running.stop().await;
}

async fn accept(stack: &Stack, at: ResumeAt) -> Plan {
    let plan = breaks::examine(&stack.pool, &stack.events, 0).await.unwrap().plan(at).unwrap();
    breaks::accept(&stack.pool, &stack.events, &plan, "test").await.unwrap();
    plan
}

async fn wait_for(stack: &Stack, position: Position) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while stack.cursor(0).await != position.0 as i64 {
        assert!(Instant::now() < deadline, "the cursor stays at {}", stack.cursor(0).await);
        sleep(Duration::from_millis(20)).await;
    }
}

async fn reason_of(stack: &Stack) -> Option<(String, f64)> {
    let sql = "select broken_reason, extract(epoch from clock_timestamp() - broken_at)::float8 from rollup_cursor
        where broken_reason is not null";
    sqlx::query_as(sql).fetch_optional(&stack.pool).await.unwrap()
}

async fn wait_for_reason(stack: &Stack) -> (String, f64) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(reason) = reason_of(stack).await {
            return reason;
        }
        assert!(Instant::now() < deadline, "the reason is not in the database");
        sleep(Duration::from_millis(20)).await;
    }
}
