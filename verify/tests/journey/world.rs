//! A rollup at work on a real database, and the oracle beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use peep_chassis::admin::Health;
use peep_chassis::config::Settings;
use peep_chassis::lifecycle::Shutdown;
use peep_log::{Log, LogConfig, MemoryLog, Offset, Partition, Topic};
use peep_rollup::Config;
use peep_testkit::Database;
use peep_verify::{Options, Report, Rules, verify};
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{Identity, KeyId, ProjectId};
use sqlx::{AssertSqlSafe, PgPool};
use tokio::time::{Instant, sleep, timeout};

pub(crate) struct World {
    database: Database,
    pub(crate) pool: PgPool,
    pub(crate) log: MemoryLog,
    partitions: u32,
    settings: BTreeMap<&'static str, &'static str>,
    random: Random,
}

impl World {
    pub(crate) async fn new(partitions: u32) -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let settings =
            BTreeMap::from([("PEEP_ROLLUP_PUBLISH_INTERVAL", "20ms"), ("PEEP_ROLLUP_FLUSH_INTERVAL", "60ms")]);
        Self { database, pool, log: log(partitions, Topic::Events), partitions, settings, random: Random(7) }
    }

    pub(crate) fn set(&mut self, name: &'static str, value: &'static str) {
        self.settings.insert(name, value);
    }

    /// Lets a worker count everything there is.
    pub(crate) async fn roll_up(&self) {
        let (health, shutdown) = (Health::new(), Shutdown::new());
        let config = Config::read(&mut Settings::new(&self.settings));
        let live = Arc::new(log(self.partitions, Topic::Live));
        let (events, pool, options) = (Arc::new(self.log.clone()), self.pool.clone(), self.database.options());
        let until = shutdown.clone();
        let task =
            tokio::spawn(async move { peep_rollup::run(config, events, live, pool, options, &health, until).await });
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.is_counted().await {
            assert!(Instant::now() < deadline, "the rollup does not arrive");
            sleep(Duration::from_millis(20)).await;
        }
        self.wait_for_levels(deadline).await;
        shutdown.request();
        let stopped = timeout(Duration::from_secs(20), task).await.expect("stops in time");
        stopped.expect("does not panic").expect("stops without an error");
    }

    /// Where the levels are asked for: until the hours have everything.
    async fn wait_for_levels(&self, deadline: Instant) {
        let behind = "select count(*) from rollup_cursor c cross join (values ('1h'), ('facet_1h')) as hours (level)
            left join rollup_level l on l.log_partition = c.log_partition and l.level = hours.level
            where next_offset > coalesce(done_offset, 0)";
        let asked = self.settings.get("PEEP_ROLLUP_LEVEL_INTERVAL") == Some(&"100ms");
        while asked && self.number(behind).await > 0 {
            assert!(Instant::now() < deadline, "the levels are not made");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn is_counted(&self) -> bool {
        let sql = "select log_partition, next_offset & ((1::bigint << 40) - 1) from rollup_cursor";
        let cursors: Vec<(i32, i64)> = sqlx::query_as(sql).fetch_all(&self.pool).await.expect("read cursors");
        let mut counted = 0;
        for (partition, next) in cursors {
            let marks = self.log.watermarks(Partition(partition as u32)).await.expect("the log answers");
            counted += u32::from(marks.high.0 as i64 == next);
        }
        counted == self.partitions
    }

    /// What the oracle says.
    pub(crate) async fn verify(&self) -> Report {
        let config = Config::read(&mut Settings::new(&self.settings));
        let limits = config.partition_limits(self.partitions);
        let rules = Rules {
            event_age_max: config.event_age_max,
            event_ahead_max: config.event_ahead_max,
            dedup_retention: config.dedup_retention,
            producers_max: limits.dedup.producers_max,
            series_max: limits.series.series_max,
            series_total_max: limits.series.total_max,
            facets_max: limits.facets.per_scope_max,
            facets_total_max: limits.facets.total_max,
            folds_max: limits.series.folds_max,
            letters_kept: config.retention_1m,
            books_kept: config.retention_1h,
            dedup_bytes_max: limits.dedup.bytes_max,
        };
        let options = Options { rules, ..Options::default() };
        verify(&self.log, &self.pool, &options, &mut |_| {}).await.expect("log and database answer")
    }

    /// Everything that happens to a log: many producers, retries whole and in part, late and mad events, requests of several
    /// records, clients without identity, and bytes that are no record. Answers how many events it appended.
    pub(crate) async fn send_mixed_traffic(&mut self, batches: u64) -> u64 {
        let mut events = 0;
        for number in 0..batches {
            let producer = self.random.below(7) as u8;
            let identity = Identity { producer: [producer; 16], seq: number / 3 };
            let identity = (producer > 0).then_some(identity);
            let sent: Vec<Sent> = (0..1 + self.random.below(40)).map(|_| self.event()).collect();
            let record_bytes_max = if self.random.below(10) == 0 { 600 } else { 1 << 20 };
            let project = 1 + self.random.below(2);
            let records = records(project, identity, &sent, record_bytes_max);
            let partition = producer as u32 % self.partitions;
            for _ in 0..1 + self.random.below(6) / 4 {
                for record in &records {
                    self.append(partition, record.clone()).await;
                }
                events += sent.len() as u64;
            }
            if self.random.below(40) == 0 {
                self.append(partition, Bytes::from_static(b"\x0dnot a record")).await;
            }
        }
        events
    }

    pub(crate) async fn send(&self, partition: u32, identity: Option<Identity>, events: &[Sent]) {
        for record in records(1, identity, events, 1 << 20) {
            self.append(partition, record).await;
        }
    }

    pub(crate) async fn append(&self, partition: u32, payload: Bytes) {
        self.log.append(Partition(partition), payload).await.expect("the log takes it");
    }

    fn event(&mut self) -> Sent {
        let random = &mut self.random;
        let mut sent = Sent::now(&format!("/{}", random.below(5)), 1 << random.below(24));
        sent.duration_us += random.below(sent.duration_us);
        sent.ended_ms -= match random.below(100) {
            0 => 40 * 86_400_000,
            1 => -3_600_000,
            2..10 => random.below(5 * 3_600_000) as i64,
            _ => random.below(30_000) as i64,
        };
        sent.status = [200, 200, 200, 204, 404, 500][random.below(6) as usize];
        sent.error = (random.below(50) == 0).then_some("timeout");
        sent.has_duration = random.below(10) > 0;
        sent.host = [None, Some("web-1"), Some("web-2"), Some("web-3")][random.below(4) as usize];
        sent.version = [None, Some("v1"), Some("v2"), Some("(other)")][random.below(4) as usize];
        sent
    }

    /// The same database, and a log that knows nothing of it.
    pub(crate) fn replace_log(&mut self) {
        self.log = log(self.partitions, Topic::Events);
    }

    /// The log of partition 0 loses its last records.
    pub(crate) async fn truncate_log(&mut self, records: usize) {
        let mut reader = self.log.reader(Partition(0), Offset(0)).await.expect("the log answers");
        let kept = reader.next(usize::MAX, Duration::ZERO).await.expect("the log answers");
        self.replace_log();
        for record in &kept[..kept.len() - records] {
            self.append(0, record.payload.clone()).await;
        }
    }

    /// As when a person accepts that the log was replaced.
    pub(crate) async fn accept_break(&self) {
        self.execute(
            "insert into log_break (log_partition, position_before, position_after, kind, reason, accepted_by)
            select log_partition, next_offset, ((next_offset >> 40) + 1) << 40, 'replaced', 'test', 'test' from rollup_cursor",
        )
        .await;
        self.execute(
            "update rollup_cursor set next_offset = ((next_offset >> 40) + 1) << 40, fingerprint = null, epoch = epoch + 1,
            owner = null, lease_until = null, broken_reason = null, broken_at = null",
        )
        .await;
    }

    /// Runs a statement, asks the oracle, and puts the table back as it was.
    pub(crate) async fn verify_with(&self, table: &str, sql: &str) -> Report {
        self.execute(&format!("create table kept as select * from {table}")).await;
        let changed = self.execute(sql).await;
        assert!(changed > 0, "{sql} changes nothing");
        let report = self.verify().await;
        self.execute(&format!("delete from {table}")).await;
        self.execute(&format!("insert into {table} overriding system value select * from kept")).await;
        self.execute("drop table kept").await;
        report
    }

    pub(crate) async fn execute(&self, sql: &str) -> u64 {
        let done = sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected()
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

/// One event of a test.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) route: String,
    pub(crate) status: u16,
    pub(crate) ended_ms: i64,
    pub(crate) duration_us: u64,
    pub(crate) has_duration: bool,
    pub(crate) error: Option<&'static str>,
    pub(crate) host: Option<&'static str>,
    pub(crate) version: Option<&'static str>,
}

impl Sent {
    pub(crate) fn now(route: &str, duration_us: u64) -> Self {
        let route = route.to_owned();
        let (host, version) = (Some("host-1"), None);
        Self { route, status: 200, ended_ms: now_ms(), duration_us, has_duration: true, error: None, host, version }
    }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn records(project: u64, identity: Option<Identity>, events: &[Sent], record_bytes_max: usize) -> Vec<Bytes> {
    let mut builder = RecordBuilder::new(record_bytes_max);
    builder.start(now_ms());
    for sent in events {
        builder.push(&Event {
            service: "shop",
            env: "default",
            route: &sent.route,
            method: Method::from_name("GET"),
            status: sent.status,
            ended_ms: sent.ended_ms,
            duration_us: sent.has_duration.then_some(sent.duration_us),
            error: sent.error,
            host: sent.host,
            version: sent.version,
            source: None,
            bytes_in: None,
            bytes_out: Some(17),
            trace_id: None,
            span_id: Some([3; 8]),
            attrs: EncodedAttrs::EMPTY,
        });
    }
    builder.finish(ProjectId(project), KeyId(1), identity)
}

fn log(partitions: u32, topic: Topic) -> MemoryLog {
    MemoryLog::open(&LogConfig { partitions, ..LogConfig::default() }, topic)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }
}
