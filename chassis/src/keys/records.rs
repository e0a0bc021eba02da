//! Keys in Postgres: created, listed, revoked, and read as a whole for the [`KeyStore`](super::KeyStore).
//!
//! All SQL about keys and projects is here. The secret of a key exists only in the return value of [`create`].

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sqlx::{PgPool, Row};

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

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    /// For people; may be left out.
    pub name: Option<&'a str>,
    /// The only environment it may send for or read.
    pub env: Option<&'a str>,
    pub scope: Scope,
    /// Pages that may send with it; empty: it is a secret.
    pub origins: &'a [Origin],
}

/// A key as shown in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub key: u64,
    pub name: Option<String>,
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

/// A key and how it is used, in Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedKey {
    pub key: u64,
    pub name: Option<String>,
    pub env: Option<String>,
    pub scope: String,
    pub origins: Vec<String>,
    pub prefix: String,
    pub created_ms: i64,
    pub revoked_ms: Option<i64>,
    /// Within about ten seconds; `None`: never, as far as is known.
    pub last_used_ms: Option<i64>,
    /// Accepted since midnight, UTC.
    pub events_today: u64,
    /// Some that were named in its events within about an hour.
    pub hosts: Vec<String>,
}

/// The number of a project, which is created when its name is new.
///
/// # Errors
/// When the name cannot be used or the database refuses.
pub async fn project_id(pool: &PgPool, name: &str) -> Result<u64, RecordsError> {
    check_name("project", name, PROJECT_BYTES_MAX)?;
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
    create_key(pool, project, &NewKey { name: None, env, scope, origins: &[] }).await
}

/// The same for a key of any kind.
///
/// # Errors
/// When a name or the origins cannot be used or the database refuses.
pub async fn create_key(pool: &PgPool, project: &str, key: &NewKey<'_>) -> Result<CreatedKey, RecordsError> {
    key.check()?;
    create_key_of(pool, project_id(pool, project).await?, key).await
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
    create_key(pool, project, &NewKey { name: None, env, scope: Scope::Ingest, origins }).await
}

impl NewKey<'_> {
    fn check(&self) -> Result<(), RecordsError> {
        let invalid = |why: String| Err(RecordsError::Invalid(why));
        if let Some(env) = self.env {
            check_name("environment", env, ENV_BYTES_MAX)?;
        }
        if let Some(name) = self.name {
            let length = name.chars().count();
            if !(1..=NAME_CHARS_MAX).contains(&length) || name.trim() != name || name.chars().any(char::is_control) {
                return invalid(format!(
                    "the name of a key has 1 to {NAME_CHARS_MAX} characters and no blanks around them"
                ));
            }
        }
        if !self.origins.is_empty() && self.scope != Scope::Ingest {
            return invalid(
                "a key for web pages can be read by everybody who opens them; its scope is ingest".to_owned(),
            );
        }
        if self.origins.len() > ORIGINS_MAX {
            return invalid(format!("a key for browsers lists 1 to {ORIGINS_MAX} origins"));
        }
        Ok(())
    }
}

/// Makes a key of a project that there is.
///
/// # Errors
/// When a name or the origins cannot be used or the database refuses.
pub async fn create_key_of(pool: &PgPool, project: u64, key: &NewKey<'_>) -> Result<CreatedKey, RecordsError> {
    key.check()?;
    let NewKey { name, env, scope, origins } = *key;
    let origins: Vec<String> = origins.iter().map(|origin| origin.as_str().to_owned()).collect();
    let origins = (!origins.is_empty()).then_some(origins);
    let secret = format::new_key(env);
    let (prefix, last4) = format::shown_parts(secret.expose_secret());
    let (key,): (i64,) = sqlx::query_as(
        "insert into api_key (project_id, env, scope, prefix, last4, digest, origins, name)
         values ($1, $2, $3, $4, $5, $6, $7, $8) returning key_id",
    )
    .bind(project.cast_signed())
    .bind(env)
    .bind(scope.name())
    .bind(prefix)
    .bind(last4)
    .bind(format::digest(secret.expose_secret()).as_slice())
    .bind(origins)
    .bind(name)
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
                  to_char(k.revoked_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), k.name
             from api_key k join project p using (project_id)
            where $1::text is null or p.name = $1
            order by k.key_id"#,
    )
    .bind(project)
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(KeyRow::from).collect())
}

type ListedRow =
    (i64, String, Option<String>, String, Vec<String>, String, String, String, Option<String>, Option<String>);

impl From<ListedRow> for KeyRow {
    fn from((key, project, env, scope, origins, prefix, last4, created_at, revoked_at, name): ListedRow) -> Self {
        Self { key: key.cast_unsigned(), name, project, env, scope, origins, prefix, last4, created_at, revoked_at }
    }
}

/// Keys of a project with their use: active ones, and those that were revoked within thirty days. Newest first.
///
/// # Errors
/// When the database refuses.
pub async fn list_used(pool: &PgPool, project: u64) -> Result<Vec<UsedKey>, RecordsError> {
    let rows = sqlx::query(
        "select k.key_id, k.name, k.env, k.scope, coalesce(k.origins, '{}'), k.prefix,
                floor(extract(epoch from k.created_at) * 1000)::bigint,
                floor(extract(epoch from k.revoked_at) * 1000)::bigint,
                (select floor(extract(epoch from max(last_used_at)) * 1000)::bigint from key_usage u where u.key_id = k.key_id),
                coalesce(today.events, 0),
                coalesce((
                    select array_agg(distinct host order by host) from key_usage u, unnest(u.hosts) as host
                     where u.key_id = k.key_id and u.last_used_at > now() - interval '1 hour'
                ), '{}')
           from api_key k
           left join key_usage today on today.key_id = k.key_id and today.day = (now() at time zone 'utc')::date
          where k.project_id = $1 and (k.revoked_at is null or k.revoked_at > now() - interval '30 days')
          order by k.key_id desc limit 1000",
    )
    .bind(project.cast_signed())
    .fetch_all(pool)
    .await?;
    let used = |row: &sqlx::postgres::PgRow| -> Result<UsedKey, sqlx::Error> {
        Ok(UsedKey {
            key: row.try_get::<i64, _>(0)?.cast_unsigned(),
            name: row.try_get(1)?,
            env: row.try_get(2)?,
            scope: row.try_get(3)?,
            origins: row.try_get(4)?,
            prefix: row.try_get(5)?,
            created_ms: row.try_get(6)?,
            revoked_ms: row.try_get(7)?,
            last_used_ms: row.try_get(8)?,
            events_today: row.try_get::<i64, _>(9)?.cast_unsigned(),
            hosts: row.try_get(10)?,
        })
    };
    Ok(rows.iter().map(used).collect::<Result<_, _>>()?)
}

/// Revokes a key of a project; revoking twice is harmless. Answers whether there is such a key.
///
/// # Errors
/// When the database refuses.
pub async fn revoke_of(pool: &PgPool, project: u64, key: u64) -> Result<bool, RecordsError> {
    let done = sqlx::query(
        "update api_key set revoked_at = coalesce(revoked_at, now()) where key_id = $1 and project_id = $2",
    )
    .bind(key.cast_signed())
    .bind(project.cast_signed())
    .execute(pool)
    .await?;
    Ok(done.rows_affected() > 0)
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

/// As the migrations have it.
const ORIGINS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 80;

const PROJECT_BYTES_MAX: usize = 128;
/// As long as the `env` of an event may be: a key that is bound to a longer one could send nothing that names it.
pub const ENV_BYTES_MAX: usize = 64;

/// Names appear in URLs, tables and charts: short, visible, no blanks.
fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<(), RecordsError> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    if (1..=bytes_max).contains(&name.len()) && name.bytes().all(fine) {
        return Ok(());
    }
    let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
    let length = name.chars().count();
    let length = if length > bytes_max { format!(", of {length} characters,") } else { String::new() };
    Err(RecordsError::Invalid(format!(
        "the {what} {shown:?}{length} cannot be used: write 1 to {bytes_max} of letters, digits and . _ / -"
    )))
}

/// Of a name that is told to be wrong.
const SHOWN_CHARS_MAX: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(env: &str) -> Option<String> {
        let key = NewKey { name: None, env: Some(env), scope: Scope::Ingest, origins: &[] };
        key.check().err().map(|error| error.to_string())
    }

    #[test]
    fn an_environment_is_one_that_an_event_can_name() {
        assert_eq!(refusal(&"e".repeat(64)), None);
        let long = refusal(&"e".repeat(65)).unwrap();
        assert!(long.contains("of 65 characters") && long.contains("1 to 64"), "{long}");
        for env in ["", "a b", "prod\u{e9}", "a:b"] {
            assert!(refusal(env).is_some_and(|why| why.contains("1 to 64")), "{env:?}");
        }
    }

    #[test]
    fn a_project_may_have_a_longer_name() {
        assert!(check_name("project", &"p".repeat(128), PROJECT_BYTES_MAX).is_ok());
        assert!(check_name("project", &"p".repeat(129), PROJECT_BYTES_MAX).is_err());
    }
}
