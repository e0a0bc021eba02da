//! The way to Postgres: one pool per process, made from `DATABASE_URL`.
//!
//! Promised: no statement, no lock and no wait for a connection is without a limit, so that a slow database turns into errors
//! and not into a standstill; the server sees which program is connected. The URL is a secret and appears in no message.
//!
//! Not done: retrying. Whoever runs a statement knows whether repeating it is safe.

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::config::Settings;

/// Where the database is and how patient we are with it.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    options: PgConnectOptions,
    pub connections_max: u32,
    pub acquire_timeout: Duration,
}

impl DatabaseConfig {
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let url = settings.secret(URL, "The Postgres database: postgres://user:password@host:port/name. Required.");
        let connections_max = settings.u64(
            "PEEP_DATABASE_CONNECTIONS_MAX",
            16,
            2..=500,
            "Most connections of one process to Postgres. Fewer make work wait, more cost the server memory.",
        );
        let acquire_timeout = settings.duration_ms(
            "PEEP_DATABASE_ACQUIRE_TIMEOUT",
            5_000,
            100..=60_000,
            "Longest wait for a free connection before the work that needs it fails.",
        );
        let statement_timeout = settings.duration_ms(
            "PEEP_DATABASE_STATEMENT_TIMEOUT",
            30_000,
            0..=3_600_000,
            "Longest run of one statement, enforced by the server; 0 leaves it to the server's own setting.",
        );
        let options = connect_options(settings, url.as_ref(), statement_timeout);
        Self { options, connections_max: u32::try_from(connections_max).unwrap_or(u32::MAX), acquire_timeout }
    }

    /// For those who own their connections. `program` is what `pg_stat_activity` shows.
    pub fn connect_options(&self, program: &str) -> PgConnectOptions {
        self.options.clone().application_name(program)
    }

    /// The pool. Connects when first used: a process starts, and says why it is not ready, without its database.
    pub fn pool(&self, program: &str) -> PgPool {
        PgPoolOptions::new()
            .max_connections(self.connections_max)
            .acquire_timeout(self.acquire_timeout)
            // A connection that sat idle may have been cut by a firewall: retire it before that.
            .idle_timeout(Duration::from_mins(5))
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(self.connect_options(program))
    }
}

fn connect_options(
    settings: &mut Settings<'_>,
    url: Option<&SecretString>,
    statement_timeout: Duration,
) -> PgConnectOptions {
    let Some(url) = url else {
        settings.problem(URL, "is not set; write postgres://user:password@host:port/name");
        return PgConnectOptions::new_without_pgpass();
    };
    let url = url.expose_secret();
    let parsed = PgConnectOptions::from_str(url).ok().filter(|_| has_postgres_scheme(url));
    let Some(options) = parsed else {
        // Neither the text nor the parser's words about it: both may carry the password.
        settings.problem(URL, "is not a Postgres URL; write postgres://user:password@host:port/name");
        return PgConnectOptions::new_without_pgpass();
    };
    let mut limits = vec![("lock_timeout", "10s".to_owned())];
    // Somebody forgot to commit: do not hold rows and the vacuum horizon for longer than this.
    limits.push(("idle_in_transaction_session_timeout", "60s".to_owned()));
    if !statement_timeout.is_zero() {
        limits.push(("statement_timeout", format!("{}ms", statement_timeout.as_millis())));
    }
    options.options(limits)
}

fn has_postgres_scheme(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

const URL: &str = "DATABASE_URL";

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn problems(url: &str) -> String {
        let env = BTreeMap::from([(URL, url)]);
        let mut settings = Settings::new(&env);
        DatabaseConfig::read(&mut settings);
        settings.finish().err().map(|errors| errors.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_url_that_cannot_be_used_is_a_problem_and_stays_unspoken() {
        for url in ["mysql://u:hunter2@h/db", "hunter2", "postgres://u:hunter2@h:port/db"] {
            let problems = problems(url);
            assert!(problems.starts_with("DATABASE_URL: is not a Postgres URL"), "{problems}");
            assert!(!problems.contains("hunter2"), "{problems}");
        }
        assert!(problems("").starts_with("DATABASE_URL: is not set"));
        assert_eq!(problems("postgres://peep@127.0.0.1:5432/peep"), "");
    }

    #[test]
    fn the_server_is_told_who_connects() {
        let env = BTreeMap::from([(URL, "postgres://peep@127.0.0.1:5432/peep")]);
        let mut settings = Settings::new(&env);
        let config = DatabaseConfig::read(&mut settings);
        assert_eq!(config.connect_options("peep-ingest").get_application_name(), Some("peep-ingest"));
    }
}
