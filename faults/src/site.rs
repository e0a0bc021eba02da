//! The servers a campaign runs on: one of each kind for all faults that do not break more than they mend.

use std::path::PathBuf;

use peep_testkit::chaos::Proxy;
use peep_testkit::{Broker, Cluster, Database, Server, Topics};
use tokio::sync::OnceCell;

use crate::world::{Role, Shape};

/// Servers, started when first needed, for faults one after the other.
pub struct Site {
    /// Where the processes of a failed run leave what they said.
    pub logs: PathBuf,
    server: OnceCell<Server>,
    small_server: OnceCell<Server>,
    database_door: OnceCell<Proxy>,
    broker: OnceCell<Broker>,
    cluster: OnceCell<Cluster>,
}

impl Site {
    /// Nothing runs yet.
    pub fn new(logs: PathBuf) -> Self {
        Self {
            logs,
            server: OnceCell::new(),
            small_server: OnceCell::new(),
            database_door: OnceCell::new(),
            broker: OnceCell::new(),
            cluster: OnceCell::new(),
        }
    }

    pub async fn server(&self, shape: Shape) -> &Server {
        if shape.small_disk {
            self.small_server.get_or_init(|| Server::start_on_volume(VOLUME_BYTES)).await
        } else {
            self.server.get_or_init(Server::start).await
        }
    }

    /// Between rollups and Postgres.
    pub async fn database_door(&self) -> &Proxy {
        self.database_door
            .get_or_init(async || Proxy::start(self.server(Shape::default()).await.address(), 1).await)
            .await
    }

    pub async fn broker(&self) -> &Broker {
        self.broker.get_or_init(|| Broker::start_with_doors(&[INGEST_DOOR, ROLLUP_DOOR])).await
    }

    pub async fn cluster(&self) -> &Cluster {
        self.cluster.get_or_init(Cluster::start).await
    }

    pub(crate) async fn database(&self, shape: Shape) -> Database {
        self.server(shape).await.database().await
    }

    pub(crate) async fn topics(&self, shape: Shape) -> Topics {
        if shape.cluster { self.cluster().await.topics() } else { self.broker().await.topics() }
    }

    /// Where a process finds Postgres.
    pub(crate) async fn database_url(&self, shape: Shape, database: &Database, role: Role) -> String {
        if !shape.database_door || role != Role::Rollup {
            return database.url().to_owned();
        }
        let direct = self.server(shape).await.address();
        database.url().replacen(&direct, self.database_door().await.address(), 1)
    }

    /// Where a process finds Kafka.
    pub(crate) async fn brokers(&self, shape: Shape, topics: &Topics, role: Role) -> String {
        match role {
            Role::Ingest if shape.kafka_doors => self.broker().await.door(INGEST_DOOR).address().to_owned(),
            Role::Rollup if shape.kafka_doors => self.broker().await.door(ROLLUP_DOOR).address().to_owned(),
            _ => topics.brokers().to_owned(),
        }
    }

    pub async fn ingest_door(&self) -> &Proxy {
        self.broker().await.door(INGEST_DOOR)
    }

    pub async fn rollup_door(&self) -> &Proxy {
        self.broker().await.door(ROLLUP_DOOR)
    }
}

const INGEST_DOOR: &str = "INGEST";
const ROLLUP_DOOR: &str = "ROLLUP";
/// Room for the server, its write-ahead log and what a run writes, until a filler takes it.
const VOLUME_BYTES: u64 = 2 << 30;
