//! What a scraper of a working process sees.

use std::collections::BTreeMap;
use std::time::Duration;

use peep_chassis::ExposeSecret;
use peep_chassis::keys::{self, Scope};
use peep_testkit::process::free_address;
use peep_testkit::{Client, Database, Peep};

/// A process that has taken an event, rolled it up and answered a question about it.
async fn scrape() -> String {
    let database = Database::fresh().await;
    let key = keys::create(&database.pool().await, "shop", None, Scope::Admin).await.expect("create a key");
    let [admin, ingest, stream] = [free_address(), free_address(), free_address()];
    let mut peep = Peep::command(["up"])
        .env("DATABASE_URL", database.url())
        .env("PEEP_ADMIN_LISTEN", &admin)
        .env("PEEP_INGEST_LISTEN", &ingest)
        .env("PEEP_STREAM_LISTEN", &stream)
        .env("PEEP_ROLLUP_FLUSH_INTERVAL", "200ms")
        .start()
        .await;
    peep.wait_until_ready(Duration::from_secs(30)).await;
    let event = r#"{"service":"tenant-input","route":"/tenant-route","duration_ms":3}"#.to_owned();
    let ingest = Client::new(format!("http://{ingest}")).with_key(key.secret.expose_secret());
    let answer = ingest.try_post("/v1/events", "application/json", event).await.expect("it answers");
    assert_eq!(answer.status, 202, "{}", answer.body);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stream = Client::new(format!("http://{stream}")).with_key(key.secret.expose_secret());
    assert_eq!(stream.get("/v1/services").await.status, 200);
    Client::new(format!("http://{admin}")).get("/metrics").await.body
}

#[tokio::test]
async fn every_metric_explains_itself_and_none_carries_what_tenants_send() {
    let text = scrape().await;
    let (mut helps, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let (what, rest) = line.split_once(' ').expect("HELP or TYPE and a name");
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        if what == "HELP" {
            helps.insert(name, value)
        } else {
            types.insert(name, value)
        };
    }
    assert!(types.len() > 20, "{text}");
    for (name, kind) in &types {
        assert!(helps.get(name).is_some_and(|help| !help.is_empty()), "{name} has no help text");
        assert!(["peep_", "process_", "http_server_"].iter().any(|ours| name.starts_with(ours)), "{name}");
        assert!(matches!(*kind, "counter" | "gauge" | "histogram"), "{name} is a {kind}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let unit = ["_ms", "_us", "_millis", "_kb", "_mb"].iter().find(|unit| name.ends_with(**unit));
        assert_eq!(unit, None, "{name}: seconds and bytes only");
    }
    let own = text.lines().filter(|line| !line.starts_with("http_server_"));
    let leaking: Vec<&str> = own.filter(|line| line.contains("tenant-")).collect();
    assert!(leaking.is_empty(), "{leaking:?}");
}
