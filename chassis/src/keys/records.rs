//! Keys in Postgres: created, listed, revoked, and read as a whole for the [`KeyStore`](super::KeyStore).
//!
//! All SQL about keys and projects is here. The secret of a key exists only in the return value of [`create`].

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;

use super::store::Known;
use super::{ApiKey, Origin, Scope, format};

/// Why a key could not be created, listed or revoked.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("{0}")]
    Invalid(String),
    #[error("no key matches {0:?}; `peep key list` shows them")]
    NotFound(String),
    #[error("{count} keys start with {prefix:?}; name one by its id, `peep key list` shows them")]
    Ambiguous { prefix: String, count: usize },
    #[error("the database refused: {0}")]
    Database(#[from] sqlx::Error),
}

/// A key just made: the only moment its secret exists outside of its owner.
#[derive(Debug)]
pub struct CreatedKey {
    pub key: u64,
    pub secret: SecretString,
}

/// A key as shown in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub key: u64,
    pub project: String,
    pub env: Option<String>,
    pub scope: String,
    /// Empty: not for browsers.
    pub origins: Vec<String>,
    pub prefix: String,
    pub last4: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    pub revoked_at: Option<String>,
}

/// The number of a project, which is created when its name is new.
///
/// # Errors
/// When the name cannot be used or the database refuses.
pub async fn project_id(pool: &PgPool, name: &str) -> Result<u64, RecordsError> {
    check_name("project", name)?;
    // The update does nothing but make `returning` answer for a row that was there before.
    let (id,): (i64,) = sqlx::query_as(
        "insert into project (name) values ($1) on conflict (name) do update set name = excluded.name returning project_id",
    )
    .bind(name)
    .fetch_one(pool)
    .await?;
    Ok(id.cast_unsigned())
}

/// Makes a key and its project when that is new.
///
/// # Errors
/// When a name cannot be used or the database refuses.
pub async fn create(pool: &PgPool, project: &str, env: Option<&str>, scope: Scope) -> Result<CreatedKey, RecordsError> {
    insert(pool, project, env, scope, None).await
}

/// Makes a key that pages of these origins may use, to send.
///
/// # Errors
/// When there are no origins or too many, a name cannot be used or the database refuses.
pub async fn create_for_browsers(
    pool: &PgPool,
    project: &str,
    env: Option<&str>,
    origins: &[Origin],
) -> Result<CreatedKey, RecordsError> {
    if !(1..=ORIGINS_MAX).contains(&origins.len()) {
        return Err(RecordsError::Invalid(format!("a key for browsers lists 1 to {ORIGINS_MAX} origins")));
    }
    let origins = origins.iter().map(|origin| origin.as_str().to_owned()).collect();
    insert(pool, project, env, Scope::Ingest, Some(origins)).await
}

async fn insert(
    pool: &PgPool,
    project: &str,
    env: Option<&str>,
    scope: Scope,
    origins: Option<Vec<String>>,
) -> Result<CreatedKey, RecordsError> {
    if let Some(env) = env {
        check_name("environment", env)?;
    }
    let project = project_id(pool, project).await?;
    let secret = format::new_key(env);
    let (prefix, last4) = format::shown_parts(secret.expose_secret());
    let (key,): (i64,) = sqlx::query_as(
        "insert into api_key (project_id, env, scope, prefix, last4, digest, origins)
         values ($1, $2, $3, $4, $5, $6, $7) returning key_id",
    )
    .bind(project.cast_signed())
    .bind(env)
    .bind(scope.name())
    .bind(prefix)
    .bind(last4)
    .bind(format::digest(secret.expose_secret()).as_slice())
    .bind(origins)
    .fetch_one(pool)
    .await?;
    Ok(CreatedKey { key: key.cast_unsigned(), secret })
}

/// Keys of one project or of all, oldest first, revoked ones included.
///
/// # Errors
/// When the database refuses.
pub async fn list(pool: &PgPool, project: Option<&str>) -> Result<Vec<KeyRow>, RecordsError> {
    let rows: Vec<ListedRow> = sqlx::query_as(
        r#"select k.key_id, p.name, k.env, k.scope, coalesce(k.origins, '{}'), k.prefix, k.last4,
                  to_char(k.created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                  to_char(k.revoked_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
             from api_key k join project p using (project_id)
            where $1::text is null or p.name = $1
            order by k.key_id"#,
    )
    .bind(project)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(KeyRow::from).collect())
}

type ListedRow = (i64, String, Option<String>, String, Vec<String>, String, String, String, Option<String>);

impl From<ListedRow> for KeyRow {
    fn from((key, project, env, scope, origins, prefix, last4, created_at, revoked_at): ListedRow) -> Self {
        Self { key: key.cast_unsigned(), project, env, scope, origins, prefix, last4, created_at, revoked_at }
    }
}

/// Revokes one key, named by its id, its shown prefix or its whole text. Revoking twice is harmless and keeps the first date.
///
/// # Errors
/// When it names no key or several, or the database refuses.
pub async fn revoke(pool: &PgPool, which: &str) -> Result<KeyRow, RecordsError> {
    let by_text = format::check(which).is_ok().then(|| format::digest(which).to_vec());
    // Whoever reads this message may be a log: a whole key must not be in it.
    let shown = if by_text.is_some() { "the given key" } else { which };
    let found: Vec<(i64,)> =
        sqlx::query_as("select key_id from api_key where key_id::text = $1 or prefix = $1 or digest = $2")
            .bind(which)
            .bind(by_text)
            .fetch_all(pool)
            .await?;
    let key = match found.as_slice() {
        [] => return Err(RecordsError::NotFound(shown.to_owned())),
        [(key,)] => *key,
        several => return Err(RecordsError::Ambiguous { prefix: shown.to_owned(), count: several.len() }),
    };
    sqlx::query("update api_key set revoked_at = coalesce(revoked_at, now()) where key_id = $1")
        .bind(key)
        .execute(pool)
        .await?;
    let rows = list(pool, None).await?;
    rows.into_iter().find(|row| row.key == key.cast_unsigned()).ok_or_else(|| RecordsError::NotFound(shown.to_owned()))
}

/// Every key, by digest.
pub(super) async fn snapshot(pool: &PgPool) -> Result<HashMap<[u8; 32], Known>, sqlx::Error> {
    let rows: Vec<SnapshotRow> = sqlx::query_as(
        "select k.digest, k.key_id, k.project_id, p.name, k.env, k.scope, coalesce(k.origins, '{}'), k.revoked_at is not null
           from api_key k join project p using (project_id)",
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().filter_map(known).collect())
}

type SnapshotRow = (Vec<u8>, i64, i64, String, Option<String>, String, Vec<String>, bool);

/// A row this build does not understand (a scope or an origin of a later release) opens nothing.
fn known((digest, key, project, project_name, env, scope, origins, revoked): SnapshotRow) -> Option<([u8; 32], Known)> {
    let digest = <[u8; 32]>::try_from(digest).ok()?;
    if revoked {
        return Some((digest, Known::Revoked));
    }
    let scope = scope.parse().ok()?;
    let origins = origins.iter().map(|origin| origin.parse().ok()).collect::<Option<_>>()?;
    let key = ApiKey { key: key.cast_unsigned(), project: project.cast_unsigned(), project_name, env, scope, origins };
    Some((digest, Known::Active(Arc::new(key))))
}

/// As the migration has it.
const ORIGINS_MAX: usize = 64;

/// Names appear in URLs, tables and charts: short, visible, no blanks.
fn check_name(what: &str, name: &str) -> Result<(), RecordsError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(fine) {
        Ok(())
    } else {
        Err(RecordsError::Invalid(format!(
            "the {what} {name:?} cannot be used: write 1 to 128 of letters, digits and . _ / -"
        )))
    }
}
