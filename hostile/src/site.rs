//! What all cases share: one Postgres of the campaign's own.

use peep_testkit::{Database, Server};
use tokio::sync::OnceCell;

/// Started when first needed.
#[derive(Default)]
pub struct Site {
    server: OnceCell<Server>,
}

impl Site {
    pub(crate) async fn database(&self) -> Database {
        self.server.get_or_init(Server::start).await.database().await
    }
}
