//! Who may send and who may read: API keys, login links and browser sessions.
//!
//! A key is shown once and never stored; the database holds its SHA-256 digest. A fast digest is right here: a key carries 178
//! random bits, so there is nothing a slow hash would protect from guessing, and argon2 on the ingest path would cap it at a few
//! hundred requests per second.
//!
//! A key may be bound to the [origins](Origin) of web pages. Then it is in the source of these pages and no secret any more; it can
//! send and nothing else.
//!
//! The way through: [`format`](mod@format) makes and checks the text, [`records`] creates, lists and revokes keys in Postgres, [`KeyStore`] answers
//! "whose key is this" from memory, [`usage`] notes how keys are used, [`sessions`] turns a one-time link or a read key into a browser session.
//!
//! Promised: a secret is in no log line, no error and no `Debug` output; a revoked key stops working within seconds, and no key works
//! when the database has been out of sight for longer than [`KeysConfig::stale_max`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::config::Settings;

pub mod format;

pub mod origin;

pub mod records;

mod store;

pub mod usage;

pub mod sessions;

pub use format::{Kind, digest};
pub use origin::{InvalidOrigin, Origin};
pub use records::{
    CreatedKey, ENV_BYTES_MAX, KeyRow, NewKey, RecordsError, UsedKey, create, create_for_browsers, create_key,
    create_key_of, list, list_used, project_id, revoke, revoke_of,
};
pub use sessions::{Session, SessionStore, create_login_token};
pub use store::KeyStore;
pub use usage::Usage;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Send events; read nothing. The only scope that belongs on a machine that serves users.
    Ingest,
    /// Read what a project sent.
    Read,
    /// Everything within a project.
    Admin,
}

impl Scope {
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Read, Self::Admin];

    pub fn may_ingest(self) -> bool {
        matches!(self, Self::Ingest | Self::Admin)
    }

    pub fn may_read(self) -> bool {
        matches!(self, Self::Read | Self::Admin)
    }

    /// As written on the command line and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The text names no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected ingest, read or admin")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(UnknownScope)
    }
}

/// A key somebody presented, as far as the rest of the house needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub key: u64,
    pub project: u64,
    pub project_name: String,
    /// When set, the only environment this key may send for.
    pub env: Option<String>,
    pub scope: Scope,
    /// The pages that may use this key; empty: it is not for browsers.
    pub origins: Vec<Origin>,
}

/// Why a presented key does not open anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A typing error or something else entirely: its checksum is wrong. Nobody was asked.
    #[error("this is not a peep key: {0}")]
    Malformed(format::Malformed),
    /// A secret of ours for something else. Nobody was asked.
    #[error("this is {} and no key", match .0 { Kind::LoginToken => "the token of a sign-in link", _ => "the session of a browser" })]
    NoKey(Kind),
    /// Well formed, and the database does not know it.
    #[error("this key is unknown")]
    Unknown,
    #[error("this key was revoked")]
    Revoked,
    /// Nobody can tell right now; the same request may succeed later.
    #[error("keys cannot be checked right now: {0}")]
    Unavailable(&'static str),
}

impl KeyError {
    /// Whether the sender should try again instead of looking for another key.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// The knobs of keys and sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    pub stale_max: Duration,
    pub session_ttl: Duration,
}

impl KeysConfig {
    pub fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            stale_max: settings.duration_ms(
                "PEEP_KEYS_STALE_MAX",
                600_000,
                5_000..=86_400_000,
                "How long known keys keep working while the database cannot be read. Then every key is refused with a retry \
                 hint: longer rides out longer outages, shorter limits how long a revoked key survives one.",
            ),
            session_ttl: settings.duration_ms(
                "PEEP_SESSION_TTL",
                7 * 86_400_000,
                60_000..=90 * 86_400_000,
                "How long a browser stays signed in.",
            ),
        }
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self { stale_max: Duration::from_mins(10), session_ttl: Duration::from_hours(7 * 24) }
    }
}
