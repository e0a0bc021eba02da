//! The store in Postgres: what every store promises ([`contract`]), and that a flush is one transaction.

mod contract;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use peep_rollup::postgres::PostgresStore;
use peep_rollup::postgres::partitions::{TimeTable, ensure};
use peep_rollup::store::{Claim, Flushed, Store};
use peep_testkit::Database;
use sqlx::{AssertSqlSafe, PgPool};

use contract::{EVENTS, Kept, PARTITIONS, Subject, cases, cut, owner};

struct Postgres {
    store: Arc<PostgresStore>,
    pool: PgPool,
    _database: Database,
}

impl Postgres {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let store = Arc::new(PostgresStore::new(pool.clone(), database.options(), 2));
        Self { store, pool, _database: database }
    }

    async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await.expect(sql);
    }

    async fn number(&self, sql: &str, partition: u32) -> u64 {
        let sql = format!("select coalesce(({sql} where log_partition = {partition}), 0)::bigint");
        let number: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("count");
        number as u64
    }
}

impl Subject for Postgres {
    fn store(&self) -> Arc<dyn Store> {
        Arc::<PostgresStore>::clone(&self.store)
    }

    fn let_leases_expire(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.execute(
            "update rollup_cursor set lease_until = lease_until - interval '8 seconds';
             update rollup_worker set alive_until = alive_until - interval '8 seconds'",
        ))
    }

    fn kept(&self, partition: u32) -> BoxFuture<'_, Kept> {
        Box::pin(async move {
            let rolled_up = self.number("select sum(count) from rollup_10s", partition).await;
            let booked = self.number("select sum(rolled_up) from ledger", partition).await;
            let duplicate = self.number("select sum(events) from duplicate_batch", partition).await;
            let in_facets = self.number("select sum(count) from facet_10s", partition).await;
            Kept { rolled_up, in_facets, booked, duplicate }
        })
    }

    fn broken(&self, partition: u32) -> BoxFuture<'_, Option<String>> {
        let sql = "select broken_reason from rollup_cursor where log_partition = $1 and (broken_at is null) = (broken_reason is null)";
        Box::pin(async move {
            sqlx::query_scalar(sql).bind(partition as i32).fetch_one(&self.pool).await.expect("read the reason")
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_what_every_store_promises() {
    for (name, case) in cases::<Postgres>() {
        println!("{name}");
        case(&Postgres::new().await).await;
    }
}

/// As two flushes do, the first ones of a day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_several_sessions_need_at_once_is_made_once() {
    let database = Database::fresh().await;
    let pool = database.pool().await;
    for day in 0..30 {
        let starts: Vec<i64> = (0..2).map(|next| (30_000 + 2 * day + next) * 86_400).collect();
        let sessions = (0..4).map(|_| async {
            let mut connection = pool.acquire().await.expect("connect");
            ensure(&mut connection, TimeTable::RawEvent, &starts).await.expect("made by one of them")
        });
        assert_eq!(futures_util::future::join_all(sessions).await.into_iter().sum::<i32>(), 2, "day {day}");
    }
}

/// Whatever row is refused, none of the others is kept and the cursor stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_half_way_keeps_nothing() {
    let subject = Postgres::new().await;
    let store = &*subject.store;
    store.open(PARTITIONS).await.unwrap();
    let claim = Claim { partitions: PARTITIONS, again: Vec::new(), count_max: 1 };
    let lease = store.claim(owner(1), claim).await.unwrap().remove(0);
    // A duplicate too, so that every table gets a row.
    let cut = cut(lease.partition, 0, None, &[0, 1, 1]);
    let tables = [
        "rollup_10s",
        "raw_event",
        "rollup_touched",
        "dedup_window",
        "duplicate_batch",
        "series_budget",
        "facet_10s",
        "facet_seen",
        "facet_budget",
        "ledger",
        "ledger_project",
        "ledger_day",
    ];
    subject
        .execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$",
        )
        .await;
    for refused in tables {
        subject
            .execute(&format!(
                "create trigger refuse before insert on {refused} for each row execute function refuse()"
            ))
            .await;
        let failed = store.flush(owner(1), lease.epoch, Arc::clone(&cut)).await;
        assert!(failed.as_ref().is_err_and(|error| error.to_string().contains("refused")), "{refused}: {failed:?}");
        for table in tables {
            let rows = subject.number(&format!("select count(*) from {table}"), lease.partition).await;
            assert_eq!(rows, 0, "{table}, although {refused} refused");
        }
        let held = store.renew(owner(1), 9).await.unwrap().held;
        assert_eq!(held[0].next, lease.next, "the cursor, although {refused} refused");
        subject.execute(&format!("drop trigger refuse on {refused}")).await;
    }
    assert_eq!(store.flush(owner(1), lease.epoch, cut).await.unwrap(), Flushed::Committed);
    let kept = Kept { rolled_up: 2 * EVENTS, in_facets: 4 * EVENTS, booked: 2 * EVENTS, duplicate: EVENTS };
    assert_eq!(subject.kept(lease.partition).await, kept);
}

/// The connection breaks while COMMIT is on its way: either outcome is possible, half of one is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_whose_connection_breaks_is_kept_whole_or_not_at_all() {
    let subject = Postgres::new().await;
    let store = &*subject.store;
    store.open(PARTITIONS).await.unwrap();
    let mut from = 0;
    let cut_off = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query ~* 'begin|copy|commit|insert'";
    for round in 0..40u64 {
        let claim = Claim { partitions: 1, again: vec![0], count_max: 1 };
        let Some(lease) = store.claim(owner(1), claim).await.ok().and_then(|mut leases| leases.pop()) else { continue };
        assert_eq!(lease.next.0, from, "the cursor and the rows moved together");
        let flushing = store.flush(owner(1), lease.epoch, cut(0, from, None, &[from]));
        let breaking = async {
            tokio::time::sleep(std::time::Duration::from_micros(round * 200)).await;
            let _ = sqlx::query(cut_off).execute(&subject.pool).await;
        };
        let (_, ()) = tokio::join!(flushing, breaking);
        // A backend that still commits holds the cursor's lock.
        let sql = "select next_offset from rollup_cursor where log_partition = 0 for update";
        let next: i64 = sqlx::query_scalar(sql).fetch_one(&subject.pool).await.unwrap();
        from = next as u64;
        let kept = subject.kept(0).await;
        assert_eq!((kept.rolled_up, kept.booked, kept.in_facets), (from * EVENTS, from * EVENTS, 2 * from * EVENTS));
    }
    assert!(from > 0, "no flush was ever kept");
}
