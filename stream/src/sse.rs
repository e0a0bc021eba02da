//! Live messages as server-sent events, for clients and proxies without WebSocket.
//!
//! Arrives: a [`Subscriber`]. Leaves: a response body with the same messages, the type as event name and the id for
//! `Last-Event-ID`, encoded once for everybody. Promises: the next message is only chosen when the connection has room for it, so a
//! slow reader gets the newest one; one that takes too long for a message is sent away with a `retry:`; a connection that takes
//! nothing is cut by the listener ([`crate::listener`]), outside of the stalled write; a revoked key ends the stream.
//! Does not: compress; proxies are told not to buffer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::watch;

use crate::comeback;
use crate::http::Service;
use crate::hub::Published;
use crate::message::Message;
use crate::metrics::{self, Cut, ViewerConnected};
use crate::standing::Standing;
use crate::subscriber::{Offer, Subscriber};

/// A response that lasts as long as the viewer looks.
pub fn respond(service: Service, standing: Arc<Standing>, subscriber: Subscriber, first: Arc<Message>) -> Response {
    let reader = Reader {
        published: subscriber.watch(),
        service,
        standing,
        subscriber,
        next: Next::First(first),
        handed_out: Instant::now(),
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
    standing: Arc<Standing>,
    subscriber: Subscriber,
    published: watch::Receiver<Published>,
    next: Next,
    /// When the last message was; asking for another one means that it was taken.
    handed_out: Instant,
    _open: ViewerConnected,
}

/// What to hand out when there is room.
enum Next {
    /// How long to wait before coming back, then this message.
    Retry(Arc<Message>),
    First(Arc<Message>),
    /// What was published while the first one was on its way, then what will be.
    Newest,
    Published,
    Nothing,
}

impl Reader {
    /// `None` ends the stream; an `EventSource` then comes back by itself and is told why if it may not.
    async fn next(&mut self) -> Option<Bytes> {
        let took = self.handed_out.elapsed();
        let bytes = match std::mem::replace(&mut self.next, Next::Published) {
            Next::First(first) => {
                self.next = Next::Retry(first);
                Some(retry(comeback::after_restart_s()))
            }
            Next::Retry(first) => {
                self.next = Next::Newest;
                Some(self.hand_out(&first))
            }
            Next::Newest | Next::Published if took >= self.service.limits().slow_timeout => {
                metrics::viewer_cut(Cut::Slow);
                self.next = Next::Nothing;
                Some(retry(comeback::after_slowness_s()))
            }
            Next::Newest => match self.subscriber.newest() {
                Some(message) => Some(self.hand_out(&message)),
                None => self.published().await,
            },
            Next::Published => self.published().await,
            Next::Nothing => None,
        };
        self.handed_out = Instant::now();
        bytes
    }

    async fn published(&mut self) -> Option<Bytes> {
        loop {
            let changed = tokio::select! {
                () = self.service.shutdown().requested() => return None,
                () = self.standing.ended() => {
                    metrics::viewer_cut(Cut::Revoked);
                    return None;
                }
                changed = self.published.changed() => changed,
            };
            changed.ok()?;
            let version = match &*self.published.borrow_and_update() {
                Published::Version(version) => version.clone(),
                Published::Failed(_) | Published::Building => return None,
            };
            match self.subscriber.offer(&version) {
                Offer::Nothing => {}
                Offer::Shared(message) => return Some(self.hand_out(message)),
                Offer::Own(message) => return Some(self.hand_out(&message)),
            }
        }
    }

    fn hand_out(&self, message: &Message) -> Bytes {
        metrics::messages_sent(message.kind(), 1);
        message.event().clone()
    }
}

/// An event without data only says how long to wait before coming back.
fn retry(seconds: u32) -> Bytes {
    format!("retry: {}\n\n", Duration::from_secs(seconds.into()).as_millis()).into()
}
