//! Requests that mean two things: every one has a defined answer, and what is hidden behind it never happens.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use support::{Ingest, start};

const EVENT: &str = r#"{"service":"a"}"#;

/// What is expected: this many answers, and that the server closes or keeps the connection.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Closed,
    Open(usize),
}

/// Sends bytes and reads until the server closes or has had time to say more than expected: the statuses in order, and
/// whether it closed.
fn talk(address: SocketAddr, request: &[u8], expect: Expect) -> (Vec<u16>, bool) {
    let mut stream = TcpStream::connect(address).unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request);
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        // The last answer may have come in part.
        let status = |answer: &str| answer.get(2..5)?.parse().ok();
        let statuses: Vec<u16> = text.split("HTTP/1.").skip(1).filter_map(status).collect();
        let all = matches!(expect, Expect::Open(answers) if statuses.len() >= answers);
        stream.set_read_timeout(Some(if all { MORE } else { SLOW })).unwrap();
        match stream.read(&mut chunk) {
            Ok(0) => return (statuses, true),
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
            Err(error) => {
                let open = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                return (statuses, !open);
            }
        }
    }
}

/// For an answer too many to show.
const MORE: Duration = Duration::from_millis(150);
/// Less than the header timeout, which would close an idle connection.
const SLOW: Duration = Duration::from_secs(4);

async fn send(ingest: &Ingest, request: String, expect: Expect) -> (Vec<u16>, bool) {
    let address = ingest.address;
    tokio::task::spawn_blocking(move || talk(address, request.as_bytes(), expect)).await.unwrap()
}

/// `POST /v1/events` with these header lines and this body.
fn post(ingest: &Ingest, headers: &str, body: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {}\r\n{headers}\r\n{body}", ingest.key)
}

fn good(ingest: &Ingest) -> String {
    post(ingest, &format!("Content-Length: {}\r\n", EVENT.len()), EVENT)
}

#[tokio::test]
async fn a_length_that_means_two_things_is_refused_and_nothing_behind_it_happens() {
    let ingest = start().await;
    let chunked = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    let hidden = good(&ingest);
    let (short, long) = (EVENT.len(), EVENT.len() + hidden.len());
    for (headers, body) in [
        (format!("Content-Length: {short}\r\nContent-Length: {long}\r\n"), EVENT),
        (format!("Content-Length: {long}\r\nContent-Length: {short}\r\n"), EVENT),
        (format!("Content-Length: {short}, {long}\r\n"), EVENT),
        (format!("Content-Length: +{short}\r\n"), EVENT),
        (format!("Content-Length: -{short}\r\n"), EVENT),
        (format!("Content-Length: 0x{short:x}\r\n"), EVENT),
        (format!("Content-Length: {short} {short}\r\n"), EVENT),
        (format!("Content-Length: {short}.0\r\n"), EVENT),
        ("Content-Length: \r\n".to_owned(), EVENT),
        ("Content-Length: 18446744073709551631\r\n".to_owned(), EVENT),
        ("Content-Length: 99999999999999999999999\r\n".to_owned(), EVENT),
        (format!("Content-Length : {short}\r\n"), EVENT),
        (format!("Content-Length\t: {short}\r\n"), EVENT),
        (format!("X: y\r\n Content-Length: {short}\r\n"), EVENT),
        (format!("Content-Length: {short}\r\n\tTransfer-Encoding: chunked\r\n"), EVENT),
        (format!("Content-Length: {short}, {short}\r\n"), EVENT),
        ("Transfer-Encoding: gzip\r\n".to_owned(), chunked.as_str()),
        ("Transfer-Encoding: chunked, gzip\r\n".to_owned(), &chunked),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), &chunked),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "10000000000000000f\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "-1\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "+2\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "0x2\r\n{}\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "2\r\n{}xx0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "2\n{}\n0\n\n"),
        ("Transfer-Encoding: chunked\r\n".to_owned(), "\r\n\r\n"),
    ] {
        let answer = send(&ingest, post(&ingest, &headers, body) + &hidden, Expect::Closed).await;
        assert_eq!(answer, (vec![400], true), "{headers:?} {body:?}");
    }
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused_in_either_order() {
    // RFC 9112, 6.1: the beginning of request smuggling.
    let ingest = start().await;
    let chunked = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    let (hidden, length) = (good(&ingest), format!("Content-Length: {}\r\n", chunked.len()));
    let te = "Transfer-Encoding: chunked\r\n";
    for headers in [
        format!("{length}{te}"),
        format!("{te}{length}"),
        format!("Content-Length: 0\r\n{te}"),
        format!("{te}{te}"),
        format!("Transfer-Encoding: identity\r\n{te}"),
        "Transfer-Encoding: gzip, chunked\r\n".to_owned(),
        format!("{length}{length}"),
    ] {
        let request = post(&ingest, &headers, &chunked);
        let answer = send(&ingest, good(&ingest) + &request + &hidden, Expect::Closed).await;
        assert_eq!(answer, (vec![202, 400], true), "{headers:?}");
    }
    let old = post(&ingest, te, &chunked).replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(send(&ingest, old + &hidden, Expect::Closed).await, (vec![400], true), "HTTP/1.0 has no chunks");
    assert_eq!(ingest.events().await, 7, "those before the refused ones");
}

#[tokio::test]
async fn a_head_with_bare_line_ends_is_refused() {
    let ingest = start().await;
    let good = good(&ingest);
    for request in [
        good.replace("\r\n", "\n"),
        good.replacen("\r\n", "\n", 1),
        good.replace("\r\n\r\n", "\n\n"),
        good.replace("Host: t\r\n", "Host: t\nX: y\r\n"),
        good.replace("Host: t\r\n", "Host: t\rX: y\r\n"),
    ] {
        let answer = send(&ingest, request.clone() + &good, Expect::Closed).await;
        assert_eq!(answer, (vec![400], true), "{request:?}");
    }
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn a_head_that_names_no_host_or_expects_too_much_is_refused() {
    let ingest = start().await;
    let good = good(&ingest);
    let with = |header: &str| good.replace("Authorization", &format!("{header}\r\nAuthorization"));
    for (request, status) in [
        (good.replace("Host: t\r\n", ""), 400),
        (with("Host: other"), 400),
        (good.replace("Host: t", "Host: t, u"), 400),
        (good.replace("Host: t", "Host: a/b"), 400),
        (good.replace("/v1/events", "ftp://elsewhere/v1/events"), 400),
        (good.replace("/v1/events", "*"), 400),
        (with("Expect: something-else"), 417),
    ] {
        let answer = send(&ingest, request.clone() + &good, Expect::Closed).await;
        assert_eq!(answer, (vec![status], true), "{request:?}");
    }
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn odd_but_clear_requests_are_answered_and_the_next_one_is_served() {
    let ingest = start().await;
    let chunked = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    let good = good(&ingest);
    let with = |header: &str| good.replace("Authorization", &format!("{header}\r\nAuthorization"));
    let mut expected = 0;
    for (request, answers) in [
        (good.clone(), vec![202, 202]),
        (good.replace("/v1/events", "http://elsewhere/v1/events"), vec![202, 202]),
        (good.replace("POST /v1/events", "OPTIONS *"), vec![404, 202]),
        (good.replace("Host: t", "Host:"), vec![202, 202]),
        (good.replace("HTTP/1.1\r\nHost: t", "HTTP/1.0\r\nConnection: keep-alive"), vec![202, 202]),
        (with("Upgrade: websocket\r\nConnection: upgrade"), vec![202, 202]),
        (with("Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAMAAABk"), vec![202, 202]),
        (with("Expect: 100-continue"), vec![100, 202, 202]),
        (post(&ingest, "Transfer-Encoding: CHUNKED\r\n", &chunked), vec![202, 202]),
        (post(&ingest, "Transfer-Encoding: chunked\r\n", &chunked.replacen("\r\n", ";a=\"b;\r\n", 1)), vec![202, 202]),
        (
            post(&ingest, "Transfer-Encoding: chunked\r\n", &chunked.replace("0\r\n", "0\r\nContent-Length: 3\r\n")),
            vec![202, 202],
        ),
    ] {
        let name: String = request.chars().take(60).collect();
        let (statuses, closed) = send(&ingest, request + &good, Expect::Open(answers.len())).await;
        assert_eq!((&statuses, closed), (&answers, false), "{name:?}");
        expected += statuses.iter().filter(|status| **status == 202).count();
    }
    assert_eq!(ingest.events().await, expected);
}

#[tokio::test]
async fn what_is_no_http_1_is_refused_and_nothing_behind_it_happens() {
    let ingest = start().await;
    let good = good(&ingest);
    let extension = format!("{:x};{}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len(), "e".repeat(1 << 20));
    for (request, answers) in [
        (good.replace("HTTP/1.1", "HTTP/2.0"), vec![400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), vec![]),
        (good.replace("POST /v1/events", "CONNECT elsewhere:443"), vec![405]),
        (good.replace("Host: t", "Host: t\0"), vec![400]),
        (good.replace("Host: t", "Host t"), vec![400]),
        (good.replace("POST ", "POST  "), vec![400]),
        (good.replace("POST /v1/events", "POST /v1/ev ents"), vec![400]),
        (good.replace("POST", "PO\tST"), vec![400]),
        (post(&ingest, "Transfer-Encoding: chunked\r\n", &extension), vec![400]),
        ("\x16\x03\x01\x02\0\x01\0".to_owned(), vec![400]),
    ] {
        let name: String = request.chars().take(60).collect();
        assert_eq!(send(&ingest, request + &good, Expect::Closed).await, (answers, true), "{name:?}");
    }
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn a_hundred_requests_at_once_are_a_hundred_answers() {
    let ingest = start().await;
    let (statuses, closed) = send(&ingest, good(&ingest).repeat(100), Expect::Open(100)).await;
    assert_eq!((statuses, closed), (vec![202; 100], false));
    assert_eq!(ingest.events().await, 100);
}

#[tokio::test]
async fn a_refused_body_is_not_read_as_the_next_request() {
    let ingest = start().await;
    let hidden = good(&ingest);
    // Refused by its head; its body is a whole request.
    let body = hidden.repeat(3);
    for head in [
        format!("POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len()),
        format!("GET /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len()),
        "POST /v1/events HTTP/1.1\r\nHost: t\r\nContent-Length: 999999999\r\n\r\n".to_owned(),
        post(&ingest, "Content-Length: 999999999\r\n", ""),
    ] {
        let (statuses, _) = send(&ingest, head.clone() + &body, Expect::Open(1)).await;
        assert!(matches!(statuses[..], [401 | 405 | 413]), "{head:?}: {statuses:?}");
    }
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn too_much_head_is_431() {
    let ingest = start().await;
    let head = |lines: usize, bytes: usize| {
        let lines: String = (0..lines).map(|number| format!("X-{number}: {}\r\n", "y".repeat(bytes))).collect();
        format!("GET /v1/events HTTP/1.1\r\nHost: t\r\n{lines}\r\n")
    };
    assert_eq!(send(&ingest, head(99, 8), Expect::Open(1)).await, (vec![405], false), "as many as may be");
    assert_eq!(send(&ingest, head(100, 8), Expect::Closed).await, (vec![431], true));
    assert_eq!(send(&ingest, head(1, 60 << 10), Expect::Open(1)).await, (vec![405], false), "as long as may be");
    for (lines, bytes) in [(1, 400 << 10), (100, 8 << 10)] {
        // What is sent after the answer resets the connection and may take the answer along.
        let (statuses, closed) = send(&ingest, head(lines, bytes), Expect::Closed).await;
        assert!(closed && matches!(statuses[..], [431] | []), "{lines} of {bytes}: {statuses:?}");
    }
    assert_eq!(ingest.post(&[], EVENT).await.status, 202, "and others are served");
}

#[tokio::test]
async fn a_head_in_single_bytes_costs_no_more_than_its_bytes() {
    let ingest = start().await;
    let address = ingest.address;
    let drip = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
        (0..400 << 10).take_while(|_| stream.write_all(b"y").is_ok()).count()
    };
    let before = cpu_ticks();
    let sent = tokio::task::spawn_blocking(drip).await.unwrap();
    let ticks = cpu_ticks() - before;
    assert!(sent < 400 << 10, "cut off before its end");
    // Parsing the whole head again at every byte would be two thousand million steps.
    assert!(ticks < 300, "{ticks} hundredths of a second of both sides, for {sent} bytes");
    assert_eq!(ingest.post(&[], EVENT).await.status, 202);
}

/// User and system time of this process.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}
