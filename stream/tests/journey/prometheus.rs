//! What a scraper sees of the observed services.

use std::time::Duration;

use peep_chassis::exposition::Format;

use crate::world::{Event, NOW_MS, World};

/// Sum of a metric's samples.
fn sum(text: &str, name: &str) -> f64 {
    let prefix = format!("{name}{{");
    let of = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number");
    text.lines().filter(|line| line.starts_with(&prefix)).map(of).sum()
}

async fn world() -> World {
    World::with(&[("PEEP_STREAM_PROMETHEUS_ZERO_FOR", "0")]).await
}

/// Scrapes until the requests are as many; answers the text.
async fn wait_for(world: &World, expected: f64) -> String {
    let mut text = String::new();
    for _ in 0..400 {
        text = world.scrape(Format::Text);
        // The project is called by its number until its name was looked up, which is within a second.
        if sum(&text, "http_server_requests_total") == expected && !text.contains("project=\"1\"") {
            return text;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("expected {expected} requests in {text}");
}

fn requests(service: &str, count: usize) -> Vec<Event> {
    (0..count).map(|_| Event::new(service, NOW_MS, 30_000)).collect()
}

#[tokio::test]
async fn what_is_committed_is_counted_and_what_is_not_is_not() {
    let mut world = world().await;
    world.commit(0, 100, 1, &requests("before", 5)).await;
    // Counting begins with the first cursors that a process sees.
    world.restart().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let events = requests("shop", 40);
    let to = world.publish(0, 1, 100, &events).await;
    let failed: Vec<Event> = requests("shop", 3).into_iter().map(|event| event.status(502)).collect();
    world.publish(0, 1, to, &failed).await;
    world.commit(0, to, 1, &events).await;
    let text = wait_for(&world, 40.0).await;
    assert!(text.contains("project=\"dev\"") && text.contains("service=\"shop\""), "{text}");
    assert!(!text.contains("before"), "{text}");
    assert_eq!(sum(&text, "http_server_request_errors_total"), 0.0, "the failed ones may still be replaced: {text}");
    world.commit(0, to + 3, 1, &failed).await;
    let text = wait_for(&world, 43.0).await;
    assert_eq!(sum(&text, "http_server_request_errors_total"), 3.0);
    assert_eq!(sum(&text, "http_server_request_duration_seconds_count"), 43.0);
    world.stop().await;
}

#[tokio::test]
async fn frames_of_an_owner_that_was_replaced_count_once() {
    let world = world().await;
    world.commit(1, 10, 1, &[]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let events = requests("shop", 20);
    world.publish(1, 1, 10, &events[..15]).await;
    world.publish(1, 2, 10, &events[..7]).await;
    world.publish(1, 2, 17, &events[7..]).await;
    world.commit(1, 30, 2, &events).await;
    wait_for(&world, 20.0).await;
    world.stop().await;
}

#[tokio::test]
async fn frames_that_never_came_are_made_up_for_from_the_rollups() {
    let world = world().await;
    world.commit(0, 10, 1, &[]).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let events = requests("shop", 12);
    world.commit(0, 22, 1, &events).await;
    let text = wait_for(&world, 12.0).await;
    assert_eq!(sum(&text, "http_server_request_duration_seconds_count"), 12.0);
    let later = world.publish(0, 1, 22, &events).await;
    world.commit(0, later, 1, &events).await;
    wait_for(&world, 24.0).await;
    world.stop().await;
}
