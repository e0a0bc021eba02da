//! Postgres and the log: waited for when away at the start, refused when unusable, and watched from then on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use peep_chassis::admin::{Health, HealthHandle};
use peep_chassis::database::DatabaseConfig;
use peep_chassis::exposition::Exposition;
use peep_chassis::keys::KeyStore;
use peep_log::{Log, LogConfig, OpenError, Topic};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::{sleep, timeout};

use crate::schema;
use crate::services::{BoundServices, Dependencies};

/// Where a process keeps things.
pub(super) struct Storage {
    database: DatabaseConfig,
    pool: PgPool,
    log: LogConfig,
    program: String,
    health: Health,
    /// What `/readyz` says of the two.
    database_part: HealthHandle,
    log_part: HealthHandle,
}

/// The topics a process uses, open.
pub(super) struct Logs {
    pub(super) events: Option<Arc<dyn Log>>,
    pub(super) live: Option<Arc<dyn Log>>,
}

impl Storage {
    pub(super) fn new(database: &DatabaseConfig, log: LogConfig, program: String, health: Health) -> Self {
        let (database_part, log_part) = (health.register("database"), health.register("log"));
        let pool = database.pool(&program);
        Self { database: database.clone(), pool, log, program, health, database_part, log_part }
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// What services take from outside.
    pub(super) fn dependencies(
        &self,
        logs: &Logs,
        keys: Option<Arc<KeyStore>>,
        exposition: Exposition,
    ) -> Dependencies {
        Dependencies {
            events: logs.events.clone(),
            live: logs.live.clone(),
            keys,
            pool: self.pool.clone(),
            database: self.connect_options(),
            health: self.health.clone(),
            exposition,
        }
    }

    fn connect_options(&self) -> PgConnectOptions {
        self.database.connect_options(&self.program)
    }

    /// Waits for the database and its schema, then opens the log. May wait for ever: `/readyz` says for what.
    ///
    /// # Errors
    /// When waiting would not help.
    pub(super) async fn prepare(&self, services: &BoundServices, migrate: bool) -> anyhow::Result<Logs> {
        let mut waiting = Waiting::for_part(&self.database_part);
        while let Err(error) = self.check_database(migrate).await {
            waiting.tell(&format!("{error:#}")).await;
        }
        self.database_part.set_ready();
        let events = self.open(services.needs_events(), Topic::Events, &self.log_part).await?;
        let live = self.open(services.needs_live(), Topic::Live, &self.log_part).await?;
        self.log_part.set_ready();
        Ok(Logs { events, live })
    }

    /// Says on `/readyz` when one of them goes away later on, and when it is back. Degraded and not more than that: known keys,
    /// open views and a log of another kind go on, and a service that cannot says so itself.
    pub(super) async fn watch(&self, logs: &Logs) -> Infallible {
        let mut connection = None;
        loop {
            sleep(WATCH_INTERVAL).await;
            match timeout(WATCH_TIMEOUT, self.ping(&mut connection)).await {
                Ok(Ok(())) => self.database_part.set_ready(),
                Ok(Err(error)) => self.database_part.set_degraded(format!("the database is away: {error:#}")),
                Err(_) => {
                    self.database_part.set_degraded(format!("the database does not answer within {WATCH_TIMEOUT:?}"))
                }
            }
            match logs.ready() {
                Ok(()) => self.log_part.set_ready(),
                Err(reason) => self.log_part.set_degraded(reason),
            }
        }
    }

    /// Over a connection of its own: a pool that is busy is not a database that is away. `kept` is empty after a failure.
    async fn ping(&self, kept: &mut Option<PgConnection>) -> anyhow::Result<()> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => schema::connect(self.connect_options()).await?,
        };
        connection.ping().await.context("ask it something")?;
        *kept = Some(connection);
        Ok(())
    }

    async fn check_database(&self, migrate: bool) -> anyhow::Result<()> {
        if migrate {
            let applied = schema::migrate(&self.database).await?;
            tracing::info!(applied, "database schema is up to date");
            return Ok(());
        }
        let mut connection = schema::connect(self.connect_options()).await?;
        let missing = schema::missing(&mut connection).await?;
        connection.close().await.context("close the connection")?;
        anyhow::ensure!(missing.is_empty(), "the database schema is behind this build; run `peep migrate`");
        Ok(())
    }

    async fn open(&self, needed: bool, topic: Topic, part: &HealthHandle) -> anyhow::Result<Option<Arc<dyn Log>>> {
        if !needed {
            return Ok(None);
        }
        let mut waiting = Waiting::for_part(part);
        loop {
            match peep_log::open(&self.log, topic, &self.pool).await {
                Ok(log) => return Ok(Some(log)),
                Err(error @ OpenError::Unavailable { .. }) => waiting.tell(&error.to_string()).await,
                Err(error @ OpenError::Refused { .. }) => return Err(error).context("open the log"),
            }
        }
    }
}

impl Logs {
    /// Why one of them takes nothing, when it does not.
    fn ready(&self) -> Result<(), String> {
        [&self.events, &self.live].into_iter().flatten().try_for_each(|log| log.ready())
    }

    /// Flushes what is queued and ends background work.
    pub(super) async fn close(&self) {
        for log in [&self.events, &self.live].into_iter().flatten() {
            log.close().await;
        }
    }
}

/// Repeats a reason to `/readyz` and says it once in the log, until it changes.
struct Waiting<'h> {
    part: &'h HealthHandle,
    said: Option<String>,
}

impl<'h> Waiting<'h> {
    fn for_part(part: &'h HealthHandle) -> Self {
        Self { part, said: None }
    }

    async fn tell(&mut self, reason: &str) {
        if self.said.as_deref() != Some(reason) {
            self.part.set_not_ready(reason);
            self.said = Some(reason.to_owned());
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Short enough that `make up` does not feel it, long enough that nobody is hammered.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// As often as keys are read.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// As long as an insert into the log may take.
const WATCH_TIMEOUT: Duration = Duration::from_secs(4);
