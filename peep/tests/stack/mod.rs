//! A whole peep for one test: real processes, a real database, and for some a real Kafka.

use std::time::{Duration, Instant};

use peep_testkit::process::{PeepCommand, free_address};
use peep_testkit::{Client, Database, Peep, Topics};
use serde_json::{Value, json};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);

/// Which log, and with it which processes.
pub(crate) enum Kind {
    /// `peep up`, the log in Postgres.
    Single,
    /// `peep ingest`, `peep rollup` and `peep stream`, the log in Kafka.
    Kafka(Topics),
}

pub(crate) struct Stack {
    pub(crate) database: Database,
    /// With an ingest key.
    pub(crate) ingest: Client,
    /// With a read key.
    pub(crate) read: Client,
    pub(crate) ingest_address: String,
    pub(crate) stream_address: String,
    pub(crate) read_key: String,
    kind: Kind,
    processes: Vec<Peep>,
}

impl Stack {
    pub(crate) async fn single() -> Stack {
        Stack::start(Kind::Single).await
    }

    pub(crate) async fn kafka() -> Stack {
        Stack::start(Kind::Kafka(Topics::fresh().await)).await
    }

    async fn start(kind: Kind) -> Stack {
        let database = Database::fresh().await;
        let (ingest_address, stream_address) = (free_address(), free_address());
        let ingest_key = create_key(database.url(), "ingest").await;
        let read_key = create_key(database.url(), "read").await;
        let mut stack = Stack {
            ingest: Client::new(format!("http://{ingest_address}")).with_key(&ingest_key),
            read: Client::new(format!("http://{stream_address}")).with_key(&read_key),
            database,
            ingest_address,
            stream_address,
            read_key,
            kind,
            processes: Vec::new(),
        };
        stack.start_processes().await;
        stack
    }

    /// Starts what the kind wants and waits until all of it is ready.
    pub(crate) async fn start_processes(&mut self) {
        let services: &[&str] = match self.kind {
            Kind::Single => &["up"],
            Kind::Kafka(_) => &["ingest", "rollup", "stream"],
        };
        for service in services {
            let command = self
                .configured(Peep::command([*service]))
                .env("PEEP_ADMIN_LISTEN", free_address())
                .env("PEEP_INGEST_LISTEN", &self.ingest_address)
                .env("PEEP_STREAM_LISTEN", &self.stream_address)
                .env("PEEP_TELEMETRY_FORMAT", "text");
            self.processes.push(command.start().await);
        }
        for process in &mut self.processes {
            process.wait_until_ready(START).await;
        }
    }

    /// With the stack's database and log.
    pub(crate) fn configured(&self, command: PeepCommand) -> PeepCommand {
        let command = command.env("DATABASE_URL", self.database.url());
        match &self.kind {
            Kind::Single => command,
            Kind::Kafka(topics) => command
                .env("PEEP_LOG", "kafka")
                .env("PEEP_KAFKA_BROKERS", topics.brokers())
                .env("PEEP_LOG_TOPIC_PREFIX", topics.prefix()),
        }
    }

    /// SIGTERM, and everything has to end well.
    pub(crate) async fn stop(&mut self) {
        for mut process in self.processes.drain(..) {
            let status = process.terminate(STOP).await;
            assert!(status.success(), "{status}: {}", process.said());
        }
    }

    /// `kill -9` of every process.
    pub(crate) async fn kill(&mut self) {
        for mut process in self.processes.drain(..) {
            process.kill().await;
        }
    }

    /// Posts events as NDJSON; all of them must be accepted.
    pub(crate) async fn send(&self, events: &[Value]) {
        for batch in events.chunks(5_000) {
            let body: String = batch.iter().map(|event| format!("{event}\n")).collect();
            self.send_lines(body, batch.len()).await;
        }
    }

    pub(crate) async fn send_lines(&self, body: String, events: usize) {
        let answer = self.ingest.post("/v1/events", "application/x-ndjson", body).await;
        assert_eq!((answer.status, answer.json()["accepted"].as_u64()), (202, Some(events as u64)), "{}", answer.body);
    }

    /// `GET /v1/summary`, one row for each group.
    pub(crate) async fn summary(&self, question: &str) -> Vec<Value> {
        let answer = self.read.get(&format!("/v1/summary?{question}")).await;
        assert_eq!(answer.status, 200, "{question}: {}", answer.body);
        answer.json()["rows"].as_array().cloned().unwrap_or_default()
    }

    /// Requests of a service, over the last day.
    pub(crate) async fn count(&self, service: &str) -> u64 {
        let rows = self.summary(&format!("from=-24h&service={service}")).await;
        rows.iter().filter_map(|row| row["count"].as_u64()).sum()
    }

    /// Waits until a service counts at least `expected`, and returns what it counts.
    pub(crate) async fn wait_for_count(&self, service: &str, expected: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let count = self.count(service).await;
            if count >= expected || Instant::now() > deadline {
                return count;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn create_key(database_url: &str, scope: &str) -> String {
    let command = Peep::command(["key", "create", "--quiet", "--project", "test", "--scope", scope]);
    let (status, said) = command.env("DATABASE_URL", database_url).run(START).await;
    assert!(status.success(), "{said}");
    said.trim().to_owned()
}

/// An event that ended now.
pub(crate) fn event(service: &str, duration_us: u64) -> Value {
    json!({ "service": service, "duration_ms": duration_us as f64 / 1000.0 })
}

/// Now, in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    since.as_millis() as i64
}
