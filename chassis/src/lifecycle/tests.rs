use std::time::Duration;

use super::{Shutdown, TaskError, Tasks, step};

#[tokio::test]
async fn a_request_reaches_every_clone_and_late_waiters() {
    let shutdown = Shutdown::new();
    let other = shutdown.clone();
    let waiter = tokio::spawn(async move { other.requested().await });
    shutdown.request();
    waiter.await.expect("the waiter is woken");
    shutdown.requested().await;
    assert!(shutdown.is_requested());
}

#[test]
fn a_child_stops_alone_and_with_its_parent() {
    let parent = Shutdown::new();
    let first = parent.child();
    first.request();
    assert!(!parent.is_requested());
    let second = parent.child();
    parent.request();
    assert!(second.is_requested());
}

#[tokio::test(start_paused = true)]
async fn a_step_that_hangs_is_abandoned_after_its_budget() {
    let budget = Duration::from_secs(3);
    assert_eq!(step("flush", budget, std::future::pending::<()>()).await, None);
    assert_eq!(step("flush", budget, async { 7 }).await, Some(7));
}

#[tokio::test]
async fn a_task_that_ends_outside_shutdown_stops_the_process() {
    let mut tasks = Tasks::new();
    tasks.spawn("listener", std::future::pending::<Result<(), String>>());
    tasks.spawn("poller", async { Ok::<(), String>(()) });
    let ended = tasks.run_until(&Shutdown::new()).await;
    assert!(matches!(ended, Err(TaskError::Ended { task: "poller" })), "{ended:?}");
}

#[tokio::test]
async fn a_failing_or_panicking_task_is_named_with_its_reason() {
    let mut tasks = Tasks::new();
    tasks.spawn("poller", async { Err("broker gone") });
    let ended = tasks.run_until(&Shutdown::new()).await.expect_err("it failed");
    assert_eq!(ended.to_string(), "poller failed: broker gone");
    tasks.spawn("flusher", async { if true { panic!("boom") } else { Ok::<(), String>(()) } });
    let ended = tasks.run_until(&Shutdown::new()).await.expect_err("it panicked");
    assert_eq!(ended.to_string(), "flusher panicked");
}

#[tokio::test]
async fn tasks_that_stop_on_request_leave_no_error() {
    let (mut tasks, shutdown) = (Tasks::new(), Shutdown::new());
    let stop = shutdown.clone();
    tasks.spawn("listener", async move {
        stop.requested().await;
        Ok::<(), String>(())
    });
    shutdown.request();
    tasks.run_until(&shutdown).await.expect("shutdown was requested");
    tasks.finish("listener").await.expect("the listener ended as asked");
}

#[tokio::test]
async fn one_task_can_be_waited_for_while_others_run() {
    let mut tasks = Tasks::new();
    tasks.spawn("admin", std::future::pending::<Result<(), String>>());
    tasks.spawn("ingest", async { Err("late failure") });
    assert!(tasks.finish("ingest").await.is_err());
    tasks.finish("ingest").await.expect("nothing of this name runs any more");
}
