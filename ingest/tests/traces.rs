//! `POST /v1/traces` from the socket: what exporters send, what they are told, and what is in the log by then.

mod support;

use std::io::Write;
use std::time::Duration;

use peep_chassis::clock::Clock;
use peep_ingest::Config;
use support::{Answer, Ingest, config, start_at};

/// A little after the fixtures were recorded.
const NOW_MS: i64 = 1_795_196_300_000;
const PROTOBUF: &str = "Content-Type: application/x-protobuf";
const JSON: &str = "Content-Type: application/json";

async fn start() -> Ingest {
    start_with(config()).await
}

async fn start_with(config: Config) -> Ingest {
    start_at(config, Clock::manual(NOW_MS)).await
}

async fn post(ingest: &Ingest, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
    let auth = format!("Authorization: Bearer {}", ingest.key);
    ingest.request("POST", "/v1/traces", &[&[auth.as_str()], headers].concat(), body).await
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../wire/fixtures/otlp/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Server spans of `GET /x`, `seconds` before now.
fn spans(seconds: &[i64]) -> String {
    let span = |ago: &i64| {
        let end = (NOW_MS - ago * 1000) * 1_000_000;
        format!(
            r#"{{"name":"GET /x","kind":2,"startTimeUnixNano":"{}","endTimeUnixNano":"{end}",
            "attributes":[{{"key":"http.request.method","value":{{"stringValue":"GET"}}}}]}}"#,
            end - 5_000_000
        )
    };
    let spans: Vec<String> = seconds.iter().map(span).collect();
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The first field of an answer in protobuf, `google.rpc.Status.code` or nothing.
fn rpc_code(answer: &Answer) -> Option<u8> {
    match answer.body.as_slice() {
        [0x08, code, ..] => Some(*code),
        _ => None,
    }
}

#[tokio::test]
async fn what_sdks_send_is_in_the_log_before_the_200() {
    let ingest = start().await;
    let mut events = 0;
    for (name, content_type, more) in [
        ("python-flask-traces-semconv-stable.pb", PROTOBUF, 25),
        ("python-flask-traces-semconv-old.pb", PROTOBUF, 25),
        ("node-express-traces-semconv-stable.pb", PROTOBUF, 16),
        ("node-express-traces-semconv-stable.json", JSON, 16),
        ("official-trace.pb", PROTOBUF, 0),
        ("official-trace.json", JSON, 0),
    ] {
        let body = fixture(name);
        let zstd = zstd::encode_all(body.as_slice(), 1).unwrap();
        for (encoding, body) in [("identity", body.clone()), ("gzip", gzip(&body)), ("zstd", zstd)] {
            let answer = post(&ingest, &[content_type, &format!("Content-Encoding: {encoding}")], body).await;
            assert_eq!(answer.status, 200, "{name} {encoding}: {answer:?}");
            assert!(answer.head.contains(&content_type.to_ascii_lowercase()), "{}", answer.head);
            assert_eq!(answer.body, if content_type == JSON { &b"{}"[..] } else { b"" }, "{name}: nothing was refused");
            assert_eq!(answer.head.contains("peep-receipt: r1."), more > 0, "{}", answer.head);
            events += more;
            assert_eq!(ingest.events().await, events, "{name} {encoding}");
        }
    }
}

#[tokio::test]
async fn refused_spans_are_a_partial_success_that_names_the_first() {
    let ingest = start().await;
    let (old, ahead) = (100 * 86_400, -86_400);
    let answer = post(&ingest, &[JSON], spans(&[1, old, 1, ahead])).await;
    assert_eq!(
        (answer.status, answer.json["partialSuccess"]["rejectedSpans"].as_str()),
        (200, Some("2")),
        "{answer:?}"
    );
    let message = answer.json["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(["number 1", "ts_too_old", "GET /x", "2 spans"].iter().all(|part| message.contains(part)), "{message}");
    assert_eq!(ingest.events().await, 2);

    let all = post(&ingest, &[JSON], spans(&[old, old])).await;
    assert_eq!((all.status, all.json["partialSuccess"]["rejectedSpans"].as_str()), (200, Some("2")));
    assert_eq!(ingest.events().await, 2);
}

/// Headers and body; status, `google.rpc.Code` and a part of the message.
type Case<'a> = (&'a [&'a str], &'a [u8], u16, u8, &'a str);

#[tokio::test]
async fn a_refusal_is_a_status_in_the_encoding_of_the_request() {
    let ingest = start().await;
    let good = fixture("python-flask-traces-semconv-stable.pb");
    let cut = &good[..good.len() - 7];
    let cases: [Case<'_>; 11] = [
        (&[PROTOBUF], cut, 400, 3, "invalid_protobuf"),
        (&[PROTOBUF], b"\x0a\xff\xff\xff\xff\x0f", 400, 3, "beyond the end"),
        (&[PROTOBUF], b"{\"resourceSpans\":[]}", 400, 3, "invalid_protobuf"),
        (&[PROTOBUF, "Content-Encoding: gzip"], &good, 400, 3, "invalid_encoding"),
        (&[PROTOBUF, "Content-Encoding: br"], &good, 415, 3, "unsupported_encoding"),
        (&[JSON], &good, 400, 3, "invalid_json"),
        (&[JSON], b"", 400, 3, "invalid_json"),
        (&["Content-Type: text/plain"], &good, 415, 3, "application/x-protobuf"),
        (&[], &good, 415, 3, "unsupported_media_type"),
        (&[PROTOBUF, "Peep-Seq: 1"], &good, 400, 3, "invalid_identity"),
        (&[JSON, "Content-Type: text/plain"], &good, 415, 3, "more than once"),
    ];
    for (headers, body, status, code, part) in cases {
        let answer = post(&ingest, headers, body).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status == status && text.contains(part), "{headers:?} {part}: {answer:?} {text}");
        if headers.contains(&PROTOBUF) {
            assert!(answer.head.contains("content-type: application/x-protobuf"), "{}", answer.head);
            assert_eq!(rpc_code(&answer), Some(code), "{text}");
        } else {
            assert_eq!(answer.json["code"], code, "{text}");
        }
    }
    assert_eq!(ingest.events().await, 0);
    assert_eq!(post(&ingest, &[PROTOBUF], b"").await.status, 200, "nothing is a request of no spans");
}

#[tokio::test]
async fn keys_come_in_the_headers_that_exporters_can_set() {
    let ingest = start().await;
    let (key, bound) = (ingest.key.clone(), ingest.bound_key.clone());
    let production = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"deployment.environment.name","value":{"stringValue":"production"}}]},"scopeSpans"#;
    let (other, production) = (production.replace("production", "dev"), production.to_owned());
    let with = |resource: &str| spans(&[1]).replacen(r#"{"resourceSpans":[{"scopeSpans"#, resource, 1);
    for (header, body, status) in [
        (String::new(), spans(&[1]), 401),
        (format!("Peep-Key: {key}x"), spans(&[1]), 401),
        (format!("Authorization: Bearer {}", ingest.read_key), spans(&[1]), 403),
        (format!("Authorization: Bearer%20{key}"), spans(&[1]), 200),
        (format!("peep-key: {key}"), spans(&[1]), 200),
        (format!("peep-key: {bound}"), spans(&[1]), 200),
        (format!("peep-key: {bound}"), with(&production), 200),
        (format!("peep-key: {bound}"), with(&other), 403),
    ] {
        let headers: Vec<&str> = [JSON, &header].into_iter().filter(|header| !header.is_empty()).collect();
        let answer = ingest.request("POST", "/v1/traces", &headers, body).await;
        assert_eq!(answer.status, status, "{header}: {answer:?}");
    }
    assert_eq!(ingest.events().await, 4);
}

#[tokio::test]
async fn what_may_be_tried_again_says_when() {
    let mut full = config();
    full.limits.requests_in_flight_max = 0;
    let ingest = start_with(full).await;
    let shed = post(&ingest, &[PROTOBUF], b"").await;
    assert_eq!((shed.status, rpc_code(&shed)), (503, Some(14)));
    assert!((1..=2).contains(&shed.retry_after_s()), "{}", shed.head);

    let mut no_places = config();
    no_places.limits.producers_max = 0;
    let ingest = start_with(no_places).await;
    let producer = "Peep-Producer: 0192f0c1-7a5e-7c3a-9d9e-1f2a3b4c5d6e";
    let places = post(&ingest, &[PROTOBUF, producer, "Peep-Seq: 0"], b"").await;
    assert_eq!((places.status, rpc_code(&places)), (429, Some(8)));

    let mut hasty = Config { append_timeout: Duration::from_millis(200), ..config() };
    hasty.http.body_timeout = Duration::from_millis(200);
    let ingest = start_with(hasty).await;
    ingest.log.stall();
    let stalled = post(&ingest, &[JSON], spans(&[1])).await;
    assert_eq!((stalled.status, stalled.json["code"].as_u64()), (503, Some(14)), "no 200 before the log has it");
    assert!(stalled.head.contains("retry-after: 2"), "{}", stalled.head);
    let ignored = post(&ingest, &[PROTOBUF], fixture("official-trace.pb")).await;
    assert_eq!(ignored.status, 200, "what is no event waits for nothing");
    // 408 would be final to an exporter.
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nHost: t\r\nPeep-Key: {}\r\n{JSON}\r\nContent-Length: 9\r\n\r\n",
        ingest.key
    );
    let slow = ingest.raw(head.into_bytes()).await;
    assert_eq!((slow.status, slow.head.contains("retry-after: 1")), (503, true), "{slow:?}");
}

#[tokio::test]
async fn bombs_and_floods_are_413() {
    let ingest = start().await;
    let bomb = gzip(&vec![0; 64 << 20]);
    let answer = post(&ingest, &[PROTOBUF, "Content-Encoding: gzip"], bomb).await;
    assert_eq!((answer.status, rpc_code(&answer)), (413, Some(3)));
    let answer = post(&ingest, &[JSON], spans(&vec![1; 5001])).await;
    assert_eq!((answer.status, answer.json["code"].as_u64()), (413, Some(3)), "{answer:?}");
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn an_identity_is_kept_and_a_large_request_becomes_several_records() {
    let ingest = start().await;
    let text = "x".repeat(1600);
    let body = spans(&[1; 3000]).replace(
        r#""attributes":["#,
        &format!(r#""attributes":[{{"key":"note","value":{{"stringValue":"{text}"}}}},"#),
    );
    let producer = "Peep-Producer: 0192f0c1-7a5e-7c3a-9d9e-1f2a3b4c5d6e";
    assert_eq!(post(&ingest, &[JSON, producer, "Peep-Seq: 7"], body).await.status, 200);
    let records = ingest.records().await;
    assert!(records.len() > 3 && records.iter().all(|record| record.payload.len() <= 1 << 20), "{}", records.len());
    for (part, record) in records.iter().enumerate() {
        let header = peep_wire::record::parse(&record.payload).unwrap().header;
        assert_eq!((header.identity.unwrap().seq, header.part as usize), (7, part));
        assert_eq!(header.parts as usize, records.len());
    }
    assert_eq!(ingest.events().await, 3000);
}

#[tokio::test]
async fn other_signals_and_methods_say_what_to_do() {
    let ingest = start().await;
    for (method, path, status, part) in [
        ("GET", "/v1/traces", 405, "use POST"),
        ("POST", "/v1/metrics", 404, "OTEL_METRICS_EXPORTER=none"),
        ("POST", "/v1/logs", 404, "OTEL_LOGS_EXPORTER=none"),
        ("POST", "/v1/trace", 404, "/v1/traces"),
    ] {
        let answer = ingest.request(method, path, &[], "").await;
        assert!(answer.status == status && answer.json.to_string().contains(part), "{answer:?}");
    }
}
