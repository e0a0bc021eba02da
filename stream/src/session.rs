//! Who is looking: keys, cookies, and where a browser's request came from.
//!
//! Arrives: the headers of a request. Leaves: a [`Viewer`], the project and environment it may see. Promises: a login
//! token works once; a cookie is out of reach of scripts and of other sites; a request that changes something must come from our
//! own pages, and so must a WebSocket, which a cookie never opens: a page asks for a ticket first ([`crate::tickets`]). A key bound
//! to an environment sees nothing else. Long-lived connections are asked after again and again ([`crate::standing`]).
//! Does not: store secrets or say why a sign-in failed.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use peep_chassis::ExposeSecret;
use peep_chassis::clock::Clock;
use peep_chassis::keys::sessions::{OpenedSession, SessionError};
use peep_chassis::keys::{KeyError, KeyStore, Scope, Session, SessionStore};
use peep_wire::{KeyId, ProjectId};
use serde::Deserialize;
use serde_json::json;

use crate::error::ApiError;
use crate::http::{Service, body_of};
use crate::labels::Filters;
use crate::query::Parameters;
use crate::standing::Standings;
use crate::tickets::Tickets;

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
    tickets: Tickets,
    standings: Standings,
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
    /// May change keys and rules of the project, and not only read.
    pub may_manage: bool,
    credential: Credential,
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

    /// What it was identified by. Never to be shown.
    pub(crate) fn secret(&self) -> &str {
        match &self.credential {
            Credential::Key { secret, .. } | Credential::Session { secret, .. } => secret,
        }
    }

    /// The key that it came with; nobody's for a session.
    pub(crate) fn key(&self) -> KeyId {
        match self.credential {
            Credential::Key { key, .. } => KeyId(key),
            Credential::Session { .. } => KeyId(0),
        }
    }

    /// Somebody in a browser.
    pub(crate) fn is_session(&self) -> bool {
        matches!(self.credential, Credential::Session { .. })
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
        Self {
            keys,
            sessions,
            clock,
            origins,
            cookie_secure,
            stale_max,
            tickets: Tickets::default(),
            standings: Standings::default(),
        }
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

    /// Somebody who may change what belongs to a project: an admin key, or a session that a login link or an admin key opened.
    pub async fn manager(&self, headers: &HeaderMap) -> Result<Viewer, ApiError> {
        self.check_origin(headers)?;
        let viewer = self.viewer(headers).await?;
        if !viewer.may_manage {
            let message = "this takes an admin key, or a session opened with a login link (`peep login-link`); a read key \
                           only reads";
            return Err(ApiError::forbidden(message));
        }
        match &viewer.env {
            None => Ok(viewer),
            Some(env) => Err(ApiError::forbidden(format!(
                "this key is bound to the environment `{env}`, and this is about the whole project; use an admin key that is \
                 bound to no environment"
            ))),
        }
    }

    /// The same, who is about to do it: a browser's request must come from our own pages.
    pub async fn changer(&self, headers: &HeaderMap) -> Result<Viewer, ApiError> {
        self.check_page(headers)?;
        self.manager(headers).await
    }

    /// With a cookie a browser asks, and every browser says where the page of a change came from. Whoever brings a key is no browser.
    pub(crate) fn check_page(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        self.check_origin(headers)?;
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let says_where = headers.contains_key(ORIGIN) && site != Some(b"cross-site");
        if says_where || headers.contains_key(AUTHORIZATION) || cookie(headers).is_none() {
            return Ok(());
        }
        let message = "a session's cookie only counts on a page of this service, and this request does not say that it comes \
                       from one; a program sends `Authorization: Bearer <key>`";
        Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_origin", message))
    }

    /// A request that only reads but is no GET: a browser's must come from our own pages.
    pub async fn viewer_from_our_pages(&self, headers: &HeaderMap) -> Result<Viewer, ApiError> {
        self.check_origin(headers)?;
        self.viewer(headers).await
    }

    /// The same as [`Gate::viewer`], for a live view. Browsers send cookies along whoever opens a WebSocket, so that takes a key or a
    /// ticket; and whoever says where it comes from must come from us.
    pub async fn viewer_of_live(
        &self,
        headers: &HeaderMap,
        wants_socket: bool,
        ticket: Option<&str>,
    ) -> Result<Viewer, ApiError> {
        // Spent in any case, so that nobody can try with it what to try next.
        let viewer = ticket.map(|ticket| self.tickets.redeem(ticket));
        self.check_origin(headers)?;
        match viewer {
            Some(viewer) => viewer.ok_or_else(|| {
                ApiError::unauthorized(
                    "this ticket was used before, is older than 30 s or was never issued; ask for another one",
                )
            }),
            None if wants_socket && !headers.contains_key(AUTHORIZATION) => Err(ApiError::unauthorized(
                "a page opens a WebSocket with a ticket: POST /v1/tickets, then /v1/live?ticket=…; a program sends \
                 `Authorization: Bearer <read key>`",
            )),
            None => self.viewer(headers).await,
        }
    }

    /// Of those who have live views open.
    pub(crate) fn standings(&self) -> &Standings {
        &self.standings
    }

    /// A ticket for this viewer, and when it expires.
    pub(crate) fn issue_ticket(&self, viewer: Viewer) -> Result<(String, i64), ApiError> {
        let (ticket, ttl) = self.tickets.issue(viewer)?;
        Ok((ticket, self.clock.now_ms() + i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Whether a viewer may still look; `None` when nobody can tell.
    pub(crate) async fn may_look(&self, viewer: &Viewer) -> Option<bool> {
        let answer = match &viewer.credential {
            Credential::Key { secret, .. } => self.viewer_by_key(secret).await,
            Credential::Session { secret, .. } => self.viewer_by_session(secret).await,
        };
        match answer {
            Ok(now) => Some(now.project == viewer.project),
            Err(error) if error.status.is_server_error() => None,
            Err(_) => Some(false),
        }
    }

    /// The same for many sessions, in one statement.
    pub(crate) async fn sessions_may_look(&self, viewers: &[&Viewer]) -> Vec<Option<bool>> {
        let secrets: Vec<&str> = viewers.iter().map(|viewer| viewer.secret()).collect();
        let sessions = match self.sessions.find_all(&secrets).await {
            Ok(sessions) => sessions,
            Err(cause) => {
                tracing::warn!(%cause, "sessions cannot be checked");
                return vec![None; viewers.len()];
            }
        };
        let now_ms = self.clock.now_ms();
        let may = |(session, viewer): (Option<Session>, &&Viewer)| {
            let known = session.filter(|session| session.expires_ms > now_ms);
            Some(known.is_some_and(|session| ProjectId(session.project) == viewer.project))
        };
        sessions.into_iter().zip(viewers).map(may).collect()
    }

    /// How long what was allowed stays allowed while nobody can tell. The store of keys sees to that for keys.
    pub(crate) fn stale_max(&self) -> Duration {
        self.stale_max
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
        self.keys.usage().used(known.key, 0, || None);
        Ok(Viewer {
            project: ProjectId(known.project),
            project_name: known.project_name.clone(),
            env: known.env.clone(),
            may_manage: known.scope == Scope::Admin,
            credential: Credential::Key { secret: key.to_owned(), key: known.key },
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
            may_manage: session.may_manage,
            credential,
        })
    }

    /// A browser says where the page came from; scripts and servers say nothing and carry no cookies of others.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), ApiError> {
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
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let gate = service.gate();
    gate.check_origin(&headers)?;
    Parameters::none(&uri)?;
    let sign_in: SignIn = body_of(body, "send JSON: either {\"token\": \"…\"} or {\"key\": \"…\"}")?;
    let OpenedSession { secret, session } = gate.open(sign_in).await?;
    let age_s = (session.expires_ms - gate.clock.now_ms()).max(0) / 1000;
    let cookie = gate.cookie_header(secret.expose_secret(), age_s);
    let (project, may_manage) = (&session.project_name, session.may_manage);
    let body = json!({"project": project, "expires_ms": session.expires_ms, "may_manage": may_manage});
    Ok(([(SET_COOKIE, cookie)], Json(body)).into_response())
}

/// `GET /v1/session`
pub async fn who_am_i(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    Parameters::none(&uri)?;
    let expires_ms = match viewer.credential {
        Credential::Session { expires_ms, .. } => Some(expires_ms),
        Credential::Key { .. } => None,
    };
    let body = json!({"project": viewer.project_name, "expires_ms": expires_ms, "may_manage": viewer.may_manage});
    Ok(Json(body).into_response())
}

/// `DELETE /v1/session`
pub async fn sign_out(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let gate = service.gate();
    gate.check_page(&headers)?;
    let viewer = gate.viewer(&headers).await?;
    Parameters::none(&uri)?;
    if viewer.is_session() {
        gate.sessions.end(viewer.secret()).await.map_err(|cause| {
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
