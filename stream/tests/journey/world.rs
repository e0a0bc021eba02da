//! The service under test and its surroundings: a database, a live log, a clock that is moved by hand, and keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use peep_chassis::ExposeSecret;
use peep_chassis::admin::Health;
use peep_chassis::clock::Clock;
use peep_chassis::config::Settings;
use peep_chassis::exposition::{Exposition, Format};
use peep_chassis::keys::{ApiKey, KeyStore, Scope, create, project_id};
use peep_chassis::lifecycle::Shutdown;
use peep_log::{Log, LogConfig, MemoryLog, Partition, Topic};
use peep_stream::{Config, Logs};
use peep_testkit::{Client, Database, EventStream, WebSocket};
use peep_wire::ProjectId;
use peep_wire::histogram::Histogram;
use peep_wire::live::{LiveCell, LiveFrame};
use peep_wire::record::Series;
use serde_json::Value;
use sqlx::PgPool;

/// 2026-11-20T14:00:05Z, in the middle of a bucket.
pub(crate) const NOW_MS: i64 = 1_795_183_205_000;

/// A running service.
pub(crate) struct World {
    pub(crate) pool: PgPool,
    pub(crate) live: Arc<dyn Log>,
    /// The event log; the rollup is played by the test.
    pub(crate) events: MemoryLog,
    pub(crate) clock: Clock,
    pub(crate) project: u64,
    pub(crate) keys: Keys,
    pub(crate) url: String,
    exposition: Exposition,
    service: Running,
    environment: BTreeMap<String, String>,
    _database: Database,
}

pub(crate) struct Keys {
    pub(crate) read: String,
    pub(crate) admin: String,
    pub(crate) ingest: String,
    /// Reads the environment `staging` only.
    pub(crate) staging: String,
    /// May do everything in `staging` only.
    pub(crate) staging_admin: String,
    /// Reads another project.
    pub(crate) foreign: String,
    store: Arc<KeyStore>,
}

struct Running {
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With settings other than the defaults.
    pub(crate) async fn with(environment: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let pool = database.pool().await;
        let project = project_id(&pool, "dev").await.expect("make a project");
        let live = peep_log::memory(2);
        let events = MemoryLog::open(&LogConfig { partitions: 3, ..LogConfig::default() }, Topic::Events);
        let clock = Clock::manual(NOW_MS);
        let keys = Keys::new(&pool).await;
        // Tests count what is in the log: nobody else writes to it unless they ask.
        let environment = [("PEEP_STREAM_PROBE_INTERVAL", "0")].iter().chain(environment);
        let environment = environment.map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let logs = Logs { live: Arc::clone(&live), events: Some(Arc::new(events.clone())) };
        let exposition = Exposition::default();
        let (service, url) = start(&environment, &logs, &pool, &keys, &exposition, &clock).await;
        Self { pool, live, events, clock, project, keys, url, exposition, service, environment, _database: database }
    }

    /// Stops the service and starts another one on the same data.
    pub(crate) async fn restart(&mut self) {
        self.service.shutdown.request();
        (&mut self.service.task).await.expect("no panic").expect("an orderly end");
        let logs = Logs { live: Arc::clone(&self.live), events: Some(Arc::new(self.events.clone())) };
        (self.service, self.url) =
            start(&self.environment, &logs, &self.pool, &self.keys, &self.exposition, &self.clock).await;
    }

    /// What the service adds to `/metrics` of its process.
    pub(crate) fn scrape(&self, format: Format) -> String {
        let mut text = String::new();
        self.exposition.write(format, &mut text);
        text
    }

    pub(crate) async fn stop(self) {
        self.service.shutdown.request();
        self.service.task.await.expect("no panic").expect("an orderly end");
    }

    pub(crate) fn anonymous(&self) -> Client {
        Client::new(&self.url)
    }

    pub(crate) fn reader(&self) -> Client {
        self.anonymous().with_key(&self.keys.read)
    }

    /// The JSON of a question that must succeed.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let answer = self.reader().get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub(crate) async fn websocket(&self, parameters: &str) -> WebSocket {
        let url = format!("{}/v1/live?{parameters}", self.url.replacen("http", "ws", 1));
        WebSocket::connect(&url, Some(&self.keys.read)).await.expect("the upgrade is accepted")
    }

    pub(crate) async fn event_stream(&self, parameters: &str, last_event_id: Option<&str>) -> EventStream {
        let authorization = format!("Bearer {}", self.keys.read);
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let url = format!("{}/v1/live?{parameters}", self.url);
        EventStream::connect(&url, &headers).await.expect("the stream is accepted")
    }

    /// What one flush of the rollup does: rows of series, versions and hosts, and the cursor, in one transaction.
    pub(crate) async fn commit(&self, partition: u32, to: u64, epoch: u64, events: &[Event]) {
        let mut flush = self.pool.begin().await.expect("begin");
        self.write_facets(&mut flush, partition, to, events).await;
        self.commit_with(flush, partition, to, epoch, events).await;
    }

    /// The same with the events themselves, of which all are kept.
    pub(crate) async fn commit_in_full(&self, partition: u32, to: u64, epoch: u64, events: &[Event]) {
        let mut flush = self.pool.begin().await.expect("begin");
        self.write_facets(&mut flush, partition, to, events).await;
        self.keep(&mut flush, partition, to, events).await;
        self.commit_with(flush, partition, to, epoch, events).await;
    }

    async fn commit_with(
        &self,
        mut flush: sqlx::Transaction<'_, sqlx::Postgres>,
        partition: u32,
        to: u64,
        epoch: u64,
        events: &[Event],
    ) {
        let mut touched: BTreeMap<i64, u64> = BTreeMap::new();
        for (series, bucket_s, figures) in rows(events) {
            let (service, env, route, method, status) = series;
            *touched.entry(bucket_s - bucket_s.rem_euclid(60)).or_default() += figures.count;
            sqlx::query("select time_partition_ensure('rollup_10s', array[to_timestamp($1)], interval '1 hour')")
                .bind((bucket_s - bucket_s.rem_euclid(3600)) as f64)
                .execute(&mut *flush)
                .await
                .expect("make a partition");
            let id: i64 = sqlx::query_scalar(
                "insert into series (project_id, service, env, route, method, status) values ($1, $2, $3, $4, $5, $6)
                on conflict (project_id, env, service, route, method, status) do update set route = excluded.route
                returning series_id",
            )
            .bind(self.project.cast_signed())
            .bind(service)
            .bind(env)
            .bind(route)
            .bind(method)
            .bind(status.cast_signed())
            .fetch_one(&mut *flush)
            .await
            .expect("name a series");
            let mut histogram = Vec::new();
            figures.latency.encode_v2(&mut histogram);
            let totals = figures.latency.totals();
            sqlx::query(
                "insert into rollup_10s values (to_timestamp($1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            )
            .bind(bucket_s as f64)
            .bind(self.project.cast_signed())
            .bind(id)
            .bind(partition.cast_signed())
            .bind(to.cast_signed())
            .bind(figures.count.cast_signed())
            .bind(figures.errors.cast_signed())
            .bind(figures.latency.count().cast_signed())
            .bind(figures.latency.sum_us().cast_signed())
            .bind(totals.map(|totals| totals.min_us.cast_signed()))
            .bind(totals.map(|totals| totals.max_us.cast_signed()))
            .bind(totals.map(|_| histogram))
            .execute(&mut *flush)
            .await
            .expect("insert a piece");
        }
        note_touched(&mut flush, "10s", partition, to, self.project, &touched).await;
        sqlx::query(
            "insert into rollup_cursor (log_partition, next_offset, epoch, log_ms) values ($1, $2, $3, $4)
            on conflict (log_partition) do update
            set next_offset = excluded.next_offset, epoch = excluded.epoch, log_ms = excluded.log_ms",
        )
        .bind(partition.cast_signed())
        .bind(to.cast_signed())
        .bind(epoch.cast_signed())
        .bind(self.clock.now_ms())
        .execute(&mut *flush)
        .await
        .expect("move the cursor");
        flush.commit().await.expect("commit");
    }

    async fn write_facets(&self, flush: &mut sqlx::PgConnection, partition: u32, to: u64, events: &[Event]) {
        let mut touched: BTreeMap<i64, u64> = BTreeMap::new();
        for (facet, buckets) in facet_rows(events) {
            let (kind, service, env, value) = facet;
            let id: i64 = sqlx::query_scalar(
                "insert into facet (project_id, env, service, kind, value) values ($1, $2, $3, $4, $5)
                on conflict (project_id, env, service, kind, value) do update set value = excluded.value
                returning facet_id",
            )
            .bind(self.project.cast_signed())
            .bind(&env)
            .bind(&service)
            .bind(kind)
            .bind(&value)
            .fetch_one(&mut *flush)
            .await
            .expect("name a facet");
            let of_facet = |event: &&Event| {
                let named = if kind == "version" { event.version } else { event.host };
                event.service == service && event.env == env && named.unwrap_or_default() == value
            };
            let times: Vec<i64> = events.iter().filter(of_facet).map(|event| event.at_ms).collect();
            sqlx::query(
                "insert into facet_seen as s values ($1, $2, $3, $4) on conflict (facet_id, log_partition) do update
                set first_ms = least(s.first_ms, excluded.first_ms), last_ms = greatest(s.last_ms, excluded.last_ms)",
            )
            .bind(id)
            .bind(partition.cast_signed())
            .bind(times.iter().min())
            .bind(times.iter().max())
            .execute(&mut *flush)
            .await
            .expect("note when it was seen");
            ensure_hours(flush, "facet_10s", buckets.keys().copied()).await;
            for (bucket_s, figures) in buckets {
                *touched.entry(bucket_s - bucket_s.rem_euclid(60)).or_default() += figures.count;
                let mut histogram = Vec::new();
                figures.latency.encode_v2(&mut histogram);
                let totals = figures.latency.totals();
                sqlx::query(
                    "insert into facet_10s values (to_timestamp($1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                )
                .bind(bucket_s as f64)
                .bind(self.project.cast_signed())
                .bind(id)
                .bind(partition.cast_signed())
                .bind(to.cast_signed())
                .bind(figures.count.cast_signed())
                .bind(figures.errors.cast_signed())
                .bind(figures.latency.count().cast_signed())
                .bind(figures.latency.sum_us().cast_signed())
                .bind(totals.map(|totals| totals.min_us.cast_signed()))
                .bind(totals.map(|totals| totals.max_us.cast_signed()))
                .bind(totals.map(|_| histogram))
                .execute(&mut *flush)
                .await
                .expect("insert a piece");
            }
        }
        note_touched(flush, "facet_10s", partition, to, self.project, &touched).await;
    }

    async fn keep(&self, flush: &mut sqlx::PgConnection, partition: u32, to: u64, events: &[Event]) {
        ensure_hours(flush, "raw_event", events.iter().map(|event| event.at_ms.div_euclid(1000))).await;
        let texts = |of: fn(&Event) -> Option<&str>| -> Vec<Option<String>> {
            events.iter().map(|event| of(event).map(str::to_owned)).collect()
        };
        let attrs = |event: &Event| event.region.map(|region| format!(r#"{{"region": "{region}"}}"#));
        sqlx::query(
            "insert into raw_event (ts, received_at, project_id, service, env, route, method, status, duration_us, host,
                version, source, attrs, weight, log_partition, log_offset, event_index)
            select to_timestamp(ms::double precision / 1000), now(), $1, service, env, route, method, nullif(status, 0), us, host,
                version, 'api', attrs::jsonb, 1, $2, $3, number - 1
            from unnest($4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::smallint[], $10::bigint[],
                    $11::text[], $12::text[], $13::text[])
                with ordinality e (ms, service, env, route, method, status, us, host, version, attrs, number)",
        )
        .bind(self.project.cast_signed())
        .bind(partition.cast_signed())
        .bind(to.cast_signed() - 1)
        .bind(events.iter().map(|event| event.at_ms).collect::<Vec<_>>())
        .bind(texts(|event| Some(&event.service)))
        .bind(texts(|event| Some(&event.env)))
        .bind(texts(|event| Some(&event.route)))
        .bind(texts(|event| Some(event.method)))
        .bind(events.iter().map(|event| event.status.cast_signed()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.duration_us.map(u64::cast_signed)).collect::<Vec<_>>())
        .bind(texts(|event| event.host))
        .bind(texts(|event| event.version))
        .bind(events.iter().map(attrs).collect::<Vec<_>>())
        .execute(&mut *flush)
        .await
        .expect("keep the events");
    }

    /// What the rollup announces: events of one partition, `[from, from + events)`, one record each.
    pub(crate) async fn publish(&self, partition: u32, epoch: u64, from: u64, events: &[Event]) -> u64 {
        let to = from + (events.len() as u64).max(1);
        let mut cells: BTreeMap<(SeriesName, i64), LiveCell> = BTreeMap::new();
        for event in events {
            let slot_s = event.at_ms.div_euclid(1000);
            let cell = cells.entry((event.series(), slot_s)).or_insert_with(|| LiveCell {
                project: ProjectId(self.project),
                series: event.key(),
                slot_s,
                count: 0,
                errors: 0,
                histogram: Histogram::new(),
            });
            cell.count += 1;
            cell.errors += u64::from(event.status >= 500);
            event.duration_us.iter().for_each(|us| cell.histogram.record(*us));
        }
        let frame = LiveFrame {
            partition,
            epoch,
            from,
            to,
            published_ms: self.clock.now_ms(),
            newest_received_ms: self.clock.now_ms(),
            cells: cells.into_values().collect(),
        };
        self.live.append(Partition(partition % 2), frame.encode()).await.expect("memory takes it");
        to
    }

    /// Waits until a question's total is as expected: a frame needs a moment to arrive.
    pub(crate) async fn wait_for_count(&self, expected: u64) {
        for _ in 0..100 {
            let answer = self.ask("/v1/summary?from=-15m&group_by=").await;
            if answer["rows"][0]["count"].as_u64().unwrap_or_default() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let answer = self.ask("/v1/summary?from=-15m&group_by=").await;
        panic!("expected {expected} requests, the service counts {answer}");
    }
}

async fn start(
    environment: &BTreeMap<String, String>,
    logs: &Logs,
    pool: &PgPool,
    keys: &Keys,
    exposition: &Exposition,
    clock: &Clock,
) -> (Running, String) {
    let mut settings = Settings::new(environment);
    let config = Config::read(&mut settings);
    settings.finish().expect("a test writes valid settings");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (health, shutdown) = (Health::new(), Shutdown::new());
    let (logs, pool, store, clock) = (logs.clone(), pool.clone(), Arc::clone(&keys.store), clock.clone());
    let (task_health, task_shutdown, exposition) = (health.clone(), shutdown.clone(), exposition.clone());
    let task = tokio::spawn(async move {
        peep_stream::run_at(config, listener, logs, pool, store, &task_health, &exposition, task_shutdown, clock).await
    });
    for _ in 0..200 {
        if health.is_ready() {
            return (Running { shutdown, task }, url);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not ready: {:?}", health.parts());
}

impl Keys {
    async fn new(pool: &PgPool) -> Self {
        let make = async |project: &str, env: Option<&str>, scope: Scope| {
            let created = create(pool, project, env, scope).await.expect("create a key");
            let key = ApiKey {
                key: created.key,
                project: project_id(pool, project).await.expect("the project"),
                project_name: project.to_owned(),
                env: env.map(str::to_owned),
                scope,
                origins: Vec::new(),
            };
            (created.secret.expose_secret().to_owned(), key)
        };
        let keys = [
            make("dev", None, Scope::Read).await,
            make("dev", None, Scope::Admin).await,
            make("dev", None, Scope::Ingest).await,
            make("dev", Some("staging"), Scope::Read).await,
            make("dev", Some("staging"), Scope::Admin).await,
            make("other", None, Scope::Read).await,
        ];
        let store = KeyStore::fixed(keys.iter().map(|(secret, key)| (secret.as_str(), key.clone())));
        let [read, admin, ingest, staging, staging_admin, foreign] = keys.map(|(secret, _)| secret);
        Self { read, admin, ingest, staging, staging_admin, foreign, store }
    }
}

/// One request somewhere.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) service: String,
    pub(crate) env: String,
    pub(crate) route: String,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
    pub(crate) at_ms: i64,
    pub(crate) duration_us: Option<u64>,
    pub(crate) version: Option<&'static str>,
    pub(crate) host: Option<&'static str>,
    /// An attribute.
    pub(crate) region: Option<&'static str>,
}

type SeriesName = (String, String, String, &'static str, u16);

impl Event {
    pub(crate) fn new(service: &str, at_ms: i64, duration_us: u64) -> Self {
        Self {
            service: service.into(),
            env: "default".into(),
            route: "/".into(),
            method: "GET",
            status: 200,
            at_ms,
            duration_us: Some(duration_us),
            version: None,
            host: None,
            region: None,
        }
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn env(self, env: &str) -> Self {
        Self { env: env.into(), ..self }
    }

    fn series(&self) -> SeriesName {
        (self.service.clone(), self.env.clone(), self.route.clone(), self.method, self.status)
    }

    fn key(&self) -> Vec<u8> {
        let Self { service, env, route, method, status, .. } = self;
        Series { service, env, route, method, status: *status }.to_key_bytes()
    }
}

#[derive(Default)]
struct Figures {
    count: u64,
    errors: u64,
    latency: Histogram,
}

fn rows(events: &[Event]) -> Vec<(SeriesName, i64, Figures)> {
    let mut rows: BTreeMap<(SeriesName, i64), Figures> = BTreeMap::new();
    for event in events {
        let bucket_s = event.at_ms.div_euclid(10_000) * 10;
        let figures = rows.entry((event.series(), bucket_s)).or_default();
        figures.count += 1;
        figures.errors += u64::from(event.status >= 500);
        event.duration_us.iter().for_each(|us| figures.latency.record(*us));
    }
    rows.into_iter().map(|((series, bucket_s), figures)| (series, bucket_s, figures)).collect()
}

/// Minutes that the next level does not have yet, and how many events that is.
async fn note_touched(
    flush: &mut sqlx::PgConnection,
    level: &str,
    partition: u32,
    to: u64,
    project: u64,
    minutes: &BTreeMap<i64, u64>,
) {
    if minutes.is_empty() {
        return;
    }
    sqlx::query(
        "insert into rollup_touched (level, log_partition, up_to_offset, project_id, buckets, events)
        values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(level)
    .bind(partition.cast_signed())
    .bind(to.cast_signed())
    .bind(project.cast_signed())
    .bind(minutes.keys().copied().collect::<Vec<_>>())
    .bind(minutes.values().sum::<u64>().cast_signed())
    .execute(flush)
    .await
    .expect("note the minutes");
}

async fn ensure_hours(flush: &mut sqlx::PgConnection, table: &str, seconds: impl Iterator<Item = i64>) {
    let hours: BTreeSet<i64> = seconds.map(|second| second - second.rem_euclid(3600)).collect();
    let sql = "select time_partition_ensure($1, array(select to_timestamp(s) from unnest($2::bigint[]) s), interval '1 hour')";
    let ensured = sqlx::query(sql).bind(table).bind(hours.into_iter().collect::<Vec<_>>()).execute(flush).await;
    ensured.expect("make partitions");
}

/// Kind, service, environment and value.
type FacetName = (&'static str, String, String, String);

fn facet_rows(events: &[Event]) -> BTreeMap<FacetName, BTreeMap<i64, Figures>> {
    let mut rows: BTreeMap<FacetName, BTreeMap<i64, Figures>> = BTreeMap::new();
    for event in events {
        for (kind, value) in [("version", event.version), ("host", event.host)] {
            let facet = (kind, event.service.clone(), event.env.clone(), value.unwrap_or_default().to_owned());
            let buckets = rows.entry(facet).or_default();
            let figures = buckets.entry(event.at_ms.div_euclid(10_000) * 10).or_default();
            figures.count += 1;
            figures.errors += u64::from(event.status >= 500);
            event.duration_us.iter().for_each(|us| figures.latency.record(*us));
        }
    }
    rows
}

/// A few thousand requests of several services over the last ten minutes, the same at every run.
pub(crate) fn traffic(count: u64) -> Vec<Event> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let event = |_| {
        let service = ["checkout", "catalog", "search"][next(3) as usize];
        let route = ["/", "/buy", "/items/{id}", "/<script>'; drop table series"][next(4) as usize];
        let at_ms = NOW_MS - 600_000 + next(600_000) as i64;
        let scale = 10u64.pow(next(5) as u32);
        let duration_us = (next(10) > 0).then(|| 50 + next(900) * scale);
        let event = Event::new(service, at_ms, 0).status([200, 200, 200, 204, 304, 404, 500, 503, 0][next(9) as usize]);
        let env = ["default", "staging"][next(2) as usize];
        let method = ["GET", "POST", ""][next(3) as usize];
        let version = [None, Some("v1"), Some("v2")][next(3) as usize];
        let host = [None, Some("web-1"), Some("web-2"), Some("web-3")][next(4) as usize];
        Event { route: route.into(), duration_us, method, version, host, ..event }.env(env)
    };
    (0..count).map(event).collect()
}
