//! `peep verify` beside real processes.

#[allow(dead_code, reason = "other tests need more of it")]
mod stack;

use std::time::Duration;

use peep_testkit::Peep;
use serde_json::Value;
use stack::{Stack, event};

const SOON: Duration = Duration::from_secs(60);

/// Exit code and report.
async fn verify(stack: &Stack) -> (Option<i32>, Value) {
    let command = stack.configured(Peep::command(["verify", "--json"]));
    let (status, said) = command.run(SOON).await;
    let report = said.lines().find_map(|line| serde_json::from_str(line).ok());
    (status.code(), report.unwrap_or_else(|| panic!("no report: {said}")))
}

async fn the_oracle_agrees_until_somebody_changes_a_row(mut stack: Stack) {
    let events: Vec<Value> = (0..3_000).map(|number| event("shop", number * 37)).collect();
    stack.send(&events).await;
    assert_eq!(stack.wait_for_count("shop", 3_000).await, 3_000);
    // While everything runs, and when nothing does: all that was accepted is then below the cursors.
    let (code, report) = verify(&stack).await;
    assert_eq!((code, &report["equal"]), (Some(0), &Value::Bool(true)), "{report}");
    stack.stop().await;
    let (code, report) = verify(&stack).await;
    assert_eq!((code, report["events"]["rolled_up"].as_u64()), (Some(0), Some(3_000)), "{report}");

    let lost = "update rollup_10s set count = count - 1 where ctid = (select min(ctid) from rollup_10s)";
    sqlx::query(lost).execute(&stack.database.pool().await).await.expect("lose an event");
    let (code, report) = verify(&stack).await;
    assert_eq!((code, &report["differences"][0]["table"]), (Some(1), &"rollup_10s".into()), "{report}");
    let (_, said) = stack.configured(Peep::command(["verify"])).run(SOON).await;
    assert!(said.contains("difference: rollup_10s at partition") && said.contains("service \"shop\""), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_log_in_postgres() {
    the_oracle_agrees_until_somebody_changes_a_row(Stack::single().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_log_in_kafka() {
    the_oracle_agrees_until_somebody_changes_a_row(Stack::kafka().await).await;
}
