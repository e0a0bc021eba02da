//! Dead letters on the command line, on a real database with the log in it.

use std::time::Duration;

use peep_log::{Backend, LogConfig, LogRecord, Offset, Partition, Topic};
use peep_testkit::{Database, Peep};
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::{RecordBuilder, parse};
use peep_wire::{KeyId, ProjectId};
use sqlx::PgPool;

const RECEIVED_MS: i64 = 1_795_183_200_000;

async fn peep(database: &Database, arguments: &[&str]) -> (bool, String) {
    let command = Peep::command(arguments.iter().copied()).env("DATABASE_URL", database.url());
    let (status, said) = command.run(Duration::from_secs(30)).await;
    (status.success(), said)
}

fn record(project: u64, events: usize, route: &str) -> Vec<u8> {
    let mut builder = RecordBuilder::default();
    builder.start(RECEIVED_MS);
    for _ in 0..events {
        builder.push(&Event {
            service: "shop",
            env: "default",
            route,
            method: Method::from_name("POST"),
            status: 200,
            ended_ms: RECEIVED_MS - 500,
            duration_us: Some(12_500),
            error: None,
            host: None,
            version: None,
            source: None,
            bytes_in: None,
            bytes_out: None,
            trace_id: None,
            span_id: None,
            attrs: EncodedAttrs::EMPTY,
        });
    }
    builder.finish(ProjectId(project), KeyId(1), None).remove(0).to_vec()
}

async fn bury(pool: &PgPool, place: (i64, i32), reason: &str, project: Option<u64>, events: Option<i32>, bytes: &[u8]) {
    sqlx::query(
        "insert into dead_letter (log_partition, log_offset, event_index, reason, project_id, events, bytes, key_id, received_ms,
            appended_at) values (0, $1, $2, $3, $4, $5, $6, 1, $7, now())",
    )
    .bind(place.0)
    .bind(place.1)
    .bind(reason)
    .bind(project.map(u64::cast_signed))
    .bind(events)
    .bind(bytes)
    .bind(RECEIVED_MS)
    .execute(pool)
    .await
    .expect("bury");
}

/// Letters of every kind, of a project called shop.
async fn with_letters() -> (Database, PgPool) {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let project = peep_chassis::keys::project_id(&pool, "shop").await.expect("make a project");
    let three = record(project, 3, "/buy");
    let rows: Vec<&[u8]> = parse(&three).expect("ours").events().map(|row| row.expect("readable").raw).collect();
    bury(&pool, (10, 0), "too_old", Some(project), Some(1), rows[0]).await;
    bury(&pool, (10, 2), "too_old", Some(project), Some(1), rows[2]).await;
    bury(&pool, (11, 0), "dedup_window_exceeded", Some(project), Some(3), &three).await;
    bury(&pool, (12, 0), "checksum", None, None, b"\x1b[2J\x1b]0;owned\x07 not a record").await;
    bury(
        &pool,
        (13, 0),
        "in_future",
        Some(project),
        Some(1),
        parse(&record(project, 1, "/\u{9b}2J/\u{202e}x"))
            .expect("ours")
            .events()
            .next()
            .expect("one")
            .expect("readable")
            .raw,
    )
    .await;
    (database, pool)
}

async fn records(pool: &PgPool) -> Vec<LogRecord> {
    let config = LogConfig { backend: Backend::Postgres, ..LogConfig::default() };
    let log = peep_log::open(&config, Topic::Events, pool).await.expect("open the log");
    let mut all = Vec::new();
    for partition in 0..log.partitions() {
        let mut reader = log.reader(Partition(partition), Offset(0)).await.expect("a reader");
        all.extend(reader.next(64 << 20, Duration::ZERO).await.expect("records"));
    }
    log.close().await;
    all
}

#[tokio::test]
async fn letters_are_listed_and_shown_and_nothing_of_them_reaches_the_terminal() {
    let (database, _pool) = with_letters().await;
    let (listed, table) = peep(&database, &["rejects", "list"]).await;
    assert!(listed && table.lines().count() == 6, "{table}");
    assert!(table.contains("0:10:2") && table.contains("shop POST /buy"), "{table}");
    let (_, filtered) =
        peep(&database, &["rejects", "list", "--project", "shop", "--reason", "too_old", "--since", "1h"]).await;
    assert_eq!(filtered.lines().count(), 3, "{filtered}");

    let (_, event) = peep(&database, &["rejects", "show", "0:10:0"]).await;
    assert!(
        event.contains("\"service\":\"shop\"") && event.contains("one event") && event.contains("clock"),
        "{event}"
    );
    let (_, whole) = peep(&database, &["rejects", "show", "0:11:0"]).await;
    assert!(whole.contains("a record of 3 events"), "{whole}");
    let (_, poison) = peep(&database, &["rejects", "show", "0:12:0"]).await;
    assert!(poison.contains("1b 5b 32 4a") && poison.contains("nothing that can be read"), "{poison}");
    let (_, hostile) = peep(&database, &["rejects", "show", "0:13:0"]).await;
    for said in [table, event, whole, poison, hostile] {
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()) && !said.contains('\u{202e}'), "{said:?}");
    }
    let (shown, said) = peep(&database, &["rejects", "show", "0:99:0"]).await;
    assert!(!shown && said.contains("there is no dead letter 0:99:0"), "{said}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let (database, pool) = with_letters().await;
    let (done, said) = peep(&database, &["rejects", "replay", "--all", "--dry-run"]).await;
    assert!(done && said.contains("would replay 2 letters with 2 events: too_old"), "{said}");
    assert!(said.contains("left out 1 letter (nobody knows whose it is): checksum"), "{said}");
    assert!(!said.contains("dedup_window_exceeded"), "in doubt: {said}");
    assert_eq!(records(&pool).await.len(), 0);
}

#[tokio::test]
async fn replayed_letters_are_marked_and_carry_the_same_identity_every_time() {
    let (database, pool) = with_letters().await;
    let (done, said) = peep(&database, &["rejects", "replay", "--reason", "too_old"]).await;
    assert!(done && said.contains("replayed 2 letters with 2 events: too_old"), "{said}");
    let (_, again) = peep(&database, &["rejects", "replay", "--reason", "too_old"]).await;
    assert!(again.contains("nothing to replay"), "{again}");
    // As after a crash between append and mark.
    sqlx::query("update dead_letter set replayed_at = null").execute(&pool).await.expect("forget");
    let (_, repeated) = peep(&database, &["rejects", "replay", "0:10:0", "0:10:2"]).await;
    assert!(repeated.contains("replayed 2 letters"), "{repeated}");
    let records = records(&pool).await;
    let identity = |record: &LogRecord| parse(&record.payload).expect("ours").header.identity.expect("an identity");
    let mut identities: Vec<_> =
        records.iter().map(identity).map(|identity| (identity.producer, identity.seq)).collect();
    identities.sort_unstable();
    assert_eq!(identities.len(), 4);
    assert!(
        identities.iter().all(|(producer, _)| *producer == identities[0].0),
        "letters of one record share a producer"
    );
    assert_eq!(
        identities.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(),
        [0, 0, 2, 2],
        "their place in it is the number"
    );
}

#[tokio::test]
async fn a_batch_in_doubt_is_replayed_when_it_is_named() {
    let (database, pool) = with_letters().await;
    let (done, said) = peep(&database, &["rejects", "replay", "0:11:0"]).await;
    assert!(done && said.contains("replayed 1 letter with 3 events: dedup_window_exceeded"), "{said}");
    let records = records(&pool).await;
    assert_eq!(parse(&records[0].payload).expect("ours").events().count(), 3);
    let (refused, said) = peep(&database, &["rejects", "replay"]).await;
    assert!(!refused && said.contains("--all"), "{said}");
}
