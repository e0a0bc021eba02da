//! `peep log` on a real database with the log in it.

use std::time::Duration;

use peep_log::{Backend, LogConfig, Partition, Topic};
use peep_testkit::{Database, Peep};
use sqlx::PgPool;

async fn peep(database: &Database, arguments: &[&str]) -> (bool, String) {
    let command = Peep::command(arguments.iter().copied()).env("DATABASE_URL", database.url());
    let (status, said) = command.run(Duration::from_secs(30)).await;
    (status.success(), said)
}

/// Partition 0 was counted to offset 9 of another log; the one that is there has three records. Partition 1 is fine.
async fn with_replaced_log() -> (Database, PgPool) {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let config = LogConfig { backend: Backend::Postgres, ..LogConfig::default() };
    let log = peep_log::open(&config, Topic::Events, &pool).await.expect("open the log");
    for _ in 0..3 {
        log.append(Partition(0), vec![7; 40].into()).await.expect("append");
    }
    log.close().await;
    let cursors = "insert into rollup_cursor (log_partition, next_offset, fingerprint, broken_reason, broken_at)
        values (0, 9, '\\x0102', 'the log was truncated or replaced', now() - interval '90 seconds'), (1, 0, null, null, null)";
    sqlx::raw_sql(cursors).execute(&pool).await.expect("set cursors");
    (database, pool)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_break_is_shown_accepted_by_a_person_and_never_without_one() {
    let (database, pool) = with_replaced_log().await;
    let (done, said) = peep(&database, &["log", "status"]).await;
    assert!(done && said.contains("BROKEN") && said.contains("unowned"), "{said}");
    assert!(
        said.contains("the log was truncated or replaced") && said.contains("accept-break --partition 0"),
        "{said}"
    );

    let (done, said) = peep(&database, &["log", "accept-break", "--partition", "0"]).await;
    assert!(!done && said.contains("none of it is what was counted") && said.contains("--yes"), "{said}");
    let (done, said) = peep(&database, &["log", "accept-break", "--partition", "0", "--resume-at", "4", "--yes"]).await;
    assert!(!done && said.contains("offset 4 is outside of the log, which holds 0 to 3"), "{said}");
    assert_eq!(breaks(&pool).await, []);

    let accept = ["log", "accept-break", "--partition", "0", "--by", "ann", "--yes"];
    let (done, said) = peep(&database, &accept).await;
    assert!(done && said.contains("accepted by ann: partition 0 goes on at offset 0 of generation 1"), "{said}");
    assert_eq!(breaks(&pool).await, [(9, 1 << 40, "replaced".to_owned(), None, "ann".to_owned())]);
    let (done, said) = peep(&database, &accept).await;
    assert!(!done && said.contains("partition 0 is not broken"), "{said}");
    let (done, said) = peep(&database, &["log", "accept-break", "--partition", "1", "--yes"]).await;
    assert!(!done && said.contains("partition 1 is not broken"), "{said}");
    let (_, said) = peep(&database, &["log", "status"]).await;
    assert!(!said.contains("BROKEN"), "{said}");
}

async fn breaks(pool: &PgPool) -> Vec<(i64, i64, String, Option<i64>, String)> {
    let sql = "select position_before, position_after, kind, records_lost, accepted_by from log_break";
    sqlx::query_as(sql).fetch_all(pool).await.expect("read breaks")
}
