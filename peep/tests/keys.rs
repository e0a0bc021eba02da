//! Keys from the command line, on a real database.

use std::time::Duration;

use peep_chassis::keys::{self, SessionStore, format};
use peep_testkit::{Database, Peep};

const SOON: Duration = Duration::from_secs(20);

async fn peep(database: &Database, arguments: &[&str]) -> (bool, String) {
    let command = Peep::command(arguments.iter().copied()).env("DATABASE_URL", database.url());
    let (status, said) = command.run(SOON).await;
    (status.success(), said)
}

#[tokio::test]
async fn a_key_is_shown_once_listed_without_its_secret_and_revoked() {
    let database = Database::fresh().await;
    let (created, said) =
        peep(&database, &["key", "create", "--project", "shop", "--env", "live", "--scope", "ingest", "--quiet"]).await;
    assert!(created, "{said}");
    let secret = said.trim();
    assert_eq!(format::check(secret), Ok(keys::Kind::Key), "only the key: {said}");
    assert!(secret.starts_with("peep_live_"), "its environment can be seen: {said}");

    let (_, listed) = peep(&database, &["key", "list", "--project", "shop"]).await;
    let (prefix, last4) = format::shown_parts(secret);
    assert!(listed.contains(&format!("{prefix}…{last4}")) && listed.contains("live"), "{listed}");
    assert!(!listed.contains(secret), "{listed}");

    let (revoked, said) = peep(&database, &["key", "revoke", prefix]).await;
    assert!(revoked, "{said}");
    let rows = keys::list(&database.pool().await, Some("shop")).await.expect("list keys");
    assert!(rows[0].revoked_at.is_some(), "{rows:?}");
}

#[tokio::test]
async fn a_key_for_web_pages_shows_its_origins_and_can_only_send() {
    let database = Database::fresh().await;
    let create = async |scope: &str, origin: &str| {
        peep(&database, &["key", "create", "--project", "shop", "--scope", scope, "--origin", origin]).await
    };
    let (created, said) = create("ingest", "HTTPS://Shop.Example:443").await;
    assert!(created && said.contains("for pages of https://shop.example"), "{said}");
    let (_, listed) = peep(&database, &["key", "list"]).await;
    assert!(listed.contains("https://shop.example"), "{listed}");
    for (scope, origin, rule) in
        [("read", "https://shop.example", "--scope ingest"), ("ingest", "*", "https://*.shop.example")]
    {
        let (created, said) = create(scope, origin).await;
        assert!(!created && said.contains(rule), "{said}");
    }
}

#[tokio::test]
async fn revoking_what_does_not_exist_fails_and_names_it() {
    let database = Database::fresh().await;
    let (revoked, said) = peep(&database, &["key", "revoke", "4711"]).await;
    assert!(!revoked && said.contains("no key matches \"4711\""), "{said}");
}

#[tokio::test]
async fn a_name_that_cannot_be_used_is_refused_with_the_rule() {
    let database = Database::fresh().await;
    let (created, said) = peep(&database, &["key", "create", "--project", "my shop", "--scope", "read"]).await;
    assert!(!created && said.contains("\"my shop\" cannot be used"), "{said}");
}

#[tokio::test]
async fn a_login_link_signs_in_once() {
    let database = Database::fresh().await;
    let (printed, said) = peep(&database, &["login-link", "--project", "shop", "--url", "https://peep.example/"]).await;
    assert!(printed, "{said}");
    let token = said.trim().strip_prefix("https://peep.example/login/#token=").expect("a link with a fragment");
    let sessions = SessionStore::new(database.pool().await, Duration::from_secs(60));
    assert_eq!(sessions.redeem(token).await.expect("the first click").session.project_name, "shop");
    assert!(sessions.redeem(token).await.is_err(), "the second click");
}

#[tokio::test]
async fn migrating_twice_is_harmless_and_says_what_it_did() {
    let database = Database::fresh().await;
    let (migrated, said) = peep(&database, &["migrate"]).await;
    assert!(migrated && said.contains("0 of them applied now"), "{said}");
}

#[tokio::test]
async fn an_unreachable_database_is_one_line_with_the_place() {
    let command = Peep::command(["key", "list"]).env("DATABASE_URL", "postgres://peep:hunter2@127.0.0.1:1/peep");
    let (status, said) = command.run(SOON).await;
    assert_eq!((status.code(), said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("127.0.0.1:1") && !said.contains("hunter2"), "{said}");
}
