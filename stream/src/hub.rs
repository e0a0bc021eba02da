//! Topics and who watches them: each live view is computed and encoded once, however many look at it.
//!
//! Arrives: subscriptions, and the feed's signal that frames came in. Leaves: versions of topics, published through a
//! `watch` channel, whose value is always the newest; when nothing changed for a second, that is said. Promises: a topic is
//! built from one stitched snapshot and then moved by frames only; when the stitch reports a gap or a take-over, or frames stay
//! away that history already has, it is built again under a new epoch, and until then keeps showing a consistent past. Whoever
//! comes, comes back or was too slow is served from memory, and those who miss about as much share one message. A topic nobody
//! watches is dropped after a minute. The number of topics and the memory of each are bounded; detail is shed before viewers
//! are refused.
//! Does not: write to sockets, or wait for a reader ([`crate::subscriber`], [`crate::fanout`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::HashMap;
use parking_lot::Mutex;
use peep_chassis::clock::Clock;
use peep_chassis::lifecycle::Shutdown;
use peep_wire::ProjectId;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::answer::Answers;
use crate::error::ApiError;
use crate::feed::Feed;
use crate::grouped::Question;
use crate::message::{Kind, Message};
use crate::metrics;
use crate::query::LiveQuery;
use crate::subscriber::Subscriber;
use crate::topic::{Since, Topic};

/// The bounds of the hub.
#[derive(Debug, Clone, Copy)]
pub struct HubLimits {
    /// Distinct live views.
    pub topics_max: usize,
    /// Viewers of all of them.
    pub subscribers_max: usize,
    /// Groups per topic, `(other)` included.
    pub groups_max: usize,
    /// Memory of all topics together.
    pub bytes_max: usize,
    /// Pause between two frames of a topic.
    pub frame_interval: Duration,
    /// How long a topic without viewers is kept.
    pub idle_max: Duration,
}

/// All live views. Cheap to clone; clones share.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    topics: Mutex<HashMap<TopicKey, Arc<LiveTopic>>>,
    answers: Answers,
    feed: Feed,
    clock: Clock,
    limits: HubLimits,
    subscribers: AtomicUsize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TopicKey {
    project: ProjectId,
    query: LiveQuery,
}

/// One topic and its viewers.
pub struct LiveTopic {
    key: TopicKey,
    state: Mutex<State>,
    published: watch::Sender<Published>,
    viewers: AtomicUsize,
}

struct State {
    topic: Option<Topic>,
    /// A build is under way.
    building: bool,
    built_at: Option<Instant>,
    published_at: Option<Instant>,
    /// When something was last said, if only that nothing changed.
    spoke_at: Instant,
    unwatched_since: Instant,
    /// Since when history is known to have more than the frames lead to.
    behind_since: Option<Instant>,
    /// As of the last publication.
    bytes: usize,
    /// What the present version was told with lately, for viewers that arrive together or miss as much.
    told: Vec<Told>,
}

struct Told {
    since: Since,
    message: Arc<Message>,
    made_at: Instant,
}

/// The newest state of a topic, as viewers see it.
#[derive(Debug, Clone)]
pub enum Published {
    /// Not built yet.
    Building,
    /// Could not be built; the topic is gone.
    Failed(ApiError),
    /// A version.
    Version(Version),
}

/// A published version and the shared message that leads to it.
#[derive(Debug, Clone)]
pub struct Version {
    /// Epoch of the state.
    pub epoch: Arc<str>,
    /// This version.
    pub version: u64,
    /// The message brings a reader from this version to the present one.
    pub since: u64,
    /// `None` for the first version of an epoch.
    pub message: Option<Arc<Message>>,
}

impl Hub {
    /// No topics yet.
    pub fn new(answers: Answers, feed: Feed, clock: Clock, limits: HubLimits) -> Self {
        let shared = Shared {
            topics: Mutex::new(HashMap::default()),
            answers,
            feed,
            clock,
            limits,
            subscribers: AtomicUsize::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Joins a topic, building it when nobody watched it so far. `since` is the id of the last message seen.
    pub async fn subscribe(
        &self,
        project: ProjectId,
        query: LiveQuery,
        since: Option<&str>,
    ) -> Result<Subscriber, ApiError> {
        let place = self.take_place()?;
        let (topic, is_new) = self.topic(TopicKey { project, query })?;
        if is_new {
            self.build(&topic);
        }
        let subscriber = Subscriber::new(topic, place, since);
        subscriber.wait_until_built().await?;
        Ok(subscriber)
    }

    fn take_place(&self) -> Result<Place, ApiError> {
        let place = Place { hub: self.clone() };
        let taken = self.shared.subscribers.fetch_add(1, Ordering::AcqRel);
        metrics::subscribers(taken + 1);
        // `place` gives back what was taken, also on this way out.
        if taken >= self.shared.limits.subscribers_max {
            return Err(ApiError::overloaded("all places for live viewers are taken; try again in a moment"));
        }
        Ok(place)
    }

    fn topic(&self, key: TopicKey) -> Result<(Arc<LiveTopic>, bool), ApiError> {
        let mut topics = self.shared.topics.lock();
        if let Some(topic) = topics.get(&key) {
            topic.viewers.fetch_add(1, Ordering::AcqRel);
            return Ok((Arc::clone(topic), false));
        }
        if topics.len() >= self.shared.limits.topics_max {
            return Err(ApiError::overloaded(
                "too many different live views are open; close one or use the same filters",
            ));
        }
        let state = State {
            topic: None,
            building: true,
            built_at: None,
            published_at: None,
            spoke_at: Instant::now(),
            unwatched_since: Instant::now(),
            behind_since: None,
            bytes: 0,
            told: Vec::new(),
        };
        let topic = Arc::new(LiveTopic {
            key: key.clone(),
            state: Mutex::new(state),
            published: watch::Sender::new(Published::Building),
            viewers: AtomicUsize::new(1),
        });
        topics.insert(key, Arc::clone(&topic));
        metrics::topics(topics.len());
        Ok((topic, true))
    }

    /// Builds the state in a task of its own: neither a viewer that leaves nor other topics wait for it.
    fn build(&self, topic: &Arc<LiveTopic>) {
        let (hub, topic) = (self.clone(), Arc::clone(topic));
        tokio::spawn(async move {
            let TopicKey { project, query } = topic.key.clone();
            let window = query.window_at(hub.shared.clock.now_ms());
            let question = Question {
                project,
                window,
                filters: query.filters.clone(),
                group_by: query.group_by.clone(),
                statuses: true,
            };
            match hub.shared.answers.stitched(question).await {
                Ok((answer, positions)) => {
                    let epoch = Uuid::new_v4().simple().to_string()[..12].to_owned();
                    let mut state = Topic::new(query, answer, positions, epoch, hub.shared.limits.groups_max);
                    state.probed_by(hub.shared.feed.freshness());
                    topic.begin(state);
                }
                Err(error) => hub.build_failed(&topic, error),
            }
        });
    }

    /// A topic that shows something keeps showing it and is tried again; one that never did takes its viewers along.
    fn build_failed(&self, topic: &Arc<LiveTopic>, error: ApiError) {
        let mut state = topic.state.lock();
        state.building = false;
        state.built_at = Some(Instant::now());
        if state.topic.is_some() {
            return;
        }
        drop(state);
        let mut topics = self.shared.topics.lock();
        if topics.get(&topic.key).is_some_and(|known| Arc::ptr_eq(known, topic)) {
            topics.remove(&topic.key);
        }
        metrics::topics(topics.len());
        drop(topics);
        topic.published.send_replace(Published::Failed(error));
    }

    /// Resolves when the last viewer has left.
    pub async fn deserted(&self) {
        while self.shared.subscribers.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Moves all topics forward until shutdown.
    pub async fn run(&self, shutdown: &Shutdown) {
        let mut arrivals = self.shared.feed.arrivals();
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                // Time alone moves windows, and publishes what an interval held back.
                () = tokio::time::sleep(TICK) => {}
                changed = arrivals.changed() => if changed.is_err() { return },
            }
            self.tick().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn tick(&self) {
        let topics: Vec<Arc<LiveTopic>> = self.shared.topics.lock().values().cloned().collect();
        let bytes_max = self.shared.limits.bytes_max / topics.len().max(4);
        let mut bytes = 0;
        for topic in topics {
            if topic.viewers.load(Ordering::Acquire) == 0 && self.drop_if_idle(&topic) {
                continue;
            }
            bytes += self.move_forward(&topic, bytes_max);
            tokio::task::yield_now().await;
        }
        metrics::topic_bytes(bytes);
    }

    fn drop_if_idle(&self, topic: &Arc<LiveTopic>) -> bool {
        let mut topics = self.shared.topics.lock();
        // Under the lock of the map nobody can join.
        let idle = topic.viewers.load(Ordering::Acquire) == 0
            && topic.state.lock().unwatched_since.elapsed() >= self.shared.limits.idle_max;
        if idle {
            topics.remove(&topic.key);
            metrics::topics(topics.len());
        }
        idle
    }

    /// Counts what arrived, slides the window, publishes when it is time. Answers the bytes kept.
    fn move_forward(&self, live: &Arc<LiveTopic>, bytes_max: usize) -> usize {
        let now_ms = self.shared.clock.now_ms();
        let mut guard = live.state.lock();
        let state = &mut *guard;
        let Some(topic) = state.topic.as_mut() else { return 0 };
        let continued = self.shared.feed.continue_from(topic.positions());
        if !continued.superseded {
            topic.advance(continued.frames.iter().map(|frame| &**frame), continued.positions);
        }
        topic.slide(now_ms);
        let due = state.published_at.is_none_or(|at| at.elapsed() >= self.shared.limits.frame_interval);
        if due && topic.has_changed() {
            topic.fit(bytes_max);
            state.bytes = topic.memory_bytes();
            live.publish(state, now_ms);
        } else if state.spoke_at.elapsed() >= HEARTBEAT && live.viewers.load(Ordering::Acquire) > 0 {
            live.say_nothing_changed(state, now_ms);
        }
        state.behind_since = continued.behind.then(|| state.behind_since.unwrap_or_else(Instant::now));
        let reason = match state.behind_since {
            _ if continued.superseded => Some("superseded"),
            _ if continued.gap => Some("gap"),
            // A frame may take a moment longer than its commit; one that does not come was never published.
            Some(since) if since.elapsed() >= BEHIND_MAX => Some("behind"),
            _ => None,
        };
        let bytes = state.bytes;
        let may_build = !state.building && state.built_at.is_none_or(|at| at.elapsed() >= REBUILD_PAUSE);
        if let Some(reason) = reason.filter(|_| may_build) {
            state.building = true;
            state.behind_since = None;
            drop(guard);
            metrics::topic_rebuilt(reason);
            self.build(live);
        }
        bytes
    }
}

impl LiveTopic {
    /// Puts a freshly built state in place.
    fn begin(&self, topic: Topic) {
        let version = Version {
            epoch: Arc::clone(topic.epoch()),
            version: topic.version(),
            since: topic.version(),
            message: None,
        };
        let mut state = self.state.lock();
        state.topic = Some(topic);
        state.building = false;
        state.built_at = Some(Instant::now());
        state.told.clear();
        self.published.send_replace(Published::Version(version));
    }

    /// Publishes what changed, if anything did.
    fn publish(&self, state: &mut State, now_ms: i64) {
        let Some(topic) = state.topic.as_mut() else { return };
        let Some(since) = topic.publish() else { return };
        let json = topic.message(Since::Version(since), now_ms);
        metrics::frame_encoded(json.len());
        let message = Message::new(Kind::Frame, topic.id(), &json);
        let version =
            Version { epoch: Arc::clone(topic.epoch()), version: topic.version(), since, message: Some(message) };
        state.published_at = Some(Instant::now());
        state.spoke_at = Instant::now();
        state.told.clear();
        self.published.send_replace(Published::Version(version));
    }

    /// A viewer that hears nothing for longer than a second may call the connection broken.
    fn say_nothing_changed(&self, state: &mut State, now_ms: i64) {
        let Some(topic) = state.topic.as_ref() else { return };
        let id = topic.id();
        let json = json!({
            "type": Kind::Heartbeat.name(),
            "id": id,
            "at_ms": now_ms,
            "newest_event_ms": topic.newest_event_ms(),
        });
        let message = Message::new(Kind::Heartbeat, id, &json.to_string());
        let version = topic.version();
        let version = Version { epoch: Arc::clone(topic.epoch()), version, since: version, message: Some(message) };
        state.spoke_at = Instant::now();
        self.published.send_replace(Published::Version(version));
    }

    /// Sees every new version, newest only.
    pub fn watch(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Whether this is the present version.
    pub fn is_at(&self, epoch: &str, version: u64) -> bool {
        let state = self.state.lock();
        state.topic.as_ref().is_some_and(|topic| **topic.epoch() == *epoch && topic.version() == version)
    }

    /// The message for a reader that has `seen` (epoch and version) or nothing, with the epoch and version it leads to.
    pub fn catch_up(
        &self,
        seen: Option<(&str, u64)>,
        resuming: bool,
        now_ms: i64,
    ) -> Option<(Arc<Message>, Arc<str>, u64)> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let topic = state.topic.as_mut()?;
        let known = seen.filter(|(epoch, version)| **epoch == **topic.epoch() && topic.can_tell_since(*version));
        let since = match known.map(|(_, version)| topic.a_little_before(version)) {
            None => Since::Nothing,
            Some(version) if resuming => Since::Resumed(version),
            Some(version) => Since::Version(version),
        };
        // It carries the time it was made at, so it must not grow old.
        state.told.retain(|told| told.made_at.elapsed() < TOLD_AGE_MAX);
        let told = state.told.iter().find(|told| told.since == since).map(|told| Arc::clone(&told.message));
        let message = told.unwrap_or_else(|| {
            let kind = if matches!(since, Since::Version(_)) { Kind::Frame } else { Kind::Snapshot };
            let message = Message::new(kind, topic.id(), &topic.message(since, now_ms));
            state.told.push(Told { since, message: Arc::clone(&message), made_at: Instant::now() });
            message
        });
        Some((message, Arc::clone(topic.epoch()), topic.version()))
    }

    /// A viewer left.
    pub fn leave(&self) {
        self.state.lock().unwatched_since = Instant::now();
        self.viewers.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A viewer's place, given back when dropped.
pub struct Place {
    hub: Hub,
}

impl Place {
    /// The hub's present.
    pub fn now_ms(&self) -> i64 {
        self.hub.shared.clock.now_ms()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = self.hub.shared.subscribers.fetch_sub(1, Ordering::AcqRel);
        metrics::subscribers(taken.saturating_sub(1));
    }
}

/// A window slides at most this late.
const TICK: Duration = Duration::from_millis(100);
/// Frames of several partitions that arrive together are one round.
const PAUSE: Duration = Duration::from_millis(10);
/// At most one snapshot a second per topic, however often something is missing.
const REBUILD_PAUSE: Duration = Duration::from_secs(1);
/// Frames are published before they are committed, and on their way for some 50 ms.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// Viewers that arrive or return together share a message.
const TOLD_AGE_MAX: Duration = Duration::from_millis(100);
/// A topic speaks at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
