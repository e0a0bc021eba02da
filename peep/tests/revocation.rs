//! What ends with a key, and what goes on without the database, in real processes.

use std::time::{Duration, Instant};

use peep_chassis::ExposeSecret;
use peep_chassis::keys::{self, Scope, format};
use peep_testkit::process::free_address;
use peep_testkit::{Client, Database, EventStream, Peep, Server, Topics, WebSocket};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(60);
/// What is promised.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

struct Process {
    peep: Peep,
    admin: Client,
    ingest: Client,
    stream: String,
}

impl Process {
    /// `environment` has the database and the log.
    async fn start(service: &str, environment: &[(&str, &str)]) -> Process {
        let addresses: [String; 3] = std::array::from_fn(|_| free_address());
        let mut command = Peep::command([service]);
        for (name, value) in environment {
            command = command.env(name, value);
        }
        for (name, address) in ["PEEP_ADMIN_LISTEN", "PEEP_INGEST_LISTEN", "PEEP_STREAM_LISTEN"].iter().zip(&addresses)
        {
            command = command.env(name, address);
        }
        let [admin, ingest, stream] = addresses;
        let [admin, ingest] = [admin, ingest].map(|address| Client::new(format!("http://{address}")));
        Process { peep: command.start().await, admin, ingest, stream }
    }

    async fn ready(service: &str, environment: &[(&str, &str)]) -> Process {
        let mut process = Process::start(service, environment).await;
        process.peep.wait_until_ready(START).await;
        process
    }

    fn read(&self) -> Client {
        Client::new(format!("http://{}", self.stream))
    }

    async fn send(&self, key: &str) -> (u16, Value) {
        let answer = self.ingest.with_key(key).post_json("/v1/events", &json!({"service": "a"})).await;
        (answer.status, answer.json()["error"]["code"].clone())
    }
}

/// How long until `ended` says so; a panic when that is too late.
async fn within(what: &str, since: Instant, mut ended: impl AsyncFnMut() -> bool) {
    while !ended().await {
        assert!(since.elapsed() < REVOKED_WITHIN, "{what}: still open after {:?}", since.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("{what}: {} ms", since.elapsed().as_millis());
    assert!(since.elapsed() < REVOKED_WITHIN, "{what}: {:?}", since.elapsed());
}

/// What was opened with a key in one process.
struct Opened<'p> {
    process: &'p Process,
    socket: WebSocket,
    events: EventStream,
    browser: Client,
}

impl Opened<'_> {
    async fn with<'p>(process: &'p Process, secret: &str) -> Opened<'p> {
        assert_eq!(process.send(secret).await.0, 202);
        let live = format!("{}/v1/live", process.stream);
        let mut socket = WebSocket::connect(&format!("ws://{live}"), Some(secret)).await.expect("a live view");
        socket.next(START).await.expect("a snapshot");
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", bearer.as_str())];
        let mut events = EventStream::connect(&format!("http://{live}"), &headers).await.expect("one more");
        events.next(START).await.expect("a snapshot");
        let signed_in = process.read().post_json("/v1/session", &json!({"key": secret})).await;
        let cookie = signed_in.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
        let browser = process.read().with_header("cookie", cookie);
        assert_eq!(browser.get("/v1/services").await.status, 200);
        Opened { process, socket, events, browser }
    }

    async fn all_end(self, secret: &str, since: Instant) {
        let Opened { process, mut socket, mut events, browser } = self;
        let reader = process.read().with_key(secret);
        tokio::join!(
            within("sending", since, async || process.send(secret).await == (401, json!("unauthorized"))),
            within("reading", since, async || reader.get("/v1/services").await.status == 401),
            within("a WebSocket", since, async || socket.next(START).await.is_none()),
            within("an event stream", since, async || events.next(START).await.is_none()),
            within("a session", since, async || browser.get("/v1/services").await.status == 401),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_ends_in_every_process_with_all_it_opened() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let environment = [("DATABASE_URL", database.url())];
    let (one, two) = tokio::join!(Process::ready("up", &environment), Process::ready("up", &environment));
    let key = keys::create(&pool, "shop", None, Scope::Admin).await.expect("create a key");
    let secret = key.secret.expose_secret();

    let opened = tokio::join!(Opened::with(&one, secret), Opened::with(&two, secret));

    keys::revoke(&pool, &key.key.to_string()).await.expect("revoke it");
    let since = Instant::now();
    tokio::join!(opened.0.all_end(secret, since), opened.1.all_end(secret, since));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_and_comes_back_is_told_by_every_process() {
    let (server, topics) = (Server::start().await, Topics::fresh().await);
    let database = server.database().await;
    let environment = [
        ("DATABASE_URL", database.url()),
        ("PEEP_LOG", "kafka"),
        ("PEEP_KAFKA_BROKERS", topics.brokers()),
        ("PEEP_LOG_TOPIC_PREFIX", topics.prefix()),
    ];
    let stream = Process::ready("stream", &environment).await;
    let reason = async || {
        let answer = stream.admin.get("/readyz").await;
        let parts = answer.json()["components"].as_array().cloned().unwrap_or_default();
        parts.iter().find(|part| part["name"] == "database").map(|part| part["reason"].clone())
    };
    let until = async |wanted: fn(&Value) -> bool| {
        let since = Instant::now();
        while !reason().await.is_some_and(|reason| wanted(&reason)) {
            assert!(since.elapsed() < START, "{}", stream.peep.said());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    until(Value::is_null).await;
    server.stop().await;
    until(|reason| reason.as_str().is_some_and(|reason| reason.contains("the database"))).await;
    server.start_again().await;
    until(Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_keys_work_without_the_database_and_unknown_ones_are_told_to_come_back() {
    let (server, topics) = (Server::start().await, Topics::fresh().await);
    let database = server.database().await;
    let key = keys::create(&database.pool().await, "shop", None, Scope::Ingest).await.expect("create a key");
    let (known, unknown) = (key.secret.expose_secret(), format::new_key(None));
    let environment = [
        ("DATABASE_URL", database.url()),
        ("PEEP_LOG", "kafka"),
        ("PEEP_KAFKA_BROKERS", topics.brokers()),
        ("PEEP_LOG_TOPIC_PREFIX", topics.prefix()),
        ("PEEP_KEYS_STALE_MAX", "15s"),
    ];
    let process = Process::ready("ingest", &environment).await;
    assert_eq!(process.send(known).await.0, 202);

    server.stop().await;
    let since = Instant::now();
    while !process.admin.get("/readyz").await.body.contains("the database cannot be read") {
        assert!(since.elapsed() < START, "{}", process.peep.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(process.admin.get("/readyz").await.status, 200, "degraded, and takes its traffic");
    assert_eq!(process.send(known).await.0, 202, "as long as the database is not away for too long");
    let nobody_knows = async |key: &str| {
        let answer = process.ingest.with_key(key).post_json("/v1/events", &json!({"service": "a"})).await;
        let retry_after: u32 = answer.header("retry-after").and_then(|text| text.parse().ok()).unwrap_or(0);
        answer.status == 503 && answer.json()["error"]["code"] == "keys_unavailable" && retry_after > 0
    };
    assert!(nobody_knows(unknown.expose_secret()).await, "not 401: nobody could look");
    while !nobody_knows(known).await {
        assert!(since.elapsed() < Duration::from_secs(25), "the stated age is over");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(since.elapsed() > Duration::from_secs(10), "{:?}", since.elapsed());
    // Said with the next attempt to read.
    while process.admin.get("/readyz").await.status != 503 {
        assert!(since.elapsed() < START, "{}", process.peep.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    server.start_again().await;
    let since = Instant::now();
    while process.send(known).await.0 != 202 {
        assert!(since.elapsed() < START, "{}", process.peep.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(process.send(unknown.expose_secret()).await, (401, json!("unauthorized")));
}
