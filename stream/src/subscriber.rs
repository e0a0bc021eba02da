//! One viewer of one topic: what it has seen, and which message brings it further.
//!
//! Arrives: the topic's versions as they are published, or a reader that has time again. Leaves: messages. Promises: a viewer
//! that keeps up shares the bytes of all others; for a slow one nothing is queued: when it has time again it gets one message
//! that covers everything it missed, and the versions it did not get one by one are counted. A version is never handed out
//! after a later one of the same epoch.
//! Does not: wait, write, or know which transport asks ([`crate::fanout`], [`crate::sse`]).

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::ApiError;
use crate::hub::{LiveTopic, Place, Published, Version};
use crate::message::{Kind, Message};
use crate::metrics;

/// Knows what one viewer has seen.
pub struct Subscriber {
    topic: Arc<LiveTopic>,
    place: Place,
    /// Epoch and version of the last message handed out, or that a reconnecting reader says it has.
    seen: Option<(Arc<str>, u64)>,
}

/// What a viewer gets when a version is published.
#[derive(Debug)]
pub enum Offer<'v> {
    /// It has that already.
    Nothing,
    /// What everybody gets.
    Shared(&'v Arc<Message>),
    /// What brings it further from where it was.
    Own(Arc<Message>),
}

impl Subscriber {
    /// Watches a topic that was joined for it. `since` is the id of the last message seen.
    pub(crate) fn new(topic: Arc<LiveTopic>, place: Place, since: Option<&str>) -> Self {
        Self { topic, place, seen: since.and_then(parse_id) }
    }

    /// Resolves when the topic shows something; an error when it cannot be built.
    pub(crate) async fn wait_until_built(&self) -> Result<(), ApiError> {
        let mut published = self.topic.watch();
        let built = published.wait_for(|published| !matches!(published, Published::Building)).await;
        match built.as_deref() {
            Ok(Published::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(ApiError::overloaded("the live view was closed; try again")),
        }
    }

    /// What is watched.
    pub fn topic(&self) -> &Arc<LiveTopic> {
        &self.topic
    }

    /// Sees every new version, newest only.
    pub fn watch(&self) -> watch::Receiver<Published> {
        self.topic.watch()
    }

    /// The message that everything begins with: a snapshot, limited to what changed if the reader was here before. `None` when
    /// the topic is gone.
    pub fn first(&mut self) -> Option<Arc<Message>> {
        let seen = self.seen.take();
        let seen = seen.as_ref().map(|(epoch, version)| (&**epoch, *version));
        let (message, epoch, version) = self.topic.catch_up(seen, true, self.place.now_ms())?;
        self.seen = Some((epoch, version));
        Some(message)
    }

    /// The message for a version that was just published.
    pub fn offer<'v>(&mut self, version: &'v Version) -> Offer<'v> {
        let Some((epoch, seen)) = &mut self.seen else { return self.caught_up() };
        if *epoch != version.epoch {
            return self.caught_up();
        }
        let Some(message) = &version.message else { return Offer::Nothing };
        let is_heartbeat = message.kind() == Kind::Heartbeat;
        if *seen == version.since && !is_heartbeat {
            *seen = version.version;
            return Offer::Shared(message);
        }
        match *seen {
            seen if seen == version.version && is_heartbeat => Offer::Shared(message),
            // Contained in a message that was made between two versions.
            seen if seen >= version.version => Offer::Nothing,
            _ => self.caught_up(),
        }
    }

    fn caught_up<'v>(&mut self) -> Offer<'v> {
        self.newest().map_or(Offer::Nothing, Offer::Own)
    }

    /// The message that covers everything since the last one. `None` when there is nothing, or the topic is gone.
    pub fn newest(&mut self) -> Option<Arc<Message>> {
        let seen = self.seen.as_ref().map(|(epoch, version)| (&**epoch, *version));
        if seen.is_some_and(|(epoch, version)| self.topic.is_at(epoch, version)) {
            return None;
        }
        let (message, epoch, version) = self.topic.catch_up(seen, false, self.place.now_ms())?;
        if let Some((_, seen)) = seen.filter(|(known, _)| **known == *epoch) {
            metrics::frames_skipped((version - seen).saturating_sub(1));
        }
        self.seen = Some((epoch, version));
        Some(message)
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
