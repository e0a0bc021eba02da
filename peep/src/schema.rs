//! The database schema: brought up to date by `peep migrate` and `peep up`, checked by every other service.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::Context;
use peep_chassis::database::DatabaseConfig;
use peep_migrations::MIGRATIONS;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};

use crate::configuration;

/// `peep migrate`.
///
/// # Errors
/// When the configuration makes no sense, the database cannot be reached or a step fails.
pub(crate) fn main() -> anyhow::Result<ExitCode> {
    let database = configuration::database()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let applied = runtime.block_on(migrate(&database))?;
    let steps = MIGRATIONS.iter().count();
    configuration::print(&format!("the database is up to date: {steps} steps, {applied} of them applied now\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Applies what is missing and returns how many steps that was.
///
/// # Errors
/// When the database cannot be reached or a step fails.
pub(crate) async fn migrate(database: &DatabaseConfig) -> anyhow::Result<usize> {
    let mut connection = connect(unhurried(database.connect_options("peep-migrate"))).await?;
    let before = missing(&mut connection).await?.len();
    MIGRATIONS.run(&mut connection).await.context("migrate the database")?;
    connection.close().await.context("close the connection")?;
    Ok(before)
}

/// Runs one piece of work against a database that was reached and has the schema.
///
/// # Errors
/// When the configuration makes no sense, the database cannot be reached or is behind, or the work fails.
pub(crate) fn with_database<F: Future<Output = anyhow::Result<()>>>(
    program: &str,
    work: impl FnOnce(PgPool) -> F,
) -> anyhow::Result<ExitCode> {
    let database = configuration::database()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let mut connection = connect(database.connect_options(program)).await?;
        let missing = missing(&mut connection).await?;
        connection.close().await.context("close the connection")?;
        anyhow::ensure!(missing.is_empty(), "the database schema is behind this build; run `peep migrate`");
        let pool = database.pool(program);
        let outcome = work(pool.clone()).await;
        pool.close().await;
        outcome
    })?;
    Ok(ExitCode::SUCCESS)
}

/// One connection, with the real reason when there is none: a pool only says that it waited too long.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn connect(options: PgConnectOptions) -> anyhow::Result<PgConnection> {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let connection = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await;
    connection
        .with_context(|| format!("Postgres at {place} does not answer (DATABASE_URL)"))?
        .with_context(|| format!("connect to Postgres at {place} (DATABASE_URL)"))
}

/// Versions of steps this build knows and the database does not have. A database that is ahead is fine: steps expand first.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn missing(connection: &mut PgConnection) -> anyhow::Result<Vec<i64>> {
    let (migrated,): (bool,) = sqlx::query_as("select to_regclass('_sqlx_migrations') is not null")
        .fetch_one(&mut *connection)
        .await
        .context("look for the schema")?;
    let mut applied = BTreeSet::new();
    if migrated {
        let rows: Vec<(i64,)> = sqlx::query_as("select version from _sqlx_migrations where success")
            .fetch_all(&mut *connection)
            .await
            .context("read the schema's version")?;
        applied.extend(rows.into_iter().map(|(version,)| version));
    }
    Ok(MIGRATIONS.iter().map(|step| step.version).filter(|version| !applied.contains(version)).collect())
}

/// A step may take as long as it takes; a lock somebody else holds is waited for, not forever.
fn unhurried(options: PgConnectOptions) -> PgConnectOptions {
    options.options([("statement_timeout", "0"), ("lock_timeout", "120s")])
}

const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
