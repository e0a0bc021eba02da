use super::Shutdown;

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
