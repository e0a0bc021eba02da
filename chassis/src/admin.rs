//! The admin port: what a scraper, an orchestrator or a person asks a process about itself.
//!
//! - `GET /metrics`: Prometheus text, or OpenMetrics for a scraper that asks for it;
//! - `GET /healthz`: the process is alive, always 200;
//! - `GET /readyz`: 200 when the process may take traffic, 503 when not, with every part and its reason. A part that works
//!   and needs a person all the same is `degraded`: still 200, with the reason.
//!
//! It answers while the process is overloaded or draining: nothing here waits for a permit, a pool or another service.
//! There is no key, so it must not be reachable from outside; the default address is the loopback interface.

use std::net::TcpListener;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::{Value, json};

pub use health::{Health, HealthHandle};

use crate::exposition::Format;
use crate::lifecycle::Shutdown;
use crate::telemetry::MetricsHandle;

mod health;

#[cfg(test)]
mod tests;

/// Serves until shutdown is requested. Stop it last: it is how others watch the rest drain.
///
/// # Errors
/// When the listener cannot be used or accepting fails for good.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: MetricsHandle,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
        // An answer is one small write: waiting to fill a packet only delays it.
        let _ = stream.set_nodelay(true);
    });
    let router = router(health, metrics.clone());
    let stop = shutdown.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { stop.requested().await });
    tokio::select! {
        served = server.into_future() => served,
        // Graceful shutdown waits for idle keep-alive connections of scrapers: give answers in flight a moment, then go.
        () = async { shutdown.requested().await; tokio::time::sleep(LINGER).await } => Ok(()),
        () = upkeep(metrics) => Ok(()),
    }
}

async fn upkeep(metrics: MetricsHandle) {
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        metrics.upkeep();
    }
}

fn router(health: Health, metrics: MetricsHandle) -> Router {
    Router::new()
        .route("/metrics", get(render_metrics))
        .with_state(metrics)
        .route("/healthz", get(alive))
        .route("/readyz", get(ready).with_state(health))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
}

async fn render_metrics(State(metrics): State<MetricsHandle>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, format.content_type())], metrics.render_as(format)).into_response()
}

async fn alive() -> Json<Value> {
    Json(json!({
        "status": "alive",
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": crate::metrics::uptime_seconds().floor(),
    }))
}

async fn ready(State(health): State<Health>) -> Response {
    let (ready, degraded) = (health.is_ready(), health.is_degraded());
    let status = match (health.is_draining(), ready) {
        (true, _) => "draining",
        (false, true) if degraded => "degraded",
        (false, true) => "ready",
        (false, false) => "not_ready",
    };
    let parts: Vec<Value> = health
        .parts()
        .into_iter()
        .map(|(name, reason)| json!({ "name": name, "ready": health.is_part_ready(&name), "reason": reason }))
        .collect();
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "status": status, "components": parts }))).into_response()
}

async fn not_found(uri: Uri) -> Response {
    let message = format!("{} is not here; try /metrics, /healthz or /readyz", uri.path());
    error(StatusCode::NOT_FOUND, "not_found", &message)
}

async fn method_not_allowed() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the admin port answers GET only")
}

fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "error": { "code": code, "message": message } }))).into_response()
}

/// Longer than any answer of this port takes, short against every shutdown budget.
const LINGER: Duration = Duration::from_millis(250);

/// Well below the usual scrape interval of 15 s, so that a scrape finds little left to do.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
