//! From configuration to an open topic: the only place that knows all backends.

use std::sync::Arc;

use sqlx::PgPool;

use crate::config::{Backend, LogConfig};
use crate::kafka::KafkaLog;
use crate::memory::MemoryLog;
use crate::postgres::PostgresLog;
use crate::{Log, OpenError, Topic};

/// Opens a topic, creating it first when it does not exist. `pool` is only used by the Postgres
/// backend.
pub async fn open(config: &LogConfig, topic: Topic, pool: &PgPool) -> Result<Arc<dyn Log>, OpenError> {
    Ok(match config.backend {
        Backend::Postgres => Arc::new(PostgresLog::open(config, topic, pool).await?),
        Backend::Kafka => Arc::new(KafkaLog::open(config, topic).await?),
        Backend::Memory => Arc::new(MemoryLog::open(config, topic)),
    })
}
