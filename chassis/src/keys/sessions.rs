//! Browser sessions: a one-time link or a read key becomes a cookie's secret, and that becomes a project again.
//!
//! Arrives: a login token (from `peep login-link`) or a checked key. Leaves: a session secret, shown once, and for each request the
//! [`Session`] behind it. The database holds digests only.
//!
//! Promised: a token works once, also when two clicks race; a session ends at its expiry, when deleted, and with the key it was
//! opened with, in other processes within two seconds. Sessions read, they never send: their scope is always that of a read key.
//!
//! Not done: prolonging a session by use, and cookies themselves (the stream service writes them).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgPool;
use tokio::time::Instant;

use super::{Kind, format};

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub project: u64,
    pub project_name: String,
    /// Unix milliseconds.
    pub expires_ms: i64,
    /// Opened by a login link or an admin key, and not by a key that only reads: may change keys and rules.
    pub may_manage: bool,
}

/// A session just opened and the secret that goes into the cookie.
#[derive(Debug)]
pub struct OpenedSession {
    pub secret: SecretString,
    pub session: Session,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Unknown, malformed, used before or too old; deliberately one answer for all.
    #[error("this sign-in is not valid any more")]
    Invalid,
    #[error("sessions cannot be checked right now: {0}")]
    Unavailable(#[from] sqlx::Error),
}

/// A token that signs in once within `ttl`.
///
/// # Errors
/// When the database refuses.
pub async fn create_login_token(pool: &PgPool, project: u64, ttl: Duration) -> Result<SecretString, sqlx::Error> {
    let secret = format::new_login_token();
    sqlx::query(
        "insert into login_token (digest, project_id, expires_at) values ($1, $2, now() + $3 * interval '1 millisecond')",
    )
    .bind(format::digest(secret.expose_secret()).as_slice())
    .bind(project.cast_signed())
    .bind(millis(ttl))
    .execute(pool)
    .await?;
    Ok(secret)
}

/// Opens, finds and ends sessions, with a small cache in front of the database.
pub struct SessionStore {
    pool: PgPool,
    ttl: Duration,
    cache: Mutex<HashMap<[u8; 32], Cached>>,
}

struct Cached {
    session: Session,
    until: Instant,
}

impl SessionStore {
    pub fn new(pool: PgPool, ttl: Duration) -> Self {
        Self { pool, ttl, cache: Mutex::default() }
    }

    /// Turns a login token into a session; the token is spent even when the answer gets lost.
    ///
    /// # Errors
    /// `Invalid` when it does not work (any more).
    pub async fn redeem(&self, token: &str) -> Result<OpenedSession, SessionError> {
        if format::check(token) != Ok(Kind::LoginToken) {
            return Err(SessionError::Invalid);
        }
        // One statement: of two clicks at the same time only one finds the token unused.
        let project: Option<(i64,)> = sqlx::query_as(
            "update login_token set used_at = now() where digest = $1 and used_at is null and expires_at > now() returning project_id",
        )
        .bind(format::digest(token).as_slice())
        .fetch_optional(&self.pool)
        .await?;
        let (project,) = project.ok_or(SessionError::Invalid)?;
        self.open(project.cast_unsigned(), None).await
    }

    /// Opens a session for someone already identified; by a key, if one is given, and then it ends with that key. Also sweeps what
    /// has expired: sign-ins are rare, and so is what there is to sweep.
    ///
    /// # Errors
    /// `Invalid` when the project does not exist.
    pub async fn open(&self, project: u64, key: Option<u64>) -> Result<OpenedSession, SessionError> {
        sqlx::query("delete from session where expires_at < now()").execute(&self.pool).await?;
        sqlx::query("delete from login_token where expires_at < now() - interval '1 day'").execute(&self.pool).await?;
        let secret = format::new_session();
        let row: Option<SessionRow> = sqlx::query_as(
            "with opened as (
                 insert into session (digest, project_id, expires_at, key_id)
                 select $1, project_id, now() + $3 * interval '1 millisecond', $4 from project where project_id = $2
                 returning project_id, expires_at
             )
             select o.project_id, p.name, (extract(epoch from o.expires_at) * 1000)::bigint,
                    $4::bigint is null or (select scope = 'admin' from api_key where key_id = $4)
               from opened o join project p using (project_id)",
        )
        .bind(format::digest(secret.expose_secret()).as_slice())
        .bind(project.cast_signed())
        .bind(millis(self.ttl))
        .bind(key.map(u64::cast_signed))
        .fetch_optional(&self.pool)
        .await?;
        let session = row.map(Session::from).ok_or(SessionError::Invalid)?;
        Ok(OpenedSession { secret, session })
    }

    /// Who is behind this cookie.
    ///
    /// # Errors
    /// `Invalid` when nobody is (any more).
    pub async fn find(&self, secret: &str) -> Result<Session, SessionError> {
        if format::check(secret) != Ok(Kind::Session) {
            return Err(SessionError::Invalid);
        }
        let digest = format::digest(secret);
        if let Some(session) = self.cached(&digest) {
            return Ok(session);
        }
        let row: Option<(i64, String, i64, Option<bool>, i64)> = sqlx::query_as(
            "select s.project_id, p.name, (extract(epoch from s.expires_at) * 1000)::bigint, s.key_id is null or k.scope = 'admin',
                    (extract(epoch from s.expires_at - now()) * 1000)::bigint
               from session s join project p using (project_id) left join api_key k using (key_id)
              where s.digest = $1 and s.expires_at > now() and k.revoked_at is null",
        )
        .bind(digest.as_slice())
        .fetch_optional(&self.pool)
        .await?;
        let (project, name, expires_ms, may_manage, left_ms) = row.ok_or(SessionError::Invalid)?;
        let session = Session::from((project, name, expires_ms, may_manage));
        // The database's clock decided what is left, so this one need not agree with it.
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        self.remember(digest, session.clone(), left.min(CACHE_TTL));
        Ok(session)
    }

    /// Who is behind each of these cookies, as the database knows it now: one statement, whatever their number.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn find_all(&self, secrets: &[&str]) -> Result<Vec<Option<Session>>, sqlx::Error> {
        if secrets.is_empty() {
            return Ok(Vec::new());
        }
        let digests: Vec<Vec<u8>> = secrets.iter().map(|secret| format::digest(secret).to_vec()).collect();
        type Row = (Vec<u8>, i64, String, i64, Option<bool>);
        let rows: Vec<Row> = sqlx::query_as(
            "select s.digest, s.project_id, p.name, (extract(epoch from s.expires_at) * 1000)::bigint,
                    s.key_id is null or k.scope = 'admin'
               from session s join project p using (project_id) left join api_key k using (key_id)
              where s.digest = any($1) and s.expires_at > now() and k.revoked_at is null",
        )
        .bind(&digests)
        .fetch_all(&self.pool)
        .await?;
        let session =
            |(digest, project, name, ms, may_manage)| (digest, Session::from((project, name, ms, may_manage)));
        let found: HashMap<Vec<u8>, Session> = rows.into_iter().map(session).collect();
        Ok(digests.iter().map(|digest| found.get(digest).cloned()).collect())
    }

    /// Signs out. An unknown secret is as good as signed out.
    ///
    /// # Errors
    /// When the database refuses; the session may still be valid then.
    pub async fn end(&self, secret: &str) -> Result<(), SessionError> {
        let digest = format::digest(secret);
        sqlx::query("delete from session where digest = $1").bind(digest.as_slice()).execute(&self.pool).await?;
        self.cache.lock().remove(&digest);
        Ok(())
    }

    fn cached(&self, digest: &[u8; 32]) -> Option<Session> {
        let cache = self.cache.lock();
        cache.get(digest).filter(|cached| cached.until > Instant::now()).map(|cached| cached.session.clone())
    }

    fn remember(&self, digest: [u8; 32], session: Session, valid: Duration) {
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if cache.len() >= CACHE_MAX {
            cache.retain(|_, cached| cached.until > now);
        }
        // Still full: more people at once than planned for. They cost one query each instead of memory.
        if cache.len() < CACHE_MAX {
            cache.insert(digest, Cached { session, until: now + valid });
        }
    }
}

type SessionRow = (i64, String, i64, Option<bool>);

impl From<SessionRow> for Session {
    fn from((project, project_name, expires_ms, may_manage): SessionRow) -> Self {
        Self { project: project.cast_unsigned(), project_name, expires_ms, may_manage: may_manage == Some(true) }
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// How long a signed-out session, or one of a revoked key, may live on in another process; a dashboard polls about once a second.
const CACHE_TTL: Duration = Duration::from_secs(2);
/// Far more signed-in people than one process serves; about a megabyte.
const CACHE_MAX: usize = 4096;
