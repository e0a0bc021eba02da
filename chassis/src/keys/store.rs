//! Whose key is this: answered from memory, never from the database on the way of a request.
//!
//! Arrives: the text a client presented. Leaves: the [`ApiKey`] or the reason why not. A background task reads all keys every two
//! seconds, so a revoked key stops working within about that time on every process. A key the snapshot does not know may have
//! been created a moment ago: its request waits for one fresh read, which all such requests share and which happens at most once
//! a second, whatever arrives.
//!
//! Bounded: requests waiting for a fresh read ([`WAITING_MAX`]; more are told to retry) and remembered unknown keys
//! ([`REFUSED_MAX`]). A key that was confirmed unknown is refused from memory from then on: keys are random, so one that was
//! presented before it existed does not happen. One that is created after all is found in the snapshot first.
//!
//! Fails closed: when the last successful read is older than `stale_max`, nothing is accepted.
//!
//! What a key was found to be is remembered by the thread that asked, by its text and until the next read, so that a request of a
//! known key costs neither a digest nor anything that threads share.
//!
//! The look-up is an ordinary hash map by SHA-256 digest and not a constant-time comparison. What its timing could reveal is how
//! a digest compares with stored digests, and nobody can choose a text by its digest.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sqlx::PgPool;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use super::{ApiKey, KeyError, KeysConfig, Kind, Usage, format, origin, records};
use crate::admin::{Health, HealthHandle};
use crate::lifecycle::Shutdown;

/// The keys of this process. Share it in an `Arc`.
pub struct KeyStore {
    snapshot: RwLock<Option<Arc<Snapshot>>>,
    /// Changes with every snapshot, and is that of no other store.
    version: AtomicU64,
    stale_max: Duration,
    refused: Mutex<HashSet<[u8; 32]>>,
    waiting: Semaphore,
    /// Wakes the reader for somebody who waits.
    wanted: Notify,
    progress: watch::Sender<Progress>,
    usage: Arc<Usage>,
}

/// All keys as of one moment.
pub(super) struct Snapshot {
    /// When the read started: changes committed before are in it.
    as_of: Instant,
    keys: HashMap<[u8; 32], Known>,
    /// Of all active keys.
    origins: HashSet<String>,
}

#[derive(Clone)]
pub(super) enum Known {
    Active(Arc<ApiKey>),
    Revoked,
}

/// How reading the keys went last, for those who wait.
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// No reader: the keys are fixed, and what they do not know is unknown.
    Fixed,
    Starting,
    Read {
        as_of: Instant,
    },
    Failed {
        since: Instant,
    },
}

impl KeyStore {
    /// Starts reading keys, and noting how they are used, until shutdown. Readiness turns green with the first snapshot and red when it gets too old.
    pub fn start(pool: PgPool, config: KeysConfig, health: &Health, shutdown: Shutdown) -> Arc<Self> {
        let store = Arc::new(Self::empty(config.stale_max, Progress::Starting));
        let reader = Arc::clone(&store);
        let health = health.register("keys");
        let (usage, usage_pool, usage_end) = (Arc::clone(&store.usage), pool.clone(), shutdown.clone());
        tokio::spawn(async move { usage.add_until(usage_pool, usage_end).await });
        tokio::spawn(async move { reader.read_until(pool, health, shutdown).await });
        store
    }

    /// Exactly these keys for ever, without a database: for tests of services.
    pub fn fixed<'k>(keys: impl IntoIterator<Item = (&'k str, ApiKey)>) -> Arc<Self> {
        let store = Self::empty(Duration::MAX, Progress::Fixed);
        let keys =
            keys.into_iter().map(|(secret, key)| (format::digest(secret), Known::Active(Arc::new(key)))).collect();
        *store.snapshot.write() = Some(Arc::new(Snapshot::new(Instant::now(), keys)));
        Arc::new(store)
    }

    fn empty(stale_max: Duration, progress: Progress) -> Self {
        Self {
            snapshot: RwLock::new(None),
            version: AtomicU64::new(next_version()),
            stale_max,
            refused: Mutex::default(),
            waiting: Semaphore::new(WAITING_MAX),
            wanted: Notify::new(),
            progress: watch::Sender::new(progress),
            usage: Arc::default(),
        }
    }

    /// Whose key this is. Answers at once for every key known; an unknown one may wait for up to three seconds.
    ///
    /// # Errors
    /// See [`KeyError`]; only `Unavailable` is worth a retry.
    pub async fn check(&self, presented: &str) -> Result<Arc<ApiKey>, KeyError> {
        // Before the look-up: what is found meanwhile may be newer than this says, and is forgotten all the earlier.
        let version = self.version.load(Ordering::Acquire);
        if let Some(key) = Remembered::recall(version, self.stale_max, presented) {
            return Ok(key);
        }
        match format::check(presented).map_err(KeyError::Malformed)? {
            Kind::Key => {}
            other @ (Kind::LoginToken | Kind::Session) => return Err(KeyError::NoKey(other)),
        }
        let digest = format::digest(presented);
        match self.look_up(&digest)? {
            Some(Known::Active(key)) => {
                if let Some(as_of) = self.snapshot.read().as_ref().map(|snapshot| snapshot.as_of) {
                    Remembered::remember(version, as_of, presented, &key);
                }
                Ok(key)
            }
            Some(Known::Revoked) => Err(KeyError::Revoked),
            None if self.refused.lock().contains(&digest) => Err(KeyError::Unknown),
            None => self.look_again(digest).await,
        }
    }

    /// Whether any key is for pages of this origin: what can be said to a browser that asks before it shows its key.
    pub fn knows_origin(&self, presented: &str) -> bool {
        let snapshot = self.snapshot.read();
        let Some(snapshot) = snapshot.as_ref().filter(|snapshot| !snapshot.origins.is_empty()) else { return false };
        let known = |origin: &str| snapshot.origins.contains(origin);
        known(presented) || origin::widened(presented).is_some_and(|wide| known(&wide))
    }

    /// Resolves once keys were read for the first time: before that every request would be told to retry.
    pub async fn first_read(&self) {
        let mut progress = self.progress.subscribe();
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _ = progress.wait_for(|_| self.snapshot.read().is_some()).await;
    }

    /// Where services tell how keys are used.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Keys that may be used now; for people.
    pub fn active_count(&self) -> usize {
        self.snapshot.read().as_ref().map_or(0, |snapshot| snapshot.active_count())
    }

    fn look_up(&self, digest: &[u8; 32]) -> Result<Option<Known>, KeyError> {
        let snapshot = self.snapshot.read();
        let Some(snapshot) = snapshot.as_ref() else {
            return Err(KeyError::Unavailable("they were not read from the database yet"));
        };
        if snapshot.as_of.elapsed() > self.stale_max {
            return Err(KeyError::Unavailable("the database has been unreachable for too long"));
        }
        Ok(snapshot.keys.get(digest).cloned())
    }

    /// Waits for a snapshot that was read after this call began, then looks once more.
    async fn look_again(&self, digest: [u8; 32]) -> Result<Arc<ApiKey>, KeyError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(KeyError::Unavailable("too many unknown keys at once"));
        };
        let arrived = Instant::now();
        let mut progress = self.progress.subscribe();
        self.wanted.notify_one();
        let settled = progress.wait_for(|progress| match progress {
            Progress::Fixed => true,
            Progress::Starting => false,
            Progress::Read { as_of } => *as_of > arrived,
            // Reading fails right now: waiting for it would only hold the request.
            Progress::Failed { .. } => true,
        });
        let progress = match tokio::time::timeout(WAIT_MAX, settled).await {
            Ok(Ok(progress)) => *progress,
            Ok(Err(_)) | Err(_) => return Err(KeyError::Unavailable("the database does not answer in time")),
        };
        if let Progress::Failed { since } = progress {
            tracing::debug!(failing_ms = since.elapsed().as_millis(), "unknown key while keys cannot be read");
            return Err(KeyError::Unavailable("the database cannot be read"));
        }
        match self.look_up(&digest)? {
            Some(Known::Active(key)) => Ok(key),
            Some(Known::Revoked) => Err(KeyError::Revoked),
            None => {
                self.remember_refused(digest);
                Err(KeyError::Unknown)
            }
        }
    }

    fn remember_refused(&self, digest: [u8; 32]) {
        crate::metrics::key_unknown();
        let mut refused = self.refused.lock();
        if refused.len() >= REFUSED_MAX {
            // Forgetting costs each of them one shared read; an eviction order would cost more than it saves.
            refused.clear();
        }
        refused.insert(digest);
    }

    async fn read_until(&self, pool: PgPool, health: HealthHandle, shutdown: Shutdown) {
        loop {
            let started = Instant::now();
            // One read at a time, and none for longer than this, so that the loop and with it readiness keep moving.
            match tokio::time::timeout(READ_TIMEOUT, records::snapshot(&pool)).await {
                Ok(Ok(keys)) => self.install(started, keys, &health),
                Ok(Err(error)) => self.read_failed(&error.to_string(), &health),
                Err(_) => self.read_failed("no answer in time", &health),
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = self.next_read_due() => {}
            }
        }
    }

    async fn next_read_due(&self) {
        tokio::time::sleep(READ_INTERVAL_MIN).await;
        tokio::select! {
            () = self.wanted.notified() => {}
            () = tokio::time::sleep(READ_INTERVAL - READ_INTERVAL_MIN) => {}
        }
    }

    fn install(&self, as_of: Instant, keys: HashMap<[u8; 32], Known>, health: &HealthHandle) {
        let snapshot = Snapshot::new(as_of, keys);
        crate::metrics::keys_active(snapshot.active_count());
        *self.snapshot.write() = Some(Arc::new(snapshot));
        self.version.store(next_version(), Ordering::Release);
        if let Progress::Failed { since } = *self.progress.borrow() {
            tracing::info!(failed_ms = since.elapsed().as_millis(), "keys can be read again");
        }
        // After the snapshot: whoever is woken by this finds it.
        self.progress.send_replace(Progress::Read { as_of });
        health.set_ready();
    }

    fn read_failed(&self, reason: &str, health: &HealthHandle) {
        crate::metrics::keys_refresh_failed();
        let before = *self.progress.borrow();
        let since = match before {
            Progress::Failed { since } => since,
            _ => {
                tracing::warn!(reason, "keys cannot be read; known keys keep working for a while");
                Instant::now()
            }
        };
        self.progress.send_replace(Progress::Failed { since });
        let age = self.snapshot.read().as_ref().map(|snapshot| snapshot.as_of.elapsed());
        match age {
            None => health.set_not_ready(format!("keys were never read: {reason}")),
            Some(age) if age > self.stale_max => {
                health.set_not_ready("the database has been unreachable for too long; every key is refused");
            }
            Some(_) => health.set_degraded("the database cannot be read; known keys keep working for a while"),
        }
    }
}

/// Active keys that a thread has been asked for since the last read.
struct Remembered {
    version: u64,
    as_of: Instant,
    /// By their text: an equal hash is not enough, and the hash is seeded by chance.
    keys: HashMap<Box<str>, Arc<ApiKey>>,
}

impl Remembered {
    fn recall(version: u64, stale_max: Duration, presented: &str) -> Option<Arc<ApiKey>> {
        REMEMBERED.with_borrow_mut(|remembered| {
            if remembered.as_ref().is_some_and(|remembered| remembered.version != version) {
                *remembered = None;
            }
            let remembered = remembered.as_ref()?;
            let key = remembered.keys.get(presented)?;
            (remembered.as_of.elapsed() <= stale_max).then(|| Arc::clone(key))
        })
    }

    fn remember(version: u64, as_of: Instant, presented: &str, key: &ApiKey) {
        REMEMBERED.with_borrow_mut(|remembered| {
            let remembered = remembered.get_or_insert_with(|| Self { version, as_of, keys: HashMap::new() });
            if remembered.version != version || remembered.keys.len() >= REMEMBERED_MAX {
                *remembered = Self { version, as_of, keys: HashMap::new() };
            }
            // A copy, so that threads do not even share the count of its users.
            remembered.keys.insert(presented.into(), Arc::new(key.clone()));
        });
    }
}

fn next_version() -> u64 {
    VERSIONS.fetch_add(1, Ordering::Relaxed)
}

thread_local! {
    static REMEMBERED: RefCell<Option<Remembered>> = const { RefCell::new(None) };
}
static VERSIONS: AtomicU64 = AtomicU64::new(0);

impl Snapshot {
    fn new(as_of: Instant, keys: HashMap<[u8; 32], Known>) -> Self {
        let mut origins = HashSet::new();
        for known in keys.values() {
            if let Known::Active(key) = known {
                origins.extend(key.origins.iter().map(|origin| origin.as_str().to_owned()));
            }
        }
        Self { as_of, keys, origins }
    }

    fn active_count(&self) -> usize {
        self.keys.values().filter(|known| matches!(known, Known::Active(_))).count()
    }
}

impl std::fmt::Debug for KeyStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("KeyStore").field("active", &self.active_count()).finish_non_exhaustive()
    }
}

/// The longest a revoked key keeps working, plus one read.
const READ_INTERVAL: Duration = Duration::from_secs(2);
/// What unknown keys can cost the database at most: one read per second and process.
const READ_INTERVAL_MIN: Duration = Duration::from_secs(1);
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// One interval and a read; below every client's patience.
const WAIT_MAX: Duration = Duration::from_secs(3);
/// 256 waiting requests are some hundred kilobytes; a burst of new keys is a handful.
const WAITING_MAX: usize = 256;
/// 32 bytes each: 128 KiB and the map's overhead.
const REFUSED_MAX: usize = 4096;
/// For each thread; some hundred bytes each.
const REMEMBERED_MAX: usize = 1024;

#[cfg(test)]
mod tests;
