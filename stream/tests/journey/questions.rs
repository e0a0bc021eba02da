//! Answers against a naive computation from the events themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Event, NOW_MS, World, traffic};

/// Half of the events committed, the rest announced, over three partitions.
async fn with_traffic() -> (World, Vec<Event>) {
    let world = World::new().await;
    let events = traffic(3000);
    for (partition, events) in events.chunks(1000).enumerate() {
        let partition = partition as u32;
        world.commit(partition, 500, 1, &events[..500]).await;
        let to = world.publish(partition, 1, 500, &events[500..700]).await;
        world.publish(partition, 1, to, &events[700..]).await;
    }
    world.wait_for_count(3000).await;
    (world, events)
}

pub(crate) fn assert_row(row: &Value, events: &[&Event]) {
    let mut durations: Vec<u64> = events.iter().filter_map(|event| event.duration_us).collect();
    durations.sort_unstable();
    let count = events.len() as u64;
    let errors = events.iter().filter(|event| event.status >= 500).count() as u64;
    assert_eq!(row["count"], json!(count), "{row}");
    assert_eq!(row["errors"], json!(errors));
    assert_eq!(row["latency_count"], json!(durations.len()));
    let exact_ms = |us: Option<&u64>| us.map_or(Value::Null, |us| json!(*us as f64 / 1000.0));
    assert_eq!(row["max_ms"], exact_ms(durations.last()));
    let Some(quantiles) = row["quantiles_ms"].as_object() else { panic!("no quantiles in {row}") };
    assert!(quantiles.len() >= 3);
    for (name, value) in quantiles {
        let quantile: f64 = name.parse().expect("a number");
        let Some(value) = value.as_f64() else {
            assert!(durations.is_empty());
            continue;
        };
        let rank = ((quantile * durations.len() as f64).ceil() as usize).max(1);
        let exact = durations[rank - 1] as f64 / 1000.0;
        assert!(value >= exact && value <= exact * 1.001 + 1e-9, "{name}: {value} for {exact}");
    }
    if !durations.is_empty() {
        let mean_ms = durations.iter().sum::<u64>() as f64 / durations.len() as f64 / 1000.0;
        assert!((row["mean_ms"].as_f64().expect("a mean") - mean_ms).abs() < 1e-4);
    }
}

#[tokio::test]
async fn services_are_exact_whether_committed_or_only_announced() {
    let (world, events) = with_traffic().await;
    let answer = world.ask("/v1/services?from=-15m").await;
    assert_eq!(answer["envs"], json!(["default", "staging"]));
    assert_eq!(answer["error_bound"], json!(0.001));
    assert_eq!(answer["to_ms"], json!(NOW_MS + 5000));
    let services = answer["services"].as_array().expect("services");
    assert_eq!(services.len(), 3);
    for row in services {
        let of_service: Vec<&Event> = events.iter().filter(|event| row["service"] == *event.service).collect();
        assert_row(row, &of_service);
        let rate = of_service.len() as f64 / 895.0;
        assert!((row["rate"].as_f64().expect("a rate") - rate).abs() < 1e-9, "by the time that has passed");
        let newest_ms = of_service.iter().map(|event| event.at_ms).max().expect("events");
        let seen_ms = row["last_seen_ms"].as_i64().expect("seen");
        assert!((newest_ms - 999..=newest_ms).contains(&seen_ms), "{seen_ms} for {newest_ms}");
    }
    let staging = world.ask("/v1/services?from=-15m&env=staging").await;
    let count: u64 =
        staging["services"].as_array().expect("rows").iter().map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(count, events.iter().filter(|event| event.env == "staging").count() as u64);
    world.stop().await;
}

#[tokio::test]
async fn what_was_last_seen_stays_while_nothing_is_sent() {
    let world = World::new().await;
    // Eleven minutes ago, and a moment ago in a bucket that is still open.
    let (old_ms, new_ms) = (NOW_MS - 660_123, NOW_MS - 1_877);
    let events = [Event::new("old", old_ms, 1_000), Event::new("new", new_ms, 1_000)];
    let seen = async |path: &str, name: &str| {
        let answer = world.ask(path).await;
        answer[name].as_array().expect("rows").iter().map(|row| row["last_seen_ms"].clone()).collect::<Vec<_>>()
    };
    let by_service = async || {
        let mut seen = seen("/v1/services?from=-15m", "services").await;
        seen.sort_by_key(Value::as_i64);
        seen
    };
    let by_route = async || seen("/v1/summary?from=-15m&service=new&group_by=route", "rows").await;
    world.publish(0, 1, 0, &events).await;
    let second = |ms: i64| json!(ms.div_euclid(1000) * 1000);
    while by_service().await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(by_service().await, [second(old_ms), second(new_ms)], "not stored yet");
    let route = by_route().await;
    world.commit(0, 2, 1, &events).await;
    for _ in 0..3 {
        assert_eq!(by_service().await, [json!(old_ms), json!(new_ms)]);
        assert_eq!(by_route().await, route);
        assert_eq!(route, [json!(new_ms.div_euclid(10_000) * 10_000)]);
        assert_eq!(seen("/v1/summary?from=-15m&service=old&group_by=", "rows").await, [json!(old_ms)]);
        world.clock.advance(Duration::from_secs(4));
    }
    let mut socket = world.websocket("window=15m&service=old").await;
    let snapshot = socket.next(Duration::from_secs(5)).await.expect("a snapshot");
    assert_eq!((&snapshot["newest_event_ms"], &snapshot["total"]["last_seen_ms"]), (&json!(old_ms), &json!(old_ms)));
    world.stop().await;
}

#[tokio::test]
async fn a_rate_of_events_of_the_future_is_that_of_their_window() {
    let world = World::new().await;
    let at_ms = NOW_MS + 120_000;
    let events: Vec<Event> = (0..10).map(|_| Event::new("shop", at_ms, 1_000)).collect();
    world.commit(0, 10, 1, &events).await;
    let answer = world.ask(&format!("/v1/summary?from={}&to={}", at_ms - 20_000, at_ms + 20_000)).await;
    let window_s = (answer["to_ms"].as_i64().expect("to") - answer["from_ms"].as_i64().expect("from")) as f64 / 1000.0;
    assert_eq!(answer["rows"][0]["rate"], json!(10.0 / window_s), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_be_asked_says_what_can() {
    let world = World::new().await;
    let error = async |path: &str| {
        let answer = world.reader().get(path).await;
        let error = answer.json()["error"].clone();
        (answer.status, error["code"].as_str().unwrap_or_default().to_owned(), error["message"].to_string())
    };
    let (status, code, message) = error("/v1/live?group_by=nope").await;
    assert_eq!((status, code.as_str()), (400, "invalid_parameter"));
    assert!(message.contains("status") && !message.contains("version") && !message.contains("host"), "{message}");
    let (status, code, message) = error("/v1/compare?a=env:p&b=env:q&env=p").await;
    assert_eq!((status, code.as_str()), (400, "invalid_parameter"));
    assert!(message.contains("`b`") && message.contains("contradicts `env`"), "{message}");
    assert_eq!(error("/v1/compare?a=env:p&b=env:q&env=!p").await.0, 400);
    assert_eq!(error("/v1/rejects?reason=nope").await.0, 400);
    let bound = world.anonymous().with_key(&world.keys.staging);
    assert_eq!(bound.get("/v1/compare?a=env:staging&b=env:default").await.status, 403);
    world.stop().await;
}

#[tokio::test]
async fn summaries_are_exact_for_any_filter_and_grouping() {
    let (world, events) = with_traffic().await;
    type Filter = fn(&Event) -> bool;
    let filters: [(&str, Filter); 6] = [
        ("", |_| true),
        ("&service=checkout&service=search", |event| event.service != "catalog"),
        ("&status=5xx", |event| event.status >= 500),
        ("&status=404&status=unknown", |event| event.status == 404 || event.status == 0),
        ("&method=post&env=staging", |event| event.method == "POST" && event.env == "staging"),
        ("&route=/%3Cscript%3E'%3B%20drop%20table%20series", |event| event.route.contains("drop table")),
    ];
    for (filter, passes) in filters {
        let path = format!("/v1/summary?from=-15m{filter}&group_by=service,status&quantiles=0.5,0.9,0.99,0.999,1");
        let answer = world.ask(&path).await;
        let rows = answer["rows"].as_array().expect("rows");
        let mut counted = 0;
        for row in rows {
            let status = row["status"].as_u64().unwrap_or(0) as u16;
            let members: Vec<&Event> = events
                .iter()
                .filter(|event| passes(event) && row["service"] == *event.service && event.status == status)
                .collect();
            assert_row(row, &members);
            counted += members.len();
        }
        assert_eq!(counted, events.iter().filter(|event| passes(event)).count(), "{filter}");
        assert!(rows.is_sorted_by_key(|row| std::cmp::Reverse(row["count"].as_u64())), "most requests first");
    }
    world.stop().await;
}

#[tokio::test]
async fn series_are_exact_per_step_and_gaps_are_null() {
    let (world, mut events) = with_traffic().await;
    for (parameters, step_s) in [("from=-15m", 10), ("from=-15m&step=1m", 60)] {
        let answer = world.ask(&format!("/v1/series?{parameters}&quantiles=0.5,0.95,0.99")).await;
        assert_eq!(answer["step_ms"], json!(step_s * 1000));
        let t: Vec<i64> = answer["t"].as_array().expect("t").iter().map(|at| at.as_i64().expect("ms")).collect();
        assert_eq!(t.len() as i64, 900 / step_s);
        assert!(t.windows(2).all(|pair| pair[1] - pair[0] == step_s * 1000));
        for (index, at) in t.iter().enumerate() {
            let inside: Vec<&Event> =
                events.iter().filter(|event| (*at..at + step_s * 1000).contains(&event.at_ms)).collect();
            let at = |name: &str| answer[name][index].clone();
            if inside.is_empty() {
                let nulls = [at("count"), at("errors"), at("mean_ms"), answer["quantiles_ms"]["0.99"][index].clone()];
                assert!(nulls.iter().all(Value::is_null));
                continue;
            }
            let quantiles_ms: serde_json::Map<String, Value> = answer["quantiles_ms"]
                .as_object()
                .expect("quantiles")
                .iter()
                .map(|(name, column)| (name.clone(), column[index].clone()))
                .collect();
            let row = json!({
                "count": at("count"), "errors": at("errors"), "latency_count": at("latency_count"),
                "mean_ms": at("mean_ms"), "max_ms": at("max_ms"), "quantiles_ms": quantiles_ms,
            });
            assert_row(&row, &inside);
            let of_class = inside.iter().filter(|event| event.status / 100 == 2).count();
            assert_eq!(answer["status"]["2xx"][index], json!(of_class));
        }
    }
    let grouped = world.ask("/v1/series?from=-15m&step=5m&group_by=env").await;
    let groups = grouped["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 2);
    events.retain(|event| groups[0]["key"]["env"] == *event.env);
    let sum: u64 = groups[0]["count"].as_array().expect("counts").iter().filter_map(Value::as_u64).sum();
    assert_eq!(sum, events.len() as u64);
    world.stop().await;
}

#[tokio::test]
async fn an_event_is_visible_well_below_a_second_after_it_was_announced() {
    let world = World::new().await;
    world.publish(0, 1, 0, &[Event::new("shop", NOW_MS, 1234)]).await;
    let started = std::time::Instant::now();
    world.wait_for_count(1).await;
    assert!(started.elapsed().as_millis() < 500, "{:?}", started.elapsed());
    world.stop().await;
}

#[tokio::test]
async fn a_commit_in_the_middle_of_frames_changes_no_answer() {
    let world = World::new().await;
    let events = traffic(400);
    let mut from = 0;
    for chunk in events.chunks(50) {
        from = world.publish(1, 1, from, chunk).await;
    }
    world.wait_for_count(400).await;
    for committed in [100, 250, 300, 400usize] {
        let before = if committed == 100 {
            0
        } else {
            [100, 250, 300][[250, 300, 400].iter().position(|c| *c == committed).unwrap()]
        };
        world.commit(1, committed as u64, 1, &events[before..committed]).await;
        let answer = world.ask("/v1/summary?from=-15m&group_by=").await;
        assert_row(&answer["rows"][0], &events.iter().collect::<Vec<_>>());
    }
    world.stop().await;
}

#[tokio::test]
async fn a_restart_reads_the_live_log_back_and_answers_the_same() {
    let (mut world, events) = with_traffic().await;
    world.restart().await;
    let answer = world.ask("/v1/summary?from=-15m&group_by=").await;
    assert_row(&answer["rows"][0], &events.iter().collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test]
async fn a_question_that_is_too_wide_says_what_would_fit() {
    let world = World::with(&[("PEEP_STREAM_QUERY_ROWS_MAX", "1000")]).await;
    world.commit(0, 3000, 1, &traffic(3000)).await;
    // Of routes: whole services are fewer rows.
    let answer = world.reader().get("/v1/summary?from=-15m&group_by=route").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (422, Some("query_too_wide")));
    assert!(answer.body.contains("use a range of at most 1m"), "{}", answer.body);
    world.stop().await;
}

#[tokio::test]
async fn more_questions_than_allowed_are_told_to_come_back() {
    let world = World::with(&[("PEEP_STREAM_QUERIES_MAX", "0"), ("PEEP_STREAM_QUERY_QUEUE_WAIT", "50")]).await;
    let answer = world.reader().get("/v1/services").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.json()["error"]["code"], "overloaded");
    world.stop().await;
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let world = World::new().await;
    for (path, code, name) in [
        ("/v1/services?from=yesteday", "invalid_parameter", "`from`"),
        ("/v1/services?service=a", "unknown_parameter", "`service`"),
        ("/v1/summary?group_by=region", "invalid_parameter", "`group_by`"),
        ("/v1/summary?route=!", "invalid_parameter", "`route`"),
        ("/v1/live?group_by=host", "invalid_parameter", "`group_by`"),
        ("/v1/differs?sel=5,1,0,9", "invalid_parameter", "`sel`"),
        ("/v1/differs", "invalid_parameter", "`sel`"),
        ("/v1/releases?host=a", "unknown_parameter", "`host`"),
        ("/v1/series?step=3s", "invalid_parameter", "`step`"),
        ("/v1/events?cursor=nonsense", "invalid_parameter", "`cursor`"),
        ("/v1/events?limit=many", "invalid_parameter", "`limit`"),
    ] {
        let answer = world.reader().get(path).await;
        let error = &answer.json()["error"];
        assert_eq!((answer.status, error["code"].as_str()), (400, Some(code)), "{path}");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(name)), "{path}: {error}");
        assert_eq!(error["request_id"].as_str(), answer.header("x-request-id"));
    }
    world.stop().await;
}
