//! One installation to break: real processes, a database and topics of their own.
//!
//! Arrives: a [`Site`] with its servers and a [`Shape`]. Leaves: [`Pod`]s that can be started, killed, frozen and restarted
//! one by one, each with an environment of its own.
//!
//! Promises: what a process said is kept when it is gone, and a panic in it is a failure of the run, whatever the numbers
//! say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_testkit::process::{PeepCommand, free_address};
use peep_testkit::{Client, Database, Peep, Topics};
use sqlx::PgPool;

use crate::kafka::Kafka;
use crate::site::Site;

/// What a fault wants to break.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Shape {
    pub ingests: usize,
    pub rollups: usize,
    pub partitions: u32,
    /// Three Kafka nodes instead of one.
    pub cluster: bool,
    /// Ingest and rollup reach Kafka through a proxy each.
    pub kafka_doors: bool,
    /// Rollup reaches Postgres through a proxy.
    pub database_door: bool,
    /// Postgres has a disk of its own that can be filled up.
    pub small_disk: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            ingests: 2,
            rollups: 2,
            partitions: 6,
            cluster: false,
            kafka_doors: false,
            database_door: false,
            small_disk: false,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    Ingest,
    Rollup,
    Stream,
}

/// One process that may die and come back at the same address.
pub struct Pod {
    pub role: Role,
    /// What it serves on; unused for a rollup.
    pub address: String,
    pub environment: BTreeMap<String, String>,
    process: Option<Peep>,
    /// Where the present life answers for its health.
    admin: String,
    /// What its earlier lives said.
    said: String,
    /// Most memory that any of its lives was seen with.
    pub rss_bytes_max: u64,
}

pub struct World {
    pub database: Database,
    /// The auditor's own way to the database, past every proxy.
    pub pool: PgPool,
    pub topics: Topics,
    pub kafka: Kafka,
    pub ingests: Vec<Pod>,
    pub rollups: Vec<Pod>,
    pub stream: Pod,
    pub ingest_key: String,
    pub read: Client,
}

impl World {
    /// Everything up and ready.
    pub async fn start(site: &Site, shape: Shape) -> anyhow::Result<Self> {
        let database = site.database(shape).await;
        let topics = site.topics(shape).await;
        let ingest_key = create_key(&database, "ingest").await?;
        let read_key = create_key(&database, "read").await?;
        let mut pods = Vec::new();
        let roles = [(Role::Ingest, shape.ingests), (Role::Rollup, shape.rollups), (Role::Stream, 1)];
        for (role, count) in roles {
            let database_url = site.database_url(shape, &database, role).await;
            let brokers = site.brokers(shape, &topics, role).await;
            let pod = || Pod::new(role, shape, &database_url, &brokers, topics.prefix());
            pods.push((0..count).map(|_| pod()).collect::<Vec<_>>());
        }
        let (mut streams, rollups, ingests) = (pods.remove(2), pods.remove(1), pods.remove(0));
        let stream = streams.remove(0);
        let replication = if shape.cluster { 3 } else { 1 };
        let mut world = Self {
            pool: database.pool().await,
            kafka: Kafka::new(topics.brokers(), topics.prefix(), shape.partitions, replication),
            read: Client::new(format!("http://{}", stream.address)).with_key(&read_key),
            ingests,
            rollups,
            stream,
            ingest_key,
            topics,
            database,
        };
        // One first, which makes the topics; the others find them.
        world.ingests[0].start().await?;
        for pod in world.pods_mut() {
            if !pod.is_running() {
                pod.launch().await;
            }
        }
        for pod in world.pods_mut() {
            pod.wait_until_ready().await?;
        }
        Ok(world)
    }

    pub fn pods_mut(&mut self) -> impl Iterator<Item = &mut Pod> {
        self.ingests.iter_mut().chain(&mut self.rollups).chain(std::iter::once(&mut self.stream))
    }

    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.ingests.iter().chain(&self.rollups).chain(std::iter::once(&self.stream))
    }

    pub fn ingest_addresses(&self) -> Vec<String> {
        self.ingests.iter().map(|pod| pod.address.clone()).collect()
    }

    /// Every panic that any process reported.
    pub fn panics(&self) -> Vec<String> {
        let said = self.pods().map(|pod| (pod.role, pod.said()));
        said.flat_map(|(role, said)| {
            let lines: Vec<String> = said
                .lines()
                .filter(|line| line.contains("panicked at"))
                .map(|line| format!("{role:?}: {line}"))
                .collect();
            lines
        })
        .collect()
    }

    /// Most that any process of this kind was seen with.
    pub fn memory_of(&self, role: Role) -> u64 {
        self.pods().filter(|pod| pod.role == role).map(|pod| pod.rss_bytes_max).max().unwrap_or(0)
    }

    /// Everything that all processes have said.
    pub fn said(&self) -> String {
        self.pods().map(Pod::said).collect()
    }

    /// A subcommand with the servers as the harness sees them: past every proxy, with the right clock.
    pub fn command(&self, command: PeepCommand) -> PeepCommand {
        command
            .env("DATABASE_URL", self.database.url())
            .env("PEEP_LOG", "kafka")
            .env("PEEP_LOG_TOPIC_PREFIX", self.topics.prefix())
            .env("PEEP_KAFKA_BROKERS", self.topics.brokers())
    }

    /// What every process has said, a file each.
    pub fn keep_logs(&self, dir: &Path, name: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        for (number, pod) in self.pods().enumerate() {
            let file = dir.join(format!("{name}-{number}-{:?}.log", pod.role).to_lowercase());
            std::fs::write(&file, pod.said()).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    /// Ends all processes.
    pub async fn stop(&mut self) {
        for pod in self.pods_mut() {
            pod.kill().await;
        }
    }
}

impl Pod {
    fn new(role: Role, shape: Shape, database_url: &str, brokers: &str, topic_prefix: &str) -> Self {
        let address = free_address();
        let mut pod = Self {
            role,
            address: address.clone(),
            environment: BTreeMap::new(),
            process: None,
            admin: String::new(),
            said: String::new(),
            rss_bytes_max: 0,
        };
        pod.set("PEEP_TELEMETRY_FORMAT", "text");
        pod.set("DATABASE_URL", database_url);
        pod.set("PEEP_LOG", "kafka");
        pod.set("PEEP_LOG_TOPIC_PREFIX", topic_prefix);
        pod.set("PEEP_LOG_PARTITIONS", shape.partitions);
        pod.set("PEEP_KAFKA_BROKERS", brokers);
        if shape.cluster {
            pod.set("PEEP_KAFKA_REPLICATION", 3);
            pod.set("PEEP_KAFKA_INSYNC_REPLICAS_MIN", 2);
        }
        match role {
            Role::Ingest => pod.set("PEEP_INGEST_LISTEN", &address),
            Role::Stream => pod.set("PEEP_STREAM_LISTEN", &address),
            // Often, so that a fault finds a flush to hit.
            Role::Rollup => pod.set("PEEP_ROLLUP_FLUSH_INTERVAL", "500ms"),
        }
        pod
    }

    pub fn set(&mut self, name: &str, value: impl ToString) {
        self.environment.insert(name.to_owned(), value.to_string());
    }

    pub fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Peep::id)
    }

    /// Starts it, and says how long it took to be ready.
    pub async fn start(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.launch().await;
        self.wait_until_ready().await?;
        Ok(started.elapsed())
    }

    /// Starts it without waiting.
    pub async fn launch(&mut self) {
        self.bury();
        let service = match self.role {
            Role::Ingest => "ingest",
            Role::Rollup => "rollup",
            Role::Stream => "stream",
        };
        self.admin = free_address();
        let mut command = Peep::command([service]).env("PEEP_ADMIN_LISTEN", &self.admin);
        for (name, value) in &self.environment {
            command = command.env(name, value);
        }
        self.process = Some(command.start().await);
    }

    pub async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().context("the process is not running")?.wait_until_ready(START).await;
        Ok(())
    }

    /// As `kill -9`.
    pub async fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().await;
        }
        self.bury();
    }

    /// SIGTERM; it has to end well.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        if let Some(process) = &mut self.process {
            let status = process.terminate(STOP).await;
            let said = process.said();
            self.bury();
            anyhow::ensure!(
                status.success(),
                "{:?} ended with {status} after SIGTERM: {}",
                self.role,
                last_lines(&said)
            );
        }
        Ok(())
    }

    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        if let Some(process) = &self.process {
            process.signal(name);
        }
    }

    /// Waits until it ends by itself, such as at a failpoint. `false` when it does not.
    pub async fn wait_for_end(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if self.has_ended() {
                self.bury();
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// A zombie that nobody has waited for counts as ended.
    pub fn has_ended(&self) -> bool {
        self.id().is_none_or(|id| process_state(id).is_none_or(|state| state == 'Z'))
    }

    /// Stopped by SIGSTOP, such as at a failpoint.
    pub fn is_frozen(&self) -> bool {
        self.id().is_some_and(|id| process_state(id) == Some('T'))
    }

    /// What a load balancer would see.
    pub async fn is_ready(&self) -> bool {
        let client = Client::new(format!("http://{}", self.admin)).with_timeout(Duration::from_secs(1));
        client.try_get("/readyz").await.is_ok_and(|answer| answer.status == 200)
    }

    /// A counter or gauge, by the beginning of its line: name and labels.
    pub async fn metric(&self, line: &str) -> Option<f64> {
        let client = Client::new(format!("http://{}", self.admin)).with_timeout(Duration::from_secs(2));
        let answer = client.try_get("/metrics").await.ok()?;
        let value = answer.body.lines().find_map(|text| text.strip_prefix(line))?;
        value.trim().parse().ok()
    }

    /// Everything all its lives have written.
    pub fn said(&self) -> String {
        let now = self.process.as_ref().map_or_else(String::new, Peep::said);
        format!("{}{now}", self.said)
    }

    /// Under which name the present life of a rollup holds its leases.
    pub fn owner(&self) -> Option<uuid::Uuid> {
        let said = self.process.as_ref()?.said();
        let line = said.lines().find(|line| line.contains("rollup started"))?;
        let (_, rest) = line.split_once("owner=")?;
        rest.split([' ', '"']).find(|word| !word.is_empty())?.parse().ok()
    }

    pub fn look_at_memory(&mut self) {
        let status = self.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/status")).ok());
        let peak = status.as_deref().and_then(|status| status.lines().find_map(|line| line.strip_prefix("VmHWM:")));
        let kilobytes: u64 = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        self.rss_bytes_max = self.rss_bytes_max.max(kilobytes * 1024);
    }

    fn bury(&mut self) {
        self.look_at_memory();
        if let Some(process) = self.process.take() {
            self.said.push_str(&process.said());
        }
    }
}

/// `R`, `S`, `T`, `Z`…; none when there is no such process.
fn process_state(id: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // Behind the command name, which may itself contain blanks and parentheses.
    stat.rsplit_once(") ")?.1.chars().next()
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

async fn create_key(database: &Database, scope: &str) -> anyhow::Result<String> {
    let command = Peep::command(["key", "create", "--quiet", "--project", PROJECT, "--scope", scope]);
    let (status, said) = command.env("DATABASE_URL", database.url()).run(START).await;
    anyhow::ensure!(status.success(), "create a key: {said}");
    Ok(said.trim().to_owned())
}

const PROJECT: &str = "audit";
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
