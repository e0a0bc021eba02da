//! The search of raw events.

use peep_wire::ProjectId;
use peep_wire::receipt::Receipt;
use serde_json::{Value, json};

use crate::world::{Event, NOW_MS, World, traffic};

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
    assert_eq!(count("max_duration_ms=9").await, 10);
    assert_eq!(count("text=acme-490&host=web-1&version=v1").await, 1);
    assert_eq!(count("host=web-2").await, 0);
    assert_eq!(world.reader().get("/v1/events?q=a&text=b").await.status, 400, "one name or the other");
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
        "receipt": Receipt { project: ProjectId(world.project), partition: 0, offset: 0, share: None }.to_string(),
    });
    assert_eq!((&answer["events"][0], &answer["sampled"]), (&expected, &json!(false)));
    world.stop().await;
}

#[tokio::test]
async fn the_first_page_counts_by_weight_what_it_is_a_part_of() {
    let world = with_events(500).await;
    sqlx::query("update raw_event set weight = 4 where status is null").execute(&world.pool).await.expect("weigh");
    let range = "from=-1h&to=2026-11-20T15:00:00Z&limit=10";
    let page = world.ask(&format!("/v1/events?{range}&status=5xx")).await;
    assert_eq!((&page["matched"], &page["total"]), (&json!(125), &json!(125 + 4 * 375)));
    let counts = page["duration_histogram"]["count"].as_array().expect("counts").clone();
    assert_eq!(counts.iter().filter_map(Value::as_u64).sum::<u64>(), 125);
    assert_eq!(page["duration_histogram"]["row_us"].as_array().map(Vec::len), Some(counts.len() + 1));
    let all = world.ask(&format!("/v1/events?{range}")).await;
    assert_eq!((&all["matched"], &all["sampled"]), (&all["total"], &json!(true)));
    let cursor = page["next_cursor"].as_str().expect("there is more");
    let next = world.ask(&format!("/v1/events?{range}&status=5xx&cursor={cursor}")).await;
    assert_eq!((&next["matched"], &next["duration_histogram"]), (&Value::Null, &Value::Null), "counted once");
    world.stop().await;
}

#[tokio::test]
async fn a_sample_is_called_so_on_every_page_whatever_is_on_it() {
    let world = with_events(60).await;
    sqlx::query("update raw_event set weight = 2 where log_offset = 45").execute(&world.pool).await.expect("weigh");
    let range = "from=-1h&to=2026-11-20T15:00:00Z";
    let mut path = format!("/v1/events?{range}&limit=20");
    for page in 0..3 {
        let answer = world.ask(&path).await;
        assert_eq!((&answer["sampled"], &answer["kept_from_ms"]), (&json!(true), &Value::Null), "page {page}");
        let cursor = answer["next_cursor"].as_str().unwrap_or_default();
        path = format!("/v1/events?{range}&limit=20&cursor={cursor}");
    }
    assert_eq!(world.ask(&format!("/v1/events?{range}&status=unknown")).await["sampled"], true);
    assert_eq!(world.ask(&format!("/v1/events?{range}&status=5xx")).await["sampled"], false, "that one has no status");
    world.stop().await;
}

#[tokio::test]
async fn a_search_says_since_when_events_are_kept_when_older_ones_were_counted() {
    let world = with_events(60).await;
    let kept_from_ms = NOW_MS / 3_600_000 * 3_600_000 - 3_600_000;
    let search = async |range: &str| {
        let answer = world.ask(&format!("/v1/events?{range}")).await;
        (answer["sampled"].clone(), answer["kept_from_ms"].clone())
    };
    assert_eq!(search("from=-1d").await, (json!(false), Value::Null), "nothing is missing");
    let event = Event { at_ms: NOW_MS - 4 * 3_600_000, ..traffic(1).remove(0) };
    world.commit(0, 1, 1, &[event]).await;
    assert_eq!(search("from=-1d").await, (json!(true), json!(kept_from_ms)));
    assert_eq!(search("from=-1d&to=-3h").await, (json!(true), json!(kept_from_ms)), "it is all gone");
    assert_eq!(search("from=-2h&to=-90m").await.1, Value::Null);
    world.stop().await;
}

#[tokio::test]
async fn filters_are_suggested_most_frequent_first() {
    let world = with_events(500).await;
    world.commit(0, 3000, 1, &traffic(3000)).await;
    let values = async |query: &str| {
        let answer = world.ask(&format!("/v1/suggest?{query}")).await;
        let values = answer["values"].as_array().expect("values").clone();
        assert!(
            values.len() <= 10 && values.iter().all(|value| value["count"].as_u64() > Some(0)),
            "{query}: {answer}"
        );
        values.iter().map(|value| value["value"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values("field=route&prefix=/BU").await, ["/buy"]);
    assert_eq!(values("field=route&prefix=items").await, ["/items/{id}"]);
    assert_eq!(values("field=service").await.len(), 3);
    assert!(
        values("field=status&prefix=5").await.starts_with(&["500".to_owned()])
            || values("field=status&prefix=5").await[0] == "503"
    );
    assert_eq!(values("field=service&env=nowhere").await, Vec::<String>::new());
    assert_eq!(
        (values("field=host").await, values("field=version&prefix=v").await),
        (vec!["web-1".to_owned()], vec!["v1".to_owned()])
    );
    assert_eq!(values("field=attr.tenant&prefix=acme-49").await, ["acme-490"]);
    assert_eq!(values("field=attr.none").await, Vec::<String>::new());
    for wrong in ["", "field=colour", "field=attr.", "field=host&limit=1"] {
        assert_eq!(world.reader().get(&format!("/v1/suggest?{wrong}")).await.status, 400, "{wrong}");
    }
    world.stop().await;
}

#[tokio::test]
async fn routes_with_values_in_them_are_suggested_as_templates() {
    let world = World::new().await;
    sqlx::query("insert into series (project_id, service, env, route) select $1, 'shop', 'default', '/users/' || n from generate_series(1, 40) n")
        .bind(world.project.cast_signed())
        .execute(&world.pool)
        .await
        .expect("insert series");
    let answer = world.ask("/v1/suggest/routes?service=shop").await;
    let one = &answer["suggestions"][0];
    assert_eq!(
        (&one["template"], &one["matches"], &one["service"]),
        (&json!("/users/{id}"), &json!(40), &json!("shop"))
    );
    assert_eq!(world.ask("/v1/suggest/routes?service=other").await["suggestions"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn a_trace_leads_to_the_passport_of_its_newest_event() {
    let world = with_events(500).await;
    world.commit(0, 500, 1, &[]).await;
    let answer = world.reader().get("/v1/receipts/000000000000000000000000000000ff").await;
    let told = answer.json();
    // The books of the test hold nothing, so what became of it cannot be shown; which event it is can be.
    assert!(answer.status == 200 || told["error"]["code"] == "receipt_expired", "{told}");
    let missing = world.reader().get("/v1/receipts/ffffffffffffffffffffffffffffffff").await;
    assert_eq!((missing.status, missing.json()["error"]["code"].as_str()), (404, Some("trace_not_found")));
    world.stop().await;
}
