//! What became of what was sent: receipts, books and dead letters of a whole peep.

use std::time::{Duration, Instant};

use peep_chassis::ExposeSecret;
use peep_chassis::keys::{self, Scope};
use peep_testkit::process::{PeepCommand, free_address};
use peep_testkit::{Client, Database, Peep, Topics};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);

/// Where the log is, and with it which processes there are.
enum Kind {
    /// `peep up`, the log in Postgres, in topics of this prefix.
    Single(&'static str),
    /// `peep ingest`, `peep rollup` and `peep stream`, the log in Kafka.
    Kafka(Topics),
}

struct World {
    database: Database,
    kind: Kind,
    processes: Vec<Peep>,
    ingest: Client,
    read: Client,
    key: String,
}

impl World {
    /// Counts events that are up to an hour old.
    async fn start(kind: Kind) -> World {
        let database = Database::fresh().await;
        let key = keys::create(&database.pool().await, "shop", None, Scope::Admin).await.expect("create a key");
        let key = key.secret.expose_secret().to_owned();
        let (processes, ingest, read) = start(&kind, &database, &key, "1h").await;
        World { database, kind, processes, ingest, read, key }
    }

    /// The same, with another limit.
    async fn restart(&mut self, age_max: &str) {
        self.stop().await;
        (self.processes, self.ingest, self.read) = start(&self.kind, &self.database, &self.key, age_max).await;
    }

    async fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            assert!(process.terminate(STOP).await.success(), "{}", process.said());
        }
    }

    /// Sends a batch and returns its answer.
    async fn send(&self, identity: Option<(&str, u64)>, events: &[Value]) -> Value {
        let mut client = self.ingest.clone();
        if let Some((producer, seq)) = identity {
            client = client.with_header("peep-producer", producer).with_header("peep-seq", seq);
        }
        let body: String = events.iter().map(|event| format!("{event}\n")).collect();
        let answer = client.post("/v1/events", "application/x-ndjson", body).await;
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.json()
    }

    /// The fate of a batch, once it is decided.
    async fn settled(&self, accepted: &Value) -> Value {
        let path = format!("/v1/receipts/{}", accepted["receipt"].as_str().expect("a receipt"));
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.read.get(&path).await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            let fate = answer.json();
            if fate["status"] != "pending" {
                return fate;
            }
            assert!(Instant::now() < deadline, "{fate}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn books(&self) -> Value {
        let answer = self.read.get("/v1/reconcile?from=-6h").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    }

    async fn command(&self, arguments: &[&str]) -> String {
        let command = Peep::command(arguments.iter().copied()).env("DATABASE_URL", self.database.url());
        let (status, said) = log_of(&self.kind, command).run(STOP).await;
        assert!(status.success(), "{said}");
        said
    }
}

fn log_of(kind: &Kind, command: PeepCommand) -> PeepCommand {
    match kind {
        Kind::Single(prefix) => command.env("PEEP_LOG_TOPIC_PREFIX", prefix),
        Kind::Kafka(topics) => command
            .env("PEEP_LOG", "kafka")
            .env("PEEP_KAFKA_BROKERS", topics.brokers())
            .env("PEEP_LOG_TOPIC_PREFIX", topics.prefix()),
    }
}

/// Started and ready.
async fn start(kind: &Kind, database: &Database, key: &str, age_max: &str) -> (Vec<Peep>, Client, Client) {
    let (mut processes, ingest, read) = spawn(kind, database, key, age_max).await;
    for process in &mut processes {
        process.wait_until_ready(START).await;
    }
    (processes, ingest, read)
}

async fn spawn(kind: &Kind, database: &Database, key: &str, age_max: &str) -> (Vec<Peep>, Client, Client) {
    let [ingest, stream] = [free_address(), free_address()];
    let services: &[&str] = match kind {
        Kind::Single(_) => &["up"],
        Kind::Kafka(_) => &["ingest", "rollup", "stream"],
    };
    let mut processes = Vec::new();
    for service in services {
        let command = Peep::command([*service])
            .env("DATABASE_URL", database.url())
            .env("PEEP_ADMIN_LISTEN", free_address())
            .env("PEEP_INGEST_LISTEN", &ingest)
            .env("PEEP_STREAM_LISTEN", &stream)
            .env("PEEP_ROLLUP_FLUSH_INTERVAL", "500ms")
            .env("PEEP_ROLLUP_LEVEL_INTERVAL", "200ms")
            .env("PEEP_ROLLUP_EVENT_AGE_MAX", age_max);
        processes.push(log_of(kind, command).start().await);
    }
    let client = |address: &str| Client::new(format!("http://{address}")).with_key(key);
    (processes, client(&ingest), client(&stream))
}

fn event(service: &str) -> Value {
    json!({"service": service, "duration_ms": 1.5, "status": 200})
}

/// Ended two hours ago.
fn old_event(service: &str) -> Value {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    let mut event = event(service);
    event["ts"] = json!(since.as_millis() as i64 - 7_200_000);
    event
}

const PRODUCER: &str = "0192f0c1-7a5e-7c3a-9d9e-1f2a3b4c5d6e";

#[tokio::test]
async fn every_batch_has_a_fate_and_the_books_know_them_all() {
    fates(Kind::Single("peep")).await;
}

#[tokio::test]
async fn a_test_event_is_counted_like_any_other() {
    let mut world = World::start(Kind::Single("peep")).await;
    let sent = world.read.post_json("/v1/test-event", &json!({"service": "checkout", "env": "production"})).await;
    assert_eq!(sent.status, 202, "{}", sent.body);
    assert_eq!(world.settled(&sent.json()).await["status"], "applied");
    let answer = world.read.get("/v1/summary?from=-15m&group_by=service,env,route,method,status").await.json();
    let row = &answer["rows"][0];
    let named = ["service", "env", "route", "method", "status", "count", "latency_count"].map(|name| row[name].clone());
    assert_eq!(json!(named), json!(["checkout", "production", "/v1/test-event", "POST", 202, 1, 1]), "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn every_batch_has_a_fate_over_kafka_too() {
    fates(Kind::Kafka(Topics::fresh().await)).await;
}

async fn fates(kind: Kind) {
    let mut world = World::start(kind).await;
    let first = world.send(Some((PRODUCER, 0)), &[event("shop"), event("shop")]).await;
    let retried = world.send(Some((PRODUCER, 0)), &[event("shop"), event("shop")]).await;
    let mixed = world.send(Some((PRODUCER, 1)), &[event("shop"), old_event("shop")]).await;
    let old = world.send(None, &[old_event("shop"), old_event("shop"), old_event("shop")]).await;
    let anonymous = world.send(None, &[event("shop")]).await;
    assert_eq!((&first["delivery"], &anonymous["delivery"]), (&json!("exactly_once"), &json!("at_least_once")));

    let fate = async |accepted: &Value| {
        let fate = world.settled(accepted).await;
        (fate["status"].as_str().unwrap_or_default().to_owned(), fate)
    };
    assert_eq!(fate(&first).await.0, "applied");
    let (status, duplicate) = fate(&retried).await;
    assert_eq!((status.as_str(), &duplicate["duplicate"]["producer"]), ("duplicate", &json!(PRODUCER)), "{duplicate}");
    let (status, partly) = fate(&mixed).await;
    assert_eq!((status.as_str(), &partly["counted"]), ("applied", &json!("some")), "{partly}");
    assert_eq!(partly["dead_lettered"], json!([{"index": 1, "events": 1, "reason": "too_old"}]));
    let (status, nothing) = fate(&old).await;
    assert_eq!((status.as_str(), &nothing["counted"]), ("dead_lettered", &json!("none")), "{nothing}");
    assert_eq!(fate(&anonymous).await.0, "applied");

    let books = world.books().await;
    assert_eq!(
        (&books["accepted"], &books["rolled_up"], &books["duplicate"]),
        (&json!(10), &json!(4), &json!(2)),
        "{books}"
    );
    assert_eq!((&books["dead_lettered"], &books["unidentified"]), (&json!({"total": 4, "too_old": 4}), &json!(1)));
    assert_eq!(
        (&books["balanced"], &books["in_flight"], &books["in_flight_exact"]),
        (&json!(true), &json!(0), &json!(true)),
        "{books}"
    );
    let rejects = world.read.get("/v1/rejects").await.json();
    assert_eq!(rejects["rejects"].as_array().map(Vec::len), Some(4), "{rejects}");
    assert_eq!(rejects["rejects"][0]["preview"][0]["service"], "shop");

    // With a wider limit the letters count after all, and only once.
    world.restart("6h").await;
    let said = world.command(&["rejects", "replay", "--all"]).await;
    assert!(said.contains("replayed 4 letters with 4 events: too_old"), "{said}");
    let pool = world.database.pool().await;
    sqlx::query("update dead_letter set replayed_at = null").execute(&pool).await.expect("forget");
    let again = world.command(&["rejects", "replay", "--all"]).await;
    assert!(again.contains("replayed 4 letters"), "{again}");
    let deadline = Instant::now() + Duration::from_secs(30);
    let books = loop {
        let books = world.books().await;
        if books["accepted"] == 18 || Instant::now() > deadline {
            break books;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((&books["rolled_up"], &books["duplicate"]), (&json!(8), &json!(6)), "{books}");
    assert_eq!(books["balanced"], true, "{books}");
    let rows = world.read.get("/v1/summary?from=-6h").await.json();
    assert_eq!(rows["rows"][0]["count"], 8, "{rows}");
    world.stop().await;
}

#[tokio::test]
async fn batches_that_share_a_record_have_each_their_own_fate() {
    shared_records(Kind::Single("peep")).await;
}

#[tokio::test]
async fn batches_that_share_a_record_of_kafka_have_each_their_own_fate() {
    shared_records(Kind::Kafka(Topics::fresh().await)).await;
}

/// Sixteen clients at once, so that small batches travel together: good ones, retries, and some with an event that is too old.
async fn shared_records(kind: Kind) {
    let mut world = World::start(kind).await;
    let client = async |number: u64| {
        let producer = format!("0192f0c1-7a5e-7c3a-9d9e-{number:012x}");
        let mut fates = Vec::new();
        for seq in 0..12 {
            let send = async |events: &[Value]| world.send(Some((&producer, seq)), events).await;
            match (number + seq) % 3 {
                0 => fates.push((send(&[event("shop")]).await, "applied", json!([]))),
                1 => {
                    fates.push((send(&[event("shop"), event("shop")]).await, "applied", json!([])));
                    fates.push((send(&[event("shop"), event("shop")]).await, "duplicate", Value::Null));
                }
                _ => {
                    let answer = send(&[event("shop"), old_event("shop"), event("shop")]).await;
                    fates.push((answer, "applied", json!([{"index": 1, "events": 1, "reason": "too_old"}])));
                }
            }
        }
        fates
    };
    let fates: Vec<_> = futures_util::future::join_all((0..16).map(client)).await.concat();
    let shared =
        fates.iter().filter(|(answer, ..)| answer["receipt"].as_str().is_some_and(|text| text.starts_with("r2.")));
    assert!(shared.count() > 20, "many travelled together");
    for (answer, status, letters) in &fates {
        let fate = world.settled(answer).await;
        assert_eq!((&fate["status"], &fate["dead_lettered"]), (&json!(status), letters), "{answer} {fate}");
    }
    let books = world.books().await;
    assert_eq!((&books["accepted"], &books["rolled_up"]), (&json!(512), &json!(320)), "{books}");
    assert_eq!((&books["duplicate"], &books["dead_lettered"]["total"]), (&json!(128), &json!(64)), "{books}");
    assert_eq!(books["balanced"], true, "{books}");
    world.stop().await;
    let verify = Peep::command(["verify"]).env("DATABASE_URL", world.database.url());
    let (status, said) = log_of(&world.kind, verify.env("PEEP_ROLLUP_EVENT_AGE_MAX", "1h")).run(STOP).await;
    assert!(status.success(), "{said}");
}

#[tokio::test]
async fn the_books_balance_at_every_moment_while_events_stream_in() {
    balance(Kind::Single("peep")).await;
}

#[tokio::test]
async fn the_books_balance_at_every_moment_over_kafka_too() {
    balance(Kind::Kafka(Topics::fresh().await)).await;
}

async fn balance(kind: Kind) {
    let mut world = World::start(kind).await;
    let sending = async {
        for seq in 0..150u64 {
            let events: Vec<Value> = (0..40).map(|n| event(["shop", "search", "cart"][n % 3])).collect();
            world.send(Some((PRODUCER, seq)), &events).await;
            if seq % 5 == 0 {
                world.send(Some((PRODUCER, seq)), &events).await;
            }
        }
    };
    let asking = async {
        let mut asked = 0;
        for _ in 0..60 {
            let books = world.books().await;
            assert_eq!(books["balanced"], true, "{books}");
            let of = |name: &str| books[name].as_u64().unwrap_or_default();
            assert!(of("accepted") + of("in_flight") <= 7200, "{books}");
            asked += u64::from(of("in_flight") > 0);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        asked
    };
    let ((), while_in_flight) = tokio::join!(sending, asking);
    assert!(while_in_flight > 0, "some questions met events in flight");
    let deadline = Instant::now() + Duration::from_secs(30);
    let books = loop {
        let books = world.books().await;
        if books["in_flight"] == 0 || Instant::now() > deadline {
            break books;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (&books["accepted"], &books["rolled_up"], &books["duplicate"]),
        (&json!(7200), &json!(6000), &json!(1200)),
        "{books}"
    );
    assert_eq!(
        (&books["balanced"], &books["uncertain"], &books["unidentified"]),
        (&json!(true), &json!(0), &json!(0)),
        "{books}"
    );
    // Also while events move on into the minutes and the hours.
    let pool = world.database.pool().await;
    let in_hours = async || -> i64 {
        let sql = "select coalesce(sum(count), 0)::bigint from rollup_1h";
        sqlx::query_scalar(sql).fetch_one(&pool).await.expect("count the hours")
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while in_hours().await < 6000 && Instant::now() < deadline {
        let books = world.books().await;
        assert_eq!((&books["balanced"], &books["rolled_up"]), (&json!(true), &json!(6000)), "{books}");
    }
    assert_eq!(in_hours().await, 6000);
    let books = world.books().await;
    assert_eq!((&books["balanced"], &books["checks"]["days"]["ok"]), (&json!(true), &json!(true)), "{books}");
    world.stop().await;
}

#[tokio::test]
async fn a_log_that_was_replaced_and_accepted_leaves_books_that_balance_and_receipts_that_say_so() {
    let mut world = World::start(Kind::Single("first")).await;
    let counted = world.send(Some((PRODUCER, 0)), &[event("shop"), event("shop")]).await;
    assert_eq!(world.settled(&counted).await["status"], "applied");
    let uncounted = world.send(Some((PRODUCER, 1)), &[event("shop")]).await;
    let path = format!("/v1/receipts/{}", uncounted["receipt"].as_str().expect("a receipt"));
    let partition = world.read.get(&path).await.json()["partition"].to_string();
    world.settled(&uncounted).await;

    // Another log under the same cursors, as after a topic was deleted and made again.
    world.stop().await;
    world.kind = Kind::Single("second");
    (world.processes, world.ingest, world.read) = spawn(&world.kind, &world.database, &world.key, "1h").await;
    let deadline = Instant::now() + START;
    while world.ingest.try_get("/").await.is_err() || world.read.try_get("/v1/session").await.is_err() {
        assert!(Instant::now() < deadline, "{}", world.processes[0].said());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let waiting = world.send(Some((PRODUCER, 2)), &[event("shop"), event("shop"), event("shop")]).await;
    let path = format!("/v1/receipts/{}", waiting["receipt"].as_str().expect("a receipt"));
    let deadline = Instant::now() + Duration::from_secs(30);
    let blocked = loop {
        let fate = world.read.get(&path).await.json();
        if fate["blocked"].is_string() || Instant::now() > deadline {
            break fate;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let why = blocked["blocked"].as_str().unwrap_or_default();
    assert!(blocked["status"] == "pending" && why.contains("truncated or replaced"), "{blocked}");
    let books = world.books().await;
    assert_eq!((&books["in_flight_exact"], &books["balanced"]), (&json!(false), &json!(true)), "{books}");

    let accept = ["log", "accept-break", "--partition", &partition, "--by", "ann", "--yes"];
    let said = world.command(&accept).await;
    assert!(said.contains("accepted by ann"), "{said}");
    let path_of_first = format!("/v1/receipts/{}", counted["receipt"].as_str().expect("a receipt"));
    let deadline = Instant::now() + Duration::from_secs(30);
    let books = loop {
        let books = world.books().await;
        if books["rolled_up"] == 6 || Instant::now() > deadline {
            break books;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(
        (&books["rolled_up"], &books["balanced"], &books["in_flight_exact"]),
        (&json!(6), &json!(true), &json!(true)),
        "{books}"
    );
    let breaks = &books["checks"]["chain"]["breaks"];
    assert_eq!((breaks.as_array().map(Vec::len), &breaks[0]["kind"]), (Some(1), &json!("replaced")), "{books}");
    // The same offset in the newer log wins.
    assert_eq!(world.read.get(&path_of_first).await.json()["status"], "applied");
    assert_eq!(world.settled(&uncounted).await["status"], "applied");
    world.stop().await;
}
