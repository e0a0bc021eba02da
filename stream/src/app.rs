//! Builds everything in order and owns the end.
//!
//! Shutdown: live streams are told to end and open requests finish ([`crate::listener`], within its drain budget), while the
//! fan-out says goodbye to its WebSockets; then the hub and the feed stop. Nothing is written, so nothing can be lost. A part that ends by itself stops the service.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use peep_chassis::admin::{Health, HealthHandle};
use peep_chassis::clock::Clock;
use peep_chassis::exposition::Exposition;
use peep_chassis::keys::{KeyStore, SessionStore};
use peep_chassis::lifecycle::Shutdown;
use peep_log::{Log, Partition};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};

use crate::alerts::Alerts;
use crate::answer::Answers;
use crate::config::Config;
use crate::fanout::Fanout;
use crate::feed::Feed;
use crate::findings::Findings;
use crate::history::{self, Cursors};
use crate::http::{Parts, Service, TransportLimits, router};
use crate::hub::Hub;
use crate::prometheus::Prometheus;
use crate::session::Gate;
use crate::{listener, metrics, standing};

/// The topics the service reads.
#[derive(Clone)]
pub struct Logs {
    /// What is counted and not committed yet.
    pub live: Arc<dyn Log>,
    /// What is not counted yet: for receipts and the books. Without it they say that they cannot tell. Freshness probes go in here.
    pub events: Option<Arc<dyn Log>>,
}

/// Runs the stream service until shutdown.
///
/// # Errors
/// When the listener cannot be used, or a part ends while nobody asked it to.
#[allow(clippy::too_many_arguments, reason = "what a process has, handed over once")]
pub async fn run(
    config: Config,
    listener: TcpListener,
    logs: Logs,
    pool: PgPool,
    keys: Arc<KeyStore>,
    health: &Health,
    exposition: &Exposition,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    run_at(config, listener, logs, pool, keys, health, exposition, shutdown, Clock::system()).await
}

/// The same with a given clock, which only decides what "now" means in questions and windows.
///
/// # Errors
/// As [`run`].
#[allow(clippy::too_many_arguments, reason = "what a process has, handed over once")]
pub async fn run_at(
    config: Config,
    listener: TcpListener,
    logs: Logs,
    pool: PgPool,
    keys: Arc<KeyStore>,
    health: &Health,
    exposition: &Exposition,
    shutdown: Shutdown,
    clock: Clock,
) -> anyhow::Result<()> {
    metrics::describe();
    let part = health.register("stream");
    listener.set_nonblocking(true).context("prepare listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("take over listener")?;

    let feed = Feed::new(config.feed_bytes_max);
    let answers = Answers::new(pool.clone(), feed.clone(), clock.clone(), config.answers);
    let hub = Hub::new(answers.clone(), feed.clone(), clock.clone(), config.hub);
    let prometheus = Prometheus::new(config.prometheus, exposition, clock.clone());
    let sessions = SessionStore::new(pool.clone(), config.keys.session_ttl);
    let gate = Gate::new(keys, sessions, clock.clone(), config.origins, config.cookie_secure, config.keys.stale_max);
    let fanout = Fanout::start(config.fanout, &shutdown)?;
    let limits = TransportLimits {
        slow_timeout: config.fanout.slow_timeout,
        message_bytes_max: config.message_bytes_max,
        search_time_max: config.answers.history.statement_timeout,
    };
    let freshness = feed.freshness().clone();
    let alerts =
        Alerts::new(config.alerts, exposition, answers.clone(), freshness.clone(), pool.clone(), clock.clone());
    let (fresh_clock, probe_clock) = (clock.clone(), clock.clone());
    let Logs { live, events } = logs;
    let probed = events.clone().filter(|_| !config.probe_interval.is_zero());
    let findings = Findings::new(answers.clone(), pool.clone(), clock.clone(), limits.search_time_max);
    let parts = Parts {
        gate,
        answers,
        findings,
        feed: feed.clone(),
        hub: hub.clone(),
        fanout: fanout.clone(),
        pool: pool.clone(),
        events,
        clock,
        shutdown: shutdown.clone(),
        limits,
        tail: config.tail,
        webhooks: alerts.webhooks().clone(),
        freshness: freshness.clone(),
    };
    let service = Service::new(parts);
    let router = router(service.clone());

    let tls = config.tls;
    if let Some(tls) = tls.clone() {
        let (task_health, task_clock, task_end) = (health.clone(), fresh_clock, shutdown.clone());
        tokio::spawn(async move { tls.keep_fresh(&task_health, &task_clock, &task_end).await });
    }

    // The parts below stop after the listener: requests that drain still want answers.
    let background = Shutdown::new();
    let mut tasks = JoinSet::new();
    let (task_feed, task_pool, task_end) = (feed.clone(), pool.clone(), background.clone());
    tasks.spawn(async move { prometheus.run(&task_feed, &task_pool, &task_end).await });
    let (task_feed, task_pool, task_end) = (feed.clone(), pool, background.clone());
    tasks.spawn(async move { follow_live(&task_feed, live, &task_pool, part, &task_end).await });
    if let Some(log) = probed {
        let (task_feed, task_end) = (feed.clone(), background.clone());
        tasks.spawn(async move {
            freshness.run(config.probe_interval, log, &task_feed, &probe_clock, &task_end).await;
        });
    }
    let task_end = background.clone();
    tasks.spawn(async move { alerts.run(&task_end).await });
    let (task_hub, task_end) = (hub.clone(), background.clone());
    tasks.spawn(async move { task_hub.run(&task_end).await });
    let task_end = background.clone();
    tasks.spawn(async move { ask_after_viewers(&service, &task_end).await });

    tokio::select! {
        () = listener::serve(listener, router, config.listener, tls, &shutdown) => {}
        ended = tasks.join_next() => {
            let ended = ended.context("the service has background parts")?;
            return Err(ended.err().map_or_else(
                || anyhow::anyhow!("a part of the stream service ended by itself"),
                |error| anyhow::Error::new(error).context("a part of the stream service failed"),
            ));
        }
    }
    // WebSockets left the listener's care when they were upgraded.
    let gone = async { tokio::join!(fanout.ended(), hub.deserted()) };
    let _ = timeout(GOODBYE, gone).await;
    background.request();
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// Reads all partitions of the live log, and keeps telling the feed what is committed.
async fn follow_live(feed: &Feed, live: Arc<dyn Log>, pool: &PgPool, part: HealthHandle, shutdown: &Shutdown) {
    let cursors = tokio::select! {
        () = shutdown.requested() => return,
        cursors = first_cursors(pool, &part) => cursors,
    };
    feed.learn_committed(&cursors);
    part.set_not_ready("the live log has not been read yet");
    let mut readers = JoinSet::new();
    let behind = Arc::new(std::sync::atomic::AtomicU32::new(live.partitions()));
    for partition in (0..live.partitions()).map(Partition) {
        let (feed, live, cursors, shutdown) = (feed.clone(), Arc::clone(&live), cursors.clone(), shutdown.clone());
        let (behind, part) = (Arc::clone(&behind), part.clone());
        readers.spawn(async move {
            let caught_up = || {
                if behind.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                    part.set_ready();
                }
            };
            feed.follow(&*live, partition, &cursors, caught_up, &shutdown).await;
        });
    }
    loop {
        tokio::select! {
            () = shutdown.requested() => break,
            // A reader only ends with the shutdown; if one panics, the whole part must end and be noticed.
            _ = readers.join_next() => break,
            () = sleep(CURSOR_INTERVAL) => {
                if let Ok(cursors) = history::read_cursors(pool).await {
                    feed.learn_committed(&cursors);
                }
            }
        }
    }
}

/// Ends the live views of those who may not look any more.
async fn ask_after_viewers(service: &Service, shutdown: &Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(standing::RECHECK) => service.gate().standings().recheck(service.gate()).await,
        }
    }
}

/// Where reading the live log has to begin; without the database there is nothing to serve anyway.
async fn first_cursors(pool: &PgPool, part: &HealthHandle) -> Cursors {
    loop {
        match history::read_cursors(pool).await {
            Ok(cursors) => return cursors,
            Err(error) => {
                part.set_not_ready("the database cannot be read");
                tracing::warn!(%error, "reading the cursors failed; trying again");
                sleep(DATABASE_PAUSE).await;
            }
        }
    }
}

/// For letting go of committed frames, and for noticing that frames stay away; answers bring their own cursors.
const CURSOR_INTERVAL: Duration = Duration::from_secs(2);
/// For viewers to be told that the service is going away.
const GOODBYE: Duration = Duration::from_millis(800);
const DATABASE_PAUSE: Duration = Duration::from_millis(500);
