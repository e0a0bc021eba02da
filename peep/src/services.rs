//! The services this binary can run, and what each needs. The only place that names all of them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use peep_chassis::admin::Health;
use peep_chassis::config::Settings;
use peep_chassis::database::DatabaseConfig;
use peep_chassis::exposition::Exposition;
use peep_chassis::keys::KeyStore;
use peep_chassis::lifecycle::{Shutdown, Tasks};
use peep_chassis::telemetry::Buckets;
use peep_log::{Log, LogConfig};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;

use crate::listen;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Ingest,
    Rollup,
    Stream,
}

impl Service {
    pub(crate) const ALL: [Self; 3] = [Self::Ingest, Self::Rollup, Self::Stream];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Rollup => "rollup",
            Self::Stream => "stream",
        }
    }
}

/// The configuration of the services that will run.
pub(crate) struct ServiceConfigs {
    ingest: Option<peep_ingest::Config>,
    rollup: Option<peep_rollup::Config>,
    stream: Option<peep_stream::Config>,
}

impl ServiceConfigs {
    pub(crate) fn read(settings: &mut Settings<'_>, services: &[Service]) -> Self {
        let runs = |service| services.contains(&service);
        Self {
            ingest: runs(Service::Ingest).then(|| peep_ingest::Config::read(settings)),
            rollup: runs(Service::Rollup).then(|| peep_rollup::Config::read(settings)),
            stream: runs(Service::Stream).then(|| peep_stream::Config::read(settings)),
        }
    }

    /// How long each service may take to stop: what it grants its requests, and a moment to leave.
    pub(crate) fn stop_budgets(&self) -> BTreeMap<Service, Duration> {
        let ingest = self.ingest.as_ref().map(|config| (Service::Ingest, config.drain_timeout + LEAVE));
        let rollup = self.rollup.as_ref().map(|_| (Service::Rollup, ROLLUP_BUDGET));
        let stream = self.stream.as_ref().map(|config| (Service::Stream, config.listener.drain_timeout + LEAVE));
        [ingest, rollup, stream].into_iter().flatten().collect()
    }

    /// What listens where, with the setting that says so.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let ingest = self.ingest.as_ref().map(|config| (INGEST_LISTEN, config.listen));
        let stream = self.stream.as_ref().map(|config| (STREAM_LISTEN, config.listen));
        [ingest, stream].into_iter().flatten()
    }

    /// Settings that do not fit those of other services, of the log or of the database.
    pub(crate) fn contradictions(&self, log: &LogConfig, database: &DatabaseConfig) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(ingest) = &self.ingest
            && ingest.append_timeout <= log.append_timeout
        {
            found.push(format!(
                "PEEP_INGEST_APPEND_TIMEOUT ({:?}) is not above PEEP_LOG_APPEND_TIMEOUT ({:?}): a request may be told 503 and be taken",
                ingest.append_timeout, log.append_timeout
            ));
        }
        if let (Some(ingest), Some(rollup)) = (&self.ingest, &self.rollup) {
            let (limits, unbooked) = (&ingest.limits, "events between the two are accepted, and then dead-lettered");
            for (name, accepted, kept) in [
                ("EVENT_AGE_MAX", limits.age_max, rollup.event_age_max),
                ("EVENT_AHEAD_MAX", limits.ahead_max, rollup.event_ahead_max),
            ] {
                if accepted > kept {
                    found.push(format!("PEEP_INGEST_{name} is beyond PEEP_ROLLUP_{name}: {unbooked}"));
                }
            }
        }
        if let Some(stream) = &self.stream
            && stream.answers.queries_max >= database.connections_max as usize
        {
            found.push(format!(
                "PEEP_STREAM_QUERIES_MAX ({}) is not below PEEP_DATABASE_CONNECTIONS_MAX ({}): questions can take every connection",
                stream.answers.queries_max, database.connections_max
            ));
        }
        found
    }

    /// Binds what the services listen on, all or nothing.
    ///
    /// # Errors
    /// One line when an address cannot be had.
    pub(crate) fn bind(self) -> anyhow::Result<BoundServices> {
        let budgets = self.stop_budgets();
        let ingest =
            self.ingest.map(|config| listen::bind(config.listen, INGEST_LISTEN).map(|socket| (config, socket)));
        let stream =
            self.stream.map(|config| listen::bind(config.listen, STREAM_LISTEN).map(|socket| (config, socket)));
        Ok(BoundServices { budgets, ingest: ingest.transpose()?, rollup: self.rollup, stream: stream.transpose()? })
    }
}

/// Services with their listeners, not yet running.
pub(crate) struct BoundServices {
    budgets: BTreeMap<Service, Duration>,
    ingest: Option<(peep_ingest::Config, TcpListener)>,
    rollup: Option<peep_rollup::Config>,
    stream: Option<(peep_stream::Config, TcpListener)>,
}

/// What services are given from outside.
pub(crate) struct Dependencies {
    pub(crate) events: Option<Arc<dyn Log>>,
    pub(crate) live: Option<Arc<dyn Log>>,
    pub(crate) keys: Option<Arc<KeyStore>>,
    pub(crate) pool: PgPool,
    pub(crate) database: PgConnectOptions,
    pub(crate) health: Health,
    pub(crate) exposition: Exposition,
}

/// A service that runs: how to ask it to stop and how long it may take.
pub(crate) struct Running {
    pub(crate) service: Service,
    pub(crate) stop: Shutdown,
    pub(crate) budget: Duration,
}

impl BoundServices {
    /// The topics these services append to or read.
    pub(crate) fn needs_events(&self) -> bool {
        self.ingest.is_some() || self.rollup.is_some() || self.stream.is_some()
    }

    pub(crate) fn needs_live(&self) -> bool {
        self.rollup.is_some() || self.stream.is_some()
    }

    pub(crate) fn needs_keys(&self) -> bool {
        self.ingest.is_some() || self.stream.is_some()
    }

    /// Starts each service as a task of its own name.
    pub(crate) fn start(self, given: &Dependencies, tasks: &mut Tasks) -> Vec<Running> {
        let start = |(service, budget)| Running { service, stop: Shutdown::new(), budget };
        let running: Vec<Running> = self.budgets.into_iter().map(start).collect();
        let stop_of = |service| {
            let one = running.iter().find(|one| one.service == service);
            one.expect("every configured service has a budget").stop.clone()
        };
        let (events, live, keys) = (&given.events, &given.live, &given.keys);
        if let (Some((config, socket)), Some(events), Some(keys)) = (self.ingest, events, keys) {
            let (events, keys, health) = (Arc::clone(events), Arc::clone(keys), given.health.clone());
            tracing::info!(service = "ingest", address = %config.listen, "serving");
            let stop = stop_of(Service::Ingest);
            tasks.spawn(Service::Ingest.name(), async move {
                peep_ingest::run(config, socket, events, keys, &health, stop).await
            });
        }
        if let (Some(config), Some(events), Some(live)) = (self.rollup, events, live) {
            let (events, live, health) = (Arc::clone(events), Arc::clone(live), given.health.clone());
            let (pool, database) = (given.pool.clone(), given.database.clone());
            let stop = stop_of(Service::Rollup);
            tasks.spawn(Service::Rollup.name(), async move {
                peep_rollup::run(config, events, live, pool, database, &health, stop).await
            });
        }
        if let (Some((config, socket)), Some(live), Some(keys)) = (self.stream, live, keys) {
            let logs = peep_stream::Logs { live: Arc::clone(live), events: events.clone() };
            let (keys, health, pool) = (Arc::clone(keys), given.health.clone(), given.pool.clone());
            let exposition = given.exposition.clone();
            tracing::info!(service = "stream", address = %config.listen, "serving");
            let stop = stop_of(Service::Stream);
            tasks.spawn(Service::Stream.name(), async move {
                peep_stream::run(config, socket, logs, pool, keys, &health, &exposition, stop).await
            });
        }
        running
    }
}

/// Where the dashboard listens, for links to it.
pub(crate) fn stream_address(settings: &mut Settings<'_>) -> SocketAddr {
    peep_stream::Config::read(settings).listen
}

/// The buckets of every histogram of every crate.
pub(crate) fn buckets() -> Vec<Buckets> {
    let own: [Buckets; 6] = [
        (peep_log::metrics::APPEND_SECONDS, peep_log::metrics::APPEND_SECONDS_BUCKETS),
        (peep_rollup::metrics::FLUSH_SECONDS, peep_rollup::metrics::FLUSH_SECONDS_BUCKETS),
        (peep_rollup::metrics::LEVEL_SECONDS, peep_rollup::metrics::FLUSH_SECONDS_BUCKETS),
        (peep_stream::metrics::QUERY_SECONDS, peep_stream::metrics::SECONDS_BUCKETS),
        (peep_stream::metrics::REQUEST_SECONDS, peep_stream::metrics::SECONDS_BUCKETS),
        (peep_stream::metrics::PROBE_SECONDS, peep_stream::metrics::PROBE_SECONDS_BUCKETS),
    ];
    own.into_iter().chain(peep_ingest::BUCKETS.iter().copied()).collect()
}

const INGEST_LISTEN: &str = "PEEP_INGEST_LISTEN";
const STREAM_LISTEN: &str = "PEEP_STREAM_LISTEN";

/// Consumers may take 10 s to publish and flush; leases and connections go back after that.
const ROLLUP_BUDGET: Duration = Duration::from_secs(12);
/// From the last request to the end of the task.
const LEAVE: Duration = Duration::from_secs(1);
