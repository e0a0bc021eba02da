//! Who may look, and what a browser is told.

use std::time::Duration;

use peep_chassis::ExposeSecret;
use peep_chassis::keys::create_login_token;
use peep_testkit::WebSocket;
use serde_json::json;

use crate::world::{Event, NOW_MS, World};

#[tokio::test]
async fn keys_open_what_they_are_for_and_nothing_else() {
    let world = World::new().await;
    let status = async |key: Option<&str>, path: &str| {
        let client = world.anonymous();
        let answer = key.map_or(client.clone(), |key| client.with_key(key)).get(path).await;
        (answer.status, answer.json()["error"]["code"].as_str().map(str::to_owned))
    };
    for path in ["/v1/services", "/v1/summary", "/v1/series", "/v1/events", "/v1/session"] {
        assert_eq!(status(None, path).await, (401, Some("unauthorized".into())), "{path}");
        assert_eq!(status(Some("peep_read_wrong"), path).await, (401, Some("unauthorized".into())), "{path}");
        assert_eq!(status(Some(&world.keys.ingest), path).await, (403, Some("forbidden".into())), "{path}");
        assert_eq!(status(Some(&world.keys.read), path).await, (200, None), "{path}");
        assert_eq!(status(Some(&world.keys.admin), path).await, (200, None), "{path}");
    }
    let url = format!("{}/v1/live", world.url.replacen("http", "ws", 1));
    assert_eq!(WebSocket::connect(&url, None).await.err(), Some(401));
    assert_eq!(WebSocket::connect(&url, Some(&world.keys.ingest)).await.err(), Some(403));
    world.stop().await;
}

#[tokio::test]
async fn projects_and_environments_are_kept_apart() {
    let world = World::new().await;
    let events = [Event::new("a", NOW_MS, 10), Event::new("a", NOW_MS, 20).env("staging")];
    world.publish(0, 1, 0, &events).await;
    world.wait_for_count(2).await;
    let foreign = world.anonymous().with_key(&world.keys.foreign).get("/v1/services").await.json();
    assert_eq!((&foreign["services"], &foreign["envs"]), (&json!([]), &json!([])));
    let staging = world.anonymous().with_key(&world.keys.staging);
    let answer = staging.get("/v1/services").await.json();
    assert_eq!((&answer["services"][0]["count"], &answer["envs"]), (&json!(1), &json!(["staging"])));
    assert_eq!(staging.get("/v1/services?env=default").await.status, 403);
    let sign_in = world.anonymous().post_json("/v1/session", &json!({"key": world.keys.staging})).await;
    assert_eq!(sign_in.status, 403, "a session would see every environment");
    world.stop().await;
}

#[tokio::test]
async fn a_login_token_works_once_and_its_session_until_sign_out() {
    let world = World::new().await;
    let token = create_login_token(&world.pool, world.project, Duration::from_secs(60)).await.expect("a token");
    let body = json!({"token": token.expose_secret()});
    let signed_in = world.anonymous().post_json("/v1/session", &body).await;
    assert_eq!((signed_in.status, &signed_in.json()["project"]), (200, &json!("dev")), "{}", signed_in.body);
    let cookie = signed_in.header("set-cookie").expect("a cookie");
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert_eq!(world.anonymous().post_json("/v1/session", &body).await.status, 401, "once");

    let browser = world.anonymous().with_header("cookie", cookie.split(';').next().expect("a pair"));
    let browser = browser.with_header("origin", &world.url);
    let who = browser.get("/v1/session").await.json();
    assert_eq!((&who["project"], &who["may_manage"]), (&json!("dev"), &signed_in.json()["may_manage"]));
    assert!(who["may_manage"].is_boolean(), "{who}");
    assert_eq!(browser.get("/v1/services").await.status, 200);
    assert_eq!(browser.delete("/v1/session").await.status, 204);
    assert_eq!(browser.get("/v1/services").await.status, 401);
    world.stop().await;
}

#[tokio::test]
async fn a_read_key_signs_in_and_an_ingest_key_does_not() {
    let world = World::new().await;
    let sign_in = async |body: serde_json::Value| world.anonymous().post_json("/v1/session", &body).await.status;
    assert_eq!(sign_in(json!({"key": world.keys.read})).await, 200);
    assert_eq!(sign_in(json!({"key": world.keys.ingest})).await, 403);
    assert_eq!(sign_in(json!({})).await, 400);
    assert_eq!(sign_in(json!({"key": world.keys.read, "token": "x"})).await, 400);
    assert_eq!(sign_in(json!({"kee": "x"})).await, 400);
    world.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_cannot_sign_in_or_listen() {
    let world = World::with(&[("PEEP_STREAM_ORIGINS", "https://peep.example")]).await;
    let body = json!({"key": world.keys.read});
    let from = |origin: &str| world.anonymous().with_header("origin", origin);
    let foreign = from("https://evil.example").post_json("/v1/session", &body).await;
    assert_eq!((foreign.status, foreign.json()["error"]["code"].as_str()), (403, Some("foreign_origin")));
    assert_eq!(from("https://peep.example").post_json("/v1/session", &body).await.status, 200);
    let ours = from(&world.url).post_json("/v1/session", &body).await;
    assert_eq!(ours.status, 200);
    world.stop().await;
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_answer_as_json() {
    let world = World::new().await;
    let answer = world.reader().get("/v1/nothing").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (404, Some("not_found")));
    let answer = world.reader().delete("/v1/services").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (405, Some("method_not_allowed")));
    let answer = world.reader().get("/v1/live").await;
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (426, Some("upgrade_required")));
    assert_eq!((answer.header("upgrade"), answer.header("connection")), (Some("websocket"), Some("upgrade")));
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    let answer = world.anonymous().get("/v1/services").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    for path in ["/v1/session", "/v1/openapi.json", "/v1/alerts/presets", "/v1/alerts/1", "/v1/cardinality"] {
        let answer = world.reader().get(&format!("{path}?x=1")).await;
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, error["code"].as_str()), (400, Some("unknown_parameter")), "{path}");
        assert!(
            error["message"].as_str().is_some_and(|message| message.ends_with("it takes no parameters")),
            "{error}"
        );
    }
    let answer = world.reader().with_header("x-request-id", "abc-1").get("/v1/nothing").await;
    assert_eq!(answer.json()["error"]["request_id"], "abc-1");
    world.stop().await;
}

#[tokio::test]
async fn pages_come_with_a_policy_that_lets_no_foreign_script_run() {
    let world = World::new().await;
    let page = world.anonymous().get("/").await;
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    let scripts = policy.split(';').find(|directive| directive.trim().starts_with("script-src"));
    assert!(scripts.is_none_or(|scripts| !scripts.contains("unsafe")), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    // With the dashboard built the page is it, without it says so.
    assert!(page.status == 200 || (page.status == 503 && page.body.contains("not part of this build")));
    assert_eq!(world.anonymous().get("/../Cargo.toml").await.status / 100, if page.status == 200 { 4 } else { 5 });
    world.stop().await;
}
