//! Opening a live view, over either transport.
//!
//! Arrives: `GET /v1/live`. Leaves: a WebSocket in the care of [`crate::fanout`], or a stream of events. Promises: nothing is
//! upgraded before it is certain who looks, what is asked can be answered and there is memory for one more.

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use hyper::upgrade::OnUpgrade;

use crate::error::ApiError;
use crate::fanout::{Joining, Socket};
use crate::http::Service;
use crate::query::{LiveQuery, Parameters};
use crate::{comeback, sse, websocket};

/// `GET /v1/live`
pub async fn open(State(service): State<Service>, mut request: Request) -> Result<Response, ApiError> {
    let on_upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let (head, _) = request.into_parts();
    let wants_socket = websocket::is_wanted(&head.headers);
    let parameters = Parameters::of(&head.uri)?;
    let viewer = service.gate().viewer_of_live(&head.headers, wants_socket, parameters.one("ticket")?).await?;
    let mut query = LiveQuery::parse(&parameters)?;
    viewer.restrict(&mut query.filters)?;
    query.env_bound = viewer.env.is_some();
    let last_event_id = head.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let since = parameters.one("since")?.or(last_event_id);

    let accepted = wants_socket.then(|| websocket::accept(&head.method, head.version, &head.headers)).transpose()?;
    if accepted.is_none() && !wants_events(&head.headers) {
        let message = "open a WebSocket here, or ask for server-sent events with `Accept: text/event-stream`";
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message));
    }
    if !service.fanout().has_room() {
        return Err(ApiError::overloaded("too much waits for viewers that are slow; try again in a moment"));
    }
    let mut subscriber = service.hub().subscribe(viewer.project, query, since).await?;
    let first = subscriber.first().ok_or_else(|| ApiError::overloaded("the live view was closed; try again"))?;
    if first.frame().len() > service.limits().message_bytes_max {
        return Err(ApiError::too_wide("this view is too large to be sent; use filters, or group by less"));
    }
    let standing = service.gate().standings().of(viewer);
    let Some(mut accepted) = accepted else { return Ok(sse::respond(service, standing, subscriber, first)) };
    let on_upgrade = on_upgrade.ok_or_else(|| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_handshake", "this connection cannot become a WebSocket")
    })?;
    tokio::spawn(async move {
        match on_upgrade.await.map(Socket::of) {
            Ok(Some((socket, early))) => {
                service.fanout().join(Joining { socket, early, subscriber, first, standing }).await;
            }
            Ok(None) => tracing::error!("a connection of a kind that nobody knows was upgraded"),
            // The client left before it had the answer.
            Err(error) => tracing::debug!(%error, "an upgrade came to nothing"),
        }
    });
    // In advance: who takes nothing when it is cut cannot be told any more. An event stream begins with the same.
    accepted.headers_mut().insert(RETRY_AFTER, HeaderValue::from(comeback::after_slowness_s()));
    Ok(accepted)
}

fn wants_events(headers: &HeaderMap) -> bool {
    let accepts = |accept: &HeaderValue| {
        let mut types = accept.to_str().unwrap_or("").split(',').filter_map(|one| one.split(';').next());
        types.any(|one| one.trim().eq_ignore_ascii_case("text/event-stream"))
    };
    headers.get_all(ACCEPT).iter().any(accepts)
}
