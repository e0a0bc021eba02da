//! The life of a service process, top to bottom: check, bind, prepare, serve, stop.
//!
//! What arrives: which services to run, the environment, signals. What leaves: an exit code.
//!
//! Promised: nothing is bound before the configuration makes sense; the admin port answers first and leaves last; a database or a
//! broker that is away at the start is waited for, with the reason on `/readyz`; a service that ends on its own ends the process
//! (exit code 1); shutdown is a sequence of steps whose budgets add up to less than 30 seconds.
//!
//! Not done: restarting a service inside the process. Whoever runs the process restarts it.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use peep_chassis::admin::{self, Health};
use peep_chassis::config::ProcessEnv;
use peep_chassis::keys::{KeyStore, KeysConfig};
use peep_chassis::lifecycle::{Shutdown, TaskError, Tasks, step};
use peep_chassis::telemetry::{self, MetricsHandle};

use crate::configuration::{self, Configuration};
use crate::listen;
use crate::services::{self, BoundServices, Running, Service};

mod storage;

use storage::Storage;

/// `peep up`, `peep ingest`, `peep rollup`, `peep stream`.
///
/// # Errors
/// When the configuration makes no sense, a port is taken, or a service failed.
pub(crate) fn main(services: &[Service], print_config: bool) -> anyhow::Result<ExitCode> {
    let (configuration, settings) = Configuration::from_env(&ProcessEnv, services)?;
    if print_config {
        configuration::print(&configuration::table(&settings))?;
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::init(&configuration.telemetry);
    let metrics = telemetry::install_metrics(&services::buckets()).context("install the metrics recorder")?;
    peep_log::metrics::describe();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let outcome = runtime.block_on(run(configuration, services, metrics));
    // Whatever still runs was abandoned by a step that said so.
    runtime.shutdown_timeout(Duration::from_millis(500));
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn run(configuration: Configuration, services: &[Service], metrics: MetricsHandle) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("install signal handlers")?;
    let admin = listen::bind(configuration.admin, "PEEP_ADMIN_LISTEN")?;
    let bound = configuration.services.bind()?;
    let (health, mut tasks) = (Health::new(), Tasks::new());
    let exposition = metrics.exposition().clone();
    let leave = start_admin(admin, health.clone(), metrics, &mut tasks)?;
    let storage = Storage::new(&configuration.database, configuration.log, program(services), health.clone());
    let keys_stop = Shutdown::new();

    let prepare = async {
        // One process means one owner of the schema; several leave it to `peep migrate`.
        let logs = storage.prepare(&bound, services == Service::ALL).await?;
        let keys = start_keys(&bound, &storage, configuration.keys, &health, &keys_stop).await;
        anyhow::Ok((logs, keys))
    };
    let (logs, keys) = tokio::select! {
        prepared = prepare => prepared?,
        // A signal, or the admin port failed. Nothing was taken over yet: nothing to hand back.
        ended = tasks.run_until(&shutdown) => return ended.context("serve the admin port"),
    };
    let running = bound.start(&storage.dependencies(&logs, keys, exposition), &mut tasks);
    tracing::info!(services = names(services), admin = %configuration.admin, "started");

    let ended = tokio::select! {
        ended = tasks.run_until(&shutdown) => ended,
        never = storage.watch(&logs) => match never {},
    };
    shutdown.request();
    health.drain();
    delay(configuration.shutdown_delay, ended.is_err()).await;
    let stopped = stop(&running, &mut tasks).await;
    step("flush logs", LOGS_BUDGET, logs.close()).await;
    keys_stop.request();
    step("close connections", CONNECTIONS_BUDGET, storage.pool().close()).await;
    leave.request();
    step("close admin port", ADMIN_BUDGET, tasks.finish(ADMIN)).await;
    tracing::info!("stopped");
    ended.and(stopped).context("run the services")
}

/// The keys of those services that ask for one, read once: a listener that opens earlier would only say "later".
async fn start_keys(
    services: &BoundServices,
    storage: &Storage,
    config: KeysConfig,
    health: &Health,
    stop: &Shutdown,
) -> Option<Arc<KeyStore>> {
    if !services.needs_keys() {
        return None;
    }
    let keys = KeyStore::start(storage.pool().clone(), config, health, stop.clone());
    keys.first_read().await;
    Some(keys)
}

/// The admin port as a task; the returned request stops it.
fn start_admin(
    listener: TcpListener,
    health: Health,
    metrics: MetricsHandle,
    tasks: &mut Tasks,
) -> anyhow::Result<Shutdown> {
    // A port that cannot be used is found out here and not by a task that dies later.
    listener.set_nonblocking(true).context("prepare the admin port")?;
    let leave = Shutdown::new();
    tasks.spawn(ADMIN, admin::serve(listener, health, metrics, leave.clone()));
    Ok(leave)
}

/// Goes on serving for load balancers that are slow to notice. Not when a service is already gone.
async fn delay(delay: Duration, failed: bool) {
    if !failed && !delay.is_zero() {
        step("serve on while load balancers notice", delay + Duration::from_millis(100), tokio::time::sleep(delay))
            .await;
    }
}

/// Step by step in the direction the events flow; what is in one step stops at the same time.
async fn stop(running: &[Running], tasks: &mut Tasks) -> Result<(), TaskError> {
    let mut first = Ok(());
    for (name, services) in STOP_STEPS {
        let stopping: Vec<&Running> = running.iter().filter(|one| services.contains(&one.service)).collect();
        let Some(budget) = stopping.iter().map(|one| one.budget).max() else { continue };
        let ended = step(name, budget, async {
            stopping.iter().for_each(|one| one.stop.request());
            let mut first = Ok(());
            for one in &stopping {
                first = first.and(tasks.finish(one.service.name()).await);
            }
            first
        });
        first = first.and(ended.await.unwrap_or(Ok(())));
    }
    first
}

/// What `pg_stat_activity` shows.
fn program(services: &[Service]) -> String {
    if services.len() == 1 { format!("peep-{}", services[0].name()) } else { "peep".to_owned() }
}

fn names(services: &[Service]) -> String {
    services.iter().map(|service| service.name()).collect::<Vec<_>>().join(",")
}

const ADMIN: &str = "admin";

const STOP_STEPS: [(&str, &[Service]); 2] = [
    ("ingest: stop accepting, finish requests", &[Service::Ingest]),
    ("rollup: publish, flush, release leases; stream: send viewers away", &[Service::Rollup, Service::Stream]),
];

/// Every request has its answer by now: what is left are the last live frames.
const LOGS_BUDGET: Duration = Duration::from_secs(2);
const CONNECTIONS_BUDGET: Duration = Duration::from_millis(500);
const ADMIN_BUDGET: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Kubernetes kills after 30 s by default, and so does `make down`.
    #[test]
    fn all_budgets_together_stay_below_thirty_seconds() {
        let env = BTreeMap::from([("DATABASE_URL", "postgres://peep@127.0.0.1/peep")]);
        let (configuration, _) = Configuration::from_env(&env, &Service::ALL).expect("the defaults make sense");
        let budgets = configuration.services.stop_budgets();
        let longest = |services: &[Service]| services.iter().map(|service| budgets[service]).max().unwrap_or_default();
        let services: Duration = STOP_STEPS.iter().map(|(_, services)| longest(services)).sum();
        let total = configuration.shutdown_delay + services + LOGS_BUDGET + CONNECTIONS_BUDGET + ADMIN_BUDGET;
        assert!(total < Duration::from_secs(30), "{total:?}");
    }
}
