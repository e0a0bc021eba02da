//! `peep key …` and `peep login-link`: what an operator does with keys.
//!
//! A secret is printed to standard output once and goes nowhere else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use peep_chassis::ExposeSecret;
use peep_chassis::config::{ProcessEnv, Settings};
use peep_chassis::keys::{self, KeyRow, NewKey, Scope};
use sqlx::PgPool;

use crate::cli::{KeyCommand, LoginLink};
use crate::configuration::print;
use crate::schema;
use crate::services::stream_address;

/// # Errors
/// When the configuration makes no sense, the database cannot be reached or refuses.
pub(crate) fn main(command: KeyCommand) -> anyhow::Result<ExitCode> {
    schema::with_database(PROGRAM, async |pool| match command {
        KeyCommand::Create { project, env, scope, name, origin, quiet } => {
            let key = NewKey { name: name.as_deref(), env: env.as_deref(), scope, origins: &origin };
            create(&pool, &project, &key, quiet).await
        }
        KeyCommand::List { project } => print(&table(&keys::list(&pool, project.as_deref()).await?)),
        KeyCommand::Revoke { which } => {
            let row = keys::revoke(&pool, &which).await?;
            print(&format!("revoked key {} ({}…{}) of project {}\n", row.key, row.prefix, row.last4, row.project))
        }
    })
}

/// Prints a link whose token is in the fragment, which browsers do not send: it is in no server's log and no referrer.
///
/// # Errors
/// When the configuration makes no sense, the database cannot be reached or refuses.
pub(crate) fn login_link(link: &LoginLink) -> anyhow::Result<ExitCode> {
    let url = match &link.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let mut settings = Settings::new(&ProcessEnv);
            let address = stream_address(&mut settings);
            settings.finish()?;
            format!("http://{}", reachable(address))
        }
    };
    let ttl = Duration::from_mins(u64::from(link.minutes));
    schema::with_database(PROGRAM, async |pool| {
        let project = keys::project_id(&pool, &link.project).await?;
        let token = keys::create_login_token(&pool, project, ttl).await.context("create a login token")?;
        print(&format!("{url}/login/#token={}\n", token.expose_secret()))
    })
}

async fn create(pool: &PgPool, project: &str, key: &NewKey<'_>, quiet: bool) -> anyhow::Result<()> {
    let NewKey { name, env, scope, origins } = *key;
    anyhow::ensure!(
        origins.is_empty() || scope == Scope::Ingest,
        "a key for web pages can be read by everybody who opens them; use --origin with --scope ingest only"
    );
    let created = keys::create_key(pool, project, key).await?;
    let secret = created.secret.expose_secret();
    if quiet {
        return print(&format!("{secret}\n"));
    }
    let bound = env.map_or_else(|| "any environment".to_owned(), |env| format!("environment {env}"));
    let pages = if origins.is_empty() { String::new() } else { format!(", for pages of {}", join(origins)) };
    print(&format!(
        "key {id}{named} of project {project}, scope {scope}, {bound}{pages}:\n\n  {secret}\n\n\
         It is not shown again. `peep key revoke {id}` ends it.\n",
        id = created.key,
        named = name.map_or_else(String::new, |name| format!(" ({name})")),
    ))
}

fn join(origins: &[impl std::fmt::Display]) -> String {
    origins.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn table(rows: &[KeyRow]) -> String {
    if rows.is_empty() {
        return "no keys; `peep key create --project NAME --scope ingest` makes one\n".to_owned();
    }
    let shown = |row: &KeyRow| format!("{}…{}", row.prefix, row.last4);
    let width = rows.iter().map(|row| shown(row).chars().count()).max().unwrap_or(0);
    let mut text = format!(
        "{:<6} {:<20} {:<12} {:<7} {:<width$} {:<20} {:<20} {:<24} ORIGINS\n",
        "ID", "PROJECT", "ENV", "SCOPE", "KEY", "CREATED", "REVOKED", "NAME"
    );
    for row in rows {
        let key = shown(row);
        let env = row.env.as_deref().unwrap_or("(any)");
        let revoked = row.revoked_at.as_deref().unwrap_or("-");
        let name = row.name.as_deref().unwrap_or("-");
        let origins = if row.origins.is_empty() { "-".to_owned() } else { join(&row.origins) };
        text.push_str(&format!(
            "{:<6} {:<20} {env:<12} {:<7} {key:<width$} {:<20} {revoked:<20} {name:<24} {origins}\n",
            row.key, row.project, row.scope, row.created_at
        ));
    }
    text
}

/// A listener on every address is reached through the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

/// What `pg_stat_activity` shows.
const PROGRAM: &str = "peep-key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_points_to_an_address_a_browser_can_open() {
        let everywhere = "0.0.0.0:8080".parse().expect("an address");
        assert_eq!(reachable(everywhere).to_string(), "127.0.0.1:8080");
        let one = "192.168.1.2:8080".parse().expect("an address");
        assert_eq!(reachable(one), one);
    }
}
