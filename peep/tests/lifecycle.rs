//! A service process from start to stop, on a real database.

use std::time::{Duration, Instant};

use peep_testkit::process::free_address;
use peep_testkit::{Client, Database, Peep};

const START: Duration = Duration::from_secs(30);
/// The sum of all shutdown budgets.
const STOP: Duration = Duration::from_secs(30);

struct Addresses {
    admin: String,
    ingest: String,
    stream: String,
}

async fn start(arguments: &[&str], database_url: &str) -> (Peep, Addresses) {
    let addresses = Addresses { admin: free_address(), ingest: free_address(), stream: free_address() };
    let peep = Peep::command(arguments.iter().copied())
        .env("DATABASE_URL", database_url)
        .env("PEEP_ADMIN_LISTEN", &addresses.admin)
        .env("PEEP_INGEST_LISTEN", &addresses.ingest)
        .env("PEEP_STREAM_LISTEN", &addresses.stream)
        .start()
        .await;
    (peep, addresses)
}

#[tokio::test]
async fn up_becomes_ready_and_sigterm_stops_it_step_by_step() {
    let database = Database::fresh().await;
    let (mut peep, addresses) = start(&["up"], database.url()).await;
    peep.wait_until_ready(START).await;
    for address in [&addresses.ingest, &addresses.stream] {
        let answer = Client::new(format!("http://{address}")).try_get("/nowhere").await.expect("it listens");
        assert_eq!(answer.status, 404, "{}", answer.body);
    }
    let metrics =
        Client::new(format!("http://{}", addresses.admin)).try_get("/metrics").await.expect("it answers").body;
    assert!(metrics.contains("process_resident_memory_bytes") && !metrics.contains("quantile="), "{metrics}");

    let before = Instant::now();
    let status = peep.terminate(STOP).await;
    let said = peep.said();
    assert!(status.success(), "{status}: {said}");
    assert!(before.elapsed() < Duration::from_secs(10), "an idle process stops quickly: {said}");
    let steps = ["ingest: stop", "rollup: publish", "flush logs", "close connections", "close admin port"];
    let places: Vec<usize> = steps.map(|step| said.find(step).unwrap_or_else(|| panic!("{step} in {said}"))).to_vec();
    assert!(places.is_sorted(), "{said}");
    assert!(!said.contains("abandoned"), "{said}");
}

#[tokio::test]
async fn each_service_runs_in_a_process_of_its_own() {
    let database = Database::fresh().await;
    for service in ["ingest", "rollup", "stream"] {
        let (mut peep, _) = start(&[service], database.url()).await;
        peep.wait_until_ready(START).await;
        assert!(peep.terminate(STOP).await.success(), "{}", peep.said());
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_with_the_reason() {
    let (mut peep, addresses) = start(&["up"], "postgres://peep@127.0.0.1:1/peep").await;
    let client = Client::new(format!("http://{}", addresses.admin));
    let deadline = Instant::now() + START;
    let answer = loop {
        match client.try_get("/readyz").await {
            Ok(answer) if answer.body.contains("127.0.0.1:1") => break answer,
            _ => assert!(Instant::now() < deadline, "{}", peep.said()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(peep.terminate(STOP).await.success(), "{}", peep.said());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let database = Database::fresh().await;
    let mut peep = Peep::command(["up"])
        .env("DATABASE_URL", database.url())
        .env("PEEP_ADMIN_LISTEN", free_address())
        .env("PEEP_INGEST_LISTEN", free_address())
        .env("PEEP_STREAM_LISTEN", free_address())
        // The first shutdown step takes this long.
        .env("PEEP_SHUTDOWN_DELAY", "20s")
        .start()
        .await;
    peep.wait_until_ready(START).await;
    peep.signal("TERM");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = Instant::now();
    let status = peep.terminate(STOP).await;
    assert!(before.elapsed() < Duration::from_secs(2), "{}", peep.said());
    assert_eq!(status.code(), Some(143), "{}", peep.said());
}
