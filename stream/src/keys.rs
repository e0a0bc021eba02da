//! The keys of a project, for its people: listed with their use, made, and revoked.
//!
//! Arrives: requests of somebody who may manage the project ([`crate::session::Gate::manager`]). Leaves: lists without
//! secrets, and the secret of a new key once, in the answer to whoever made it. Promises: nothing of another project is shown
//! or changed. Does not: make admin keys; those are made on the command line, by whoever runs peep.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use peep_chassis::ExposeSecret;
use peep_chassis::keys::{self, NewKey, Origin, RecordsError, Scope, UsedKey, format};
use serde_json::{Value, json};

use crate::body::{self, Fields};
use crate::error::ApiError;
use crate::http::Service;
use crate::query::Parameters;

/// `GET /v1/keys`
pub async fn list(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().manager(&headers).await?;
    Parameters::none(&uri)?;
    let pool = service.pool().clone();
    crate::http::in_turn(&service, async move {
        let rows = keys::list_used(&pool, viewer.project.0).await.map_err(refuse)?;
        Ok(json!({"keys": rows.iter().map(row).collect::<Vec<_>>()}))
    })
    .await
}

fn row(key: &UsedKey) -> Value {
    json!({
        "id": key.key.to_string(),
        "name": key.name,
        "prefix": format!("{}…", key.prefix),
        "scope": key.scope,
        "env": key.env,
        "origins": key.origins,
        "created_ms": key.created_ms,
        "revoked_ms": key.revoked_ms,
        "last_used_ms": key.last_used_ms,
        "events_today": key.events_today,
        "hosts": key.hosts,
    })
}

struct Wanted {
    name: Option<String>,
    scope: Scope,
    env: Option<String>,
    origins: Vec<Origin>,
}

impl Wanted {
    fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let (name, scope, env) = (fields.text("name")?, fields.text("scope")?, fields.text("env")?);
        let origins = fields.texts("origins")?.unwrap_or_default();
        fields.end()?;
        let scope = match scope.as_deref().unwrap_or_default().parse() {
            Ok(scope @ (Scope::Ingest | Scope::Read)) => scope,
            _ => {
                let why = "write `ingest` or `read`; admin keys are made with `peep key create`";
                return Err(body::invalid("scope", why));
            }
        };
        let origin = |text: &String| text.parse().map_err(|error| body::invalid("origins", &format!("{error}")));
        let origins = origins.iter().map(origin).collect::<Result<_, _>>()?;
        Ok(Self { name, scope, env, origins })
    }
}

/// `POST /v1/keys`
pub async fn create(
    State(service): State<Service>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let viewer = service.gate().changer(&headers).await?;
    Parameters::none(&uri)?;
    let Wanted { name, scope, env, origins } = Wanted::read(Fields::of(body, WANTED, body::invalid)?)?;
    let pool = service.pool().clone();
    // A task of its own: a key that was made and whose maker has left is at least in the list.
    let made = tokio::spawn(async move {
        let key = NewKey { name: name.as_deref(), env: env.as_deref(), scope, origins: &origins };
        keys::create_key_of(&pool, viewer.project.0, &key).await
    });
    let created = made.await.map_err(|_| ApiError::unavailable())?.map_err(refuse)?;
    let secret = created.secret.expose_secret();
    let (prefix, _) = format::shown_parts(secret);
    let body = json!({"id": created.key.to_string(), "key": secret, "prefix": format!("{prefix}…")});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// `DELETE /v1/keys/{id}`
pub async fn revoke(
    State(service): State<Service>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let viewer = service.gate().changer(&headers).await?;
    Parameters::none(&uri)?;
    let not_found = || ApiError::new(StatusCode::NOT_FOUND, "key_not_found", "this project has no key of that id");
    let Ok(Path(id)) = id else { return Err(not_found()) };
    let id: u64 = id.parse().map_err(|_| not_found())?;
    let pool = service.pool().clone();
    let done = tokio::spawn(async move { keys::revoke_of(&pool, viewer.project.0, id).await });
    if done.await.map_err(|_| ApiError::unavailable())?.map_err(refuse)? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(not_found())
    }
}

fn refuse(error: RecordsError) -> ApiError {
    match error {
        RecordsError::Database(error) => ApiError::of_database(&error),
        other => ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", other.to_string()),
    }
}

const WANTED: &str =
    "send JSON: {\"name\": \"…\", \"scope\": \"ingest\" or \"read\", \"env\": null or \"…\", \"origins\": []}";
