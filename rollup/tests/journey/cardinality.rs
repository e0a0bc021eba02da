//! A project with more series than it may have.

use std::collections::BTreeSet;
use std::time::Duration;

use peep_rollup::retention::{self, Retention};
use peep_testkit::Database;

use crate::stack::{Sent, Stack, Traffic, config};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_explosion_of_routes_is_counted_to_the_last_event_and_named() {
    let stack = Stack::new(1).await;
    let mut settings = config();
    settings.series_max = 50;
    let mut sent = 0;
    // Each round a worker of its own, which knows of the others only what the tables say.
    for round in 0..4 {
        let running = stack.start_with(settings.clone());
        for batch in 0..10 {
            let routes = (0..40).map(|n| format!("/orders/{round}{batch:02}{n:02}/items"));
            let events: Vec<Sent> = routes.map(|route| Sent::now("shop", &route, 1_000)).collect();
            stack.send_batch(0, &events).await;
            sent += events.len() as u64;
        }
        if round % 2 == 0 {
            stack.wait_for_commit().await;
            running.stop().await;
        } else {
            running.kill();
            stack.expire_leases().await;
        }
    }
    let running = stack.start_with(settings);
    stack.wait_for_commit().await;
    running.stop().await;

    let rollups = stack.rollups().await;
    let other = ("shop".to_owned(), "(other)".to_owned(), 200);
    assert_eq!((rollups.len(), rollups.values().map(|rollup| rollup.count).sum::<u64>()), (51, sent));
    assert_eq!(rollups[&other].count, sent - 50);
    let first: BTreeSet<String> = (0..50).map(|n| format!("/orders/0{:02}{:02}/items", n / 40, n % 40)).collect();
    assert_eq!(
        rollups.into_keys().map(|(_, route, _)| route).filter(|route| *route != other.1).collect::<BTreeSet<_>>(),
        first
    );

    let folded: i64 = scalar(&stack, "select sum(folded)::bigint from ledger").await;
    assert_eq!(folded as u64, sent - 50);
    let seen: i64 = scalar(&stack, "select sum(length(hashes) / 8)::bigint from series_budget").await;
    assert_eq!(seen, 51, "of each series and day once");
    let overflow: Vec<(String, String, i64, String)> =
        sqlx::query_as("select service, segment, events, example from series_overflow")
            .fetch_all(&stack.pool)
            .await
            .unwrap();
    let [(service, segment, events, example)] = &overflow[..] else { panic!("{overflow:?}") };
    assert_eq!((service.as_str(), segment.as_str(), *events as u64), ("shop", "/orders/*", sent - 50));
    assert!(example.starts_with("/orders/") && !example.ends_with("items"), "{example}");
    let true_routes: i64 = scalar(&stack, "select count(distinct route) from raw_event where route <> '(other)'").await;
    assert!(true_routes as u64 > sent / 2, "{true_routes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_freed_stops_nobody_for_ever() {
    let stack = Stack::new(2).await;
    let mut settings = config();
    // The series of a day alone are more than this.
    settings.memory_bytes_max = 32 << 10;
    let running = stack.start_with(settings);
    let mut traffic = Traffic::default();
    for seed in 0..4 {
        let more = Traffic::wide(seed, 4, 500);
        stack.send(&more).await;
        traffic.append(more);
        stack.wait_for_commit().await;
    }
    running.stop().await;
    stack.assert_exact(&traffic).await;
}

#[tokio::test]
async fn a_sweep_keeps_what_a_cursor_can_still_need() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    sqlx::raw_sql(
        "insert into rollup_cursor (log_partition, log_ms) values (0, 100 * 86400000::bigint + 5), (1, 0);
         insert into series_budget (log_partition, day, project_id, up_to_offset, hashes)
            select p, d, 1, d, '\\x0123456789abcdef' from generate_series(0, 1) p, generate_series(97, 100) d;
         insert into series_overflow (project_id, service, segment, log_partition, distinct_values, events, example, first_at, last_at)
            select 1, 'shop', '/' || age || '/*', 0, 9, 9, '', now(), now() - age * interval '1 day' from generate_series(0, 3) age",
    )
    .execute(&pool)
    .await
    .unwrap();
    retention::pass(&database.options(), Retention { minutes: Duration::from_hours(36), ..config().keep() })
        .await
        .unwrap();
    let left: Vec<(i32, i64)> =
        sqlx::query_as("select log_partition, count(*) from series_budget group by 1 order by 1")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(left, [(0, 2), (1, 4)]);
    let advice: i64 = sqlx::query_scalar("select count(*) from series_overflow").fetch_one(&pool).await.unwrap();
    assert_eq!(advice, 2);
}

async fn scalar(stack: &Stack, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&stack.pool).await.unwrap()
}
