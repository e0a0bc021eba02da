//! `POST /v1/events` from the socket: what the contract says, and what hostile input gets.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use peep_chassis::clock::Clock;
use peep_ingest::Config;
use support::{config, read_answer, start, start_at, start_with};

const GOOD: &str = r#"{"service":"checkout","duration_ms":12.5,"route":"/buy","method":"POST","status":200}"#;

const PRODUCER: &str = "Peep-Producer: 0192f0c1-7a5e-7c3a-9d9e-1f2a3b4c5d6e";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_accepted_event_is_in_the_log_before_the_202() {
    let ingest = start().await;
    let answer = ingest.post(&["Content-Type: application/json"], GOOD).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(
        (answer.json["accepted"].as_u64(), answer.json["rejected"].as_array().map(Vec::len)),
        (Some(1), Some(0))
    );
    assert!(answer.json["receipt"].as_str().unwrap().parse::<peep_wire::receipt::Receipt>().is_ok());
    assert_eq!(ingest.events().await, 1);
}

#[tokio::test]
async fn every_shape_and_encoding_is_taken() {
    let ingest = start().await;
    let lines = format!("{GOOD}\n{GOOD}\n");
    let array = format!("[{GOOD},{GOOD}]");
    for body in [lines.clone(), array] {
        assert_eq!(ingest.post(&["Content-Type: application/json; charset=utf-8"], &body).await.json["accepted"], 2);
    }
    let ndjson = "Content-Type: application/x-ndjson";
    let zstd = zstd::encode_all(lines.as_bytes(), 1).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(lines.as_bytes()).unwrap();
    for (encoding, body) in [
        ("identity", lines.clone().into_bytes()),
        ("gzip", gzip(lines.as_bytes())),
        ("zstd", zstd),
        ("deflate", zlib.finish().unwrap()),
    ] {
        let answer = ingest.post(&[ndjson, &format!("Content-Encoding: {encoding}")], body).await;
        assert_eq!((answer.status, answer.json["accepted"].as_u64()), (202, Some(2)), "{encoding}: {answer:?}");
    }
    assert_eq!(ingest.events().await, 12);
}

#[tokio::test]
async fn good_events_are_kept_beside_bad_ones() {
    let ingest = start().await;
    let body = format!("[{GOOD},{{\"service\":\"a\",\"duration_ms\":-1}},{{\"duration_ms\":1}},{GOOD}]");
    let answer = ingest.post(&[], body).await;
    assert_eq!((answer.status, answer.json["accepted"].as_u64()), (202, Some(2)));
    let rejected = answer.json["rejected"].as_array().unwrap();
    assert_eq!((rejected[0]["index"].as_u64(), rejected[0]["code"].as_str()), (Some(1), Some("invalid_duration")));
    assert_eq!((rejected[1]["index"].as_u64(), rejected[1]["code"].as_str()), (Some(2), Some("missing_service")));
    assert!(rejected[0]["message"].as_str().unwrap().contains("duration_ms"));
    assert_eq!(ingest.events().await, 2);
}

#[tokio::test]
async fn a_refused_body_has_a_code_and_a_cause() {
    let ingest = start().await;
    let five_thousand_and_one = format!("{GOOD}\n").repeat(5001);
    let deep = format!("{{\"service\":\"a\",\"attrs\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    let cases: Vec<(&[&str], Vec<u8>, u16, &str)> = vec![
        (&[], b"not json".to_vec(), 400, "invalid_json"),
        (&[], b"".to_vec(), 400, "invalid_json"),
        (&[], b"[]".to_vec(), 422, "no_valid_event"),
        (&[], b"{\"service\":\"a\xff\"}".to_vec(), 400, "invalid_json"),
        (&[], br#"{"duration_ms":1}"#.to_vec(), 422, "no_valid_event"),
        (&[], br#"{"service":"a","ts":1}"#.to_vec(), 422, "no_valid_event"),
        (&[], br#"{"service":"a","ts":"2999-01-01T00:00:00Z"}"#.to_vec(), 422, "no_valid_event"),
        (&[], deep.into_bytes(), 422, "no_valid_event"),
        (&[], five_thousand_and_one.into_bytes(), 413, "payload_too_large"),
        (&["Content-Encoding: gzip"], gzip(&vec![b' '; 64 << 20]), 413, "payload_too_large"),
        (&["Content-Encoding: gzip"], b"plain".to_vec(), 400, "invalid_encoding"),
        (&["Content-Encoding: br"], GOOD.into(), 415, "unsupported_encoding"),
        (&["Content-Encoding: gzip, gzip"], GOOD.into(), 415, "unsupported_encoding"),
        (&["Content-Type: text/plain"], GOOD.into(), 415, "unsupported_media_type"),
        (&["Peep-Producer: x", "Peep-Seq: 1"], GOOD.into(), 400, "invalid_identity"),
        (&["Peep-Seq: 1"], GOOD.into(), 400, "invalid_identity"),
        (&[PRODUCER, "Peep-Seq: +5"], GOOD.into(), 400, "invalid_identity"),
        (&[PRODUCER, "Peep-Seq: 18446744073709551616"], GOOD.into(), 400, "invalid_identity"),
        (&[PRODUCER, "Peep-Seq: "], GOOD.into(), 400, "invalid_identity"),
    ];
    for (headers, body, status, code) in cases {
        let start: String = String::from_utf8_lossy(&body).chars().take(60).collect();
        let answer = ingest.post(headers, body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{headers:?} {start}: {answer:?}");
        assert!(answer.message().len() > 20 && answer.json["error"]["request_id"].is_string(), "{answer:?}");
    }
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn a_header_that_decides_is_sent_once() {
    let ingest = start().await;
    let (json, lines) = ("Content-Type: application/json", "Content-Type: application/x-ndjson");
    for (headers, status, code, part) in [
        (&[PRODUCER, "Peep-Seq: 1", "Peep-Seq: 2"][..], 400, "invalid_identity", "`Peep-Seq` was sent more than once"),
        (&[PRODUCER, "Peep-Seq: 1", "peep-seq: 1"], 400, "invalid_identity", "`Peep-Seq` was sent more than once"),
        (&[PRODUCER, PRODUCER, "Peep-Seq: 1"], 400, "invalid_identity", "`Peep-Producer` was sent more than once"),
        (&[json, lines], 415, "unsupported_media_type", "more than once"),
        (&["Content-Encoding: identity", "Content-Encoding: gzip"], 415, "unsupported_encoding", "Content-Encoding"),
        (&[json, json, PRODUCER, "Peep-Seq: 1"], 202, "-", "-"),
    ] {
        let answer = ingest.post(headers, GOOD).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{headers:?}: {answer:?}");
        assert!(answer.message().contains(part), "{headers:?}: {answer:?}");
    }
    assert_eq!(ingest.events().await, 1);
}

#[test]
fn a_key_is_bound_to_no_environment_that_an_event_cannot_name() {
    assert_eq!(peep_chassis::keys::ENV_BYTES_MAX, peep_wire::limits::ENV_BYTES_MAX);
}

#[tokio::test]
async fn keys_decide_who_may_send_what() {
    let ingest = start().await;
    let (read, bound) =
        (format!("Authorization: Bearer {}", ingest.read_key), format!("Authorization: Bearer {}", ingest.bound_key));
    let mut typo = ingest.key.clone();
    let last = if typo.pop() == Some('a') { 'b' } else { 'a' };
    typo.push(last);
    let typo = format!("Authorization: Bearer {typo}");
    let other_env = GOOD.replace("\"route\"", "\"env\":\"dev\",\"route\"");
    for (headers, body, status, code) in [
        (vec![], GOOD, 401, "unauthorized"),
        (vec!["Authorization: Basic eDp5"], GOOD, 401, "unauthorized"),
        (vec![typo.as_str()], GOOD, 401, "unauthorized"),
        (vec![read.as_str()], GOOD, 403, "forbidden"),
        (vec![bound.as_str()], other_env.as_str(), 403, "forbidden"),
        (vec![bound.as_str()], GOOD, 202, "-"),
    ] {
        let answer = ingest.request("POST", "/v1/events", &headers, body).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{headers:?}");
    }
}

#[tokio::test]
async fn other_paths_and_methods_say_what_to_do() {
    let ingest = start().await;
    for (method, path, status, code) in [
        ("GET", "/v1/events", 405, "method_not_allowed"),
        ("POST", "/events", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
    ] {
        let answer = ingest.request(method, path, &[], "").await;
        assert_eq!((answer.status, answer.code()), (status, code), "{method} {path}");
        assert!(answer.message().contains("POST"), "{answer:?}");
    }
}

#[tokio::test]
async fn an_oversize_body_is_refused_before_it_is_read() {
    let ingest = start().await;
    let head = format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\n", ingest.key);
    let announced = ingest.raw(format!("{head}Content-Length: 999999999999\r\n\r\n").into_bytes()).await;
    assert_eq!((announced.status, announced.code()), (413, "payload_too_large"));
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..9 {
        chunked.extend_from_slice(b"100000\r\n");
        chunked.resize(chunked.len() + (1 << 20), b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    let unannounced = ingest.raw(chunked).await;
    assert_eq!((unannounced.status, unannounced.code()), (413, "payload_too_large"));
}

#[tokio::test]
async fn full_budgets_shed_at_once_with_a_retry_hint() {
    let limits = |requests, bytes| {
        let mut config = config();
        config.limits.requests_in_flight_max = requests;
        config.limits.body_bytes_in_flight_max = bytes;
        config
    };
    for config in [limits(0, 1 << 20), limits(10, 10)] {
        let ingest = start_with(config).await;
        let answer = ingest.post(&[], GOOD).await;
        assert_eq!((answer.status, answer.code()), (503, "overloaded"));
        assert!((1..=2).contains(&answer.retry_after_s()), "{}", answer.head);
    }
}

#[tokio::test]
async fn an_answer_that_names_many_events_needs_room_before_the_log_is_asked() {
    let bad = b"{\"service\":\"a\",\"duration_ms\":-1}\n".repeat(200);
    let mixed = [&bad[..], GOOD.as_ref()].concat();
    let mut config = config();
    config.limits.body_bytes_in_flight_max = 16 << 10;
    let ingest = start_with(config).await;
    for body in [&bad, &mixed] {
        let answer = ingest.post(&["Content-Type: application/x-ndjson"], body).await;
        assert_eq!((answer.status, answer.code()), (503, "overloaded"));
    }
    assert_eq!(ingest.events().await, 0, "a good event without room for its answer is not taken");
    assert_eq!(ingest.post(&[], GOOD).await.status, 202, "what was reserved was given back");

    let ingest = start().await;
    for (body, status) in [(&bad, 422), (&mixed, 202)] {
        let answer = ingest.post(&["Content-Type: application/x-ndjson"], body).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json["rejected"].as_array().map(Vec::len), Some(200));
    }
}

#[tokio::test]
async fn a_key_in_debt_is_refused_before_its_body_is_read_until_it_is_paid() {
    let mut config = config();
    config.limits.key_events_per_second_max = 100;
    config.limits.key_burst = Duration::from_secs(1);
    let ingest = start_with(config).await;
    assert_eq!(ingest.post(&[], b"not json").await.status, 400, "what is refused costs nothing");
    assert_eq!(ingest.post(&[], format!("{GOOD}\n").repeat(350)).await.status, 202, "a full bucket takes any request");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Length: 500000\r\n\r\n",
        ingest.key
    );
    let refused = ingest.raw(head.into_bytes()).await;
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"), "250 events in debt, and no body needed");
    assert!((2..=4).contains(&refused.retry_after_s()) && refused.message().contains("100 events"), "{refused:?}");
    tokio::time::sleep(Duration::from_millis(2600)).await;
    assert_eq!(ingest.post(&[], GOOD).await.status, 202, "paid, and the refused requests were free");
    assert_eq!(ingest.events().await, 351);
}

#[tokio::test]
async fn events_that_the_log_did_not_take_cost_the_key_nothing() {
    let mut config = Config { append_timeout: Duration::from_millis(100), ..config() };
    config.limits.key_events_per_second_max = 1;
    config.limits.key_burst = Duration::from_secs(1);
    let ingest = start_with(config).await;
    ingest.log.stall();
    for _ in 0..3 {
        assert_eq!(ingest.post(&[], format!("{GOOD}\n").repeat(1000)).await.code(), "log_unavailable");
    }
}

#[tokio::test]
async fn who_leaves_while_the_log_is_asked_has_sent_its_events_all_the_same() {
    let mut config = config();
    config.limits.key_events_per_second_max = 1;
    config.limits.key_burst = Duration::from_secs(1);
    let ingest = start_with(config).await;
    ingest.log.stall();
    let body = format!("{GOOD}\n").repeat(1000);
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n",
        ingest.key,
        body.len()
    );
    let mut client = TcpStream::connect(ingest.address).expect("connect");
    client.write_all((head + &body).as_bytes()).expect("send");
    tokio::time::sleep(Duration::from_millis(300)).await;
    drop(client);
    tokio::time::sleep(Duration::from_millis(300)).await;
    ingest.log.resume();
    assert_eq!(ingest.post(&[], GOOD).await.code(), "rate_limited");
}

#[tokio::test]
async fn the_answer_says_what_a_retry_would_mean() {
    let ingest = start().await;
    assert_eq!(ingest.post(&[], GOOD).await.json["delivery"], "at_least_once");
    let answer = ingest.post(&[PRODUCER, "Peep-Seq: 0"], GOOD).await;
    assert_eq!(answer.json["delivery"], "exactly_once", "{answer:?}");
}

#[tokio::test]
async fn a_producer_too_many_is_refused_and_the_known_ones_go_on() {
    let mut config = config();
    config.limits.producers_max = 1;
    let ingest = start_with(config).await;
    let other = PRODUCER.replace("0192", "0193");
    assert_eq!(ingest.post(&[PRODUCER, "Peep-Seq: 0"], GOOD).await.status, 202);
    let refused = ingest.post(&[&other, "Peep-Seq: 0"], GOOD).await;
    assert_eq!((refused.status, refused.code()), (429, "too_many_producers"));
    assert!(refused.head.contains("retry-after: 60") && refused.message().contains("Peep-Producer"), "{refused:?}");
    assert_eq!(ingest.post(&[PRODUCER, "Peep-Seq: 1"], GOOD).await.status, 202);
    assert_eq!(ingest.post(&[], GOOD).await.status, 202, "who claims no identity needs no place");
    assert_eq!(ingest.events().await, 3);
}

/// Posts whose bodies are announced and do not come: they hold their reservation.
fn hold(ingest: &support::Ingest, key: &str, count: usize, bytes: usize) -> Vec<TcpStream> {
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\nContent-Length: {bytes}\r\n\r\n{{"
    );
    let post = |_| {
        let mut stream = TcpStream::connect(ingest.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    (0..count).map(post).collect()
}

#[tokio::test]
async fn one_project_cannot_shut_the_others_out() {
    let mut config = config();
    config.limits.body_bytes_max = 10_000;
    config.limits.body_bytes_in_flight_max = 200_000;
    let ingest = start_with(config).await;
    let other = format!("Authorization: Bearer {}", ingest.other_key);
    let ours = format!("Authorization: Bearer {}", ingest.key);
    let send = async |key: &str| {
        let answer = ingest.request("POST", "/v1/events", &[key], GOOD).await;
        (answer.status, answer.code().to_owned())
    };
    // Alone, a project may fill all of it.
    let mut flood = hold(&ingest, &ingest.key, 20, 10_000);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(send(&other).await, (503, "overloaded".to_owned()));
    // In company, what becomes free is not for the flood any more.
    flood.truncate(10);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(send(&ours).await, (429, "rate_limited".to_owned()));
    assert_eq!(send(&other).await.0, 202);
}

#[tokio::test]
async fn a_clock_that_jumps_takes_readiness_away() {
    let clock = Clock::manual(1_800_000_000_000);
    let ingest = start_at(config(), clock.clone()).await;
    let wait_until = async |ready: bool| {
        for _ in 0..100 {
            if ingest.health.is_ready() == ready {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{:?}", ingest.health.parts());
    };
    wait_until(true).await;
    clock.advance(Duration::from_secs(3600));
    wait_until(false).await;
    let reason = ingest.health.parts()["ingest"].clone().unwrap_or_default();
    assert!(reason.contains("jumped forward by 3") && reason.contains("time service"), "{reason}");
    assert_eq!(ingest.post(&[], GOOD).await.status, 202, "not ready is not closed");
}

#[tokio::test]
async fn a_log_that_does_not_answer_gives_503_and_no_202() {
    let ingest = start_with(Config { append_timeout: Duration::from_millis(200), ..config() }).await;
    ingest.log.stall();
    let stalled = ingest.post(&[], GOOD).await;
    assert_eq!((stalled.status, stalled.code()), (503, "log_unavailable"));
    assert!(stalled.head.contains("retry-after") && stalled.message().contains("in time"), "{stalled:?}");
    ingest.log.stop();
    let stopped = ingest.post(&[], GOOD).await;
    assert_eq!(stopped.code(), "log_unavailable");
    assert!(stopped.message().contains("cannot be reached"), "{stopped:?}");
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let mut config = config();
    config.http.body_timeout = Duration::from_millis(200);
    config.http.header_timeout = Duration::from_millis(200);
    let ingest = start_with(config).await;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Length: 100\r\n\r\n{{",
        ingest.key
    );
    assert_eq!(ingest.raw(head.into_bytes()).await.code(), "request_timeout");
    // A head that never ends is answered by closing, or by 408; never by waiting.
    let slow_head = ingest.raw(b"POST /v1/events HTTP/1.1\r\nHost".to_vec()).await;
    assert!(matches!(slow_head.status, 0 | 408), "{slow_head:?}");
}

#[tokio::test]
async fn a_request_without_a_length_is_411() {
    let ingest = start().await;
    let head = format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\n\r\n", ingest.key);
    let answer = ingest.raw(head.into_bytes()).await;
    assert_eq!((answer.status, answer.code()), (411, "length_required"));
}

#[tokio::test]
async fn too_many_headers_are_431() {
    let ingest = start().await;
    let headers: String = (0..150).map(|number| format!("X-{number}: y\r\n")).collect();
    let answer = ingest.raw(format!("GET / HTTP/1.1\r\nHost: t\r\n{headers}\r\n").into_bytes()).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn an_eight_megabyte_body_becomes_several_records() {
    let ingest = start().await;
    let event = format!(r#"{{"service":"big","duration_ms":1,"error":"{}"}}"#, "x".repeat(1600));
    let body = format!("{event}\n").repeat(4900);
    let answer = ingest.post(&["Content-Type: application/x-ndjson"], body).await;
    assert_eq!((answer.status, answer.json["accepted"].as_u64()), (202, Some(4900)), "{}", answer.head);
    let records = ingest.records().await;
    assert!(records.len() > 7 && records.iter().all(|record| record.payload.len() <= 1 << 20));
    assert_eq!(ingest.events().await, 4900);
}

#[tokio::test]
async fn requests_in_flight_finish_at_shutdown() {
    let ingest = start().await;
    let mut slow = TcpStream::connect(ingest.address).unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
        ingest.key,
        GOOD.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    slow.write_all(&GOOD.as_bytes()[..10]).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    ingest.shutdown.request();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(ingest.address).is_err(), "no new connection is taken");
    slow.write_all(&GOOD.as_bytes()[10..]).unwrap();
    let answer = tokio::task::spawn_blocking(move || read_answer(&mut slow)).await.unwrap();
    assert_eq!(answer.status, 202);
    ingest.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_same_connection_serves_many_requests() {
    let ingest = start().await;
    let request = format!(
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{GOOD}",
        ingest.key,
        GOOD.len()
    );
    let address = ingest.address;
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        for _ in 0..50 {
            stream.write_all(request.as_bytes()).unwrap();
            assert_eq!(read_answer(&mut stream).status, 202);
        }
    })
    .await
    .unwrap();
    assert_eq!(ingest.events().await, 50);
}
