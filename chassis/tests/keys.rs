//! Keys and sessions on a real database.

use std::time::Duration;

use peep_chassis::ExposeSecret;
use peep_chassis::admin::Health;
use peep_chassis::keys::sessions::SessionError;
use peep_chassis::keys::{self, KeyError, KeyStore, KeysConfig, Scope, SessionStore};
use peep_chassis::lifecycle::Shutdown;
use peep_testkit::Database;

const TTL: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_new_key_works_within_a_second_and_a_revoked_one_stops_within_a_few() {
    let pool = Database::fresh().await.pool().await;
    let (health, shutdown) = (Health::new(), Shutdown::new());
    let store = KeyStore::start(pool.clone(), KeysConfig::default(), &health, shutdown);
    store.first_read().await;
    assert!(health.is_ready());

    let created = keys::create(&pool, "shop", Some("live"), Scope::Ingest).await.expect("create a key");
    let found = store.check(created.secret.expose_secret()).await.expect("a key created a moment ago");
    assert_eq!((found.key, found.project_name.as_str(), found.scope), (created.key, "shop", Scope::Ingest));
    assert_eq!(found.env.as_deref(), Some("live"));

    keys::revoke(&pool, &created.key.to_string()).await.expect("revoke it");
    for _ in 0..50 {
        if store.check(created.secret.expose_secret()).await == Err(KeyError::Revoked) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the key still works five seconds after it was revoked");
}

#[tokio::test]
async fn a_project_keeps_its_number_and_its_keys_to_itself() {
    let pool = Database::fresh().await.pool().await;
    let first = keys::create(&pool, "shop", None, Scope::Read).await.expect("create a key");
    keys::create(&pool, "blog", None, Scope::Admin).await.expect("create another");
    let number = keys::project_id(&pool, "shop").await.expect("the project");
    assert_eq!(keys::project_id(&pool, "shop").await.expect("the same project"), number);
    let shop = keys::list(&pool, Some("shop")).await.expect("list keys");
    assert_eq!(shop.iter().map(|row| row.key).collect::<Vec<_>>(), [first.key]);
}

#[tokio::test]
async fn a_key_for_browsers_lists_its_origins_and_is_known_by_them_until_it_is_revoked() {
    let pool = Database::fresh().await.pool().await;
    let store = KeyStore::start(pool.clone(), KeysConfig::default(), &Health::new(), Shutdown::new());
    store.first_read().await;
    let origins = ["https://shop.example", "https://*.shop.example"].map(|text| text.parse().expect("an origin"));
    let created = keys::create_for_browsers(&pool, "shop", None, &origins).await.expect("create a key");
    let found = store.check(created.secret.expose_secret()).await.expect("a key created a moment ago");
    assert_eq!((found.scope, found.origins.as_slice()), (Scope::Ingest, origins.as_slice()));
    assert_eq!(keys::list(&pool, None).await.expect("list keys")[0].origins, origins.map(|origin| origin.to_string()));
    assert!(store.knows_origin("https://shop.example") && store.knows_origin("https://eu.shop.example"));
    assert!(!store.knows_origin("https://other.example") && !store.knows_origin("null"));

    keys::revoke(&pool, &created.key.to_string()).await.expect("revoke it");
    for _ in 0..50 {
        if !store.knows_origin("https://shop.example") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("its origins are known five seconds after it was revoked");
}

#[tokio::test]
async fn a_key_for_browsers_can_only_send() {
    let pool = Database::fresh().await.pool().await;
    assert!(keys::create_for_browsers(&pool, "shop", None, &[]).await.is_err(), "no origins, no key");
    keys::create(&pool, "shop", None, Scope::Admin).await.expect("create a key");
    for refused in
        ["update api_key set origins = '{https://shop.example}'", "update api_key set scope = 'ingest', origins = '{}'"]
    {
        assert!(sqlx::query(refused).execute(&pool).await.is_err(), "{refused}");
    }
}

#[tokio::test]
async fn a_whole_key_can_be_revoked_and_is_never_repeated() {
    let pool = Database::fresh().await.pool().await;
    let created = keys::create(&pool, "shop", None, Scope::Ingest).await.expect("create a key");
    let secret = created.secret.expose_secret();
    assert_eq!(keys::revoke(&pool, secret).await.expect("revoke by the whole key").key, created.key);
    let other = keys::format::new_key(None);
    let error = keys::revoke(&pool, other.expose_secret()).await.expect_err("nobody has this key");
    assert!(!error.to_string().contains(other.expose_secret()), "{error}");
}

#[tokio::test]
async fn of_two_clicks_on_a_login_link_one_wins() {
    let pool = Database::fresh().await.pool().await;
    let project = keys::project_id(&pool, "shop").await.expect("a project");
    let token = keys::create_login_token(&pool, project, TTL).await.expect("a token");
    let sessions = SessionStore::new(pool, TTL);
    let (one, two) = tokio::join!(sessions.redeem(token.expose_secret()), sessions.redeem(token.expose_secret()));
    assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|won| **won).count(), 1, "{one:?} {two:?}");
}

#[tokio::test]
async fn an_old_login_link_does_not_work() {
    let pool = Database::fresh().await.pool().await;
    let project = keys::project_id(&pool, "shop").await.expect("a project");
    let token = keys::create_login_token(&pool, project, Duration::ZERO).await.expect("a token");
    let redeemed = SessionStore::new(pool, TTL).redeem(token.expose_secret()).await;
    assert!(matches!(redeemed, Err(SessionError::Invalid)), "{redeemed:?}");
}

#[tokio::test]
async fn a_session_lasts_until_it_is_ended_or_expires() {
    let pool = Database::fresh().await.pool().await;
    let project = keys::project_id(&pool, "shop").await.expect("a project");
    let sessions = SessionStore::new(pool.clone(), TTL);
    let opened = sessions.open(project, None).await.expect("sign in");
    let secret = opened.secret.expose_secret();
    // Twice: from the database and from the cache.
    assert_eq!(sessions.find(secret).await.expect("signed in"), opened.session);
    assert_eq!(sessions.find(secret).await.expect("signed in"), opened.session);
    sessions.end(secret).await.expect("sign out");
    assert!(matches!(sessions.find(secret).await, Err(SessionError::Invalid)));

    let brief = SessionStore::new(pool, Duration::from_millis(20)).open(project, None).await.expect("sign in");
    tokio::time::sleep(Duration::from_millis(40)).await;
    assert!(matches!(sessions.find(brief.secret.expose_secret()).await, Err(SessionError::Invalid)));
}

#[tokio::test]
async fn nobody_signs_in_to_a_project_that_does_not_exist() {
    let pool = Database::fresh().await.pool().await;
    assert!(matches!(SessionStore::new(pool, TTL).open(4711, None).await, Err(SessionError::Invalid)));
}
