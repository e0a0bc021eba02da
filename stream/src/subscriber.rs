//! One viewer of one topic, and what happens when it is slow: newest wins.
//!
//! Arrives: the topic's newest version, through a `watch` channel that holds exactly one. Leaves: messages, pulled by
//! the transport whenever it can write. Promises: nothing is queued for a slow reader; when it comes back it gets one
//! message that covers everything it missed, the skipped versions are counted, and a reader that keeps up shares the
//! bytes of all others. A heartbeat says "nothing changed" once a second.
//! Does not: write to a socket, or decide how long a write may take ([`crate::websocket`], [`crate::sse`]).

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use peep_chassis::clock::Clock;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::error::ApiError;
use crate::hub::{LiveTopic, Place, Published, Version};
use crate::metrics;

/// Pulls the messages of one topic.
pub struct Subscriber {
    topic: Arc<LiveTopic>,
    published: watch::Receiver<Published>,
    clock: Clock,
    /// Epoch and version of the last message handed out, or that a reconnecting reader says it has.
    seen: Option<(Arc<str>, u64)>,
    /// Nothing was handed out yet: the first message is a snapshot, whatever was seen before.
    is_first: bool,
    /// When it is time to say that nothing changed. Kept here, because a transport that looks up from waiting now and then
    /// begins to wait anew.
    heartbeat_at: Instant,
    _place: Place,
}

/// One message, ready for the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `snapshot`, `frame` or `heartbeat`.
    pub kind: &'static str,
    /// For `since` or `Last-Event-ID`.
    pub id: String,
    /// JSON.
    pub text: Utf8Bytes,
}

impl Subscriber {
    /// Watches a topic that was joined for it.
    pub(crate) fn new(topic: Arc<LiveTopic>, place: Place, clock: Clock, since: Option<String>) -> Self {
        let published = topic.watch();
        let seen = since.as_deref().and_then(parse_id);
        Self { topic, published, clock, seen, is_first: true, heartbeat_at: Instant::now() + HEARTBEAT, _place: place }
    }

    /// Resolves when the topic shows something; an error when it cannot be built.
    pub(crate) async fn wait_until_built(&mut self) -> Result<(), ApiError> {
        let built = self.published.wait_for(|published| !matches!(published, Published::Building)).await;
        match built.as_deref() {
            Ok(Published::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(ApiError::overloaded("the live view was closed; try again")),
        }
    }

    /// The next message; `None` when the topic is gone.
    pub async fn next(&mut self) -> Option<Message> {
        if std::mem::take(&mut self.is_first) {
            return self.first();
        }
        loop {
            match timeout_at(self.heartbeat_at, self.published.changed()).await {
                Err(_) => return Some(self.heartbeat()),
                Ok(Err(_)) => return None,
                Ok(Ok(())) => {}
            }
            let published = self.published.borrow_and_update().clone();
            match published {
                Published::Version(version) => match self.message(version) {
                    Some(message) => return Some(message),
                    None => continue,
                },
                Published::Failed(_) | Published::Building => return None,
            }
        }
    }

    fn first(&mut self) -> Option<Message> {
        self.published.borrow_and_update();
        let seen = self.seen.take();
        let seen = seen.as_ref().map(|(epoch, version)| (&**epoch, *version));
        let (text, version) = self.topic.catch_up(seen, true, self.clock.now_ms())?;
        Some(self.hand_out("snapshot", text, &version))
    }

    fn message(&mut self, version: Version) -> Option<Message> {
        let seen = self.seen.clone();
        let seen = seen.as_ref().map(|(epoch, version)| (&**epoch, *version));
        match (seen, &version.frame) {
            // Contained in a message that was made between two versions.
            (Some((epoch, seen)), _) if epoch == &*version.epoch && seen >= version.version => None,
            (Some((epoch, seen)), Some(frame)) if epoch == &*version.epoch && seen == version.since => {
                let frame = frame.clone();
                Some(self.hand_out("frame", frame, &version))
            }
            (seen, _) => {
                let same_epoch = seen.filter(|(epoch, _)| *epoch == &*version.epoch);
                if let Some((_, seen)) = same_epoch {
                    metrics::frames_skipped(version.version - seen - 1);
                }
                let (text, reached) = self.topic.catch_up(seen, false, self.clock.now_ms())?;
                // The state may have been built again meanwhile: the text itself knows what it is.
                let kind = if text.starts_with(r#"{"type":"snapshot""#) { "snapshot" } else { "frame" };
                Some(self.hand_out(kind, text, &reached))
            }
        }
    }

    fn hand_out(&mut self, kind: &'static str, text: Utf8Bytes, version: &Version) -> Message {
        metrics::message_sent(kind);
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        self.seen = Some((Arc::clone(&version.epoch), version.version));
        Message { kind, id: format!("{}-{}", version.epoch, version.version), text }
    }

    fn heartbeat(&mut self) -> Message {
        metrics::message_sent("heartbeat");
        self.heartbeat_at = Instant::now() + HEARTBEAT;
        let newest_event_ms = match &*self.published.borrow() {
            Published::Version(version) => version.newest_event_ms,
            Published::Building | Published::Failed(_) => None,
        };
        let id = self.seen.as_ref().map(|(epoch, version)| format!("{epoch}-{version}")).unwrap_or_default();
        let text = json!({
            "type": "heartbeat",
            "id": id,
            "at_ms": self.clock.now_ms(),
            "newest_event_ms": newest_event_ms,
        });
        Message { kind: "heartbeat", id, text: text.to_string().into() }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.topic.leave();
    }
}

/// What a message was identified by; anything else is treated as nothing seen.
fn parse_id(id: &str) -> Option<(Arc<str>, u64)> {
    let (epoch, version) = id.rsplit_once('-')?;
    Some((epoch.into(), version.parse().ok()?))
}

/// A viewer that hears nothing for longer may call the connection broken.
const HEARTBEAT: Duration = Duration::from_secs(1);
