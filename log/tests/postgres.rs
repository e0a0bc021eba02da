//! What only the Postgres log has to care for: its own retention, while it is written to, read and looked after by several
//! processes; and the database's disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use peep_log::{AppendError, Log, LogConfig, Offset, Partition, ReadError, Retention, Topic, Watermarks};
use peep_testkit::Database;
use sqlx::PgPool;

const P: Partition = Partition(0);

#[tokio::test]
async fn old_records_go_and_new_ones_stay() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let retention = Retention { age: Duration::from_secs(2), bytes: 1 << 30 };
    let (one, two) = (open(&pool, retention).await, open(&pool, retention).await);
    let appended = append_for(Duration::from_secs(5), &[&one, &two], 100).await;

    let Watermarks { low, high } = one.watermarks(P).await.expect("watermarks");
    assert_eq!(high, Offset(appended), "none was lost or doubled while segments came and went");
    assert!(low > Offset(0), "the first seconds are gone");
    let (low, rest) = read_what_is_left(&*two).await;
    assert!(low < high, "the last second is there");
    assert_eq!(rest, high.0 - low.0, "all of the rest is there");
    // The current segment is written to for an eighth of the age, so all tables together are few.
    assert!(count_tables(&pool).await <= 14, "{} segments", count_tables(&pool).await);
}

#[tokio::test]
async fn a_topic_stays_below_its_size() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    // Looked after every second.
    let retention = Retention { age: Duration::from_secs(8), bytes: 2 << 20 };
    let log = open(&pool, retention).await;
    for _ in 0..10 {
        append_for(Duration::from_millis(300), &[&log], 50_000).await;
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while stored_bytes(&pool).await > 3 << 20 {
        assert!(Instant::now() < deadline, "{} bytes", stored_bytes(&pool).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let Watermarks { low, high } = log.watermarks(P).await.expect("watermarks");
    assert!(low > Offset(0) && low <= high);
}

/// A rollup that is down must not lose what was acknowledged, however long and however much.
#[tokio::test]
async fn what_is_needed_is_kept_and_a_full_log_refuses_until_it_is_not() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let retention = Retention { age: Duration::from_secs(1), bytes: 2 << 20 };
    let log = open(&pool, retention).await;
    log.needed_from(P, Offset(0)).await.expect("hold");
    let payload = bytes::Bytes::from(vec![7; 50_000]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut appended = 0;
    let refused = loop {
        assert!(Instant::now() < deadline, "the log took {appended} records and goes on");
        match log.append(P, payload.clone()).await {
            Ok(_) => appended += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(log.watermarks(P).await.expect("watermarks").low, Offset(0), "older than allowed, but needed");

    log.needed_from(P, Offset(appended)).await.expect("move on");
    while log.append(P, payload.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "room is never made");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process that was killed half way leaves a table without a segment; the next round of anybody clears it away.
#[tokio::test]
async fn leftovers_of_a_killed_process_are_cleared_away() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let retention = Retention { age: Duration::from_secs(2), bytes: 1 << 30 };
    let log = open(&pool, retention).await;
    log.append(P, "x".into()).await.expect("append");
    // Retired, and then nothing more: the segment is still attached.
    let retired: i64 = sqlx::query_scalar(
        "with current as (select max(segment) as segment from log_segment where topic = 'peep.events')
         select segment from current, log_rotate('peep.events', segment) as fresh,
             log_retire('peep.events', segment)",
    )
    .fetch_one(&pool)
    .await
    .expect("retire");
    let deadline = Instant::now() + Duration::from_secs(10);
    while exists(&pool, &format!("log_record_{retired}")).await {
        assert!(Instant::now() < deadline, "segment {retired} is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(log.append(P, "y".into()).await, Ok(Offset(1)));
}

#[tokio::test]
async fn many_rotations_at_once_open_one_segment() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let log = open(&pool, LogConfig::default().events_retention).await;
    let current: i64 =
        sqlx::query_scalar("select max(segment) from log_segment").fetch_one(&pool).await.expect("current");
    let rotations = (0..8).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            sqlx::query_scalar::<_, i64>("select log_rotate('peep.events', $1)").bind(current).fetch_one(&pool).await
        })
    });
    let mut opened = Vec::new();
    for rotation in rotations.collect::<Vec<_>>() {
        opened.push(rotation.await.expect("rotation task").expect("rotate"));
    }
    opened.dedup();
    assert_eq!(opened.len(), 1, "{opened:?}");
    assert_eq!(count_tables(&pool).await, 2);
    assert_eq!(log.append(P, "x".into()).await, Ok(Offset(0)));
}

/// Nothing was written, and the caller may know: other than with a lost connection there is no doubt.
#[tokio::test]
async fn a_full_disk_is_reported_as_full_and_the_log_goes_on() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    let log = open(&pool, LogConfig::default().events_retention).await;
    sqlx::raw_sql(
        "alter function log_append rename to log_append_as_it_is;
         create function log_append(text, int[], int[], bytea[]) returns table (log_partition int, first_offset bigint)
         language plpgsql as $$ begin raise 'could not extend file: No space left on device' using errcode = '53100'; end $$",
    )
    .execute(&pool)
    .await
    .expect("fill the disk");
    assert_eq!(log.append(P, "x".into()).await, Err(AppendError::Full { what: "database disk" }));
    assert_eq!(log.ready(), Ok(()), "readiness is for what another process could do better");
    sqlx::raw_sql("drop function log_append; alter function log_append_as_it_is rename to log_append")
        .execute(&pool)
        .await
        .expect("make room");
    assert_eq!(log.append(P, "x".into()).await, Ok(Offset(0)));
}

async fn open(pool: &PgPool, events_retention: Retention) -> Arc<dyn Log> {
    let config = LogConfig { events_retention, partitions: 2, ..LogConfig::default() };
    peep_log::open(&config, Topic::Events, pool).await.expect("open the log")
}

/// Appends to the logs in turn for a while; answers how many records.
async fn append_for(duration: Duration, logs: &[&Arc<dyn Log>], bytes: usize) -> u64 {
    let payload = bytes::Bytes::from(vec![7; bytes]);
    let deadline = Instant::now() + duration;
    let mut appended = 0;
    while Instant::now() < deadline {
        let log = logs[appended as usize % logs.len()];
        log.append(P, payload.clone()).await.expect("append");
        appended += 1;
    }
    appended
}

/// Reads from the oldest record to the newest; answers where it began and how many came. Retention does not wait for readers, so
/// it begins again when what it was about to read has gone.
async fn read_what_is_left(log: &dyn Log) -> (Offset, u64) {
    let mut from = log.watermarks(P).await.expect("watermarks").low;
    loop {
        match read(log, from).await {
            Ok(records) => return (from, records),
            Err(ReadError::OutOfRange { low, .. }) if low > from => from = low,
            Err(error) => panic!("read from {from}: {error}"),
        }
    }
}

/// Reads on from `from`; answers how many records came.
async fn read(log: &dyn Log, from: Offset) -> Result<u64, ReadError> {
    let mut reader = log.reader(P, from).await?;
    let mut next = from;
    loop {
        let records = reader.next(1 << 20, Duration::from_millis(300)).await?;
        let Some(last) = records.last() else { return Ok(next.0 - from.0) };
        assert_eq!(records[0].offset, next);
        next = last.offset.plus(1);
    }
}

async fn count_tables(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from pg_class where relkind = 'r' and relname ~ '^log_record_[0-9]+$'")
        .fetch_one(pool)
        .await
        .expect("count tables")
}

async fn exists(pool: &PgPool, table: &str) -> bool {
    sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(table)
        .fetch_one(pool)
        .await
        .expect("look for a table")
}

async fn stored_bytes(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "select coalesce(sum(pg_total_relation_size(oid)), 0)::bigint from pg_class
         where relkind = 'r' and relname ~ '^log_record_[0-9]+$'",
    )
    .fetch_one(pool)
    .await
    .expect("measure")
}
