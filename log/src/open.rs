//! From configuration to an open topic: the only place that knows all backends.

use std::sync::Arc;

use sqlx::PgPool;

use crate::config::{Backend, LogConfig};
use crate::memory::MemoryLog;
use crate::{Log, OpenError, Topic};

/// Opens a topic, creating it first when it does not exist. `pool` is only used by the Postgres
/// backend.
pub async fn open(
    config: &LogConfig,
    topic: Topic,
    pool: &PgPool,
) -> Result<Arc<dyn Log>, OpenError> {
    let _ = pool;
    match config.backend {
        Backend::Memory => Ok(Arc::new(MemoryLog::open(config, topic))),
        other => Err(OpenError::Refused {
            topic: config.topic_name(topic),
            reason: format!("{other:?} is not in this build"),
        }),
    }
}
