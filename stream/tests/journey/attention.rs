//! Findings and comparisons, from rollups and raw events as the rollup writes them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Event, NOW_MS, World};

/// The end of the last step that is over: 14:00:00.
const END_S: i64 = 1_795_183_200;
const DAY_S: i64 = 86_400;

fn request(route: &str, method: &'static str, status: u16, at_s: i64, duration_us: u64) -> Event {
    let event = Event::new("checkout", at_s * 1000, duration_us).status(status);
    Event { route: route.into(), method, ..event }
}

/// Every `every_s` seconds of `[from_s, to_s)`.
fn each(from_s: i64, to_s: i64, every_s: usize, request: impl Fn(i64) -> Event) -> Vec<Event> {
    (from_s..to_s).step_by(every_s).map(request).collect()
}

impl World {
    /// Raw events every five seconds.
    async fn sample(&self, from_s: i64, to_s: i64, version: &str, duration_us: i64) {
        sqlx::query("select time_partition_ensure('raw_event', array(select generate_series(to_timestamp($1), to_timestamp($2), '1 hour')), interval '1 hour')")
            .bind((from_s - from_s.rem_euclid(3600)) as f64)
            .bind(to_s as f64)
            .execute(&self.pool)
            .await
            .expect("make partitions");
        sqlx::query(
            "insert into raw_event
            select to_timestamp(s), to_timestamp(s), $3, 'checkout', 'default', '/buy', 'POST', 200, $5 + s % 1000, null,
                'web-' || s % 2, $4, null, null, null, null, 'api', null, 2, 0, s, 0
            from generate_series($1::bigint, $2::bigint - 1, 5) s",
        )
        .bind(from_s)
        .bind(to_s)
        .bind(self.project.cast_signed())
        .bind(version)
        .bind(duration_us)
        .execute(&self.pool)
        .await
        .expect("insert events");
    }

    /// Yesterday all was well; today purchases fail since 13:57:00, 20 s after a release.
    async fn with_incident(&self) {
        let well = |at_s| request("/", "GET", 200, at_s, 10_000);
        let mut events = each(END_S - DAY_S - 300, END_S - DAY_S, 1, well);
        events.extend(each(END_S - 1800, END_S, 5, well));
        events.extend(each(END_S - 180, END_S, 2, |at_s| request("/buy", "POST", 502, at_s, 20_000)));
        self.commit(0, 1000, 1, &events).await;
        self.sample(END_S - 1800, END_S - 200, "v1", 10_000).await;
        self.sample(END_S - 200, END_S, "v2", 10_000).await;
    }
}

#[tokio::test]
async fn a_finding_says_since_when_after_what_where_and_how_many() {
    let world = World::new().await;
    world.with_incident().await;
    let answer = world.ask("/v1/findings").await;
    let expected = json!({
        "kind": "failing", "service": "checkout", "env": "default", "title": "60.0 % of requests fail, usually 0 %",
        "value": 0.6, "usual": 0.0, "unit": "share", "usual_kind": "yesterday", "since_ms": (END_S - 180) * 1000,
        "since_is_open": false, "after": {"version": "v2", "ms": 20_000},
        "where": {"dimension": "route", "value": "POST /buy", "share": 1.0}, "status": 502, "affected": 90,
        "per_second": 0.5, "recovered_ms": null, "alert": null,
    });
    assert_eq!(answer["findings"][0], expected, "{answer}");
    assert_eq!(answer["findings"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["window"], json!({"from_ms": (END_S - 300) * 1000, "to_ms": END_S * 1000}));
    assert_eq!(answer["usual"]["label"], "yesterday 13:55 to 14:00 UTC");
    assert_eq!((&answer["services"], &answer["no_usual"]), (&json!(1), &json!([])));
    let other = world.ask("/v1/findings?service=search").await;
    assert_eq!(other["findings"], json!([]));
    world.stop().await;
}

impl World {
    /// As the evaluator writes it: the rule fires since then.
    async fn fires(&self, name: &str, kind: &str, service: Option<&str>, began_s: i64, sentence: &str) {
        sqlx::query(
            "with rule as (
                insert into alert_rule (project_id, name, service, kind, target, for_s, keep_firing_s, enabled, state, since)
                values ($1, $2, $3, $4, '{\"objective\": 0.999, \"period_days\": 30}', 60, 60, true, 'firing', to_timestamp($5))
                returning alert_rule_id)
            insert into alert_firing (alert_rule_id, project_id, began_at, sentence)
            select alert_rule_id, $1, to_timestamp($5), $6 from rule",
        )
        .bind(self.project.cast_signed())
        .bind(name)
        .bind(service)
        .bind(kind)
        .bind(began_s as f64)
        .bind(sentence)
        .execute(&self.pool)
        .await
        .expect("let a rule fire");
    }
}

#[tokio::test]
async fn a_finding_names_the_alert_that_covers_it_and_an_alert_is_a_finding() {
    let world = World::with(&[("PEEP_STREAM_ALERT_INTERVAL", "0")]).await;
    world.with_incident().await;
    world.fires("budget of all", "error_budget", None, END_S - 20, "checkout: seen").await;
    world.fires("budget", "error_budget", Some("checkout"), END_S - 60, "checkout: seen").await;
    world.fires("slow", "latency", Some("checkout"), END_S - 90, "checkout: p99 is 812 ms over 5 minutes").await;
    world.fires("elsewhere", "silence", Some("search"), END_S - 90, "search: seen").await;
    let answer = world.ask("/v1/findings").await;
    let told = |index: usize| {
        let finding = &answer["findings"][index];
        json!([finding["kind"], finding["title"], finding["alert"]["name"], finding["alert"]["since_ms"]])
    };
    assert_eq!(
        told(0),
        json!(["failing", "60.0 % of requests fail, usually 0 %", "budget", (END_S - 60) * 1000]),
        "{answer}"
    );
    // Nothing is slower than usual by the rules of findings; somebody has set a limit of their own.
    assert_eq!(told(1), json!(["slower", "p99 is 812 ms over 5 minutes", "slow", (END_S - 90) * 1000]));
    assert_eq!(answer["findings"].as_array().map(Vec::len), Some(2), "nobody knows what is usual for search");
    world.stop().await;
}

#[tokio::test]
async fn a_rule_about_all_services_is_a_finding_of_each_that_it_fires_for() {
    let world = World::with(&[("PEEP_STREAM_ALERT_INTERVAL", "0")]).await;
    // These always fail as much: the rules of findings say nothing.
    let of = |service: &str, status: u16| {
        each(END_S - 4000, END_S, 5, |at_s| Event::new(service, at_s * 1000, 10_000).status(status))
    };
    let silent = each(END_S - 4000, END_S - 300, 5, |at_s| Event::new("cart", at_s * 1000, 10_000));
    let events = [of("allbad", 500), of("allbad2", 500), of("fine", 200), silent].concat();
    world.commit(0, 10, 1, &events).await;
    let sentence = "allbad: 100 % of requests failed over 1 h, 99.9 % should succeed; and 1 more";
    world.fires("budget of all", "error_budget", None, END_S - 60, sentence).await;
    world.fires("heard", "silence", None, END_S - 60, "cart: no requests for 4 minutes, usually 48 in that time").await;
    let answer = world.ask("/v1/findings").await;
    let findings = answer["findings"].as_array().expect("findings");
    let told: Vec<Value> = findings
        .iter()
        .map(|one| json!([one["service"], one["title"], one["alert"]["name"], one["since_ms"]]))
        .collect();
    assert!(findings.iter().all(|one| one["alert"]["alone"] == true), "{answer}");
    let failed = "100 % of requests failed over 1 h, 99.9 % should succeed";
    assert_eq!(
        told,
        [
            json!(["allbad", failed, "budget of all", (END_S - 60) * 1000]),
            json!(["allbad2", "100 % of requests fail", "budget of all", (END_S - 60) * 1000]),
            json!(["cart", "no requests for 5 min", "heard", (END_S - 300) * 1000]),
        ],
        "{answer}"
    );
    world.stop().await;
}

#[tokio::test]
async fn an_incident_does_not_become_usual_however_long_it_lasts() {
    let world = World::new().await;
    // Nothing of yesterday. From 14:06:50 on one in ten fails.
    let onset_s = END_S + 410;
    let requests = |from_s: i64, to_s: i64, fails: bool| -> Vec<Event> {
        let status = |at_s: i64| if fails && at_s % 20 == 0 { 500 } else { 200 };
        each(from_s, to_s, 1, |at_s| request("/pay", "POST", status(at_s), at_s, 10_000))
    };
    let later = |at_s: i64| Duration::from_millis(u64::try_from(at_s * 1000 + 5000 - NOW_MS).expect("later"));
    world.commit(0, 10, 1, &requests(END_S - 1800, onset_s, false)).await;
    world.clock.advance(later(onset_s));
    assert_eq!(world.ask("/v1/findings").await["findings"], json!([]));
    let (mut to_s, mut offset) = (onset_s, 10);
    for minutes in [6, 12, 22, 35, 50, 75, 100, 130] {
        let until_s = onset_s + minutes * 60;
        offset += 10;
        world.commit(0, offset, 1, &requests(to_s, until_s, true)).await;
        world.clock.advance(Duration::from_secs(u64::try_from(until_s - to_s).expect("later")));
        to_s = until_s;
        let answer = world.ask("/v1/findings").await;
        let finding = &answer["findings"][0];
        assert_eq!(finding["title"], "5.00 % of requests fail, usually 0 %", "{minutes}: {answer}");
        let since_s = finding["since_ms"].as_i64().expect("a time") / 1000;
        assert!((onset_s..onset_s + 30).contains(&since_s), "{minutes} minutes, since {}", since_s - onset_s);
    }
    // It gets well, and that is told.
    offset += 10;
    world.commit(0, offset, 1, &requests(to_s, to_s + 400, false)).await;
    world.clock.advance(Duration::from_secs(400));
    let answer = world.ask("/v1/findings").await;
    let recovered_s = answer["findings"][0]["recovered_ms"].as_i64().expect("it is over") / 1000;
    assert!((to_s - 30..=to_s).contains(&recovered_s), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn an_incident_that_nobody_watched_is_measured_against_what_was_before_it() {
    let world = World::new().await;
    let fails = |at_s: i64| if at_s % 20 == 0 { 500 } else { 200 };
    let of = |from_s, to_s, status: fn(i64) -> u16| {
        each(from_s, to_s, 2, move |at_s| request("/pay", "POST", status(at_s), at_s, 10_000))
    };
    let events = [of(END_S - 5 * 3600, END_S - 9050, |_| 200), of(END_S - 9050, END_S, fails)].concat();
    world.commit(0, 10, 1, &events).await;
    let answer = world.ask("/v1/findings").await;
    assert_eq!(answer["findings"][0]["title"], "10.0 % of requests fail, usually 0 %", "{answer}");
    let since_s = answer["findings"][0]["since_ms"].as_i64().expect("a time") / 1000;
    assert!((END_S - 9050..END_S - 9020).contains(&since_s), "{}", since_s - END_S);
    world.stop().await;
}

#[tokio::test]
async fn what_is_over_is_told_and_live_events_decide_too() {
    let world = World::new().await;
    world.with_incident().await;
    world.ask("/v1/findings").await;
    world.clock.advance(Duration::from_secs(70));
    let well = each(END_S, END_S + 68, 1, |at_s| request("/", "GET", 200, at_s, 10_000));
    world.publish(0, 1, 1000, &well).await;
    for attempt in 0.. {
        world.clock.advance(Duration::from_millis(1001));
        let answer = world.ask("/v1/findings").await;
        let finding = &answer["findings"][0];
        if finding["recovered_ms"] == json!(END_S * 1000) {
            assert_eq!(finding["title"], "recovered at 14:00 after 3 min, 90 requests failed");
            break;
        }
        assert!(attempt < 100, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.stop().await;
}

#[tokio::test]
async fn many_who_ask_get_one_answer_a_second() {
    let world = World::new().await;
    let before = world.ask("/v1/findings").await;
    assert_eq!(before["findings"], json!([]));
    world.with_incident().await;
    assert_eq!(
        world.ask("/v1/findings?service=checkout").await["at_ms"],
        before["at_ms"],
        "what was found out is said again"
    );
    world.clock.advance(Duration::from_secs(1));
    let after = world.ask("/v1/findings").await;
    assert_eq!(after["at_ms"], json!(NOW_MS + 1000));
    world.stop().await;
}

#[tokio::test]
async fn silence_and_newness_are_told_apart() {
    let world = World::new().await;
    let mut events = each(END_S - 3900, END_S - 100, 1, |at_s| request("/", "GET", 200, at_s, 10_000));
    events.extend(each(END_S - 60, END_S, 1, |at_s| Event::new("search", at_s * 1000, 10)));
    world.commit(0, 10, 1, &events).await;
    let answer = world.ask("/v1/findings").await;
    assert_eq!(answer["findings"][0]["kind"], "silent", "{answer}");
    assert_eq!(answer["findings"][0]["title"], "no requests for 100 s, usually 1.00 /s");
    assert_eq!((&answer["usual"]["kind"], &answer["no_usual"]), (&json!("hour_before"), &json!(["search"])));
    world.stop().await;
}

#[tokio::test]
async fn what_began_long_ago_is_dated_to_the_step() {
    let world = World::new().await;
    let mut events = each(END_S - DAY_S - 300, END_S - DAY_S, 1, |at_s| request("/", "GET", 200, at_s, 10_000));
    events.extend(each(END_S - 14_400, END_S - 9_050, 10, |at_s| request("/", "GET", 200, at_s, 10_000)));
    events.extend(each(END_S - 9_050, END_S, 10, |at_s| request("/", "GET", 500, at_s, 10_000)));
    world.commit(0, 10, 1, &events).await;
    let finding = world.ask("/v1/findings").await["findings"][0].clone();
    assert_eq!(
        (&finding["since_ms"], &finding["since_is_open"]),
        (&json!((END_S - 9_050) * 1000), &json!(false)),
        "{finding}"
    );
    let affected = finding["affected"].as_u64().expect("a number");
    assert!((895..=912).contains(&affected), "minutes at the edge may count for both sides: {affected}");
    world.stop().await;
}

#[tokio::test]
async fn the_past_is_judged_as_it_was_asked_for() {
    let world = World::new().await;
    world.with_incident().await;
    let path = format!("/v1/findings?from={}&to={}", (END_S - 1200) * 1000, END_S * 1000);
    let answer = world.ask(&path).await;
    assert_eq!(answer["findings"][0]["since_ms"], json!((END_S - 180) * 1000), "{answer}");
    assert_eq!(answer["usual"]["kind"], "yesterday");
    let wide = world.reader().get("/v1/findings?from=-3d").await;
    assert_eq!((wide.status, wide.json()["error"]["code"].as_str()), (422, Some("query_too_wide")));
    world.stop().await;
}

#[tokio::test]
async fn two_windows_are_compared_quantile_by_quantile() {
    let world = World::new().await;
    let spread = |at_s: i64, tail: u64| {
        let rank = (at_s as u64 * 7919) % 1000;
        if rank >= 940 { tail } else { 10_000 + rank * 10 }
    };
    let mut events = Vec::new();
    for (from_s, tail) in [(END_S - 3600, 100_000), (END_S - 1800, 400_000)] {
        events.extend(each(from_s, from_s + 1800, 1, |at_s| request("/buy", "POST", 200, at_s, spread(at_s, tail))));
        events.extend(each(from_s, from_s + 1800, 1, |at_s| request("/", "GET", 200, at_s, 10_000)));
    }
    world.commit(0, 10, 1, &events).await;
    let answer = world.ask("/v1/compare?a=window:-60m,-30m&b=window:-30m,now&service=checkout").await;
    let significant: Vec<(&Value, bool)> = answer["quantiles"]
        .as_array()
        .expect("quantiles")
        .iter()
        .map(|one| (&one["q"], one["significant"] == json!(true)))
        .collect();
    assert!(significant.contains(&(&json!(0.99), true)) && significant.contains(&(&json!(0.5), false)), "{answer}");
    let sentence = answer["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("13:30:05 to 14:00:05 UTC is slower"), "{sentence}");
    assert!(sentence.contains("p99 400 ms against 100 ms"), "{sentence}");
    assert_eq!((&answer["a"]["origin"], &answer["errors_significant"]), (&json!("exact"), &json!(false)));
    assert_eq!((&answer["routes"][0]["route"], &answer["routes"][0]["method"]), (&json!("/buy"), &json!("POST")));
    let sums = |side: &str| {
        answer["histogram"][side].as_array().expect("counts").iter().filter_map(Value::as_u64).sum::<u64>()
    };
    assert_eq!((json!(sums("a")), json!(sums("b"))), (answer["a"]["count"].clone(), answer["b"]["count"].clone()));
    world.stop().await;
}

#[tokio::test]
async fn releases_are_compared_by_all_their_requests() {
    let world = World::new().await;
    let of = |version, from_s, duration_us| {
        each(from_s, from_s + 900, 1, |at_s| Event {
            version: Some(version),
            ..request("/buy", "POST", 200, at_s, duration_us)
        })
    };
    let events = [of("v1", END_S - 1800, 10_000), of("v2", END_S - 900, 40_000)].concat();
    world.commit_in_full(0, events.len() as u64, 1, &events).await;
    // Half of what was kept is gone, as a sample would let it go.
    sqlx::query("delete from raw_event where event_index % 2 = 0").execute(&world.pool).await.expect("delete");
    let answer = world.ask("/v1/compare?a=version:v1&b=version:v2&from=-1h&service=checkout").await;
    for side in ["a", "b"] {
        assert_eq!((&answer[side]["count"], &answer[side]["origin"]), (&json!(900), &json!("exact")), "{answer}");
    }
    let sentence = answer["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("v2 is slower at every quantile"), "{sentence}");
    assert_eq!((&answer["routes"][0]["route"], &answer["routes"][0]["a_count"]), (&json!("/buy"), &json!(450)));
    world.stop().await;
}

#[tokio::test]
async fn releases_are_compared_by_what_was_kept_where_they_are_crossed() {
    let world = World::new().await;
    world.sample(END_S - 3000, END_S - 1500, "v1", 10_000).await;
    world.sample(END_S - 1500, END_S, "v2", 50_000).await;
    // With a route, a version is not known exactly.
    let answer = world.ask("/v1/compare?a=version:v1&b=version:v2&from=-1h&route=/buy").await;
    assert_eq!((&answer["a"]["count"], &answer["a"]["kept"]), (&json!(600), &json!(300)), "{answer}");
    assert_eq!(answer["a"]["origin"], "sampled");
    let sentence = answer["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("v2 is slower at every quantile"), "{sentence}");
    let few = world.ask("/v1/compare?a=version:v1&b=version:v3&from=-1h&route=/buy").await;
    assert_eq!(few["sentence"], "Only 0 requests in v3; p99 needs more. Widen the window.");
    for query in ["a=version:v1", "a=version:v1&b=version:v1", "a=colour:red&b=env:x", "a=window:now,-1h&b=env:x"] {
        let answer = world.reader().get(&format!("/v1/compare?{query}")).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (400, Some("invalid_parameter")),
            "{query}"
        );
    }
    let staging = world.anonymous().with_key(&world.keys.staging);
    assert_eq!(
        staging.get("/v1/compare?a=env:staging&b=env:production").await.status,
        403,
        "of its own environment only"
    );
    world.stop().await;
}
