//! Alert rules through the API: who may, what fires, who is told.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use peep_chassis::ExposeSecret;
use peep_chassis::exposition::Format;
use peep_chassis::keys::create_login_token;
use peep_testkit::Client;
use serde_json::{Value, json};

use crate::world::{Event, NOW_MS, World};

/// A webhook's receiver: keeps what it hears, answers what it is told to.
struct Receiver {
    url: String,
    heard: Arc<Mutex<Vec<Value>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("http://{}/hooks/s3cret", listener.local_addr().expect("bound"));
        let receiver = Self { url, heard: Arc::default(), status: Arc::new(AtomicU16::new(200)) };
        let (heard, status) = (Arc::clone(&receiver.heard), Arc::clone(&receiver.status));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = String::new();
                let mut piece = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut piece) {
                    request.push_str(&String::from_utf8_lossy(&piece[..len]));
                    let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                    if let Ok(body) = serde_json::from_str(body) {
                        heard.lock().push(body);
                        break;
                    }
                }
                let status = status.load(Ordering::SeqCst);
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\nconnection: close\r\n\r\nheard");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        receiver
    }

    fn events(&self) -> Vec<String> {
        let name = |message: &Value| message["event"].as_str().unwrap_or_default().to_owned();
        self.heard.lock().iter().map(name).collect()
    }
}

async fn world() -> World {
    World::with(&[("PEEP_STREAM_ALERT_INTERVAL", "100ms"), ("PEEP_WEBHOOK_ALLOW", "127.0.0.1")]).await
}

fn admin(world: &World) -> Client {
    world.anonymous().with_key(&world.keys.admin)
}

async fn make(world: &World, rule: Value) -> Value {
    let made = admin(world).post_json("/v1/alerts", &rule).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.json()
}

/// Waits until a rule stands where it should.
async fn wait_for(world: &World, id: &Value, state: &str) -> Value {
    let path = format!("/v1/alerts/{}", id.as_str().expect("an id"));
    let mut rule = Value::Null;
    for _ in 0..400 {
        rule = world.ask(&path).await;
        if rule["state"] == state && rule["evaluated_ms"].as_i64() >= Some(world.clock.now_ms()) {
            return rule;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never {state}: {rule}");
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..400 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

fn requests(count: usize, status: u16, ms: u64) -> Vec<Event> {
    (0..count).map(|_| Event::new("shop", NOW_MS - 5_000, ms * 1000).status(status)).collect()
}

#[tokio::test]
async fn an_error_budget_that_burns_is_told_and_so_is_its_end() {
    let world = world().await;
    let receiver = Receiver::start();
    let rule = make(
        &world,
        json!({"kind": "error_budget", "target": {"objective": 0.99}, "service": "shop", "keep_firing_s": 60,
            "receiver": {"kind": "webhook", "url": receiver.url}}),
    )
    .await;
    assert!(rule["receiver"]["url_shown"].as_str().is_some_and(|shown| !shown.contains("s3cret")), "{rule}");
    let id = &rule["id"];
    let to = world.publish(0, 1, 0, &requests(100, 200, 10)).await;
    wait_for(&world, id, "ok").await;
    let shows = |value: u8| {
        let line = format!("peep_alert_firing{{rule=\"1\",kind=\"error_budget\"}} {value}\n");
        world.scrape(Format::Text).contains(&line)
    };
    until("shown", || shows(0)).await;
    world.publish(0, 1, to, &requests(50, 502, 10)).await;
    // The short window of the most urgent pair is read every fifteen seconds.
    world.clock.advance(Duration::from_secs(15));
    let firing = wait_for(&world, id, "firing").await;
    assert!(firing["burn"].as_f64().is_some_and(|burn| (burn - 100.0 / 3.0).abs() < 0.01), "{firing}");
    assert!(
        firing["sentence"].as_str().is_some_and(|text| text.starts_with("shop: 33.333 % of requests failed over 1 h")),
        "{firing}"
    );
    until("told", || receiver.events() == ["firing"]).await;
    assert_eq!(world.ask("/v1/alerts").await["firing"], 1);
    until("shown as firing", || shows(1)).await;

    // A day later every short window is over; the rule waits for a minute of that.
    world.clock.advance(Duration::from_secs(86_400));
    wait_for(&world, id, "firing").await;
    world.clock.advance(Duration::from_secs(7200));
    wait_for(&world, id, "ok").await;
    until("told again", || receiver.events() == ["firing", "resolved"]).await;
    let messages = receiver.heard.lock().clone();
    assert_eq!(messages[0]["rule"]["service"], "shop");
    assert_eq!(messages[1]["since_ms"], messages[0]["since_ms"]);
    let firings = world.ask("/v1/alerts/firings?from=-2d").await;
    assert_eq!(firings["firings"].as_array().map(Vec::len), Some(1), "{firings}");
    assert!(firings["firings"][0]["to_ms"].is_i64(), "{firings}");
    world.stop().await;
}

#[tokio::test]
async fn slowness_and_silence_fire_and_a_restart_changes_nothing() {
    let mut world = world().await;
    let slow =
        make(&world, json!({"kind": "latency", "target": {"quantile": 0.95, "limit_ms": 500}, "for_s": 30})).await;
    let silent = make(&world, json!({"kind": "silence", "target": {"for_s": 120}, "service": "shop"})).await;
    world.publish(0, 1, 0, &requests(200, 200, 900)).await;
    wait_for(&world, &slow["id"], "pending").await;
    wait_for(&world, &silent["id"], "ok").await;
    world.restart().await;
    world.clock.advance(Duration::from_secs(30));
    let firing = wait_for(&world, &slow["id"], "firing").await;
    assert!(firing["sentence"].as_str().is_some_and(|text| text.starts_with("shop: p95 is 900")), "{firing}");
    wait_for(&world, &silent["id"], "ok").await;
    world.clock.advance(Duration::from_secs(91));
    let firing = wait_for(&world, &silent["id"], "firing").await;
    // Two hundred in the minute in which any came.
    assert_eq!(firing["sentence"], "shop: no requests for 2 minutes, usually 400 in that time", "{firing}");
    world.stop().await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_again_and_one_that_refuses_is_not() {
    let world = world().await;
    let receiver = Receiver::start();
    receiver.status.store(503, Ordering::SeqCst);
    world.publish(0, 1, 0, &requests(200, 200, 900)).await;
    let target = json!({"quantile": 0.95, "limit_ms": 500});
    let hook = json!({"kind": "webhook", "url": receiver.url});
    make(&world, json!({"kind": "latency", "target": target, "for_s": 0, "receiver": hook})).await;
    until("tried", || receiver.events() == ["firing"]).await;
    receiver.status.store(200, Ordering::SeqCst);
    until("tried again", || receiver.events() == ["firing", "firing"]).await;
    let messages = receiver.heard.lock().clone();
    assert_eq!(messages[0], messages[1], "the same bytes, with the same id");
    let pending = "select count(*) from alert_delivery where delivered_at is null";
    for _ in 0..100 {
        let left: i64 = sqlx::query_scalar(pending).fetch_one(&world.pool).await.expect("count");
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(sqlx::query_scalar::<_, i64>(pending).fetch_one(&world.pool).await.expect("count"), 0);
    world.stop().await;
}

#[tokio::test]
async fn rules_are_changed_by_those_who_may_and_read_by_everybody() {
    let world = world().await;
    let rule = json!({"kind": "silence", "target": {"for_s": 120}});
    let post = async |client: &Client| client.post_json("/v1/alerts", &rule).await.status;
    assert_eq!(post(&world.anonymous()).await, 401);
    assert_eq!(post(&world.reader()).await, 403, "a read key");
    assert_eq!(post(&world.anonymous().with_key(&world.keys.ingest)).await, 403);
    assert_eq!(post(&admin(&world).with_header("origin", "https://evil.example")).await, 403, "a page of another site");
    assert_eq!(post(&admin(&world)).await, 201);

    let session = async |body: Value| {
        let opened = world.anonymous().post_json("/v1/session", &body).await;
        let cookie =
            opened.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
        world.anonymous().with_header("cookie", cookie).with_header("origin", &world.url)
    };
    let token = create_login_token(&world.pool, world.project, Duration::from_secs(60)).await.expect("a token");
    let by_link = session(json!({"token": token.expose_secret()})).await;
    assert_eq!(post(&by_link).await, 201);
    assert_eq!(post(&by_link.with_header("origin", "https://evil.example")).await, 403);
    assert_eq!(post(&session(json!({"key": world.keys.read})).await).await, 403, "a session of a read key");

    let rules = world.ask("/v1/alerts").await;
    assert_eq!(rules["rules"].as_array().map(Vec::len), Some(2));
    let foreign = world.anonymous().with_key(&world.keys.foreign);
    assert_eq!(foreign.get("/v1/alerts").await.json()["rules"], json!([]));
    assert_eq!(foreign.get("/v1/alerts/1").await.status, 404);
    let staging = world.anonymous().with_key(&world.keys.staging);
    assert_eq!(
        staging.get("/v1/alerts").await.json()["rules"],
        json!([]),
        "rules of all environments are not its business"
    );
    assert_eq!(admin(&world).delete("/v1/alerts/1").await.status, 204);
    assert_eq!(admin(&world).delete("/v1/alerts/1").await.json()["error"]["code"], "unknown_rule");
    assert_eq!(world.ask("/v1/alerts/presets").await["presets"].as_array().map(Vec::len), Some(3));
    world.stop().await;
}

#[tokio::test]
async fn a_test_shows_what_the_receiver_says_and_private_addresses_are_refused() {
    let world = world().await;
    let receiver = Receiver::start();
    let test = async |url: &str| {
        admin(&world).post_json("/v1/alerts/test", &json!({"receiver": {"kind": "webhook", "url": url}})).await
    };
    let answer = test(&receiver.url).await;
    assert_eq!((answer.status, &answer.json()["status"], &answer.json()["body"]), (200, &json!(200), &json!("heard")));
    assert_eq!(receiver.events(), ["test"]);
    let refused = test("http://10.0.0.8/hook").await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (422, Some("webhook_refused")));
    let message = refused.json()["error"]["message"].as_str().map(str::to_owned);
    let expected =
        "10.0.0.8 is a private address. Alerts only go to public ones, or to hosts listed in PEEP_WEBHOOK_ALLOW";
    assert_eq!(message.as_deref(), Some(expected));
    // Neither may a rule have it, whoever tests it or not.
    let rule = |url: &str| json!({"kind": "silence", "target": {"for_s": 120}, "service": "shop", "receiver": {"kind": "webhook", "url": url}});
    make(&world, rule("https://hooks.example/x")).await;
    let refused = admin(&world).post_json("/v1/alerts", &rule("http://10.0.0.8/x")).await;
    assert_eq!((refused.status, refused.json()["error"]["code"].as_str()), (422, Some("webhook_refused")));
    let message = refused.json()["error"]["message"].as_str().map(str::to_owned);
    assert_eq!(message, Some(format!("`receiver.url`: {expected}")));
    let port_taken =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("bound");
    let failed = test(&format!("http://{port_taken}/")).await;
    assert_eq!((failed.status, failed.json()["error"]["code"].as_str()), (502, Some("webhook_failed")));
    world.stop().await;
}

#[tokio::test]
async fn a_preview_counts_what_would_have_fired() {
    let world = world().await;
    let at = |minutes_ago: i64, status: u16| Event::new("shop", NOW_MS - minutes_ago * 60_000, 10_000).status(status);
    let mut events: Vec<Event> = (0..2000).map(|number| at(60 + number % 400, 200)).collect();
    events.extend((0..300).map(|number| at(200 + number % 5, 500)));
    world.commit(0, 2300, 1, &events).await;
    let rule = json!({"kind": "error_budget", "target": {"objective": 0.99}, "service": "shop"});
    let answer = world.reader().post_json("/v1/alerts/preview", &rule).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = answer.json();
    assert_eq!((&answer["days"], &answer["times"], &answer["step_s"]), (&json!(7), &json!(1), &json!(300)), "{answer}");
    assert!(answer["minutes"].as_i64().is_some_and(|minutes| minutes >= 10), "{answer}");
    let nonsense = world.reader().post_json("/v1/alerts/preview", &json!({"kind": "silence"})).await;
    assert_eq!((nonsense.status, nonsense.json()["error"]["code"].as_str()), (422, Some("invalid_rule")));
    world.stop().await;
}
