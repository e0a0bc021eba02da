//! Builds ingest in order and owns its shutdown: readiness red, stop accepting, finish requests.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use peep_chassis::admin::Health;
use peep_chassis::clock::Clock;
use peep_chassis::keys::KeyStore;
use peep_chassis::lifecycle::Shutdown;
use peep_log::Log;
use socket2::SockRef;
use tokio::sync::Semaphore;

use crate::admission::Drain;
use crate::config::Config;
use crate::drift::Drift;
use crate::http::Station;
use crate::{listener, metrics};

/// Serves events until shutdown is requested, then finishes what is in flight within the drain timeout.
///
/// The log is not closed here: who opened it closes it, after every request has its answer.
///
/// # Errors
/// When a worker cannot be started or its socket fails for good.
pub async fn run(
    config: Config,
    listener: TcpListener,
    log: Arc<dyn Log>,
    keys: Arc<KeyStore>,
    health: &Health,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    run_at(config, listener, log, keys, health, shutdown, Clock::system()).await
}

/// The same with a given clock, from which receive times come.
///
/// # Errors
/// As [`run`].
pub async fn run_at(
    config: Config,
    listener: TcpListener,
    log: Arc<dyn Log>,
    keys: Arc<KeyStore>,
    health: &Health,
    shutdown: Shutdown,
    clock: Clock,
) -> anyhow::Result<()> {
    metrics::register();
    let ready = health.register("ingest");
    let connections = Arc::new(Semaphore::new(config.http.connections_max));
    let drain_timeout = config.drain_timeout;
    let workers = config.workers;
    let station = Arc::new(Station::new(config, keys, Arc::clone(&log), clock));
    listener.set_nonblocking(true).context("prepare the listening socket")?;
    // The standard library's 128 drops connections of a burst, whose clients then wait a second and more to try again.
    SockRef::from(&listener).listen(BACKLOG).context("prepare the listening socket")?;

    let stopping = shutdown.child();
    let mut threads = Vec::with_capacity(workers);
    for number in 0..workers {
        let listener = listener.try_clone().context("share the listening socket")?;
        let (station, connections, shutdown) = (Arc::clone(&station), Arc::clone(&connections), stopping.clone());
        let (finished, done) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name(format!("ingest-{number}"))
            .spawn(move || {
                let served = work(listener, station, connections, shutdown, drain_timeout);
                let _ = finished.send(served);
            })
            .context("start an ingest worker")?;
        threads.push(done);
    }
    drop(listener);

    let watch = watch(&station, &ready, stopping.clone());
    let fresh = async {
        if let Some(tls) = &station.config.tls {
            tls.keep_fresh(health, &station.clock, &stopping).await;
        }
    };
    let served = async {
        for done in threads {
            let served = done.await.unwrap_or_else(|_| Err(anyhow::anyhow!("an ingest worker panicked")));
            if served.is_err() {
                stopping.request();
                return served;
            }
        }
        Ok(())
    };
    let ((), (), served) = tokio::join!(watch, fresh, served);
    served
}

/// One worker thread: a runtime of its own around the accept loop.
fn work(
    listener: TcpListener,
    station: Arc<Station>,
    connections: Arc<Semaphore>,
    shutdown: Shutdown,
    drain_timeout: Duration,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("build a runtime")?;
    let (stop, connections_max) = (shutdown.clone(), station.config.http.connections_max);
    runtime.block_on(async move {
        let deadline = async {
            stop.requested().await;
            tokio::time::sleep(drain_timeout).await;
        };
        let serve = async {
            listener::serve(listener, station, Arc::clone(&connections), shutdown).await.context("serve events")?;
            // Requests of other threads may travel in what this one has sent to the log.
            let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
            connections.acquire_many(all).await.map(drop).context("wait for the other workers")
        };
        tokio::select! {
            served = serve => served,
            () = deadline => {
                tracing::warn!(drain_timeout_ms = drain_timeout.as_millis() as u64, "requests were cut off at shutdown");
                Ok(())
            }
        }
    })
}

/// Readiness follows the log and the clock; gauges and the drain rate follow the budgets.
async fn watch(station: &Station, ready: &peep_chassis::admin::HealthHandle, shutdown: Shutdown) {
    let mut drift = Drift::default();
    let (mut drain, mut looked) = (Drain::default(), Instant::now());
    loop {
        let drift_ms = drift.look(&station.clock);
        match (station.log.ready(), drift_ms) {
            (Ok(()), None) => ready.set_ready(),
            (Err(reason), _) => ready.set_not_ready(reason),
            (Ok(()), Some(drift_ms)) => ready.set_not_ready(clock_jumped(drift_ms)),
        }
        metrics::clock_drift(drift_ms.unwrap_or(0));
        let now = Instant::now();
        let drain_rate = drain.look(&station.admission, now - std::mem::replace(&mut looked, now));
        metrics::drain(drain_rate.unwrap_or(0));
        metrics::in_flight(&station.admission);
        metrics::producers(station.producers.len());
        tokio::select! {
            () = shutdown.requested() => break,
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
    ready.set_not_ready("draining");
}

/// Whole seconds, so that a drift that goes on is one line in the log per second and not four.
fn clock_jumped(drift_ms: i64) -> String {
    let (way, seconds) = (if drift_ms > 0 { "forward" } else { "back" }, drift_ms.unsigned_abs() / 1000);
    format!(
        "the clock of this machine jumped {way} by {seconds} s; receive times cannot be trusted, check its time service"
    )
}

/// What the kernel allows by default.
const BACKLOG: i32 = 4096;
/// Shorter than any load balancer's probe interval.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
