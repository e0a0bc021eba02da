//! `POST /v1/test-event`: one event from here, for whoever sets an app up and wants to see the rest of the way work.
//!
//! Arrives: a service and an environment, from somebody who may make keys for the project. Leaves: the answer that ingest would give,
//! receipt included, once the event is durable in the log. Promises: the event is a true one, the request that asked for it, and
//! it is decoded, written and counted like any other: by ingest's decoder, in ingest's record, on the partition that ingest
//! would have chosen. Does not: knock at ingest's port; that it can be reached is for the app to find out.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use peep_log::Partition;
use peep_wire::json::{Context, Decoder};
use peep_wire::partition::partition_of;
use peep_wire::receipt::Receipt;
use peep_wire::record::RecordBuilder;
use peep_wire::{KeyId, ProjectId};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::body::{self, Fields};
use crate::error::ApiError;
use crate::http::Service;
use crate::query::Parameters;

struct Wanted {
    service: String,
    env: Option<String>,
}

impl Wanted {
    fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let (service, env) = (fields.text("service")?, fields.text("env")?);
        let service = service.ok_or_else(|| fields.missing("service", "write the name of a service"));
        fields.end()?;
        Ok(Self { service: service?, env })
    }
}

/// `POST /v1/test-event`
pub async fn send(
    State(service): State<Service>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let began = Instant::now();
    let viewer = service.gate().changer(&headers).await?;
    Parameters::none(&uri)?;
    let Wanted { service: name, env } = Wanted::read(Fields::of(body, WANTED, body::invalid)?)?;
    let log = service.events().ok_or_else(log_unavailable)?;
    let event = event(&name, env.as_deref(), service.now_ms(), began.elapsed());
    let record = record(&event, viewer.project, viewer.key(), service.now_ms())?;
    // As ingest does for what comes without an identity: a service stays where it is.
    let partition = Partition(partition_of(viewer.project, &name, None, 1, log.partitions()));
    // The outcome of an append that takes too long is unknown; the event is then there or not, and harms nobody.
    let appended = timeout(APPEND_TIME_MAX, log.append(partition, record)).await;
    let offset = match appended {
        Ok(Ok(offset)) => offset,
        Ok(Err(error)) => {
            tracing::warn!(%error, "a test event was not taken by the log");
            return Err(log_unavailable());
        }
        Err(_) => return Err(log_unavailable()),
    };
    let receipt = Receipt { project: viewer.project, partition: partition.0, offset: offset.0, share: None };
    let body = json!({"accepted": 1, "rejected": [], "receipt": receipt.to_string()});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// As an app would send it: the request itself, as far as it has come.
fn event(service: &str, env: Option<&str>, now_ms: i64, took: Duration) -> Value {
    let mut event = json!({
        "service": service,
        "route": "/v1/test-event",
        "method": "POST",
        "status": 202,
        "duration_ms": took.as_secs_f64() * 1e3,
        "ts": now_ms,
        "source": "test",
    });
    if let Some(env) = env {
        event["env"] = env.into();
    }
    event
}

fn record(event: &Value, project: ProjectId, key: KeyId, now_ms: i64) -> Result<Bytes, ApiError> {
    let mut builder = RecordBuilder::default();
    builder.start(now_ms);
    let mut rejected = Vec::new();
    let decoded = Decoder::default().decode(event.to_string().as_bytes(), &CONTEXT, &mut builder, &mut rejected);
    let why = match decoded {
        Err(error) => Some(error.to_string()),
        Ok(()) => rejected.pop().map(|rejection| rejection.message),
    };
    match why {
        Some(why) => Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "no_valid_event", why)),
        None => Ok(builder.finish(project, key, None).remove(0)),
    }
}

fn log_unavailable() -> ApiError {
    let message = "the log does not take events at the moment, so apps get the same answer; try again";
    let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", message);
    ApiError { retry_after_s: Some(1), ..error }
}

/// Ends now, so that no limit on age has a say.
const CONTEXT: Context<'_> = Context {
    bound_env: None,
    age_ms_max: 60_000,
    ahead_ms_max: 60_000,
    events_max: 1,
    event_bytes_max: 64 << 10,
    depth_max: 8,
    lines: false,
};
/// As long as ingest waits for the log.
const APPEND_TIME_MAX: Duration = Duration::from_secs(4);
const WANTED: &str = "send JSON: {\"service\": \"…\", \"env\": null or \"…\"}";
