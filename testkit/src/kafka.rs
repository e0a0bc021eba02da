//! Kafka for tests: topics of one's own on a shared broker; or a whole broker to mistreat.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::place::{script, stop_quietly, text};
use crate::postgres::blocking;
use crate::shared::{Shared, private_dir};

static BROKER: Shared = Shared::new();

/// A place for one test's topics.
pub struct Topics {
    brokers: String,
    prefix: String,
}

impl Topics {
    pub async fn fresh() -> Self {
        let brokers = blocking(|| BROKER.address("kafka").to_owned()).await;
        Self::on(brokers)
    }

    /// The value for `PEEP_KAFKA_BROKERS`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The value for `PEEP_LOG_TOPIC_PREFIX`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    fn on(brokers: String) -> Self {
        let prefix = format!("test-{}", uuid::Uuid::new_v4().simple());
        Self { brokers, prefix }
    }
}

/// A broker for one test, which may stop it, kill it and start it again.
pub struct Broker {
    dir: TempDir,
    brokers: String,
    // Held so that the broker ends by itself should this process be killed.
    _user: std::fs::File,
}

impl Broker {
    pub async fn start() -> Self {
        blocking(|| {
            let (dir, user) = private_dir("kafka");
            let brokers = start_script(dir.path(), None);
            Self { dir, brokers, _user: user }
        })
        .await
    }

    /// Fresh topics on this broker.
    pub fn topics(&self) -> Topics {
        Topics::on(self.brokers.clone())
    }

    /// An orderly end.
    pub async fn stop(&self) {
        self.run(&["stop"]).await;
    }

    /// Ends at once.
    pub async fn kill(&self) {
        self.run(&["stop", "--kill"]).await;
    }

    /// Stops answering without going away, until `thaw`.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let file = self.dir.path().join("run/kafka.pid");
        let text = std::fs::read_to_string(file).expect("read the broker's pid file");
        let pid = text.split(' ').next().expect("a pid");
        let done = Command::new("kill").args(["-s", name, pid]).status().expect("run kill");
        assert!(done.success(), "send SIG{name} to the broker");
    }

    /// Starts again at the same address.
    pub async fn start_again(&self) {
        let path = self.dir.path().to_owned();
        let brokers = self.brokers.clone();
        blocking(move || {
            let port = brokers.rsplit(':').next().expect("an address has a port");
            start_script(&path, Some(port))
        })
        .await;
    }

    async fn run(&self, arguments: &'static [&'static str]) {
        let path = self.dir.path().to_owned();
        blocking(move || {
            let mut all = arguments.to_vec();
            all.extend(["--dir", text(&path)]);
            script("kafka.sh", &all);
        })
        .await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        stop_quietly("kafka.sh", self.dir.path());
    }
}

fn start_script(dir: &Path, port: Option<&str>) -> String {
    let users = dir.join("users");
    let mut arguments = vec!["start", "--fast", "--dir", text(dir), "--while-locked", text(&users)];
    if let Some(port) = port {
        arguments.extend(["--port", port]);
    }
    script("kafka.sh", &arguments)
}
