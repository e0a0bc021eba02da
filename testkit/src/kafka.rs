//! Kafka for tests: topics of one's own on a shared broker; or a whole broker to mistreat.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::chaos::Proxy;
use crate::place::{script, stop_quietly, text};
use crate::postgres::blocking;
use crate::process::free_address;
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
    node: Node,
    doors: Vec<(String, Proxy)>,
    dir: TempDir,
    // Held so that the broker ends by itself should this process be killed.
    _user: std::fs::File,
}

impl Broker {
    pub async fn start() -> Self {
        Self::start_with_doors(&[]).await
    }

    /// Each door is a proxy of its own to the broker, and stays one: the broker sends those who came through it back to it.
    /// Names are upper-case letters.
    pub async fn start_with_doors(names: &[&str]) -> Self {
        let mut doors = Vec::new();
        let mut listeners = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let behind = free_address();
            let proxy = Proxy::start(behind.clone(), number as u64).await;
            listeners.push(format!("{name}:{}:{}", port_of(&behind), proxy.port()));
            doors.push(((*name).to_owned(), proxy));
        }
        let mut extra = Vec::new();
        if !listeners.is_empty() {
            extra.extend(["--doors".to_owned(), listeners.join(",")]);
        }
        blocking(|| {
            let (dir, user) = private_dir("kafka");
            let node =
                Node { dir: dir.path().to_owned(), address: free_address(), users: dir.path().join("users"), extra };
            node.start();
            Self { node, doors, dir, _user: user }
        })
        .await
    }

    /// Fresh topics on this broker.
    pub fn topics(&self) -> Topics {
        Topics::on(self.node.address.clone())
    }

    /// Panics when there is no such door.
    pub fn door(&self, name: &str) -> &Proxy {
        let door = self.doors.iter().find(|(known, _)| known == name);
        &door.unwrap_or_else(|| panic!("there is no door {name}")).1
    }

    /// An orderly end.
    pub async fn stop(&self) {
        self.node.run(&["stop"]).await;
    }

    /// Ends at once.
    pub async fn kill(&self) {
        self.node.run(&["stop", "--kill"]).await;
    }

    /// Stops answering without going away, until `thaw`.
    pub fn freeze(&self) {
        self.node.signal("STOP");
    }

    pub fn thaw(&self) {
        self.node.signal("CONT");
    }

    /// Starts again at the same address.
    pub async fn start_again(&self) {
        self.node.start_again().await;
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        stop_quietly("kafka.sh", self.dir.path());
    }
}

/// Three nodes, each a broker and a controller: two of them hold what is acknowledged, and any one may go.
pub struct Cluster {
    nodes: Vec<Node>,
    dir: TempDir,
    _user: std::fs::File,
}

impl Cluster {
    pub const NODES: usize = 3;

    pub async fn start() -> Self {
        blocking(|| {
            let (dir, user) = private_dir("kafka");
            let controllers: Vec<String> = (0..Self::NODES).map(|_| free_address()).collect();
            let voters: Vec<String> =
                controllers.iter().enumerate().map(|(number, address)| format!("{}@{address}", number + 1)).collect();
            let voters = voters.join(",");
            let id = cluster_id();
            let node = |number: usize| {
                let number = number.to_string();
                let extra = ["--node", &number, "--voters", &voters, "--cluster-id", &id].map(str::to_owned).to_vec();
                let users = dir.path().join("users");
                Node { dir: dir.path().join(number), address: free_address(), users, extra }
            };
            let nodes: Vec<Node> = (1..=Self::NODES).map(node).collect();
            // None is up before most are.
            std::thread::scope(|scope| {
                for node in &nodes {
                    scope.spawn(|| node.start());
                }
            });
            Self { nodes, dir, _user: user }
        })
        .await
    }

    /// Fresh topics on this cluster.
    pub fn topics(&self) -> Topics {
        let addresses: Vec<&str> = self.nodes.iter().map(|node| node.address.as_str()).collect();
        Topics::on(addresses.join(","))
    }

    /// Ends one at once. Nodes are numbered from 1.
    pub async fn kill(&self, node: usize) {
        self.nodes[node - 1].run(&["stop", "--kill"]).await;
    }

    /// An orderly end of one, which hands its partitions over first.
    pub async fn stop(&self, node: usize) {
        self.nodes[node - 1].run(&["stop"]).await;
    }

    pub async fn start_again(&self, node: usize) {
        self.nodes[node - 1].start_again().await;
    }

    pub fn freeze(&self, node: usize) {
        self.nodes[node - 1].signal("STOP");
    }

    pub fn thaw(&self, node: usize) {
        self.nodes[node - 1].signal("CONT");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 1..=Self::NODES {
            stop_quietly("kafka.sh", &self.dir.path().join(number.to_string()));
        }
    }
}

/// One Kafka process and how to start it again.
#[derive(Clone)]
struct Node {
    dir: PathBuf,
    address: String,
    users: PathBuf,
    extra: Vec<String>,
}

impl Node {
    fn start(&self) {
        let port = port_of(&self.address).to_string();
        let mut arguments = vec!["start", "--fast", "--dir", text(&self.dir), "--port", &port];
        arguments.extend(["--while-locked", text(&self.users)]);
        arguments.extend(self.extra.iter().map(String::as_str));
        script("kafka.sh", &arguments);
    }

    async fn start_again(&self) {
        let node = self.clone();
        blocking(move || node.start()).await;
    }

    async fn run(&self, arguments: &'static [&'static str]) {
        let dir = self.dir.clone();
        blocking(move || {
            let mut all = arguments.to_vec();
            all.extend(["--dir", text(&dir)]);
            script("kafka.sh", &all);
        })
        .await;
    }

    fn signal(&self, name: &str) {
        let file = self.dir.join("run/kafka.pid");
        let text = std::fs::read_to_string(file).expect("read the broker's pid file");
        let pid = text.split(' ').next().expect("a pid");
        let done = Command::new("kill").args(["-s", name, pid]).status().expect("run kill");
        assert!(done.success(), "send SIG{name} to the broker");
    }
}

fn port_of(address: &str) -> &str {
    address.rsplit(':').next().expect("an address has a port")
}

/// 16 random bytes in URL-safe base64, of which the letter A is as good as any other beginning.
fn cluster_id() -> String {
    let hex = uuid::Uuid::new_v4().simple().to_string();
    format!("A{}", &hex[..21])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn three_nodes_start_together_and_one_can_go_and_come_back() {
        let cluster = Cluster::start().await;
        assert_eq!(cluster.topics().brokers().split(',').count(), Cluster::NODES);
        cluster.kill(2).await;
        cluster.start_again(2).await;
    }
}
