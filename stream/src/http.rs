//! Paths, and the one place where every answer gets its request id.
//!
//! Arrives: requests. Leaves: answers of the read API as JSON, live streams, and the dashboard's files. Promises: every
//! error under `/v1` is JSON with a stable code and the request id that is also in the log line; unknown paths are 404,
//! wrong methods 405. Does not: contain logic; each handler parses, asks one module and wraps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use peep_chassis::clock::Clock;
use peep_chassis::lifecycle::Shutdown;
use peep_log::Log;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::alerts::webhook::Webhooks;
use crate::answer::Answers;
use crate::books::tail::TailLimits;
use crate::error::ApiError;
use crate::fanout::Fanout;
use crate::feed::Feed;
use crate::findings::Findings;
use crate::freshness::Freshness;
use crate::hub::Hub;
use crate::labels::Filters;
use crate::query::{
    CompareQuery, DiffersQuery, EventsQuery, FindingsQuery, FreshnessQuery, HeatmapQuery, Parameters, ReconcileQuery,
    RejectsQuery, RejectsSummaryQuery, ReleasesQuery, SeriesQuery, ServicesQuery, SuggestQuery, SummaryQuery,
};
use crate::session::{self, Gate};
use crate::{
    assets, body, books, cardinality, compare, differs, events, heatmap, keys, live, metrics, openapi, query, receipts,
    rejects, releases, suggest, test_event, tickets,
};

/// Everything a handler needs. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    parts: Arc<Parts>,
}

/// What a [`Service`] is made of.
pub struct Parts {
    /// Finds out who is looking.
    pub gate: Gate,
    /// Answers questions.
    pub answers: Answers,
    /// What needs attention.
    pub findings: Findings,
    /// Live frames, for when something was sent.
    pub feed: Feed,
    /// Live views.
    pub hub: Hub,
    /// Their WebSockets.
    pub fanout: Fanout,
    /// For raw events and the books.
    pub pool: PgPool,
    /// What is not counted yet.
    pub events: Option<Arc<dyn Log>>,
    /// The present.
    pub clock: Clock,
    /// Ends live streams.
    pub shutdown: Shutdown,
    /// Bounds of the transports.
    pub limits: TransportLimits,
    /// What looking at `events` may cost.
    pub tail: TailLimits,
    /// Sends messages to receivers of alerts.
    pub webhooks: Webhooks,
    /// How old a number is.
    pub freshness: Freshness,
}

/// The bounds of live transports and raw searches.
#[derive(Debug, Clone, Copy)]
pub struct TransportLimits {
    /// For one message to be taken by a reader of events.
    pub slow_timeout: Duration,
    /// Largest first message of a live view.
    pub message_bytes_max: usize,
    /// For one page of raw events.
    pub search_time_max: Duration,
}

impl Service {
    /// Shares the parts.
    pub fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Finds out who is looking.
    pub fn gate(&self) -> &Gate {
        &self.parts.gate
    }

    /// Live views.
    pub fn hub(&self) -> &Hub {
        &self.parts.hub
    }

    /// Their WebSockets.
    pub fn fanout(&self) -> &Fanout {
        &self.parts.fanout
    }

    /// Ends live streams.
    pub fn shutdown(&self) -> &Shutdown {
        &self.parts.shutdown
    }

    /// Bounds of the transports.
    pub fn limits(&self) -> TransportLimits {
        self.parts.limits
    }

    /// Answers questions.
    pub fn answers(&self) -> &Answers {
        &self.parts.answers
    }

    /// The database.
    pub fn pool(&self) -> &PgPool {
        &self.parts.pool
    }

    /// The log that ingest writes; `None`: this process has none.
    pub fn events(&self) -> Option<&Arc<dyn Log>> {
        self.parts.events.as_ref()
    }

    /// Sends messages to receivers of alerts.
    pub fn webhooks(&self) -> &Webhooks {
        &self.parts.webhooks
    }

    /// The present.
    pub fn now_ms(&self) -> i64 {
        self.parts.clock.now_ms()
    }
}

/// All paths.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/v1/session", post(session::sign_in).get(session::who_am_i).delete(session::sign_out))
        .route("/v1/services", get(services))
        .route("/v1/summary", get(summary))
        .route("/v1/series", get(series))
        .route("/v1/findings", get(findings_of))
        .route("/v1/compare", get(compared))
        .route("/v1/heatmap", get(heat))
        .route("/v1/differs", get(differing))
        .route("/v1/releases", get(released))
        .route("/v1/events", get(raw_events))
        .route("/v1/suggest", get(suggested))
        .route("/v1/suggest/routes", get(suggested_routes))
        .route("/v1/live", get(live::open))
        .route("/v1/tickets", post(tickets::issue))
        .route("/v1/receipts/{receipt}", get(receipt))
        .route("/v1/reconcile", get(reconcile))
        .route("/v1/rejects", get(rejected))
        .route("/v1/rejects/summary", get(rejected_summary))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", delete(keys::revoke))
        .route("/v1/test-event", post(test_event::send))
        .route("/v1/cardinality", get(cardinality_of_routes))
        .route("/v1/freshness", get(freshness))
        .merge(crate::alerts::paths())
        .route("/v1/openapi.json", get(openapi::describe))
        .fallback(elsewhere)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(with_request_id))
        .with_state(service)
}

async fn services(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = ServicesQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    let answers = &service.parts.answers;
    answers.services(viewer.project, query, viewer.env.as_deref()).await.map(json_body)
}

async fn summary(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = SummaryQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    service.parts.answers.summary(viewer.project, query).await.map(json_body)
}

async fn series(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = SeriesQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    service.parts.answers.series(viewer.project, query).await.map(json_body)
}

async fn findings_of(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = FindingsQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    let findings = service.parts.findings.clone();
    in_a_task(async move { findings.find(viewer.project, query).await }).await
}

async fn compared(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = CompareQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    let (parts, time_max) = (Arc::clone(&service.parts), service.parts.limits.search_time_max);
    in_a_task(async move { compare::compare(&parts.answers, &parts.pool, viewer.project, query, time_max).await }).await
}

async fn heat(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = HeatmapQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    heatmap::draw(&service.parts.answers, viewer.project, query).await.map(json_body)
}

async fn differing(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = DiffersQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    let answer = differs::compare(&service.parts.answers, viewer.project, query).await?;
    Ok(Json(answer).into_response())
}

async fn released(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = ReleasesQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    let (pool, time_max) = (service.parts.pool.clone(), service.parts.limits.search_time_max);
    in_turn(&service, async move { releases::list(&pool, viewer.project, &query, time_max).await }).await
}

async fn raw_events(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = EventsQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    viewer.restrict(&mut query.filters)?;
    let (pool, time_max) = (service.parts.pool.clone(), service.parts.limits.search_time_max);
    in_turn(
        &service,
        async move { events::search(&pool, viewer.project, &query, time_max).await.map_err(search_failed) },
    )
    .await
}

async fn suggested(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    let mut query = SuggestQuery::parse(&Parameters::of(&uri)?)?;
    viewer.restrict(&mut query.filters)?;
    let (parts, time_max, now_ms) =
        (Arc::clone(&service.parts), service.parts.limits.search_time_max, service.now_ms());
    in_a_task(
        async move { suggest::suggest(&parts.answers, &parts.pool, viewer.project, query, now_ms, time_max).await },
    )
    .await
}

async fn suggested_routes(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_of_project(&headers).await?;
    let parameters = Parameters::of(&uri)?;
    parameters.only(&["service"])?;
    let one = parameters.one("service")?.map(str::to_owned);
    if one.as_deref().is_some_and(|service| service.contains('\0')) {
        return Err(ApiError::invalid_parameter("service", "contains a zero byte, which no label has"));
    }
    let (pool, time_max) = (service.parts.pool.clone(), service.parts.limits.search_time_max);
    in_turn(&service, async move { suggest::routes(&pool, viewer.project, one.as_deref(), time_max).await }).await
}

async fn receipt(
    State(service): State<Service>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    Parameters::none(&uri)?;
    let Path(text) = path.map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_receipt",
            "not a receipt: copy the whole `receipt` of a 202 answer",
        )
    })?;
    let mut filters = Filters::default();
    viewer.restrict(&mut filters)?;
    let (parts, time_max) = (Arc::clone(&service.parts), service.parts.limits.search_time_max);
    let now_ms = service.now_ms();
    in_turn(&service, async move {
        let project = viewer.project;
        let events = parts.events.as_ref();
        let Some(trace_id) = query::trace_id(&text) else {
            return receipts::look_up(&parts.pool, events, &parts.feed, project, &text, now_ms, time_max).await;
        };
        let asked =
            EventsQuery::newest_of_trace(trace_id, filters, now_ms - TRACE_AGE_MS_MAX, now_ms + TRACE_AHEAD_MS_MAX);
        let event = events::newest_of_trace(&parts.pool, project, &asked, time_max).await.map_err(search_failed)?;
        let Some(event) = event else { return Err(trace_not_found()) };
        let text = event["receipt"].as_str().unwrap_or_default();
        let mut answer = receipts::look_up(&parts.pool, events, &parts.feed, project, text, now_ms, time_max).await?;
        answer["event"] = event;
        Ok(answer)
    })
    .await
}

fn trace_not_found() -> ApiError {
    let message = "no kept event has this trace id; of many events only a sample is kept, and the newest appear some seconds \
                   after they were counted";
    ApiError::new(StatusCode::NOT_FOUND, "trace_not_found", message)
}

fn search_failed(error: events::SearchError) -> ApiError {
    if let events::SearchError::Database(cause) = &error {
        tracing::warn!(%cause, "searching raw events failed");
    }
    error.to_api()
}

async fn reconcile(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_of_project(&headers).await?;
    let query = ReconcileQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    let (parts, time_max) = (Arc::clone(&service.parts), service.parts.limits.search_time_max);
    in_turn(&service, async move {
        books::reconcile(&parts.pool, parts.events.as_ref(), viewer.project, query, time_max, parts.tail).await
    })
    .await
}

async fn rejected(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_of_project(&headers).await?;
    let query = RejectsQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    let (pool, time_max) = (service.parts.pool.clone(), service.parts.limits.search_time_max);
    in_turn(&service, async move { rejects::list(&pool, viewer.project, &query, time_max).await }).await
}

async fn rejected_summary(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_of_project(&headers).await?;
    let query = RejectsSummaryQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    let (pool, time_max) = (service.parts.pool.clone(), service.parts.limits.search_time_max);
    in_turn(&service, async move { rejects::summary::of(&pool, viewer.project, query, time_max).await }).await
}

async fn cardinality_of_routes(
    State(service): State<Service>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_of_project(&headers).await?;
    Parameters::none(&uri)?;
    let (pool, time_max) = (service.parts.pool.clone(), service.parts.limits.search_time_max);
    in_turn(&service, async move { cardinality::list(&pool, viewer.project, time_max).await }).await
}

async fn freshness(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    service.gate().viewer(&headers).await?;
    let query = FreshnessQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    let parts = &service.parts;
    parts.freshness.answer(&parts.answers, query).await.map(|answer| Json(answer).into_response())
}

/// Runs a question to the database when it is its turn, and in a task of its own: a client that leaves must not cancel it in
/// the middle of a transaction.
pub(crate) async fn in_turn(
    service: &Service,
    question: impl Future<Output = Result<Value, ApiError>> + Send + 'static,
) -> Result<Response, ApiError> {
    let turn = service.parts.answers.a_turn().await?;
    in_a_task(async move {
        let answer = question.await;
        drop(turn);
        answer
    })
    .await
}

/// For questions that take their turns themselves.
async fn in_a_task(
    question: impl Future<Output = Result<Value, ApiError>> + Send + 'static,
) -> Result<Response, ApiError> {
    let answer = tokio::spawn(question).await.map_err(|error| {
        tracing::error!(%error, "a question ended without an answer");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer could not be computed")
    })?;
    answer.map(|answer| Json(answer).into_response())
}

/// A small JSON body, or what is wrong with it; `wanted` says what to send.
pub(crate) fn body_of<T: DeserializeOwned>(
    body: Result<Bytes, BytesRejection>,
    wanted: &'static str,
) -> Result<T, ApiError> {
    serde_json::from_slice(&body::bytes(body)?)
        .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", wanted))
}

async fn elsewhere(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if path == "/v1" || path.starts_with("/v1/") {
        let message = "there is nothing at this path; the read API is described in the documentation";
        return ApiError::new(StatusCode::NOT_FOUND, "not_found", message).into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return method_not_allowed().await;
    }
    assets::respond(path, uri.query(), &headers)
}

async fn method_not_allowed() -> Response {
    let message = "this path does not take that method";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).into_response()
}

/// Gives the request an id (or keeps a sane one that a proxy gave it), and puts it into headers and error bodies.
async fn with_request_id(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let started = Instant::now();
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        tracing::debug!(request_id = id, code = error.code, message = %error.message, "answered with an error");
        let body = json!({"error": {"code": error.code, "message": error.message, "request_id": id}});
        let headers = std::mem::take(response.headers_mut());
        let mut named = (error.status, Json(body)).into_response();
        for (name, value) in &headers {
            if name != axum::http::header::CONTENT_LENGTH {
                named.headers_mut().insert(name.clone(), value.clone());
            }
        }
        response = named;
    }
    // Live streams are counted when they begin; how long they last is no latency.
    metrics::request_answered(route.as_deref().unwrap_or("(files)"), response.status(), started.elapsed());
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    // Answers depend on who asks.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn request_id(headers: &HeaderMap) -> String {
    let sane = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(sane);
    given.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

fn json_body(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

const REQUEST_ID: &str = "x-request-id";
/// How far back a trace is looked for: longer than raw events are kept by default.
const TRACE_AGE_MS_MAX: i64 = 8 * 86_400_000;
/// As far as clocks may differ.
const TRACE_AHEAD_MS_MAX: i64 = 3_600_000;
/// A sign-in, a key or a rule: nothing longer is sent here.
const BODY_BYTES_MAX: usize = 4096;
