//! Who is looking: keys, cookies, and where a browser's request came from.
//!
//! Arrives: the headers of a request. Leaves: a [`Viewer`], the project and environment it may see. Promises: a login
//! token works once; a cookie is out of reach of scripts and of other sites; a request that changes something, or opens
//! a WebSocket with a cookie, must come from our own pages; a key bound to an environment sees nothing else. Long-lived
//! connections ask again every second, so that a revoked key or an ended session stops seeing.
//! Does not: store secrets or say why a sign-in failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use peep_chassis::ExposeSecret;
use peep_chassis::clock::Clock;
use peep_chassis::keys::sessions::{OpenedSession, SessionError};
use peep_chassis::keys::{KeyError, KeyStore, Scope, SessionStore};
use peep_wire::ProjectId;
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::http::Service;
use crate::labels::Filters;

/// Finds out who is looking.
pub struct Gate {
    keys: Arc<KeyStore>,
    sessions: SessionStore,
    clock: Clock,
    /// Origins other than our own that may use a cookie.
    origins: Vec<String>,
    /// Cookies only travel over TLS.
    cookie_secure: bool,
    /// How long an open connection outlives the database.
    stale_max: Duration,
}

/// Somebody who may read a project.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Whose events.
    pub project: ProjectId,
    /// Its name.
    pub project_name: String,
    /// The only environment that may be seen.
    pub env: Option<String>,
    credential: Credential,
    /// When that was last certain.
    confirmed: Instant,
}

#[derive(Clone)]
enum Credential {
    Key { secret: String, key: u64 },
    Session { secret: String, expires_ms: i64 },
}

/// A secret is in no log line.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key { .. } => "Key",
            Self::Session { .. } => "Session",
        })
    }
}

impl Viewer {
    /// Narrows filters to what this viewer may see.
    pub fn restrict(&self, filters: &mut Filters) -> Result<(), ApiError> {
        let Some(env) = &self.env else { return Ok(()) };
        if filters.env.iter().any(|asked| asked != env) {
            let message = format!("this key only reads the environment `{env}`; leave `env` out or name that one");
            return Err(ApiError::forbidden(message));
        }
        filters.env = vec![env.clone()];
        Ok(())
    }

    fn session_secret(&self) -> Option<&str> {
        match &self.credential {
            Credential::Session { secret, .. } => Some(secret),
            Credential::Key { .. } => None,
        }
    }
}

impl Gate {
    /// `origins` are compared with the `Origin` header as they are written.
    pub fn new(
        keys: Arc<KeyStore>,
        sessions: SessionStore,
        clock: Clock,
        origins: Vec<String>,
        cookie_secure: bool,
        stale_max: Duration,
    ) -> Self {
        Self { keys, sessions, clock, origins, cookie_secure, stale_max }
    }

    /// A bearer key, or a session cookie.
    pub async fn viewer(&self, headers: &HeaderMap) -> Result<Viewer, ApiError> {
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let key = bearer(authorization)
                .ok_or_else(|| ApiError::unauthorized("write `Authorization: Bearer <read key>`"))?;
            return self.viewer_by_key(key).await;
        }
        let Some(secret) = cookie(headers) else {
            return Err(ApiError::unauthorized("sign in, or send `Authorization: Bearer <read key>`"));
        };
        self.viewer_by_session(secret).await
    }

    /// The same, for what concerns a project as a whole and cannot be narrowed to one environment.
    pub async fn viewer_of_project(&self, headers: &HeaderMap) -> Result<Viewer, ApiError> {
        let viewer = self.viewer(headers).await?;
        match &viewer.env {
            None => Ok(viewer),
            Some(env) => Err(ApiError::forbidden(format!(
                "this key only reads the environment `{env}`, and this answer is about the whole project; use a read key \
                 that is bound to no environment"
            ))),
        }
    }

    /// The same as [`Gate::viewer`], for a WebSocket: browsers send cookies along whoever opens it, so the page's origin must be ours.
    pub async fn viewer_of_upgrade(&self, headers: &HeaderMap) -> Result<Viewer, ApiError> {
        if !headers.contains_key(AUTHORIZATION) {
            self.check_origin(headers)?;
        }
        self.viewer(headers).await
    }

    /// Whether the viewer may still look. While nobody can tell, what was allowed stays allowed for a while: the store of keys
    /// sees to that for keys, and here it is the same for sessions.
    pub async fn may_stay(&self, viewer: &mut Viewer) -> bool {
        let (answer, stale_max) = match &viewer.credential {
            Credential::Key { secret, .. } => (self.viewer_by_key(secret).await, Duration::ZERO),
            Credential::Session { secret, .. } => (self.viewer_by_session(secret).await, self.stale_max),
        };
        match answer {
            Ok(now) => {
                viewer.confirmed = now.confirmed;
                now.project == viewer.project
            }
            Err(error) => error.status.is_server_error() && viewer.confirmed.elapsed() < stale_max,
        }
    }

    async fn viewer_by_key(&self, key: &str) -> Result<Viewer, ApiError> {
        let known = self.keys.check(key).await.map_err(|error| match error {
            KeyError::Unavailable(_) => ApiError::unavailable(),
            other => ApiError::unauthorized(format!("{other}; `peep key create --scope read` makes a new one")),
        })?;
        if !known.scope.may_read() {
            let message =
                format!("this is a key for scope `{}`; reading needs one for scope `{}`", known.scope, Scope::Read);
            return Err(ApiError::forbidden(message));
        }
        Ok(Viewer {
            project: ProjectId(known.project),
            project_name: known.project_name.clone(),
            env: known.env.clone(),
            credential: Credential::Key { secret: key.to_owned(), key: known.key },
            confirmed: Instant::now(),
        })
    }

    async fn viewer_by_session(&self, secret: &str) -> Result<Viewer, ApiError> {
        let session = self.sessions.find(secret).await.map_err(|error| match error {
            SessionError::Invalid => ApiError::unauthorized("the session has ended; sign in again"),
            SessionError::Unavailable(cause) => {
                tracing::warn!(%cause, "sessions cannot be checked");
                ApiError::unavailable()
            }
        })?;
        if session.expires_ms <= self.clock.now_ms() {
            return Err(ApiError::unauthorized("the session has ended; sign in again"));
        }
        let credential = Credential::Session { secret: secret.to_owned(), expires_ms: session.expires_ms };
        Ok(Viewer {
            project: ProjectId(session.project),
            project_name: session.project_name,
            env: None,
            credential,
            confirmed: Instant::now(),
        })
    }

    /// A browser says where the page came from; scripts and servers say nothing and carry no cookies of others.
    fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or("");
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
        let ours = origin.split_once("://").is_some_and(|(_, authority)| !host.is_empty() && authority == host);
        if ours || self.origins.iter().any(|allowed| allowed == origin) {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "foreign_origin",
            "this request came from a page of another site; if that site is yours, list it in PEEP_STREAM_ORIGINS",
        ))
    }

    fn cookie_header(&self, secret: &str, age_s: i64) -> HeaderValue {
        let secure = if self.cookie_secure { "; Secure" } else { "" };
        let text = format!("{COOKIE_NAME}={secret}; HttpOnly; SameSite=Lax; Path=/; Max-Age={age_s}{secure}");
        HeaderValue::from_str(&text).expect("secrets are letters, digits and underscores")
    }

    async fn open(&self, sign_in: SignIn) -> Result<OpenedSession, ApiError> {
        let opened = match sign_in {
            SignIn { token: Some(token), key: None } => self.sessions.redeem(&token).await,
            SignIn { token: None, key: Some(key) } => {
                let viewer = self.viewer_by_key(&key).await?;
                if viewer.env.is_some() {
                    // A session carries no environment; it must not see more than the key it came from.
                    let message = "this key is bound to one environment; sign in with a read key of the whole project";
                    return Err(ApiError::forbidden(message));
                }
                let key = match viewer.credential {
                    Credential::Key { key, .. } => Some(key),
                    Credential::Session { .. } => None,
                };
                self.sessions.open(viewer.project.0, key).await
            }
            _ => {
                let message = "send either {\"token\": \"…\"} or {\"key\": \"…\"}";
                return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", message));
            }
        };
        opened.map_err(|error| match error {
            SessionError::Invalid => ApiError::unauthorized(
                "this sign-in link was used before or is too old; sign in with a read key, or make a new link",
            ),
            SessionError::Unavailable(cause) => {
                tracing::warn!(%cause, "a session cannot be opened");
                ApiError::unavailable()
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: Option<String>,
    key: Option<String>,
}

/// `POST /v1/session`
pub async fn sign_in(
    State(service): State<Service>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let gate = service.gate();
    gate.check_origin(&headers)?;
    let body = body.map_err(|rejected| match rejected.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "a sign-in is smaller than 4 KiB")
        }
        _ => ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", "the body could not be read"),
    })?;
    let sign_in: SignIn = serde_json::from_slice(&body).map_err(|_| {
        let message = "send JSON: either {\"token\": \"…\"} or {\"key\": \"…\"}";
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    })?;
    let OpenedSession { secret, session } = gate.open(sign_in).await?;
    let age_s = (session.expires_ms - gate.clock.now_ms()).max(0) / 1000;
    let cookie = gate.cookie_header(secret.expose_secret(), age_s);
    let body = json!({"project": session.project_name, "expires_ms": session.expires_ms});
    Ok(([(SET_COOKIE, cookie)], Json(body)).into_response())
}

/// `GET /v1/session`
pub async fn who_am_i(State(service): State<Service>, headers: HeaderMap) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let expires_ms = match viewer.credential {
        Credential::Session { expires_ms, .. } => Some(expires_ms),
        Credential::Key { .. } => None,
    };
    Ok(Json(json!({"project": viewer.project_name, "expires_ms": expires_ms})).into_response())
}

/// `DELETE /v1/session`
pub async fn sign_out(State(service): State<Service>, headers: HeaderMap) -> Result<Response, ApiError> {
    let gate = service.gate();
    gate.check_origin(&headers)?;
    let viewer = gate.viewer(&headers).await?;
    if let Some(secret) = viewer.session_secret() {
        gate.sessions.end(secret).await.map_err(|cause| {
            tracing::warn!(%cause, "a session cannot be ended");
            ApiError::unavailable()
        })?;
    }
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, gate.cookie_header("", 0))]).into_response())
}

fn bearer(authorization: &HeaderValue) -> Option<&str> {
    let (scheme, key) = authorization.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|all| all.split(';'));
    let mut ours = cookies.filter_map(|pair| pair.trim().strip_prefix(COOKIE_NAME)?.strip_prefix('='));
    ours.next().filter(|secret| !secret.is_empty())
}

const COOKIE_NAME: &str = "peep_session";
