//! Ingest as it ships: key, limits, metrics.

use std::net::TcpListener;
use std::sync::Arc;

use peep_chassis::ExposeSecret;
use peep_chassis::admin::Health;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_chassis::keys::{ApiKey, KeyStore, Scope, format};
use peep_chassis::lifecycle::Shutdown;

/// Serves for ever, log in memory.
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
    let env = ProcessEnv;
    let mut settings = Settings::new(&env);
    let config = peep_ingest::Config { workers, ..peep_ingest::Config::read(&mut settings) };
    println!("{} {}", listener.local_addr()?, secret.expose_secret());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let log: Arc<dyn peep_log::Log> = peep_log::memory(4);
        peep_ingest::run(config, listener, log, keys, &Health::new(), Shutdown::new()).await
    })
}
