//! Live messages as server-sent events, for clients and proxies without WebSocket.
//!
//! Arrives: a [`Subscriber`]. Leaves: a response body with the same messages, the type as event name and the id for
//! `Last-Event-ID`. Promises: a message is made only when the connection has room for it, so a slow reader gets the
//! newest one; a connection that takes nothing for too long is cut by the listener ([`crate::listener`]), outside of the
//! stalled write; a revoked key ends the stream. Does not: compress; proxies are told not to buffer.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::time::{Instant, Interval, interval_at};

use crate::http::Service;
use crate::metrics::{self, ViewerConnected};
use crate::session::Viewer;
use crate::subscriber::{Message, Subscriber};
use crate::websocket::RECHECK;

/// A response that lasts as long as the viewer looks.
pub fn respond(service: Service, viewer: Viewer, subscriber: Subscriber) -> Response {
    let reader = Reader {
        service,
        viewer,
        subscriber,
        recheck: interval_at(Instant::now() + RECHECK, RECHECK),
        is_first: true,
        _open: metrics::viewer_connected("sse"),
    };
    let body = stream::unfold(reader, |mut reader| async move {
        let bytes = reader.next().await?;
        Some((Ok::<Bytes, Infallible>(bytes), reader))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let mut response = (headers, Body::from_stream(body)).into_response();
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Reader {
    service: Service,
    viewer: Viewer,
    subscriber: Subscriber,
    recheck: Interval,
    is_first: bool,
    _open: ViewerConnected,
}

impl Reader {
    /// `None` ends the stream; an `EventSource` then reconnects by itself and is told why if it may not.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                () = self.service.shutdown().requested() => return None,
                _ = self.recheck.tick() => {
                    if !self.service.gate().may_stay(&mut self.viewer).await {
                        return None;
                    }
                }
                message = self.subscriber.next() => {
                    let retry = std::mem::take(&mut self.is_first).then_some(RETRY);
                    return message.map(|message| event(retry.unwrap_or_default(), &message));
                }
            }
        }
    }
}

/// JSON on one line needs no further escaping.
fn event(prefix: &str, message: &Message) -> Bytes {
    debug_assert!(!message.text.contains('\n'), "one data line per event");
    let Message { kind, id, text } = message;
    format!("{prefix}event: {kind}\nid: {id}\ndata: {text}\n\n").into()
}

/// Milliseconds until an `EventSource` reconnects.
const RETRY: &str = "retry: 1000\n";
