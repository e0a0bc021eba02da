//! The search of raw events.

use serde_json::{Value, json};

use crate::world::{NOW_MS, World};

/// `count` events, one every 700 ms back from now, some at the same instant.
async fn with_events(count: i64) -> World {
    let world = World::new().await;
    sqlx::query("select time_partition_ensure('raw_event', array[to_timestamp($1), to_timestamp($1) + interval '1 hour'], interval '1 hour')")
        .bind(((NOW_MS - 3_600_000) / 3_600_000 * 3600) as f64)
        .execute(&world.pool)
        .await
        .expect("make partitions");
    sqlx::query(
        "insert into raw_event
        select to_timestamp($1) - (n / 3 * 3) * interval '700 milliseconds', now(), $2, 'shop', 'default', '/items/' || n % 5,
            case when n % 2 = 0 then 'GET' else '' end, case when n % 4 = 0 then 503 end, n * 1000,
            case when n = 77 then 'Connection Reset by peer' end, 'web-1', 'v1', 1, 2,
            decode(lpad(to_hex(n), 32, '0'), 'hex'), null, 'api',
            case when n % 10 = 0 then jsonb_build_object('tenant', 'acme-' || n) end, 1, n % 3, n, 0
        from generate_series(0, $3 - 1) n",
    )
    .bind(NOW_MS as f64 / 1000.0)
    .bind(world.project.cast_signed())
    .bind(count)
    .execute(&world.pool)
    .await
    .expect("insert events");
    world
}

#[tokio::test]
async fn pages_line_up_newest_first() {
    let world = with_events(500).await;
    let all = world.ask("/v1/events?from=-1h&to=2026-11-20T15:00:00Z&limit=1000").await;
    let all = all["events"].as_array().expect("events").clone();
    assert_eq!(all.len(), 500);
    assert!(all.is_sorted_by_key(|event| std::cmp::Reverse(event["ts_ms"].as_i64())));

    let mut paged: Vec<Value> = Vec::new();
    let mut path = "/v1/events?from=-1h&to=2026-11-20T15:00:00Z&limit=37".to_owned();
    loop {
        let page = world.ask(&path).await;
        paged.extend(page["events"].as_array().expect("events").iter().cloned());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/events?from=-1h&to=2026-11-20T15:00:00Z&limit=37&cursor={cursor}");
    }
    assert_eq!(paged, all, "no repetition and no hole");
    world.stop().await;
}

#[tokio::test]
async fn filters_find_exactly_what_they_name() {
    let world = with_events(500).await;
    let count = async |filter: &str| {
        let answer = world.ask(&format!("/v1/events?from=-1h&to=2026-11-20T15:00:00Z&limit=1000&{filter}")).await;
        answer["events"].as_array().expect("events").len()
    };
    assert_eq!(count("status=5xx").await, 125);
    assert_eq!(count("status=unknown").await, 375);
    assert_eq!(count("route=/items/3&route=/items/4").await, 200);
    assert_eq!(count("min_duration_ms=490").await, 10);
    assert_eq!(count("q=connection%20reset").await, 1);
    assert_eq!(count("q=acme-490").await, 1);
    assert_eq!(count("trace_id=000000000000000000000000000000ff").await, 1);
    assert_eq!(count("service=other").await, 0);
    world.stop().await;
}

#[tokio::test]
async fn an_event_shows_every_field() {
    let world = with_events(1).await;
    let answer = world.ask("/v1/events?to=2026-11-20T15:00:00Z").await;
    let expected = json!({
        "ts": "2026-11-20T14:00:05Z", "ts_ms": NOW_MS, "service": "shop", "env": "default", "route": "/items/0",
        "method": "GET", "status": 503, "duration_ms": 0.0, "error": null, "host": "web-1", "version": "v1",
        "trace_id": "00000000000000000000000000000000", "span_id": null, "source": "api",
        "attrs": {"tenant": "acme-0"}, "weight": 1.0,
    });
    assert_eq!((&answer["events"][0], &answer["sampled"]), (&expected, &json!(false)));
    world.stop().await;
}
