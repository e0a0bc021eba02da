//! Which events were really taken: read from the log in the database, past the process that wrote it.

use std::collections::BTreeMap;

use anyhow::Context;
use sqlx::{PgPool, Row};

/// Events in the log by their service.
///
/// # Errors
/// When the database or a record cannot be read.
pub async fn by_service(pool: &PgPool) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut services = BTreeMap::new();
    let rows = sqlx::query("select payload from log_record").fetch_all(pool).await.context("read the log")?;
    for row in rows {
        let payload: Vec<u8> = row.try_get(0)?;
        let record = peep_wire::record::open(&payload).context("open a record")?;
        for event in record.batches().flat_map(|batch| batch.events()) {
            let event = event.context("decode an event")?;
            let series = event.series.decode().context("decode a series")?;
            *services.entry(series.service.to_owned()).or_insert(0) += 1;
        }
    }
    Ok(services)
}
