use secrecy::{ExposeSecret, SecretString};

use super::super::Scope;
use super::*;

fn secret() -> SecretString {
    format::new_key(None)
}

fn key() -> ApiKey {
    ApiKey { key: 7, project: 1, project_name: "shop".to_owned(), env: None, scope: Scope::Ingest, origins: Vec::new() }
}

/// A store whose reads the test performs, and the part of its readiness.
struct Driven {
    store: Arc<KeyStore>,
    health: Health,
    handle: HealthHandle,
}

impl Driven {
    fn new() -> Self {
        let health = Health::new();
        let handle = health.register("keys");
        let store = Arc::new(KeyStore::empty(Duration::from_secs(60), Progress::Starting));
        Self { store, health, handle }
    }

    fn read(&self, keys: &[(&SecretString, Known)]) {
        let keys = keys.iter().map(|(secret, known)| (digest(secret), known.clone())).collect();
        self.store.install(Instant::now(), keys, &self.handle);
    }

    fn fail(&self) {
        self.store.read_failed("connection refused", &self.handle);
    }

    async fn check(&self, secret: &SecretString) -> Result<Arc<ApiKey>, KeyError> {
        self.store.check(secret.expose_secret()).await
    }
}

fn digest(secret: &SecretString) -> [u8; 32] {
    format::digest(secret.expose_secret())
}

fn active() -> Known {
    Known::Active(Arc::new(key()))
}

#[tokio::test(start_paused = true)]
async fn a_known_key_is_answered_from_memory_and_a_revoked_one_by_name() {
    let (driven, good, revoked) = (Driven::new(), secret(), secret());
    driven.read(&[(&good, active()), (&revoked, Known::Revoked)]);
    assert_eq!(driven.check(&good).await, Ok(Arc::new(key())));
    assert_eq!(driven.check(&revoked).await, Err(KeyError::Revoked));
    assert!(driven.health.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_remembered_key_is_forgotten_with_the_next_read_and_refused_when_the_keys_are_stale() {
    let (driven, good) = (Driven::new(), secret());
    let (other, stranger) = (Driven::new(), secret());
    driven.read(&[(&good, active())]);
    other.read(&[(&stranger, active())]);
    for _ in 0..3 {
        assert_eq!(driven.check(&good).await, Ok(Arc::new(key())));
        assert_eq!(other.check(&stranger).await, Ok(Arc::new(key())));
    }
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(driven.check(&good).await.expect_err("nobody knows").is_retryable());
    let renamed = ApiKey { project_name: "shop2".to_owned(), ..key() };
    driven.read(&[(&good, Known::Active(Arc::new(renamed.clone())))]);
    assert_eq!(driven.check(&good).await, Ok(Arc::new(renamed)));
    driven.read(&[(&good, Known::Revoked)]);
    assert_eq!(driven.check(&good).await, Err(KeyError::Revoked));
}

#[tokio::test(start_paused = true)]
async fn nothing_opens_before_the_first_read() {
    let driven = Driven::new();
    assert!(driven.check(&secret()).await.expect_err("nothing is known").is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_key_created_a_moment_ago_is_found_by_a_fresh_read() {
    let (driven, fresh) = (Driven::new(), secret());
    driven.read(&[]);
    let store = Arc::clone(&driven.store);
    let presented = fresh.clone();
    let waiting = tokio::spawn(async move { store.check(presented.expose_secret()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    driven.read(&[(&fresh, active())]);
    assert_eq!(waiting.await.expect("no panic"), Ok(Arc::new(key())));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_confirmed_once_and_then_refused_from_memory() {
    let (driven, stranger) = (Driven::new(), secret());
    driven.read(&[]);
    let (store, presented) = (Arc::clone(&driven.store), stranger.clone());
    let waiting = tokio::spawn(async move { store.check(presented.expose_secret()).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    driven.read(&[]);
    assert_eq!(waiting.await.expect("no panic"), Err(KeyError::Unknown));
    let before = Instant::now();
    assert_eq!(driven.check(&stranger).await, Err(KeyError::Unknown));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn when_nobody_reads_an_unknown_key_is_told_to_retry_and_not_refused() {
    let (driven, stranger) = (Driven::new(), secret());
    driven.read(&[]);
    let answer = driven.check(&stranger).await;
    assert!(answer.expect_err("nobody knows").is_retryable());
}

#[tokio::test(start_paused = true)]
async fn known_keys_outlive_a_database_outage_up_to_the_limit() {
    let (driven, good) = (Driven::new(), secret());
    driven.read(&[(&good, active())]);
    tokio::time::advance(Duration::from_secs(59)).await;
    driven.fail();
    assert!(driven.check(&good).await.is_ok());
    assert!(driven.health.is_ready() && driven.health.is_degraded(), "takes its traffic, and somebody should look");
    tokio::time::advance(Duration::from_secs(2)).await;
    driven.fail();
    assert!(driven.check(&good).await.expect_err("too old").is_retryable());
    assert!(!driven.health.is_ready());
    driven.read(&[(&good, active())]);
    assert!(driven.check(&good).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn unknown_keys_during_an_outage_do_not_wait() {
    let driven = Driven::new();
    driven.read(&[]);
    driven.fail();
    let before = Instant::now();
    assert!(driven.check(&secret()).await.expect_err("nobody knows").is_retryable());
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_is_turned_away_beyond_the_limit() {
    let driven = Driven::new();
    driven.read(&[]);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..WAITING_MAX {
        let (store, stranger) = (Arc::clone(&driven.store), secret());
        waiting.spawn(async move { store.check(stranger.expose_secret()).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let before = Instant::now();
    let answer = driven.check(&secret()).await;
    assert_eq!(answer, Err(KeyError::Unavailable("too many unknown keys at once")));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_session_is_no_key_and_noise_is_refused_without_asking() {
    let store = KeyStore::fixed([]);
    let (session, link) = (format::new_session(), format::new_login_token());
    assert_eq!(store.check(session.expose_secret()).await, Err(KeyError::NoKey(Kind::Session)));
    assert_eq!(store.check(link.expose_secret()).await, Err(KeyError::NoKey(Kind::LoginToken)));
    assert!(matches!(store.check("hunter2").await, Err(KeyError::Malformed(_))));
}

#[tokio::test]
async fn fixed_keys_need_no_database() {
    let (good, stranger) = (secret(), secret());
    let store = KeyStore::fixed([(good.expose_secret(), key())]);
    assert!(store.check(good.expose_secret()).await.is_ok());
    assert_eq!(store.check(stranger.expose_secret()).await, Err(KeyError::Unknown));
}
