//! Versions, hosts, heatmaps and what differs, against a naive computation from the events themselves.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::questions::assert_row;
use crate::world::{Event, NOW_MS, World, traffic};

/// Everything committed, over three partitions.
async fn with_traffic() -> (World, Vec<Event>) {
    let world = World::new().await;
    let events = traffic(1500);
    for (partition, events) in events.chunks(500).enumerate() {
        world.commit_in_full(partition as u32, 500, 1, events).await;
    }
    world.wait_for_count(1500).await;
    (world, events)
}

fn rows(answer: &Value) -> &Vec<Value> {
    answer["rows"].as_array().expect("rows")
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

#[tokio::test]
async fn versions_and_hosts_are_exact_per_service_and_say_when_they_were_seen() {
    let (world, events) = with_traffic().await;
    type Pick = fn(&Event) -> Option<&'static str>;
    let dimensions: [(&str, Pick); 2] = [("version", |event| event.version), ("host", |event| event.host)];
    for (dimension, of) in dimensions {
        let answer = world.ask(&format!("/v1/summary?from=-15m&group_by=service,env,{dimension}")).await;
        assert_eq!((&answer["origin"], &answer["as_of_ms"]), (&json!("exact"), &json!(NOW_MS)));
        assert!(answer["complete_since_ms"].is_null() && answer["kept"].is_null());
        let mut counted = 0;
        for row in rows(&answer) {
            let is_of_row = |event: &&Event| {
                row["service"] == *event.service && row["env"] == *event.env && text(&row[dimension]) == of(event)
            };
            let members: Vec<&Event> = events.iter().filter(is_of_row).collect();
            assert_row(row, &members);
            let times: Vec<i64> = members.iter().map(|event| event.at_ms).collect();
            assert_eq!(row["first_seen_ms"], json!(times.iter().min()));
            assert_eq!(row["last_seen_ms"], json!(times.iter().max()));
            counted += members.len();
        }
        assert_eq!(counted, events.len(), "the {dimension}s add up to everything");
    }
    world.stop().await;
}

#[tokio::test]
async fn filters_pass_what_they_name_and_keep_out_what_they_exclude() {
    let (world, events) = with_traffic().await;
    type Filter = fn(&Event) -> bool;
    let filters: [(&str, &str, Filter); 9] = [
        ("version=v2", "exact", |event| event.version == Some("v2")),
        ("version=!v2&service=checkout", "exact", |event| event.version != Some("v2") && event.service == "checkout"),
        ("host=web-1&host=web-2", "exact", |event| matches!(event.host, Some("web-1" | "web-2"))),
        ("host=", "exact", |event| event.host.is_none()),
        ("host=!&env=!staging", "exact", |event| event.host.is_some() && event.env != "staging"),
        ("status=!5xx&route=!/buy", "exact", |event| event.status / 100 != 5 && event.route != "/buy"),
        ("method=!&status=!unknown", "exact", |event| !event.method.is_empty() && event.status != 0),
        // Nothing was sampled away here, so that also an estimate is right.
        ("version=v1&status=5xx", "sampled", |event| event.version == Some("v1") && event.status >= 500),
        ("version=!v1&host=web-3&route=/", "sampled", |event| {
            event.version != Some("v1") && event.host == Some("web-3") && event.route == "/"
        }),
    ];
    for (filter, origin, passes) in filters {
        let members: Vec<&Event> = events.iter().filter(|event| passes(event)).collect();
        let answer = world.ask(&format!("/v1/summary?from=-15m&group_by=&{filter}")).await;
        assert_eq!(answer["origin"], json!(origin), "{filter}");
        assert_row(&rows(&answer)[0], &members);
        let kept = (origin == "sampled").then_some(members.len());
        assert_eq!(answer["kept"], json!(kept), "{filter}");
        let series = world.ask(&format!("/v1/series?from=-15m&{filter}")).await;
        let sum: u64 = series["count"].as_array().expect("counts").iter().filter_map(Value::as_u64).sum();
        assert_eq!((sum, &series["origin"]), (members.len() as u64, &json!(origin)), "{filter}");
    }
    let events = world.ask("/v1/events?from=-15m&limit=1000&service=!search&status=!5xx").await;
    let all = events["events"].as_array().expect("events");
    assert!(
        !all.is_empty() && all.iter().all(|event| event["service"] != "search" && event["status"].as_i64() < Some(500))
    );
    world.stop().await;
}

#[tokio::test]
async fn an_answer_about_versions_says_how_old_it_is_and_since_when_it_is_whole() {
    let world = World::new().await;
    let of = |version| Event { version, ..Event::new("shop", NOW_MS - 60_000, 5_000) };
    world.commit_in_full(0, 1, 1, &[of(Some("v1"))]).await;
    world.clock.advance(std::time::Duration::from_secs(4));
    world.publish(0, 1, 1, &[of(Some("v1"))]).await;
    world.wait_for_count(2).await;
    let ask = async || world.ask("/v1/summary?from=-15m&group_by=version").await;
    let answer = ask().await;
    assert_eq!(
        (&rows(&answer)[0]["count"], &answer["as_of_ms"]),
        (&json!(1), &json!(NOW_MS)),
        "frames know no version"
    );
    world.commit_in_full(0, 2, 1, &[of(Some("v1"))]).await;
    let answer = ask().await;
    assert_eq!((&rows(&answer)[0]["count"], &answer["as_of_ms"]), (&json!(2), &json!(NOW_MS + 4_000)));
    // A flush of a rollup that knew no versions.
    sqlx::query("select time_partition_ensure('ledger', array[to_timestamp(1795000000)], interval '10 days')")
        .execute(&world.pool)
        .await
        .unwrap();
    sqlx::query(
        "insert into ledger (log_partition, from_offset, to_offset, epoch, owner, records, records_unreadable, accepted,
            rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded, appended_at)
        values (2, 0, 1, 1, gen_random_uuid(), 1, 0, 1, 1, 0, 0, 1, 0, 0, to_timestamp($1))",
    )
    .bind((NOW_MS - 300_000) as f64 / 1000.0)
    .execute(&world.pool)
    .await
    .unwrap();
    assert_eq!(ask().await["complete_since_ms"], json!(NOW_MS - 300_000));
    let later = world.ask("/v1/summary?from=-4m&group_by=version").await;
    assert!(later["complete_since_ms"].is_null(), "{later}");
    world.stop().await;
}

#[tokio::test]
async fn what_kept_events_cannot_answer_is_refused_with_advice() {
    let (world, _) = with_traffic().await;
    let path = "/v1/summary?from=-15m&group_by=version,route";
    world.ask(path).await;
    // The partition that held the older half is dropped.
    let hour_s = NOW_MS / 3_600_000 * 3600;
    let partition: String =
        sqlx::query_scalar("select child from time_partition_list('raw_event') where starts < to_timestamp($1)")
            .bind(hour_s as f64)
            .fetch_one(&world.pool)
            .await
            .unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("drop table {partition}"))).execute(&world.pool).await.unwrap();
    let answer = world.reader().get(path).await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (422, Some("not_exact")));
    assert!(answer.body.contains("use a later `from`"), "{}", answer.body);
    let exact = world.ask("/v1/summary?from=-15m&group_by=version").await;
    assert_eq!(exact["origin"], "exact", "the rollups still know");
    world.stop().await;
}

#[tokio::test]
async fn services_tell_what_they_run_and_since_when() {
    let (world, events) = with_traffic().await;
    let answer = world.ask("/v1/services?from=-15m").await;
    for row in answer["services"].as_array().expect("services") {
        let of: Vec<&Event> = events.iter().filter(|event| row["service"] == *event.service).collect();
        let first =
            |version: &str| of.iter().filter(|event| event.version == Some(version)).map(|event| event.at_ms).min();
        let newest = if first("v2") > first("v1") { "v2" } else { "v1" };
        assert_eq!((&row["version"], &row["versions"], &row["hosts"]), (&json!(newest), &json!(2), &json!(3)));
        assert_eq!(row["first_seen_ms"], json!(of.iter().map(|event| event.at_ms).min()));
    }
    let only = world.ask("/v1/services?from=-15m&version=v1").await;
    for row in only["services"].as_array().expect("services") {
        let of = events.iter().filter(|event| row["service"] == *event.service && event.version == Some("v1"));
        assert_eq!(row["count"], json!(of.count()));
    }
    world.stop().await;
}

#[tokio::test]
async fn a_release_is_the_first_event_of_a_version() {
    let world = World::new().await;
    let of =
        |service: &str, version, host, age_ms: i64| Event { version, host, ..Event::new(service, NOW_MS - age_ms, 9) };
    let events = [
        of("shop", Some("v1"), Some("a"), 90_000),
        of("shop", Some("v1"), Some("b"), 70_000),
        of("shop", Some("v2"), Some("a"), 60_000),
        of("shop", Some("v2"), Some("a"), 1_000),
        of("shop", None, Some("c"), 80_000),
        of("cart", Some("v7"), None, 50_000),
        of("shop", Some("v1"), Some("a"), 3_000).env("staging"),
    ];
    world.commit_in_full(0, 7, 1, &events[..4]).await;
    world.commit_in_full(1, 7, 1, &events[4..]).await;
    let list = async |parameters: &str| -> Vec<Value> {
        let answer = world.ask(&format!("/v1/releases?{parameters}")).await;
        let release = |row: &Value| {
            json!([
                row["service"],
                row["env"],
                row["version"],
                row["previous"],
                row["hosts"],
                NOW_MS - row["first_seen_ms"].as_i64().unwrap()
            ])
        };
        answer["releases"].as_array().expect("releases").iter().map(release).collect()
    };
    let expected = [
        json!(["shop", "staging", "v1", null, 1, 3_000]),
        json!(["cart", "default", "v7", null, 0, 50_000]),
        json!(["shop", "default", "v2", "v1", 1, 60_000]),
        json!(["shop", "default", "v1", null, 3, 90_000]),
    ];
    assert_eq!(list("").await, expected);
    assert_eq!(list("service=shop&env=default&from=-65s").await, expected[2..3]);
    assert_eq!(list("service=!shop").await, expected[1..2]);
    // A late event of an older time moves it.
    world.commit_in_full(2, 1, 1, &[of("shop", Some("v2"), Some("a"), 85_000)]).await;
    assert_eq!(list("service=shop&env=default").await[0][5], json!(85_000));
    let staging = world.anonymous().with_key(&world.keys.staging).get("/v1/releases").await.json();
    assert_eq!(staging["releases"].as_array().expect("releases").len(), 1, "{staging}");
    world.stop().await;
}

#[tokio::test]
async fn a_heatmap_counts_every_request_in_one_cell() {
    let world = World::new().await;
    let events = traffic(1200);
    // Half of it committed, the rest announced: the present is on it too.
    world.commit_in_full(0, 600, 1, &events[..600]).await;
    world.publish(0, 1, 600, &events[600..]).await;
    world.wait_for_count(1200).await;
    for (filter, committed_only) in [("", false), ("&status=5xx", false), ("&version=v1", true)] {
        let answer = world.ask(&format!("/v1/heatmap?from=-15m&step=1m{filter}")).await;
        let bounds: Vec<u64> =
            answer["row_us"].as_array().expect("rows").iter().map(|us| us.as_u64().unwrap()).collect();
        assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
        let counted = if committed_only { &events[..600] } else { &events[..] };
        let passes = |event: &&Event| {
            (filter != "&status=5xx" || event.status >= 500) && (!committed_only || event.version == Some("v1"))
        };
        let (mut max, mut total) = (0, 0);
        for (index, at) in answer["t"].as_array().expect("t").iter().enumerate() {
            let at = at.as_i64().expect("ms");
            let inside: Vec<&Event> =
                counted.iter().filter(passes).filter(|event| (at..at + 60_000).contains(&event.at_ms)).collect();
            let column = &answer["count"][index];
            if inside.is_empty() {
                assert!(column.is_null());
                continue;
            }
            let mut expected = vec![0u64; bounds.len() - 1];
            for duration_us in inside.iter().filter_map(|event| event.duration_us) {
                expected[bounds.partition_point(|bound| *bound <= duration_us) - 1] += 1;
            }
            assert_eq!(column, &json!(expected), "{filter} at {at}");
            max = max.max(expected.iter().copied().max().unwrap_or(0));
            total += expected.iter().sum::<u64>();
        }
        assert_eq!((&answer["max"], &answer["total"]), (&json!(max), &json!(total)));
        assert_eq!(answer["quantiles_ms"]["0.99"].as_array().expect("p99").len(), 15);
    }
    let narrow = world.reader().get("/v1/heatmap?from=-1d&step=10s").await;
    assert_eq!((narrow.status, narrow.json()["error"]["code"].as_str()), (422, Some("query_too_wide")));
    world.stop().await;
}

/// 3 000 ordinary requests, and 300 slow ones of a release on two routes, nearly all from one region.
fn with_a_bad_release() -> Vec<Event> {
    let mut events = traffic(900);
    for event in &mut events {
        event.duration_us = event.duration_us.map(|us| us.min(400_000));
        event.region = Some("us-1");
    }
    for number in 0..300i64 {
        let route = if number % 20 == 0 { "/" } else { "/buy" };
        events.push(Event {
            route: route.into(),
            method: "POST",
            status: if number % 3 == 0 { 502 } else { 200 },
            version: Some("v3"),
            host: [Some("web-1"), Some("web-2"), Some("web-3")][number as usize % 3],
            region: Some(if number % 10 == 0 { "us-1" } else { "eu-2" }),
            ..Event::new("checkout", NOW_MS - 100_000 + number * 300, 1_500_000 + 1_000 * number as u64)
        });
    }
    events
}

#[tokio::test]
async fn what_differs_are_the_largest_differences_of_shares() {
    let world = World::new().await;
    let events = with_a_bad_release();
    world.commit_in_full(0, 600, 1, &events[..600]).await;
    world.commit_in_full(1, 600, 1, &events[600..]).await;
    world.wait_for_count(events.len() as u64).await;
    let (from_ms, to_ms) = (NOW_MS - 120_000, NOW_MS);
    let answer = world.ask(&format!("/v1/differs?from=-15m&sel={from_ms},{to_ms},1000000,2500000")).await;
    let selection = &answer["selection"];
    let bound = |name: &str| selection[name].as_i64().expect("a bound");
    assert!(bound("from_ms") <= from_ms && bound("to_ms") >= to_ms && bound("from_ms") % 10_000 == 0);
    assert!(bound("us0") <= 1_000_000 && bound("us1") >= 2_500_000);
    let timed: Vec<&Event> = events.iter().filter(|event| event.duration_us.is_some()).collect();
    let is_selected = |event: &Event| {
        let us = event.duration_us.unwrap_or_default().cast_signed();
        (bound("from_ms")..bound("to_ms")).contains(&event.at_ms) && (bound("us0")..bound("us1")).contains(&us)
    };
    let selected = timed.iter().filter(|event| is_selected(event)).count();
    assert_eq!((&selection["count"], &answer["rest"]["count"]), (&json!(selected), &json!(timed.len() - selected)));
    assert_eq!((selected, &answer["origin"]), (300, &json!("exact")));

    type Pick = fn(&Event) -> String;
    let pick: BTreeMap<&str, Pick> = BTreeMap::from([
        ("route", (|event| format!("{} {}", event.method, event.route).trim().to_owned()) as Pick),
        ("status", |event| if event.status == 0 { String::new() } else { event.status.to_string() }),
        ("version", |event| event.version.unwrap_or_default().to_owned()),
        ("host", |event| event.host.unwrap_or_default().to_owned()),
        ("attrs.region", |event| event.region.unwrap_or_default().to_owned()),
    ]);
    let mut names = Vec::new();
    for line in answer["dimensions"].as_array().expect("dimensions") {
        let name = line["name"].as_str().expect("a name");
        names.push(name);
        let of = pick[name];
        let values: BTreeSet<String> = timed.iter().map(|event| of(event)).collect();
        let share = |value: &str, inside: bool| {
            let side: Vec<_> = timed.iter().filter(|event| is_selected(event) == inside).collect();
            side.iter().filter(|event| of(event) == value).count() as f64 / side.len() as f64
        };
        let (best, difference) = values
            .iter()
            .map(|value| (value, share(value, true) - share(value, false)))
            .max_by(|left, right| left.1.total_cmp(&right.1))
            .expect("values");
        assert_eq!(line["distinct"], json!(values.len()), "{line}");
        if difference < 0.05 {
            assert!(line["value"].is_null() && line["difference"] == json!(0.0), "{line}");
            continue;
        }
        assert_eq!(line["value"], json!(best), "{line}");
        for (name, expected) in
            [("share", share(best, true)), ("rest_share", share(best, false)), ("difference", difference)]
        {
            assert!((line[name].as_f64().expect("a share") - expected).abs() < 1e-5, "{line}: {expected}");
        }
        let is_sampled = name.starts_with("attrs.");
        assert_eq!(line["origin"], json!(if is_sampled { "sampled" } else { "exact" }));
        assert_eq!(line["n"], json!(is_sampled.then_some(300)));
    }
    let mut expected: Vec<&str> = pick.keys().copied().collect();
    let mut found = names.clone();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    let differences: Vec<f64> =
        answer["dimensions"].as_array().unwrap().iter().map(|line| line["difference"].as_f64().unwrap()).collect();
    assert!(differences.is_sorted_by(|left, right| left >= right), "{answer}");
    assert_eq!((names[0], &answer["kept"]), ("version", &json!(300)));

    // With a route, versions and hosts are no longer known exactly.
    let crossed = world.ask(&format!("/v1/differs?from=-15m&route=/buy&sel={from_ms},{to_ms},1000000,2500000")).await;
    let origin = |name: &str| {
        let lines = crossed["dimensions"].as_array().expect("dimensions");
        lines.iter().find(|line| line["name"] == name).map(|line| line["origin"].clone())
    };
    assert_eq!((origin("version"), origin("status")), (Some(json!("sampled")), Some(json!("exact"))), "{crossed}");
    world.stop().await;
}
