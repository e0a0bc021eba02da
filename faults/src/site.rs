//! The servers a campaign runs on: one Postgres and one Kafka for all faults that do not need their own.

use peep_testkit::{Broker, Database, Server, Topics};
use tokio::sync::OnceCell;

use crate::world::{Role, Shape};

/// Servers, started when first needed, for faults one after the other.
#[derive(Default)]
pub struct Site {
    server: OnceCell<Server>,
    broker: OnceCell<Broker>,
}

impl Site {
    pub async fn server(&self) -> &Server {
        self.server.get_or_init(Server::start).await
    }

    pub async fn broker(&self) -> &Broker {
        self.broker.get_or_init(Broker::start).await
    }

    pub(crate) async fn database(&self) -> Database {
        self.server().await.database().await
    }

    pub(crate) async fn topics(&self, _shape: Shape) -> Topics {
        self.broker().await.topics()
    }

    pub(crate) fn database_url(&self, _shape: Shape, database: &Database, _role: Role) -> String {
        database.url().to_owned()
    }

    pub(crate) fn brokers(&self, _shape: Shape, topics: &Topics, _role: Role) -> String {
        topics.brokers().to_owned()
    }
}
