//! Events from web pages: whose keys, from which origins, and what the browser is told.

mod support;

use support::{Answer, Ingest, start};

const GOOD: &str = r#"{"service":"page","duration_ms":12.5,"route":"/buy"}"#;
const SHOP: &str = "https://shop.example";

async fn send(ingest: &Ingest, key: &str, origin: Option<&str>) -> Answer {
    let mut headers = vec![format!("Peep-Key: {key}")];
    headers.extend(origin.map(|origin| format!("Origin: {origin}")));
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    ingest.request("POST", "/v1/events", &headers, GOOD).await
}

#[tokio::test]
async fn a_key_works_where_it_belongs_and_nowhere_else() {
    let ingest = start().await;
    let (secret, browser) = (&ingest.key, &ingest.browser_key);
    for (key, origin, status) in [
        (secret, None, 202),
        (secret, Some(SHOP), 403),
        (browser, Some(SHOP), 202),
        (browser, Some("https://eu.shop.example"), 202),
        (browser, None, 403),
        (browser, Some("https://a.b.shop.example"), 403),
        (browser, Some("http://shop.example"), 403),
        (browser, Some("https://shop.example:8443"), 403),
        (browser, Some("https://shop.example.evil.example"), 403),
        (browser, Some("null"), 403),
        (browser, Some("https://shop.example\r\nOrigin: https://evil.example"), 403),
    ] {
        let answer = send(&ingest, key, origin).await;
        assert_eq!(answer.status, status, "{origin:?}: {answer:?}");
    }
    assert_eq!(ingest.events().await, 3);
}

#[tokio::test]
async fn a_page_may_read_answers_and_refusals_when_its_origin_is_known() {
    let ingest = start().await;
    for (key, status) in [(&ingest.browser_key, 202), (&ingest.key, 403), (&"unknown".to_owned(), 401)] {
        let answer = send(&ingest, key, Some(SHOP)).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, SHOP));
        assert_eq!(answer.header("vary"), "origin");
        assert_eq!(answer.header("access-control-expose-headers"), "retry-after, peep-receipt");
        assert_eq!(answer.header("access-control-allow-credentials"), "-");
        let foreign = send(&ingest, key, Some("https://evil.example")).await;
        assert_eq!((foreign.header("access-control-allow-origin"), foreign.header("vary")), ("-", "origin"));
    }
    let server = send(&ingest, &ingest.key, None).await;
    assert_eq!((server.header("access-control-allow-origin"), server.header("vary")), ("-", "-"));
}

#[tokio::test]
async fn a_browser_may_ask_first_without_a_key() {
    let ingest = start().await;
    for path in ["/v1/events", "/v1/traces"] {
        let ask = async |origin: &str| {
            let headers = [&*format!("Origin: {origin}"), "Access-Control-Request-Method: POST"];
            ingest.request("OPTIONS", path, &headers, "").await
        };
        let known = ask(SHOP).await;
        assert_eq!((known.status, known.header("access-control-allow-origin")), (204, SHOP), "{known:?}");
        assert_eq!(
            (known.header("access-control-allow-methods"), known.header("access-control-max-age")),
            ("post", "600")
        );
        let allowed = known.header("access-control-allow-headers");
        for header in ["authorization", "content-type", "content-encoding", "peep-producer", "peep-seq", "peep-key"] {
            assert!(allowed.split(", ").any(|name| name == header), "{header}: {allowed}");
        }
        let foreign = ask("https://evil.example").await;
        assert_eq!((foreign.header("access-control-allow-origin"), foreign.header("vary")), ("-", "origin"));
        assert_eq!(ingest.request("OPTIONS", path, &[], "").await.status, 405, "no question of a browser");
    }
}

#[tokio::test]
async fn a_beacon_has_its_key_in_the_query_and_only_a_page_can_do_so() {
    let ingest = start().await;
    let with_key = |key: &str| format!("/v1/events?key={key}");
    let (origin, text) = (format!("Origin: {SHOP}"), "Content-Type: text/plain;charset=UTF-8");
    let (browser, secret) = (with_key(&ingest.browser_key), with_key(&ingest.key));
    for (path, headers, status) in [
        (&browser, vec![origin.as_str(), text], 202),
        (&browser, vec!["Origin: https://evil.example", text], 403),
        (&browser, vec![text], 401),
        (&secret, vec![origin.as_str(), text], 403),
        (&secret, vec!["Content-Type: application/json"], 401),
    ] {
        let answer = ingest.request("POST", path, &headers, GOOD).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        let said = String::from_utf8_lossy(&answer.body).into_owned() + &answer.head;
        assert!(!said.contains(&ingest.browser_key) && !said.contains(&ingest.key), "{said}");
    }
    let key = format!("Peep-Key: {}", ingest.browser_key);
    let plain = ingest.request("POST", "/v1/events", &[&key, &origin, text], GOOD).await;
    assert_eq!(plain.status, 415, "who can set headers can name the type");
}
