//! Freshness as a working process measures it.

use std::time::Duration;

use peep_chassis::ExposeSecret;
use peep_chassis::keys::{self, Scope};
use peep_testkit::process::free_address;
use peep_testkit::{Client, Database, Peep};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);

fn sum(column: &Value) -> u64 {
    column.as_array().into_iter().flatten().filter_map(Value::as_u64).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_measured_and_verified_and_in_nobodys_books() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let key = keys::create(&pool, "shop", None, Scope::Admin).await.expect("create a key");
    let [admin, ingest, stream] = [free_address(), free_address(), free_address()];
    let mut peep = Peep::command(["up"])
        .env("DATABASE_URL", database.url())
        .env("PEEP_ADMIN_LISTEN", &admin)
        .env("PEEP_INGEST_LISTEN", &ingest)
        .env("PEEP_STREAM_LISTEN", &stream)
        .env("PEEP_ROLLUP_FLUSH_INTERVAL", "500ms")
        .env("PEEP_STREAM_PROBE_INTERVAL", "200ms")
        .start()
        .await;
    peep.wait_until_ready(SOON).await;
    let client = |address: &str| Client::new(format!("http://{address}")).with_key(key.secret.expose_secret());
    let sent = client(&ingest).post_json("/v1/events", &json!({"service": "shop", "duration_ms": 3})).await;
    assert_eq!(sent.status, 202, "{}", sent.body);

    let mut freshness = Value::Null;
    for _ in 0..300 {
        freshness = client(&stream).get("/v1/freshness").await.json();
        if sum(&freshness["count"]) >= 6 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(sum(&freshness["count"]) >= 6, "{freshness}");
    let age_ms = freshness["probe"]["age_ms"].as_u64().expect("probes are sent");
    assert!(age_ms < 10_000 && freshness["probe"]["p99_ms"].is_u64(), "{freshness}");
    assert!(freshness["p99_ms"].as_array().is_some_and(|p99| p99.iter().any(Value::is_f64)), "{freshness}");
    let metrics = Client::new(format!("http://{admin}")).get("/metrics").await.body;
    let measured = metrics.lines().find_map(|line| line.strip_prefix("peep_stream_freshness_seconds_count "));
    assert!(measured.and_then(|count| count.parse::<u64>().ok()) >= Some(5), "{measured:?}");
    assert!(!metrics.contains("freshness probe\""), "a probe is no request of an observed service");

    let mut books = Value::Null;
    for _ in 0..100 {
        books = client(&stream).get("/v1/reconcile?from=-1h").await.json();
        if books["rolled_up"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        (&books["accepted"], &books["rolled_up"], &books["balanced"]),
        (&json!(1), &json!(1), &json!(true)),
        "{books}"
    );
    let services = client(&stream).get("/v1/services").await.json();
    assert_eq!(services["services"].as_array().map(Vec::len), Some(1), "{services}");
    assert!(peep.terminate(SOON).await.success(), "{}", peep.said());
    let (verified, said) = Peep::command(["verify"]).env("DATABASE_URL", database.url()).run(SOON).await;
    assert!(verified.success(), "{said}");
    let booked: i64 =
        sqlx::query_scalar("select coalesce(sum(rolled_up), 0)::bigint from ledger_project where project_id = 0")
            .fetch_one(&pool)
            .await
            .expect("read the books");
    assert!(booked >= 6, "{booked}");
}
