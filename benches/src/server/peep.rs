//! Ingest as it ships: key, limits, metrics.

use std::net::TcpListener;

use peep_chassis::ExposeSecret;
use peep_chassis::admin::Health;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_chassis::keys::{ApiKey, KeyStore, Scope, format};
use peep_chassis::lifecycle::Shutdown;
use peep_log::Topic;
use sqlx::PgPool;

/// Serves for ever.
///
/// # Errors
/// When ingest ends.
pub fn serve(listener: TcpListener, workers: usize) -> anyhow::Result<()> {
    peep_chassis::telemetry::install_metrics(peep_ingest::BUCKETS)?;
    let secret = format::new_key(None);
    let api = ApiKey {
        key: 1,
        project: 1,
        project_name: "bench".into(),
        env: None,
        scope: Scope::Ingest,
        origins: Vec::new(),
    };
    let keys = KeyStore::fixed([(secret.expose_secret(), api)]);
    let mut settings = Settings::new(&ProcessEnv);
    let config = peep_ingest::Config { workers, ..peep_ingest::Config::read(&mut settings) };
    settings.finish()?;
    let log = crate::broker::log_from_environment()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        // Neither Kafka nor memory asks a database anything.
        let nobody = PgPool::connect_lazy("postgres://nobody@localhost/nothing")?;
        let log = peep_log::open(&log, Topic::Events, &nobody).await?;
        println!("{} {}", listener.local_addr()?, secret.expose_secret());
        peep_ingest::run(config, listener, log, keys, &Health::new(), Shutdown::new()).await
    })
}
