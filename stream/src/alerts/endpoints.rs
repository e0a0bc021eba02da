//! `/v1/alerts…`: each handler checks who asks, reads, asks one module and wraps.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Map, Value, json};

use super::deliver;
use super::preview;
use super::rule::{self, Draft, ReceiverDraft, Rule};
use super::store::{self, Firing, Kept};
use super::webhook::WebhookError;
use crate::body::Fields;
use crate::error::ApiError;
use crate::http::Service;
use crate::query::{FiringsQuery, Parameters};

/// The paths of this module.
pub fn paths() -> Router<Service> {
    Router::new()
        .route("/v1/alerts", get(list).post(add))
        .route("/v1/alerts/{id}", put(change).delete(remove).get(one))
        .route("/v1/alerts/presets", get(presets))
        .route("/v1/alerts/firings", get(firings))
        .route("/v1/alerts/preview", post(try_out))
        .route("/v1/alerts/test", post(test))
}

async fn list(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer(&headers).await?;
    Parameters::none(&uri)?;
    let kept = store::rules(service.pool(), Some(viewer.project)).await.map_err(failed)?;
    // Of another environment's rules not even the names.
    let seen = |kept: &&Kept| viewer.env.as_ref().is_none_or(|env| kept.rule.env.as_ref() == Some(env));
    let rules: Vec<Value> = kept.iter().filter(seen).map(to_json).collect();
    let firing = kept.iter().filter(seen).filter(|kept| kept.rule.enabled && kept.state.is_firing()).count();
    Ok(Json(json!({"rules": rules, "firing": firing})).into_response())
}

async fn one(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_of_project(&headers).await?;
    Parameters::none(&uri)?;
    let kept = find(&service, viewer.project, &id).await?;
    Ok(Json(to_json(&kept)).into_response())
}

async fn presets(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    service.gate().viewer(&headers).await?;
    Parameters::none(&uri)?;
    Ok(Json(rule::presets()).into_response())
}

async fn firings(State(service): State<Service>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_of_project(&headers).await?;
    let query = FiringsQuery::parse(&Parameters::of(&uri)?, service.now_ms())?;
    let found = store::firings(service.pool(), viewer.project, query.from_ms, query.to_ms).await.map_err(failed)?;
    let shown = |firing: &Firing| {
        json!({
            "rule": firing.rule.to_string(),
            "name": firing.name,
            "from_ms": firing.began_ms,
            "to_ms": firing.ended_ms,
            "sentence": firing.sentence,
        })
    };
    Ok(Json(json!({"firings": found.iter().map(shown).collect::<Vec<_>>()})).into_response())
}

async fn add(
    State(service): State<Service>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let viewer = service.gate().changer(&headers).await?;
    Parameters::none(&uri)?;
    let rule = Draft::read(fields(body)?)?.checked(None)?;
    deliverable(&service, &rule, None)?;
    let id = store::add(service.pool(), viewer.project, &rule, RULES_MAX).await.map_err(failed)?;
    let id = id.ok_or_else(|| {
        let message = format!("a project has at most {RULES_MAX} alert rules; delete one first");
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_rules", message)
    })?;
    let kept = find(&service, viewer.project, &id.to_string()).await?;
    tracing::info!(project = viewer.project.0, rule = id, "an alert rule was made");
    Ok((StatusCode::CREATED, Json(to_json(&kept))).into_response())
}

async fn change(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let viewer = service.gate().changer(&headers).await?;
    Parameters::none(&uri)?;
    let known = find(&service, viewer.project, &id).await?;
    let rule = Draft::read(fields(body)?)?.checked(Some(&known.rule))?;
    deliverable(&service, &rule, Some(&known.rule))?;
    if !store::change(service.pool(), viewer.project, known.id, &rule).await.map_err(failed)? {
        return Err(unknown());
    }
    tracing::info!(project = viewer.project.0, rule = known.id, "an alert rule was changed");
    Ok(Json(to_json(&find(&service, viewer.project, &id).await?)).into_response())
}

async fn remove(
    State(service): State<Service>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    let viewer = service.gate().changer(&headers).await?;
    Parameters::none(&uri)?;
    let id = number(&id)?;
    if !store::remove(service.pool(), viewer.project, id).await.map_err(failed)? {
        return Err(unknown());
    }
    tracing::info!(project = viewer.project.0, rule = id, "an alert rule was deleted");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A rule that could never tell anybody is not taken. An address that it has already may stay: other fields can be changed then.
fn deliverable(service: &Service, rule: &Rule, known: Option<&Rule>) -> Result<(), ApiError> {
    let url_of = |rule: &Rule| rule.receiver.as_ref().map(|receiver| receiver.url.clone());
    let url = url_of(rule).filter(|url| known.and_then(url_of).as_ref() != Some(url));
    match url.and_then(|url| service.webhooks().refuses(&url)) {
        Some(why) => {
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "webhook_refused", format!("`receiver.url`: {why}")))
        }
        None => Ok(()),
    }
}

async fn try_out(
    State(service): State<Service>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let viewer = service.gate().viewer_from_our_pages(&headers).await?;
    Parameters::none(&uri)?;
    let mut rule: Rule = Draft::read(fields(body)?)?.checked_without_receiver()?;
    if let Some(env) = &viewer.env {
        if rule.env.as_ref().is_some_and(|asked| asked != env) {
            return Err(ApiError::forbidden(format!("this key only reads the environment `{env}`")));
        }
        rule.env = Some(env.clone());
    }
    preview::preview(service.answers(), viewer.project, &rule, service.now_ms())
        .await
        .map(|answer| Json(answer).into_response())
}

/// The receiver of a rule that exists is named by the rule: its address is not known to the page.
struct TestDraft {
    receiver: ReceiverDraft,
    id: Option<String>,
}

impl TestDraft {
    fn read(mut body: Fields) -> Result<Self, ApiError> {
        let (receiver, id) = (ReceiverDraft::read(&mut body)?, body.text("id")?);
        let receiver =
            receiver.ok_or_else(|| body.missing("receiver", r#"write {"kind": "webhook", "url": "https://…"}"#));
        body.end()?;
        Ok(Self { receiver: receiver?, id })
    }
}

async fn test(
    State(service): State<Service>,
    headers: HeaderMap,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let viewer = service.gate().changer(&headers).await?;
    Parameters::none(&uri)?;
    let TestDraft { receiver, id } = TestDraft::read(fields(body)?)?;
    let known = match &id {
        Some(id) => Some(find(&service, viewer.project, id).await?),
        None => None,
    };
    let receiver = receiver.checked(known.as_ref().and_then(|kept| kept.rule.receiver.as_ref()))?;
    let now_ms = service.now_ms();
    let body = deliver::test_message(&viewer.project_name, now_ms);
    let answered = service.webhooks().send(&receiver, body, now_ms).await.map_err(|error| match error {
        WebhookError::Refused(why) => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "webhook_refused", why),
        WebhookError::Failed(why) => ApiError::new(StatusCode::BAD_GATEWAY, "webhook_failed", why),
    })?;
    let took_ms = answered.took.as_secs_f64() * 1000.0;
    Ok(Json(json!({"status": answered.status, "body": answered.body, "ms": took_ms.round()})).into_response())
}

/// A rule as the API shows it.
fn to_json(kept: &Kept) -> Value {
    let mut shown = Map::from_iter([("id".to_owned(), json!(kept.id.to_string()))]);
    if let Value::Object(rule) = kept.rule.to_json() {
        shown.extend(rule);
    }
    let window = kept.window_ms.map(|(from_ms, to_ms)| json!({"from_ms": from_ms, "to_ms": to_ms}));
    let state = if kept.rule.enabled { kept.state.name() } else { "ok" };
    let standing = json!({
        "state": state,
        "since_ms": kept.since_ms,
        "evaluated_ms": kept.evaluated_ms,
        "sentence": kept.sentence,
        "value": kept.value,
        "burn": kept.burn,
        "window": window,
    });
    if let Value::Object(standing) = standing {
        shown.extend(standing);
    }
    Value::Object(shown)
}

async fn find(service: &Service, project: peep_wire::ProjectId, id: &str) -> Result<Kept, ApiError> {
    store::rule(service.pool(), project, number(id)?).await.map_err(failed)?.ok_or_else(unknown)
}

fn number(id: &str) -> Result<i64, ApiError> {
    id.parse().map_err(|_| unknown())
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_rule", "this project has no alert rule of that id")
}

fn failed(error: sqlx::Error) -> ApiError {
    ApiError::of_database(&error)
}

fn fields(body: Result<Bytes, BytesRejection>) -> Result<Fields, ApiError> {
    let wanted = "send JSON: one object, such as {\"kind\": \"silence\", \"target\": {\"for_s\": 120}} for a rule";
    Fields::of(body, wanted, rule::invalid)
}

/// Each is looked at every few seconds.
const RULES_MAX: i64 = 100;
