//! A real Kafka broker at its full speed: the one that `PEEP_KAFKA_BROKERS` names, or one started for the bench and gone with
//! it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use peep_chassis::config::Settings;
use peep_log::{Backend, LogConfig, Topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sqlx::PgPool;
use tempfile::TempDir;

pub struct Broker {
    address: String,
    own: Option<Own>,
}

struct Own {
    dir: TempDir,
    /// The script stops the broker when nobody holds this any more, however the bench has ended.
    _user: File,
}

impl Broker {
    /// # Errors
    /// When none is named and none can be started.
    pub fn find() -> anyhow::Result<Broker> {
        if let Some(address) = std::env::var("PEEP_KAFKA_BROKERS").ok().filter(|address| !address.is_empty()) {
            return Ok(Broker { address, own: None });
        }
        let dir = TempDir::with_prefix("peep-bench-kafka-")?;
        let users = dir.path().join("users");
        let user = File::create(&users)?;
        user.lock_shared()?;
        eprintln!("starting a broker for this bench …");
        let started = kafka(&["start", "--fresh", "--while-locked"], &users, dir.path())?;
        Ok(Broker { address: started, own: Some(Own { dir, _user: user }) })
    }

    /// The value for `PEEP_KAFKA_BROKERS`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The broker's process, when it is ours.
    pub fn id(&self) -> Option<u32> {
        let file = self.own.as_ref()?.dir.path().join("run/kafka.pid");
        std::fs::read_to_string(file).ok()?.split(' ').next()?.trim().parse().ok()
    }

    /// Creates both topics of an installation of its own, with peep's own settings.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn topics(&self) -> anyhow::Result<Topics> {
        let prefix = format!("bench-{}", uuid::Uuid::new_v4().simple());
        let mut config = LogConfig { backend: Backend::Kafka, topic_prefix: prefix, ..LogConfig::default() };
        config.kafka.brokers.clone_from(&self.address);
        let nobody = PgPool::connect_lazy("postgres://nobody@localhost/nothing")?;
        for topic in [Topic::Events, Topic::Live] {
            peep_log::open(&config, topic, &nobody).await?.close().await;
        }
        Ok(Topics { config })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(own) = &self.own {
            let _ = kafka(&["stop", "--kill", "--while-locked"], &own.dir.path().join("users"), own.dir.path());
        }
    }
}

/// The topics of one server under test.
pub struct Topics {
    pub config: LogConfig,
}

impl Topics {
    /// What a server needs to know, as environment variables.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("PEEP_LOG", "kafka".to_owned()),
            ("PEEP_KAFKA_BROKERS", self.config.kafka.brokers.clone()),
            ("PEEP_LOG_TOPIC_PREFIX", self.config.topic_prefix.clone()),
        ]
    }

    /// A saturated server fills gigabytes in a minute.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn remove(self) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.config.kafka.brokers).create()?;
        let names = [Topic::Events, Topic::Live].map(|topic| self.config.topic_name(topic));
        admin.delete_topics(&names.each_ref().map(String::as_str), &AdminOptions::new()).await?;
        Ok(())
    }
}

/// The log as the environment names it: for a copy of this program that serves.
pub(crate) fn log_from_environment() -> anyhow::Result<LogConfig> {
    let mut settings = Settings::new(&peep_chassis::config::ProcessEnv);
    let config = LogConfig::read(&mut settings);
    settings.finish()?;
    Ok(config)
}

fn kafka(arguments: &[&str], users: &Path, dir: &Path) -> anyhow::Result<String> {
    script("kafka.sh", arguments, users, dir)
}

/// Runs a server's script and returns the last line that it prints.
pub(crate) fn script(name: &str, arguments: &[&str], users: &Path, dir: &Path) -> anyhow::Result<String> {
    let script = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts")).join(name);
    let output = Command::new(&script)
        .args(arguments)
        .arg(users)
        .arg("--dir")
        .arg(dir)
        .output()
        .with_context(|| format!("run {}", script.display()))?;
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{name} {} failed:\n{complained}{said}", arguments.join(" "));
    Ok(said.lines().last().unwrap_or_default().to_owned())
}
