//! Keys as the dashboard shows, makes and revokes them.

use std::time::Duration;

use peep_chassis::ExposeSecret;
use peep_chassis::clock::Clock;
use peep_chassis::keys::{Usage, create_login_token};
use peep_testkit::Client;
use serde_json::{Value, json};

use crate::world::World;

impl World {
    /// A page of ours in a browser that was signed in so.
    async fn browser(&self, body: Value) -> Client {
        self.cookie(body).await.with_header("origin", &self.url)
    }

    /// The same without saying where it comes from.
    async fn cookie(&self, body: Value) -> Client {
        let signed_in = self.anonymous().post_json("/v1/session", &body).await;
        let cookie = signed_in.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie");
        self.anonymous().with_header("cookie", cookie)
    }

    async fn manager(&self) -> Client {
        self.browser(self.login().await).await
    }

    async fn login(&self) -> Value {
        let token = create_login_token(&self.pool, self.project, Duration::from_secs(60)).await.expect("a token");
        json!({"token": token.expose_secret()})
    }
}

#[tokio::test]
async fn a_key_is_made_shown_once_listed_and_revoked() {
    let world = World::new().await;
    let browser = world.manager().await;
    let wanted =
        json!({"name": "web shop", "scope": "ingest", "env": "production", "origins": ["https://shop.example"]});
    let made = browser.post_json("/v1/keys", &wanted).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let (id, secret) = (made.json()["id"].clone(), made.json()["key"].clone());
    assert!(secret.as_str().is_some_and(|secret| secret.starts_with("peep_production_")));
    let listed = browser.get("/v1/keys").await;
    assert!(!listed.body.contains(secret.as_str().expect("text")), "the secret is in no list");
    let keys = listed.json()["keys"].clone();
    assert_eq!(keys.as_array().map(Vec::len), Some(6), "those of the project and no others: {keys}");
    let one = &keys[0];
    assert_eq!((&one["id"], &one["name"], &one["scope"]), (&id, &json!("web shop"), &json!("ingest")));
    assert_eq!((&one["env"], &one["origins"]), (&json!("production"), &json!(["https://shop.example"])));
    assert_eq!(
        (&one["last_used_ms"], &one["revoked_ms"], &one["events_today"]),
        (&Value::Null, &Value::Null, &json!(0))
    );
    assert_eq!(one["prefix"], made.json()["prefix"]);

    let path = format!("/v1/keys/{}", id.as_str().expect("text"));
    assert_eq!(browser.delete(&path).await.status, 204);
    assert_eq!(browser.delete(&path).await.status, 204, "twice is harmless");
    assert!(browser.get("/v1/keys").await.json()["keys"][0]["revoked_ms"].is_i64());
    for nobody in ["/v1/keys/999999", "/v1/keys/x", "/v1/keys/%ff"] {
        let answer = browser.delete(nobody).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("key_not_found")), "{nobody}");
    }
    world.stop().await;
}

#[tokio::test]
async fn only_who_may_manage_sees_and_changes_keys() {
    let world = World::new().await;
    let wanted = json!({"scope": "read"});
    let reader = world.browser(json!({"key": world.keys.read})).await;
    let admin_session = world.browser(json!({"key": world.keys.admin})).await;
    let admin_key = world.anonymous().with_key(&world.keys.admin);
    for (who, client, status) in [
        ("nobody", world.anonymous(), 401),
        ("a read key", world.reader(), 403),
        ("the session of a read key", reader, 403),
        ("a key of one environment", world.anonymous().with_key(&world.keys.staging), 403),
        ("an admin key", admin_key.clone(), 200),
        ("its session", admin_session.clone(), 200),
    ] {
        assert_eq!(client.get("/v1/keys").await.status, status, "{who}");
        let made = client.post_json("/v1/keys", &wanted).await;
        assert_eq!(made.status, if status == 200 { 201 } else { status }, "{who}");
        assert_eq!(client.delete("/v1/keys/999999").await.status, if status == 200 { 404 } else { status }, "{who}");
    }
    let foreign = admin_session.with_header("origin", "https://evil.example").post_json("/v1/keys", &wanted).await;
    assert_eq!((foreign.status, foreign.json()["error"]["code"].as_str()), (403, Some("foreign_origin")));
    let other_project: i64 = sqlx::query_scalar(
        "select key_id from api_key join project p using (project_id) where p.name = 'other' limit 1",
    )
    .fetch_one(&world.pool)
    .await
    .expect("a key of another project");
    assert_eq!(admin_key.delete(&format!("/v1/keys/{other_project}")).await.status, 404);
    for (wrong, field) in [
        (json!({}), "`scope`"),
        (json!({"scope": "admin"}), "`scope`"),
        (json!({"scope": 1}), "`scope`"),
        (json!({"scope": "read", "origins": ["https://shop.example"]}), ""),
        (json!({"scope": "ingest", "origins": ["shop"]}), "`origins`"),
        (json!({"scope": "ingest", "origins": "https://shop.example"}), "`origins`"),
        (json!({"scope": "read", "env": "two words"}), ""),
        (json!({"scope": "read", "name": ""}), ""),
        (json!({"scope": "read", "colour": "red"}), "`colour`"),
    ] {
        let answer = admin_key.post_json("/v1/keys", &wrong).await;
        assert_eq!(answer.status, 400, "{wrong}");
        let message = answer.json()["error"]["message"].clone();
        assert!(message.as_str().is_some_and(|message| message.starts_with(field)), "{wrong}: {message}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_cookie_changes_nothing_unless_the_request_says_that_it_comes_from_a_page_of_ours() {
    let world = World::new().await;
    let silent = world.cookie(world.login().await).await;
    let page = silent.with_header("origin", &world.url);
    let made = page.post_json("/v1/keys", &json!({"scope": "read"})).await.json();
    let key = format!("/v1/keys/{}", made["id"].as_str().expect("an id"));
    let elsewhere = page.with_header("sec-fetch-site", "cross-site");
    let rule = json!({"kind": "silence", "target": {"for_s": 120}});
    for (name, client) in [("says nothing", silent), ("comes from elsewhere", elsewhere)] {
        for answer in [
            client.post_json("/v1/keys", &json!({"scope": "read"})).await,
            client.delete(&key).await,
            client.post_json("/v1/test-event", &json!({"service": "shop"})).await,
            client.post_json("/v1/alerts", &rule).await,
            client.delete("/v1/alerts/1").await,
            client
                .post_json("/v1/alerts/test", &json!({"receiver": {"kind": "webhook", "url": "http://a.example"}}))
                .await,
            client.delete("/v1/session").await,
        ] {
            let code = answer.json()["error"]["code"].clone();
            assert_eq!((answer.status, code), (403, json!("foreign_origin")), "{name}: {}", answer.body);
        }
        assert_eq!(client.get("/v1/keys").await.status, 200, "{name}, and only reads");
    }
    assert_eq!(page.delete("/v1/session").await.status, 204);
    world.stop().await;
}

#[tokio::test]
async fn a_key_of_one_environment_is_told_which_key_may_make_keys() {
    let world = World::new().await;
    let bound = world.anonymous().with_key(&world.keys.staging_admin);
    let answer = bound.post_json("/v1/keys", &json!({"scope": "read"})).await;
    assert_eq!(answer.status, 403, "{}", answer.body);
    let message = answer.json()["error"]["message"].clone();
    assert!(message.as_str().is_some_and(|message| message.contains("use an admin key")), "{message}");
    world.stop().await;
}

#[tokio::test]
async fn a_key_shows_how_it_is_used_and_what_of_it_was_refused() {
    let world = World::new().await;
    let ingest: i64 = sqlx::query_scalar("select key_id from api_key where scope = 'ingest'")
        .fetch_one(&world.pool)
        .await
        .expect("the ingest key");
    let unnoted = world.ask("/v1/rejects/summary").await;
    assert_eq!((&unnoted["refused_available"], &unnoted["reasons"]), (&json!(false), &json!([])), "nothing is faked");
    let (usage, key) = (Usage::default(), ingest.cast_unsigned());
    for round in 0..2 {
        usage.used(key, 40, || Some(format!("web-{round}")));
        usage.refused(world.project, key, "invalid_duration", 3, "event 7: `duration_ms` is -1");
        usage.add(&world.pool).await.expect("note");
    }
    usage.used(u64::MAX >> 1, 1, || None);
    usage.add(&world.pool).await.expect("a key that nobody has is left out");
    let keys = world.anonymous().with_key(&world.keys.admin).get("/v1/keys").await.json();
    let of = keys["keys"]
        .as_array()
        .expect("keys")
        .iter()
        .find(|one| one["id"] == json!(ingest.to_string()))
        .expect("listed");
    assert_eq!((&of["events_today"], &of["hosts"]), (&json!(80), &json!(["web-0", "web-1"])), "{of}");
    assert!(of["last_used_ms"].as_i64().is_some_and(|ms| ms > 0));

    // Notes carry the time of the machine, not of the test's clock.
    let now_ms = Clock::system().now_ms();
    let noted = world.ask(&format!("/v1/rejects/summary?from={}&to={}", now_ms - 60_000, now_ms + 60_000)).await;
    let reason = &noted["reasons"][0];
    assert_eq!(
        (&reason["reason"], &reason["stage"], &reason["count"]),
        (&json!("invalid_duration"), &json!("refused"), &json!(6))
    );
    assert_eq!(reason["example"], json!({"message": "event 7: `duration_ms` is -1"}));
    assert_eq!(reason["key"]["id"], json!(ingest.to_string()));
    assert!(reason["fix"].as_str().is_some_and(|fix| fix.contains("duration_ms")));
    world.stop().await;
}

#[tokio::test]
async fn a_test_event_is_in_the_log_for_those_who_may_make_keys() {
    let world = World::new().await;
    let wanted = json!({"service": "checkout", "env": "production"});
    for client in [world.manager().await, world.anonymous().with_key(&world.keys.admin)] {
        let sent = client.post_json("/v1/test-event", &wanted).await;
        assert_eq!((sent.status, sent.json()["accepted"].as_u64()), (202, Some(1)), "{}", sent.body);
        let receipt = sent.json()["receipt"].as_str().expect("a receipt").to_owned();
        let fate = world.ask(&format!("/v1/receipts/{receipt}")).await;
        assert_eq!(fate["status"], "pending", "{fate}");
    }
    let admin = world.anonymous().with_key(&world.keys.admin);
    for (body, status, code) in [
        (json!({"service": "no spaces here"}), 422, "no_valid_event"),
        (json!({"service": "shop", "env": "no spaces here"}), 422, "no_valid_event"),
        (json!({"env": "production"}), 400, "invalid_body"),
        (json!({"service": "shop", "duration_ms": 1}), 400, "invalid_body"),
        (json!(["shop"]), 400, "invalid_json"),
    ] {
        let answer = admin.post_json("/v1/test-event", &body).await;
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (status, Some(code)), "{body}");
    }
    for key in [&world.keys.read, &world.keys.ingest, &world.keys.staging] {
        let refused = world.anonymous().with_key(key).post_json("/v1/test-event", &wanted).await;
        assert_eq!(refused.status, 403, "{}", refused.body);
    }
    let foreign = world.manager().await.with_header("origin", "https://evil.example");
    assert_eq!(foreign.post_json("/v1/test-event", &wanted).await.status, 403);
    world.stop().await;
}
