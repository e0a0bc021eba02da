//! A rollup on a real database, with a memory log on both sides, and traffic whose exact counts are known.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use peep_chassis::admin::Health;
use peep_chassis::config::Settings;
use peep_chassis::lifecycle::Shutdown;
use peep_log::{Log, LogConfig, LogRecord, MemoryLog, Offset, Partition, Topic};
use peep_rollup::Config;
use peep_testkit::Database;
use peep_wire::event::{EncodedAttrs, Event};
use peep_wire::histogram::{Histogram, Totals};
use peep_wire::live::LiveFrame;
use peep_wire::method::Method;
use peep_wire::record::RecordBuilder;
use peep_wire::{Identity, KeyId, ProjectId};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Service, route, status.
pub(crate) type SeriesName = (String, String, u16);

/// One event of a test.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) service: String,
    pub(crate) route: String,
    pub(crate) status: u16,
    pub(crate) ended_ms: i64,
    pub(crate) duration_us: u64,
    pub(crate) error: Option<&'static str>,
    pub(crate) host: Option<&'static str>,
    pub(crate) version: Option<&'static str>,
}

impl Sent {
    pub(crate) fn now(service: &str, route: &str, duration_us: u64) -> Self {
        let (service, route) = (service.to_owned(), route.to_owned());
        Self { service, route, status: 200, ended_ms: now_ms(), duration_us, error: None, host: None, version: None }
    }

    fn name(&self) -> SeriesName {
        (self.service.clone(), self.route.clone(), self.status)
    }
}

/// Batches whose exact counts are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    batches: Vec<Vec<Sent>>,
}

impl Traffic {
    /// A few series, log-normal-like durations, some errors, some minutes of lateness. The same seed gives the same traffic.
    pub(crate) fn random(seed: u64, batches: usize, events: usize) -> Self {
        let mut random = Random(seed.wrapping_add(1));
        let event = |random: &mut Random| {
            let mut sent = Sent::now("shop", &format!("/{}", random.below(4)), 1 << random.below(24));
            sent.duration_us += random.below(sent.duration_us);
            sent.ended_ms -= random.below(300_000) as i64;
            sent.status = if random.below(20) == 0 { 500 } else { 200 };
            sent
        };
        Self { batches: (0..batches).map(|_| (0..events).map(|_| event(&mut random)).collect()).collect() }
    }

    /// Every event in a series of its own.
    pub(crate) fn wide(seed: u64, batches: usize, events: usize) -> Self {
        let event = |batch: usize, n: usize| Sent::now("shop", &format!("/{seed}/{batch}/{n}"), 1000);
        Self { batches: (0..batches).map(|batch| (0..events).map(|n| event(batch, n)).collect()).collect() }
    }

    pub(crate) fn append(&mut self, mut other: Traffic) {
        self.batches.append(&mut other.batches);
    }

    pub(crate) fn batches(&self) -> &[Vec<Sent>] {
        &self.batches
    }

    pub(crate) fn len(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }

    /// Sorted durations by series.
    pub(crate) fn series(&self) -> BTreeMap<SeriesName, Vec<u64>> {
        let mut series: BTreeMap<SeriesName, Vec<u64>> = BTreeMap::new();
        for sent in self.batches.iter().flatten() {
            series.entry(sent.name()).or_default().push(sent.duration_us);
        }
        series.values_mut().for_each(|durations| durations.sort_unstable());
        series
    }

    pub(crate) fn errors(&self, name: &SeriesName) -> u64 {
        let failed = |sent: &&Sent| sent.name() == *name && (sent.status >= 500 || sent.error.is_some());
        self.batches.iter().flatten().filter(failed).count() as u64
    }
}

/// What the table holds of one series.
#[derive(Debug, Default)]
pub(crate) struct Rollup {
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) histogram: Histogram,
}

/// The world of one test.
pub(crate) struct Stack {
    pub(crate) database: Arc<Database>,
    pub(crate) pool: PgPool,
    pub(crate) events: MemoryLog,
    pub(crate) live: MemoryLog,
    partitions: u32,
}

impl Stack {
    pub(crate) async fn new(partitions: u32) -> Self {
        Self::on(Database::fresh().await, partitions).await
    }

    pub(crate) async fn on(database: Database, partitions: u32) -> Self {
        let pool = database.pool().await;
        let (events, live) = logs(partitions);
        Self { database: Arc::new(database), pool, events, live, partitions }
    }

    /// The same database with logs that know nothing of it.
    pub(crate) fn with_new_log(&self) -> Self {
        let (events, live) = logs(self.partitions);
        Self {
            database: Arc::clone(&self.database),
            pool: self.pool.clone(),
            events,
            live,
            partitions: self.partitions,
        }
    }

    /// The same database, and the log of partition 0 up to an offset.
    pub(crate) async fn with_log_cut_off_at(&self, end: u64) -> Self {
        let cut_off = self.with_new_log();
        let mut reader = self.events.reader(Partition(0), Offset(0)).await.expect("the log answers");
        while cut_off.events.watermarks(Partition(0)).await.expect("the log answers").high < Offset(end) {
            let records = reader.next(1, Duration::from_secs(1)).await.expect("the log answers");
            cut_off.events.append(Partition(0), records[0].payload.clone()).await.expect("the log takes it");
        }
        cut_off
    }

    /// A session of its own.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect_with(&self.database.options()).await.expect("connect")
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(config())
    }

    pub(crate) fn start_with(&self, config: Config) -> Running {
        let (health, shutdown) = (Health::new(), Shutdown::new());
        let (events, live) = (Arc::new(self.events.clone()), Arc::new(self.live.clone()));
        let (pool, options) = (self.pool.clone(), self.database.options());
        let (of_run, until) = (health.clone(), shutdown.clone());
        let task =
            tokio::spawn(async move { peep_rollup::run(config, events, live, pool, options, &of_run, until).await });
        Running { health, shutdown, task }
    }

    /// Batches in turn to all partitions.
    pub(crate) async fn send(&self, traffic: &Traffic) {
        for (number, batch) in traffic.batches.iter().enumerate() {
            self.send_batch(number as u32 % self.partitions, batch).await;
        }
    }

    pub(crate) async fn send_batch(&self, partition: u32, events: &[Sent]) {
        self.events.append(Partition(partition), payload(events)).await.expect("the log takes it");
    }

    /// Until every record of every partition is committed.
    pub(crate) async fn wait_for_commit(&self) {
        for partition in 0..self.partitions {
            self.wait_for_commit_of(partition).await;
        }
    }

    /// Until live frames tell of everything that was sent.
    pub(crate) async fn wait_until_read(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        for partition in 0..self.partitions {
            let end = self.events.watermarks(Partition(partition)).await.expect("the log answers").high.0;
            let mut reader = self.live.reader(Partition(partition), Offset(0)).await.expect("reader");
            let mut told = 0;
            while told < end {
                assert!(Instant::now() < deadline, "partition {partition} is read up to {told} of {end}");
                let records = reader.next(usize::MAX, Duration::from_secs(1)).await.expect("live frames");
                let ends = records.iter().map(|record| LiveFrame::decode(&record.payload).expect("our own frame").to);
                told = ends.max().unwrap_or(told).max(told);
            }
        }
    }

    pub(crate) async fn wait_for_commit_of(&self, partition: u32) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let high = self.events.watermarks(Partition(partition)).await.expect("the log answers").high;
            let cursor = self.cursor(partition).await;
            if cursor == high.0 as i64 {
                return;
            }
            assert!(Instant::now() < deadline, "partition {partition} stays at {cursor} of {high}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn cursor(&self, partition: u32) -> i64 {
        let sql = "select next_offset from rollup_cursor where log_partition = $1";
        // Also while the database is down, and before the worker has made the row.
        let found = sqlx::query_scalar(sql).bind(partition as i32).fetch_optional(&self.pool).await;
        found.ok().flatten().unwrap_or(-1)
    }

    /// Of the leases of all partitions.
    pub(crate) async fn epochs(&self) -> Vec<(i32, i64)> {
        let sql = "select log_partition, epoch from rollup_cursor";
        sqlx::query_as(sql).fetch_all(&self.pool).await.expect("read epochs")
    }

    /// As if the owner had not been heard of for ten seconds.
    pub(crate) async fn expire_leases(&self) {
        let sql = "update rollup_cursor set lease_until = now() - interval '1 second' where owner is not null";
        sqlx::query(sql).execute(&self.pool).await.expect("expire leases");
    }

    pub(crate) async fn count(&self, table: &'static str) -> i64 {
        let sql = format!("select count(*) from {table}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&self.pool).await.expect("count rows")
    }

    /// Everything in `rollup_10s`, merged by series.
    pub(crate) async fn rollups(&self) -> BTreeMap<SeriesName, Rollup> {
        type Row = (String, String, i16, i64, i64, i64, i64, Option<i64>, Option<i64>, Option<Vec<u8>>);
        let sql = "select service, route, status, count, errors, latency_count, sum_us, min_us, max_us, histogram
            from rollup_10s join series using (series_id)";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(&self.pool).await.expect("read rollups");
        let mut rollups: BTreeMap<SeriesName, Rollup> = BTreeMap::new();
        for (service, route, status, count, errors, latency_count, sum_us, min_us, max_us, histogram) in rows {
            let rollup = rollups.entry((service, route, status as u16)).or_default();
            rollup.count += count as u64;
            rollup.errors += errors as u64;
            if let (Some(min_us), Some(max_us), Some(histogram)) = (min_us, max_us, histogram) {
                let (sum_us, min_us, max_us) = (sum_us as u64, min_us as u64, max_us as u64);
                let before = rollup.histogram.count();
                rollup.histogram.merge_v2(&histogram, Totals { sum_us, min_us, max_us }).expect("our own encoding");
                assert_eq!(rollup.histogram.count() - before, latency_count as u64);
            }
        }
        rollups
    }

    /// Each series holds exactly the events that were sent.
    pub(crate) async fn assert_exact(&self, traffic: &Traffic) {
        let rollups = self.rollups().await;
        let series = traffic.series();
        assert_eq!(rollups.len(), series.len());
        for (name, durations) in series {
            let rollup = &rollups[&name];
            assert_eq!(rollup.count, durations.len() as u64, "{name:?}");
            let mut expected = Histogram::new();
            durations.iter().for_each(|duration| expected.record(*duration));
            assert_eq!(rollup.histogram, expected, "{name:?}");
        }
        self.assert_facets_add_up().await;
    }

    /// Every event that is in a series is in one version and on one host.
    async fn assert_facets_add_up(&self) {
        let sql = "select count(*) from (
                select s.service, s.env, sum(count) events, sum(errors) errors, sum(sum_us) sum_us
                from rollup_10s join series s using (series_id) group by 1, 2) s
            full join (
                select f.service, f.env, kind, sum(count) events, sum(errors) errors, sum(sum_us) sum_us
                from facet_10s join facet f on facet_id = series_id group by 1, 2, 3) f using (service, env)
            where (s.events, s.errors, s.sum_us) is distinct from (f.events, f.errors, f.sum_us)";
        let different: i64 = sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("compare facets with series");
        assert_eq!(different, 0, "the facets of a service add up to the service");
    }
}

/// A worker in a task.
pub(crate) struct Running {
    health: Health,
    shutdown: Shutdown,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.shutdown.request();
        let stopped = timeout(Duration::from_secs(20), self.task).await.expect("stops in time");
        stopped.expect("does not panic").expect("stops without an error");
    }

    /// As close to SIGKILL as a task can get: nothing is said goodbye to.
    pub(crate) fn kill(self) {
        self.task.abort();
    }

    /// Waits until readiness says yes.
    pub(crate) async fn ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.health.parts().remove("rollup").flatten().is_some() {
            assert!(Instant::now() < deadline, "not ready in time");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until readiness says no with a reason that contains `part`.
    pub(crate) async fn not_ready(&self, part: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let reason = self.health.parts().remove("rollup").flatten().unwrap_or_default();
            if reason.contains(part) {
                return reason;
            }
            assert!(Instant::now() < deadline, "readiness says {reason:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Defaults, but impatient.
pub(crate) fn config() -> Config {
    let env: BTreeMap<&str, &str> =
        BTreeMap::from([("PEEP_ROLLUP_PUBLISH_INTERVAL", "20ms"), ("PEEP_ROLLUP_FLUSH_INTERVAL", "60ms")]);
    Config::read(&mut Settings::new(&env))
}

pub(crate) fn record(offset: u64, events: &[Sent]) -> LogRecord {
    LogRecord { offset: Offset(offset), appended_ms: now_ms(), payload: payload(events) }
}

pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

fn payload(events: &[Sent]) -> Bytes {
    let mut records = records(events, None, 1 << 20);
    assert_eq!(records.len(), 1, "tests send small batches");
    records.remove(0)
}

/// A batch with an identity, as often as a test wants to send it.
pub(crate) fn identified(producer: u8, seq: u64, events: &[Sent]) -> Bytes {
    identified_in_parts(producer, seq, events, 1 << 20).remove(0)
}

/// The same in as many records as it takes.
pub(crate) fn identified_in_parts(producer: u8, seq: u64, events: &[Sent], record_bytes_max: usize) -> Vec<Bytes> {
    records(events, Some(Identity { producer: [producer; 16], seq }), record_bytes_max)
}

fn records(events: &[Sent], identity: Option<Identity>, record_bytes_max: usize) -> Vec<Bytes> {
    let mut builder = RecordBuilder::new(record_bytes_max);
    builder.start(now_ms());
    for sent in events {
        builder.push(&Event {
            service: &sent.service,
            env: "default",
            route: &sent.route,
            method: Method::from_name("GET"),
            status: sent.status,
            ended_ms: sent.ended_ms,
            duration_us: Some(sent.duration_us),
            error: sent.error,
            host: sent.host,
            version: sent.version,
            source: None,
            bytes_in: None,
            bytes_out: None,
            trace_id: None,
            span_id: None,
            attrs: EncodedAttrs::EMPTY,
        });
    }
    builder.finish(ProjectId(1), KeyId(1), identity)
}

fn logs(partitions: u32) -> (MemoryLog, MemoryLog) {
    let config = LogConfig { partitions, ..LogConfig::default() };
    (MemoryLog::open(&config, Topic::Events), MemoryLog::open(&config, Topic::Live))
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
