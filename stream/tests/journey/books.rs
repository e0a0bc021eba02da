//! Receipts, reconciliation, dead letters and cardinality, from rows as the rollup writes them.

use bytes::Bytes;
use peep_chassis::clock::Clock;
use peep_log::{Log, Offset, Partition};
use peep_wire::json::{Context, Decoder};
use peep_wire::receipt::{Receipt, Share};
use peep_wire::record::{RecordBuilder, parse};
use peep_wire::{KeyId, ProjectId};
use serde_json::{Value, json};

use crate::world::{Event, NOW_MS, World};

/// The log's time of everything here, Unix seconds.
const LOG_S: i64 = NOW_MS / 1000 - 60;

impl World {
    async fn run(&self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&self.pool)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    /// One flush in the books: `[from, to)` of a partition, with these events counted, buried and recognised.
    async fn book(&self, partition: u32, from: u64, to: u64, events: [u64; 3]) {
        let [rolled_up, dead, duplicate] = events;
        let accepted = rolled_up + dead + duplicate;
        let (records, project) = (to - from, self.project);
        let day = LOG_S - LOG_S.rem_euclid(86_400);
        self.run(&format!(
            "select time_partition_ensure('ledger', array[to_timestamp({day})], interval '1 day'),
                time_partition_ensure('ledger_project', array[to_timestamp({day})], interval '1 day');
            insert into ledger (log_partition, from_offset, to_offset, epoch, owner, records, records_unreadable, accepted,
                rolled_up, dead_lettered, duplicate, unidentified, uncertain, folded, appended_at)
            values ({partition}, {from}, {to}, 1, gen_random_uuid(), {records}, 0, {accepted}, {rolled_up}, {dead},
                {duplicate}, 0, 0, 0, to_timestamp({LOG_S}));
            insert into ledger_project values ({project}, date_trunc('minute', to_timestamp({LOG_S})), {partition}, {to},
                {accepted}, {rolled_up}, {dead}, {duplicate}, 0, 0, 0);
            insert into rollup_cursor (log_partition, next_offset, epoch) values ({partition}, {to}, 1)
            on conflict (log_partition) do update set next_offset = excluded.next_offset"
        ))
        .await;
    }

    async fn book_day(&self, partition: u32, rolled_up: u64) {
        let project = self.project;
        self.run(&format!(
            "insert into ledger_day values ({project}, (to_timestamp({}) at time zone 'UTC')::date, {partition}, {rolled_up})
            on conflict (project_id, day, log_partition) do update set rolled_up = ledger_day.rolled_up + excluded.rolled_up",
            NOW_MS / 1000
        ))
        .await;
    }

    async fn bury(&self, partition: u32, offset: u64, index: u32, reason: &str, events: Option<u32>, bytes: &[u8]) {
        sqlx::query(
            "insert into dead_letter (log_partition, log_offset, event_index, reason, project_id, events, bytes, received_ms,
                appended_at, recorded_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9), to_timestamp($9 + 1))",
        )
        .bind(partition.cast_signed())
        .bind(offset.cast_signed())
        .bind(index.cast_signed())
        .bind(reason)
        .bind(events.map(|_| self.project.cast_signed()))
        .bind(events.map(u32::cast_signed))
        .bind(bytes)
        .bind(NOW_MS - 60_000)
        .bind(LOG_S as f64)
        .execute(&self.pool)
        .await
        .expect("bury");
    }

    async fn append(&self, partition: u32, project: u64, events: usize) -> u64 {
        self.events.append(Partition(partition), batch(project, events)).await.expect("memory takes it").0
    }

    async fn receipt(&self, partition: u32, offset: u64) -> Value {
        let receipt = Receipt { project: ProjectId(self.project), partition, offset, share: None };
        let answer = self.reader().get(&format!("/v1/receipts/{receipt}")).await;
        if answer.status == 200 { answer.json() } else { answer.json()["error"]["code"].clone() }
    }

    async fn reconcile(&self) -> Value {
        self.ask("/v1/reconcile?from=-1h").await
    }
}

/// A record of some events of one service.
fn batch(project: u64, events: usize) -> Bytes {
    let context = Context {
        bound_env: None,
        age_ms_max: i64::MAX,
        ahead_ms_max: i64::MAX,
        events_max: 1000,
        event_bytes_max: 1 << 16,
        depth_max: 8,
        lines: true,
    };
    let mut builder = RecordBuilder::default();
    builder.start(NOW_MS - 60_000);
    let body = "{\"service\":\"shop\",\"route\":\"/buy\",\"duration_ms\":1.5}\n".repeat(events);
    Decoder::default().decode(body.as_bytes(), &context, &mut builder, &mut Vec::new()).expect("valid");
    builder.finish(ProjectId(project), KeyId(1), None).remove(0)
}

#[tokio::test]
async fn a_receipt_is_pending_until_its_flush_and_then_applied() {
    let world = World::new().await;
    let offset = world.append(0, world.project, 5).await;
    let pending = world.receipt(0, offset).await;
    assert_eq!((&pending["status"], &pending["records_ahead"]), (&json!("pending"), &json!(0)));
    world.book(0, 0, 1, [5, 0, 0]).await;
    let applied = world.receipt(0, offset).await;
    assert_eq!((&applied["status"], &applied["dead_lettered"]), (&json!("applied"), &json!([])), "{applied}");
    assert_eq!((&applied["partition"], &applied["offset"]), (&json!(0), &json!(0)));
    assert!(applied["settled_ms"].as_i64().is_some_and(|ms| ms > 0));
    let at = |answer: &Value, station: usize| answer["stations"][station]["at_ms"].as_i64();
    let names: Vec<&Value> = (0..4).map(|station| &applied["stations"][station]["name"]).collect();
    assert_eq!(names, ["accepted", "log", "counted", "live"]);
    assert_eq!((at(&pending, 0), at(&pending, 2)), (Some(NOW_MS - 60_000), None), "received, and not counted yet");
    assert!(pending["stations"][2]["note"].is_string() && at(&pending, 1).is_some());
    assert_eq!(at(&applied, 2), applied["settled_ms"].as_i64());
    world.stop().await;
}

#[tokio::test]
async fn a_receipt_that_is_not_ours_or_lies_beyond_the_log_is_not_found() {
    let world = World::new().await;
    world.append(0, world.project, 5).await;
    assert_eq!(world.receipt(0, 1).await, "receipt_not_found", "beyond the end of the log");
    assert_eq!(world.receipt(9, 0).await, "receipt_not_found", "no such partition");
    let receipt = Receipt { project: ProjectId(world.project), partition: 0, offset: 0, share: None };
    let path = format!("/v1/receipts/{receipt}");
    let foreign = world.anonymous().with_key(&world.keys.foreign).get(&path).await;
    assert_eq!((foreign.status, &foreign.json()["error"]["code"]), (404, &json!("receipt_not_found")));
    assert_eq!(world.anonymous().get(&path).await.status, 401);
    for nonsense in ["abc", "r1.7.0.0.00000000", "%00", &receipt.to_string().to_uppercase()] {
        let answer = world.reader().get(&format!("/v1/receipts/{nonsense}")).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &json!("invalid_receipt")), "{nonsense}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_made_up_receipt_of_another_projects_record_is_not_found() {
    let world = World::new().await;
    let theirs = world.project + 1000;
    for project in [theirs, world.project, theirs, world.project] {
        world.append(0, project, 5).await;
    }
    assert_eq!(world.receipt(0, 2).await, "receipt_not_found", "not even that it is pending");
    world.book(0, 0, 2, [10, 0, 0]).await;
    world.book(0, 2, 4, [10, 0, 0]).await;
    let of = async |offset| {
        let answer = world.receipt(0, offset).await;
        answer["status"].as_str().or(answer.as_str()).unwrap_or_default().to_owned()
    };
    assert_eq!([of(0).await, of(1).await], ["receipt_not_found", "applied"]);
    let share = Some(Share { first_event: 0xffff, events: 0xffff });
    let receipt = Receipt { project: ProjectId(world.project), partition: 0, offset: 1, share };
    assert_eq!(world.reader().get(&format!("/v1/receipts/{receipt}")).await.status, 404, "no such part of the record");
    // Without the record only the books can tell: of a flush that had events of others, of none, and of nobody else.
    world.events.truncate(Partition(0), Offset(4));
    world.run("update ledger_project set accepted = 5, rolled_up = 5 where to_offset = 2").await;
    assert_eq!([of(0).await, of(1).await], ["receipt_expired", "receipt_expired"]);
    assert_eq!([of(2).await, of(3).await], ["applied", "applied"]);
    world.run(&format!("update ledger_project set project_id = {theirs} where to_offset = 2")).await;
    assert_eq!(of(1).await, "receipt_not_found");
    world.stop().await;
}

#[tokio::test]
async fn a_receipt_says_duplicate_or_dead_lettered_and_why() {
    let world = World::new().await;
    for events in [5, 5, 2, 2, 7] {
        world.append(0, world.project, events).await;
    }
    // Counted; the same again; all too old; one of two too old; unreadable.
    world.book(0, 0, 5, [6, 3, 5]).await;
    let project = world.project;
    world.run("update ledger set records_unreadable = 1").await;
    world
        .run(&format!(
            "insert into duplicate_batch values (0, 1, {project}, '0192f0c1-7a5e-7c3a-9d9e-1f2a3b4c5d6e', 4, 0, 5)"
        ))
        .await;
    world.bury(0, 2, 0, "too_old", Some(1), b"x").await;
    world.bury(0, 2, 1, "too_old", Some(1), b"x").await;
    world.bury(0, 3, 1, "in_future", Some(1), b"x").await;
    world.bury(0, 4, 0, "checksum", None, b"x").await;
    let fate = async |offset| {
        let answer = world.receipt(0, offset).await;
        (answer["status"].as_str().unwrap_or_default().to_owned(), answer)
    };
    assert_eq!(fate(0).await.0, "applied");
    let (status, answer) = fate(1).await;
    assert_eq!(
        (status.as_str(), &answer["duplicate"]["seq"], &answer["duplicate"]["events"]),
        ("duplicate", &json!(4), &json!(5))
    );
    let (status, answer) = fate(2).await;
    assert_eq!((status.as_str(), answer["dead_lettered"].as_array().map(Vec::len)), ("dead_lettered", Some(2)));
    assert_eq!(answer["counted"], "none");
    let (status, answer) = fate(3).await;
    let buried = json!([{"index": 1, "events": 1, "reason": "in_future"}]);
    assert_eq!((status.as_str(), &answer["dead_lettered"]), ("applied", &buried), "the other one was counted");
    assert_eq!(answer["counted"], "some");
    assert_eq!(fate(4).await.0, "dead_lettered");
    // Only the record knows whether there was another event.
    world.events.truncate(Partition(0), Offset(4));
    let (status, answer) = fate(3).await;
    assert_eq!((status.as_str(), &answer["counted"]), ("dead_lettered", &json!("unknown")));
    // When exceptions were swept, nobody claims that everything was applied.
    world.run("delete from duplicate_batch").await;
    assert_eq!(fate(1).await.1, "receipt_expired");
    world.stop().await;
}

#[tokio::test]
async fn receipts_of_a_log_that_was_given_up_are_lost_beyond_what_was_counted() {
    let world = World::new().await;
    world.book(0, 0, 10, [10, 0, 0]).await;
    world.run("update rollup_cursor set broken_reason = 'the log was replaced', broken_at = now()").await;
    for _ in 0..12 {
        world.append(0, world.project, 1).await;
    }
    let blocked = world.receipt(0, 11).await;
    assert_eq!((&blocked["status"], &blocked["blocked"]), (&json!("pending"), &json!("the log was replaced")));
    let either = world.receipt(0, 3).await;
    assert_eq!(
        (&either["status"], &either["records_ahead"]),
        (&json!("pending"), &Value::Null),
        "in which of the logs?"
    );
    // Records up to 30 were acknowledged; the new log begins with 0 and is counted from 5.
    let second = |offset: u64| (1u64 << 40) | offset;
    world
        .run(&format!(
            "insert into log_break (log_partition, position_before, position_after, kind, reason, accepted_by)
            values (0, 10, {}, 'expired', 'test', 'test');
            update rollup_cursor set next_offset = {}, broken_reason = null, broken_at = null",
            second(5),
            second(5)
        ))
        .await;
    world.book(0, second(5), second(12), [7, 0, 0]).await;
    let status = async |offset| world.receipt(0, offset).await["status"].as_str().unwrap_or("-").to_owned();
    assert_eq!(status(3).await, "applied", "in the first log");
    assert_eq!(status(7).await, "applied", "in the second");
    assert_eq!(status(30).await, "lost");
    assert_eq!(world.reconcile().await["checks"]["chain"]["ok"], true);
    world.stop().await;
}

#[tokio::test]
async fn books_add_up_and_name_what_is_in_flight() {
    let world = World::new().await;
    let events: Vec<Event> = (0..30).map(|n| Event::new("shop", NOW_MS - n * 1000, 1000)).collect();
    world.commit(0, 3, 1, &events).await;
    world.book(0, 0, 3, [30, 2, 5]).await;
    world.book_day(0, 30).await;
    world.bury(0, 1, 0, "too_old", Some(1), b"x").await;
    world.bury(0, 1, 1, "in_future", Some(1), b"x").await;
    world.book(1, 0, 2, [0, 0, 4]).await;
    world.append(1, world.project, 4).await;
    world.append(1, world.project, 4).await;
    for _ in 0..4 {
        world.append(0, world.project, 10).await;
    }
    let books = world.reconcile().await;
    let expected = json!({"total": 2, "too_old": 1, "in_future": 1});
    assert_eq!((&books["accepted"], &books["rolled_up"], &books["duplicate"]), (&json!(41), &json!(30), &json!(9)));
    assert_eq!(books["dead_lettered"], expected);
    // The log of this test lives in the present.
    let now_ms = Clock::system().now_ms();
    let tail = world.ask(&format!("/v1/reconcile?from={}&to={}", now_ms - 60_000, now_ms + 60_000)).await;
    assert_eq!((&tail["in_flight"], &books["in_flight"]), (&json!(10), &json!(0)), "{tail}");
    assert_eq!((&tail["in_flight_exact"], &tail["in_flight_note"]), (&json!(true), &Value::Null), "{tail}");
    assert_eq!((&books["balanced"], &books["checks"]["days"]["compared"]), (&json!(true), &json!(1)), "{books}");
    // Letters are swept after a while, sums stay.
    world.run("delete from dead_letter where event_index = 0").await;
    let books = world.reconcile().await;
    assert_eq!(books["dead_lettered"], json!({"total": 2, "in_future": 1, "no_longer_kept": 1}));
    assert_eq!(books["balanced"], true);
    let foreign = world.anonymous().with_key(&world.keys.foreign).get("/v1/reconcile").await.json();
    assert_eq!(
        (&foreign["accepted"], &foreign["in_flight"], &foreign["balanced"]),
        (&json!(0), &json!(0), &json!(true))
    );
    world.stop().await;
}

#[tokio::test]
async fn one_event_lost_or_doubled_behind_the_books_is_found() {
    let world = World::new().await;
    let events: Vec<Event> = (0..30).map(|n| Event::new("shop", NOW_MS - n * 1000, 1000)).collect();
    world.commit(0, 3, 1, &events).await;
    world.book(0, 0, 3, [30, 0, 0]).await;
    world.book_day(0, 30).await;
    assert_eq!(world.reconcile().await["balanced"], true);
    let found = async |tamper: &str, check: &str, undo: &str| {
        world.run(tamper).await;
        let books = world.reconcile().await;
        assert_eq!(
            (&books["balanced"], &books["checks"][check]["ok"]),
            (&json!(false), &json!(false)),
            "{tamper}: {books}"
        );
        world.run(undo).await;
        assert_eq!(world.reconcile().await["balanced"], true, "{undo}");
    };
    let one = "where bucket = (select min(bucket) from rollup_10s)";
    found(
        &format!("update rollup_10s set count = count - 1 {one}"),
        "days",
        &format!("update rollup_10s set count = count + 1 {one}"),
    )
    .await;
    found(
        &format!("update rollup_10s set count = count + 1 {one}"),
        "days",
        &format!("update rollup_10s set count = count - 1 {one}"),
    )
    .await;
    found("update ledger_day set rolled_up = 31", "days", "update ledger_day set rolled_up = 30").await;
    found("update rollup_cursor set next_offset = 4", "chain", "update rollup_cursor set next_offset = 3").await;
    world.book(0, 3, 5, [0, 0, 0]).await;
    found(
        "update ledger set from_offset = 4, records = 1 where to_offset = 5",
        "chain",
        "update ledger set from_offset = 3, records = 2 where to_offset = 5",
    )
    .await;
    found("delete from ledger where to_offset = 5", "chain", "update rollup_cursor set next_offset = 3").await;
    world.bury(0, 1, 0, "too_old", Some(1), b"x").await;
    assert_eq!(world.reconcile().await["checks"]["dead_letters"]["ok"], false, "more letters than the books know");
    world.stop().await;
}

#[tokio::test]
async fn the_days_add_up_over_every_level() {
    let world = World::new().await;
    let events: Vec<Event> = (0..60).map(|n| Event::new("shop", NOW_MS - n * 1000, 1000)).collect();
    world.commit(0, 3, 1, &events[..40]).await;
    world.commit(0, 7, 1, &events[40..]).await;
    world.book(0, 0, 3, [40, 0, 0]).await;
    world.book(0, 3, 7, [20, 0, 0]).await;
    world.book_day(0, 60).await;
    // The first flush is in the minutes, and the ten seconds it came from are still there.
    let (day, project) = (NOW_MS / 1000 / 86_400 * 86_400, world.project);
    let level = |level: &str, to: u64| {
        format!(
            "select time_partition_ensure('rollup_{level}', array[to_timestamp({day})], interval '1 day');
            insert into rollup_{level} (bucket, project_id, series_id, log_partition, up_to_offset, count, errors,
                latency_count, sum_us, last_10s)
            values (to_timestamp({day}), {project}, 1, 0, {to}, 40, 0, 0, 0, to_timestamp({day}));
            insert into rollup_level (log_partition, level, done_offset) values (0, '{level}', {to})"
        )
    };
    world.run(&level("1m", 3)).await;
    world
        .run(&format!(
            "delete from rollup_touched where up_to_offset = 3;
            insert into rollup_touched values ('1m', 0, 3, {project}, array[{day}], 40)"
        ))
        .await;
    assert_eq!(world.reconcile().await["balanced"], true);
    world.run("delete from rollup_touched where level = '1m'").await;
    assert_eq!(world.reconcile().await["checks"]["days"]["ok"], false, "minutes that no hour will hold");
    world.run(&level("1h", 3)).await;
    assert_eq!(world.reconcile().await["balanced"], true);
    // The finest level of what is in the minutes goes first.
    world.run("delete from rollup_10s where up_to_offset <= 3; delete from rollup_1m").await;
    assert_eq!(world.reconcile().await["balanced"], true);
    world.run("delete from rollup_1h").await;
    assert_eq!(world.reconcile().await["checks"]["days"]["ok"], false);
    // Days that even the hours do not hold any more are not compared.
    world.run("update rollup_horizon set since = '2026-11-21' where level = '1h'").await;
    let books = world.reconcile().await;
    assert_eq!((&books["balanced"], &books["checks"]["days"]["compared"]), (&json!(true), &json!(0)), "{books}");
    world.stop().await;
}

#[tokio::test]
async fn rejects_show_what_was_wrong_page_by_page() {
    let world = World::new().await;
    let record = batch(world.project, 4);
    let first = parse(&record).expect("a record").events().next().expect("an event").expect("readable").raw.to_vec();
    for offset in 0..20 {
        world.bury(0, offset, 0, "too_old", Some(1), &first).await;
    }
    world.bury(1, 0, 0, "dedup_window_exceeded", Some(4), &record).await;
    world.bury(1, 1, 0, "malformed", Some(1), b"\x00\x1b[31m").await;
    let all = world.ask("/v1/rejects?limit=500").await;
    let rejects = all["rejects"].as_array().expect("rejects");
    assert_eq!((rejects.len(), &all["next_cursor"]), (22, &Value::Null));
    let of = |reason: &str| rejects.iter().find(|reject| reject["reason"] == reason).expect("one");
    assert_eq!((&of("too_old")["preview"][0]["service"], &of("too_old")["events"]), (&json!("shop"), &json!(1)));
    assert_eq!(of("dedup_window_exceeded")["preview"].as_array().map(Vec::len), Some(3));
    assert_eq!(of("malformed")["preview"], json!([]));
    assert!(of("too_old")["advice"].as_str().is_some_and(|advice| advice.contains("clock")));
    assert!(rejects.iter().all(|reject| reject["accepted_ms"] == LOG_S * 1000));

    let mut paged: Vec<Value> = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world.ask(&format!("/v1/rejects?limit=7{cursor}")).await;
        paged.extend(page["rejects"].as_array().expect("rejects").iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(&paged, rejects, "no repetition and no hole");
    let named = world.ask("/v1/rejects?reason=malformed&reason=checksum").await;
    assert_eq!(named["rejects"].as_array().map(Vec::len), Some(1));
    let foreign = world.anonymous().with_key(&world.keys.foreign).get("/v1/rejects").await.json();
    assert_eq!(foreign["rejects"], json!([]));
    world.stop().await;
}

#[tokio::test]
async fn cardinality_names_the_segment_and_the_template() {
    let world = World::new().await;
    let project = world.project;
    world
        .run(&format!(
            "insert into series_overflow values
                ({project}, 'shop', '/api/orders/*', 0, 9000, 12000, '/api/orders/17', 'epoch', 'epoch'),
                ({project}, 'shop', '/api/orders/*', 1, 8000, 11000, '/api/orders/99', 'epoch', now()),
                ({project}, 'shop', '/u/*', 0, 10, 20, '/u/1', 'epoch', 'epoch');
            insert into series_budget values
                (0, 20000, {project}, 5, decode(repeat('00', 16), 'hex')), (0, 20001, {project}, 9, decode(repeat('00', 24), 'hex'))"
        ))
        .await;
    let answer = world.ask("/v1/cardinality").await;
    let worst = &answer["segments"][0];
    assert_eq!(
        (&worst["segment"], &worst["events"], &worst["distinct_values"]),
        (&json!("/api/orders/*"), &json!(23_000), &json!(9000))
    );
    assert_eq!(worst["example"], "/api/orders/99");
    assert!(worst["advice"].as_str().is_some_and(|advice| advice.contains("`/api/orders/{id}`")));
    assert_eq!(answer["series_by_partition"], json!([{"partition": 0, "series": 3}]));
    let foreign = world.anonymous().with_key(&world.keys.foreign).get("/v1/cardinality").await.json();
    assert_eq!(foreign, json!({"segments": [], "series_by_partition": []}));
    world.stop().await;
}

#[tokio::test]
async fn what_is_about_a_whole_project_is_not_for_keys_of_one_environment() {
    let world = World::new().await;
    for path in ["/v1/reconcile", "/v1/rejects", "/v1/cardinality"] {
        let bound = world.anonymous().with_key(&world.keys.staging).get(path).await;
        assert_eq!((bound.status, &bound.json()["error"]["code"]), (403, &json!("forbidden")), "{path}");
        assert_eq!(world.anonymous().with_key(&world.keys.ingest).get(path).await.status, 403, "{path}");
        assert_eq!(world.anonymous().get(path).await.status, 401, "{path}");
        assert_eq!(world.reader().get(&format!("{path}?nonsense=1")).await.status, 400, "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_log_that_does_not_answer_leaves_a_lower_bound_and_no_error() {
    let world = World::new().await;
    world.append(0, world.project, 5).await;
    world.events.stop();
    let books = world.reconcile().await;
    assert_eq!((&books["in_flight_exact"], &books["balanced"]), (&json!(false), &json!(true)), "{books}");
    assert!(books["in_flight_note"].as_str().is_some_and(|note| note.contains("log cannot be read")), "{books}");
    assert_eq!(world.receipt(0, 0).await["status"], "pending");
    world.events.resume();
    world.events.truncate(Partition(0), Offset(1));
    assert_eq!(world.reconcile().await["in_flight_exact"], false);
    world.stop().await;
}
