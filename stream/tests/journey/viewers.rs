//! Viewers as they are not meant to be: foreign pages, spent tickets, broken protocols, and those who read slowly or not at all.

use std::time::{Duration, Instant};

use peep_testkit::WebSocket;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::live::publish_much;
use crate::world::{Event, NOW_MS, World, traffic};

const SOON: Duration = Duration::from_secs(10);

/// A WebSocket whose bytes the test decides on, with a small receive buffer.
struct Raw {
    stream: TcpStream,
    /// Bytes that belong to the next frame.
    read: Vec<u8>,
    /// What the upgrade was answered with.
    head: String,
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    first: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn is_close(&self) -> bool {
        self.first == 0x88
    }

    /// Code and reason.
    fn goodbye(&self) -> (u16, &str) {
        let (code, reason) = self.payload.split_first_chunk().expect("a close with a code");
        (u16::from_be_bytes(*code), std::str::from_utf8(reason).expect("a reason in UTF-8"))
    }
}

impl Raw {
    /// Asks for an upgrade with these headers and parameters. The error is the status.
    async fn open(world: &World, parameters: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        Self::open_and_send(world, parameters, headers, &[]).await
    }

    /// The same, with bytes that are sent without waiting for the answer.
    async fn open_and_send(
        world: &World,
        parameters: &str,
        headers: &[(&str, &str)],
        early: &[u8],
    ) -> Result<Self, u16> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
        let address = world.url.strip_prefix("http://").expect("an address");
        let mut stream = socket.connect(address.parse().expect("an address")).await.expect("connect");
        let mut request = format!(
            "GET /v1/live?{parameters} HTTP/1.1\r\nhost: {address}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(&[request.as_bytes(), early].concat()).await.expect("send the request");
        let mut raw = Self { stream, read: Vec::new(), head: String::new() };
        let head = loop {
            if let Some(at) = raw.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break raw.read.drain(..at + 4).collect::<Vec<u8>>();
            }
            assert!(raw.fill(4096).await, "an answer");
        };
        let status = std::str::from_utf8(&head[9..12]).ok().and_then(|status| status.parse().ok()).expect("a status");
        raw.head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if status == 101 { Ok(raw) } else { Err(status) }
    }

    async fn viewer(world: &World, parameters: &str) -> Self {
        let key = format!("Bearer {}", world.keys.read);
        Self::open(world, parameters, &[("authorization", &key)]).await.expect("the upgrade is accepted")
    }

    async fn send(&mut self, bytes: &[u8]) {
        // Whom the server has cut may not be able to any more.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads some bytes; `false` at the end.
    async fn fill(&mut self, bytes_max: usize) -> bool {
        let mut buffer = vec![0; bytes_max];
        match timeout(SOON, self.stream.read(&mut buffer)).await.expect("something comes or ends") {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.read.extend_from_slice(&buffer[..length]);
                true
            }
        }
    }

    /// The next frame that is there already.
    fn frame(&mut self) -> Option<Frame> {
        let (head, length) = match self.read.get(1)? {
            126 => (4, usize::from(u16::from_be_bytes([*self.read.get(2)?, *self.read.get(3)?]))),
            127 => (10, usize::try_from(u64::from_be_bytes(self.read.get(2..10)?.try_into().ok()?)).ok()?),
            length => (2, usize::from(*length)),
        };
        if self.read.len() < head + length {
            return None;
        }
        let first = self.read[0];
        let payload = self.read.drain(..head + length).skip(head).collect();
        Some(Frame { first, payload })
    }

    /// The next frame, `None` at the end of the connection.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frame() {
                return Some(frame);
            }
            if !self.fill(64 << 10).await {
                return None;
            }
        }
    }

    /// The goodbye, and nothing after it.
    async fn goodbye(&mut self) -> (u16, String) {
        let frame = loop {
            let frame = self.next().await.expect("a close before the end");
            if frame.is_close() {
                break frame;
            }
        };
        let (code, reason) = frame.goodbye();
        let goodbye = (code, reason.to_owned());
        assert_eq!(self.next().await, None, "nothing follows a goodbye");
        goodbye
    }
}

/// A frame of a client.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The cookie of somebody who is signed in.
async fn sign_in(world: &World) -> String {
    let signed_in = world.anonymous().post_json("/v1/session", &json!({"key": world.keys.read})).await;
    signed_in.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned()
}

/// A ticket, as a page of ours asks for it.
async fn ticket(world: &World, cookie: &str) -> String {
    let page = world.anonymous().with_header("cookie", cookie).with_header("origin", &world.url);
    let answer = page.post_json("/v1/tickets", &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.json()["expires_ms"].as_i64().is_some_and(|expires| expires == NOW_MS + 30_000));
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

#[tokio::test]
async fn a_cookie_opens_no_socket_and_a_ticket_opens_one() {
    let world = World::new().await;
    let cookie = sign_in(&world).await;
    let page = [("cookie", cookie.as_str()), ("origin", world.url.as_str())];
    assert_eq!(Raw::open(&world, "", &page).await.err(), Some(401), "a cookie alone");

    let first = ticket(&world, &cookie).await;
    let parameters = format!("window=1m&ticket={first}");
    let mut socket = Raw::open(&world, &parameters, &page[1..]).await.expect("a ticket is enough");
    assert_eq!(socket.next().await.map(|frame| frame.first), Some(0x81));
    assert_eq!(Raw::open(&world, &parameters, &page).await.err(), Some(401), "once");
    assert_eq!(Raw::open(&world, "ticket=pt_nonsense", &page).await.err(), Some(401));
    let misspelt = format!("windows=1m&ticket={}", ticket(&world, &cookie).await);
    assert_eq!(Raw::open(&world, &misspelt, &page).await.err(), Some(400));
    assert_eq!(Raw::open(&world, &misspelt, &page).await.err(), Some(401), "spent all the same");

    let nobody = world.anonymous().with_header("origin", &world.url);
    assert_eq!(nobody.post_json("/v1/tickets", &json!({})).await.status, 401);
    let no_page = world.anonymous().with_header("cookie", &cookie);
    assert_eq!(
        no_page.post_json("/v1/tickets", &json!({})).await.status,
        403,
        "whoever has a cookie says where it comes from"
    );
    assert_eq!(world.reader().post_json("/v1/tickets", &json!({})).await.status, 200, "a program has no page");
    world.stop().await;
}

#[tokio::test]
async fn twenty_forged_origins_open_nothing() {
    let world = World::with(&[("PEEP_STREAM_ORIGINS", "https://peep.example")]).await;
    let host = world.url.strip_prefix("http://").expect("an address").to_owned();
    let port = host.rsplit_once(':').expect("a port").1.to_owned();
    let forged = [
        "https://evil.example".to_owned(),
        "http://evil.example".to_owned(),
        "null".to_owned(),
        String::new(),
        "https://peep.example.evil.example".to_owned(),
        "https://evil-peep.example".to_owned(),
        "https://sub.peep.example".to_owned(),
        "https://peep.example:8443".to_owned(),
        "http://peep.example".to_owned(),
        "https://peep.example/".to_owned(),
        "https://peep.example.".to_owned(),
        "https://PEEP.example".to_owned(),
        "https://peep.example@evil.example".to_owned(),
        "file://".to_owned(),
        format!("http://evil.example:{port}"),
        format!("http://127.0.0.1.evil.example:{port}"),
        format!("http://user@{host}"),
        format!("http://{host}/"),
        host.clone(),
        "http://127.0.0.1:1".to_owned(),
    ];
    let cookie = sign_in(&world).await;
    let key = format!("Bearer {}", world.keys.read);
    for origin in &forged {
        let page = [("cookie", cookie.as_str()), ("origin", origin.as_str())];
        let asked = world.anonymous().with_header("cookie", &cookie).with_header("origin", origin);
        assert_eq!(asked.post_json("/v1/tickets", &json!({})).await.status, 403, "a ticket for {origin}");
        let stolen = format!("ticket={}", ticket(&world, &cookie).await);
        assert_eq!(Raw::open(&world, &stolen, &page).await.err(), Some(403), "a socket with a ticket for {origin}");
        let with_key = [("authorization", key.as_str()), ("origin", origin.as_str())];
        assert_eq!(Raw::open(&world, "", &with_key).await.err(), Some(403), "a socket with a key for {origin}");
        assert!(Raw::open(&world, "", &page).await.is_err(), "a socket with a cookie for {origin}");
        let mut events = vec![("accept", "text/event-stream")];
        events.extend(page);
        let url = format!("{}/v1/live", world.url);
        assert_eq!(peep_testkit::EventStream::connect(&url, &events).await.err(), Some(403), "events for {origin}");
    }
    let allowed = format!("ticket={}", ticket(&world, &cookie).await);
    assert!(Raw::open(&world, &allowed, &[("origin", "https://peep.example")]).await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn a_socket_ends_with_the_session_its_ticket_came_from() {
    let world = World::new().await;
    let cookie = sign_in(&world).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let parameters = format!("ticket={}", ticket(&world, &cookie).await);
        sockets.push(Raw::open(&world, &parameters, &[("origin", &world.url)]).await.expect("accepted"));
    }
    let mut keyed = Raw::viewer(&world, "").await;
    let ended = Instant::now();
    let page = world.anonymous().with_header("cookie", &cookie).with_header("origin", &world.url);
    assert_eq!(page.delete("/v1/session").await.status, 204);
    for socket in &mut sockets {
        let (code, reason) = socket.goodbye().await;
        assert_eq!((code, reason.as_str()), (1008, "the key or session is not valid any more"));
    }
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    assert!(keyed.next().await.is_some_and(|frame| !frame.is_close()), "others stay");
    world.stop().await;
}

#[tokio::test]
async fn what_breaks_the_protocol_is_told_so_and_closed() {
    let world = World::new().await;
    let cases: [(&str, Vec<u8>, u16); 9] = [
        ("no mask", vec![0x81, 2, b'h', b'i'], 1002),
        ("a reserved bit", masked(0xc1, b"hi"), 1002),
        ("an unknown opcode", masked(0x83, b"hi"), 1002),
        ("a cut ping", masked(0x09, b"hi"), 1002),
        ("a continuation of nothing", masked(0x80, b"hi"), 1002),
        ("a text that is none", masked(0x81, b"\xff"), 1007),
        ("more than 4 KiB", masked(0x81, &[b'*'; 4097]), 1009),
        ("more than 4 KiB in pieces", [masked(0x01, &[b'*'; 4000]), masked(0x80, &[b'*'; 97])].concat(), 1009),
        ("pings without end", vec![masked(0x89, b""); 3000].concat(), 1008),
    ];
    for (what, bytes, code) in cases {
        let mut socket = Raw::viewer(&world, "").await;
        socket.send(&bytes).await;
        assert_eq!(socket.goodbye().await.0, code, "{what}");
        // The same byte by byte.
        if bytes.len() < 100 {
            let mut socket = Raw::viewer(&world, "").await;
            for byte in bytes {
                socket.send(&[byte]).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(socket.goodbye().await.0, code, "{what}, byte by byte");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_polite_client_is_answered() {
    let world = World::new().await;
    let key = format!("Bearer {}", world.keys.read);
    let early = masked(0x89, b"early");
    let headers = [("authorization", key.as_str())];
    let mut socket = Raw::open_and_send(&world, "", &headers, &early).await.expect("accepted");
    socket.send(&masked(0x81, b"whatever a client says means nothing")).await;
    let mut pongs = Vec::new();
    while pongs.is_empty() {
        let frame = socket.next().await.expect("open");
        if frame.first == 0x8a {
            pongs.push(frame.payload);
        }
    }
    assert_eq!(pongs, [b"early"], "what came before our answer counts");
    socket.send(&masked(0x88, &[&3000u16.to_be_bytes()[..], b"bye"].concat())).await;
    assert_eq!(socket.goodbye().await, (3000, String::new()), "the code comes back");

    let mut socket = Raw::viewer(&world, "").await;
    socket.send(&masked(0x88, b"")).await;
    while let Some(frame) = socket.next().await {
        assert!(!frame.is_close() || frame.payload.is_empty(), "no code is answered with none");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_viewer_that_is_too_slow_is_sent_away_and_told_when_to_come_back() {
    let settings = [("PEEP_STREAM_FRAME_INTERVAL", "50"), ("PEEP_STREAM_SLOW_TIMEOUT", "600")];
    let world = World::with(&settings).await;
    let mut slow = Raw::viewer(&world, "window=15m&group_by=route").await;
    let reading = async {
        // Some bytes now and then: never stalled, and far from keeping up.
        for _ in 0..40 {
            slow.fill(1024).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slow.goodbye().await
    };
    let ((code, reason), _) = tokio::join!(reading, publish_much(&world, 30));
    assert_eq!(code, 1013);
    let seconds = reason.strip_prefix("retry=").and_then(|rest| rest.split(';').next()).expect("when to come back");
    assert!(seconds.parse::<u32>().is_ok_and(|seconds| (5..15).contains(&seconds)), "{reason}");
    world.stop().await;
}

#[tokio::test]
async fn a_viewer_that_holds_too_much_for_too_long_is_sent_away() {
    let settings = [
        ("PEEP_STREAM_FRAME_INTERVAL", "50"),
        ("PEEP_STREAM_VIEWER_BYTES_MAX", "20000"),
        ("PEEP_STREAM_WRITE_TIMEOUT", "3000"),
    ];
    let world = World::with(&settings).await;
    let mut slow = Raw::viewer(&world, "window=15m&group_by=route").await;
    let reading = async {
        // Faster than the kernel's patience with closed windows, and too slow for what comes.
        for _ in 0..90 {
            slow.fill(1024).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slow.goodbye().await
    };
    let ((code, _), _) = tokio::join!(reading, publish_much(&world, 30));
    assert_eq!(code, 1013);
    world.stop().await;
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_cut_and_its_place_is_free_again() {
    let settings = [
        ("PEEP_STREAM_FRAME_INTERVAL", "50"),
        ("PEEP_STREAM_WRITE_TIMEOUT", "500"),
        ("PEEP_STREAM_SUBSCRIBERS_MAX", "2"),
    ];
    let world = World::with(&settings).await;
    let silent = Raw::viewer(&world, "window=15m&group_by=route").await;
    // It will not take a goodbye: when to come back is said in advance.
    let said = silent.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).expect("when to come back");
    assert!(said.parse::<u32>().is_ok_and(|seconds| (5..15).contains(&seconds)), "{said}");
    let mut quick = world.websocket("window=15m&group_by=route").await;
    let url = format!("{}/v1/live", world.url.replacen("http", "ws", 1));
    assert_eq!(WebSocket::connect(&url, Some(&world.keys.read)).await.err(), Some(503), "no place");
    let reading =
        async { while quick.next(SOON).await.is_some_and(|message| message["total"]["window"]["count"] != 7500) {} };
    tokio::join!(publish_much(&world, 25), reading);
    let deadline = Instant::now() + SOON;
    while WebSocket::connect(&url, Some(&world.keys.read)).await.is_err() {
        assert!(Instant::now() < deadline, "the place was never given back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(silent);
    world.stop().await;
}

#[tokio::test]
async fn when_too_much_waits_for_everybody_nobody_new_comes_in() {
    let settings = [("PEEP_STREAM_FRAME_INTERVAL", "50"), ("PEEP_STREAM_UNSENT_BYTES_MAX", "0")];
    let world = World::with(&settings).await;
    let mut silent = Raw::viewer(&world, "window=15m&group_by=route").await;
    let url = format!("{}/v1/live", world.url.replacen("http", "ws", 1));
    let refused = async {
        let deadline = Instant::now() + SOON;
        while WebSocket::connect(&url, Some(&world.keys.read)).await.err() != Some(503) {
            assert!(Instant::now() < deadline, "everybody is let in");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::join!(publish_much(&world, 25), refused);
    assert_eq!(silent.goodbye().await.0, 1013, "the slowest goes first");
    world.stop().await;
}

/// W04: what the first viewer of a view cost is all that it costs.
#[tokio::test]
async fn a_crowd_that_comes_back_asks_the_database_nothing() {
    let world = World::new().await;
    let events = traffic(600);
    world.commit(0, 200, 1, &events[..200]).await;
    world.publish(0, 1, 200, &events[200..300]).await;
    world.wait_for_count(300).await;
    let view = "window=15m&group_by=service,route";
    let mut first = world.websocket(view).await;
    let snapshot = first.next(SOON).await.expect("a snapshot");
    let id = snapshot["id"].as_str().expect("an id").to_owned();

    // From here on every question to the database is an error.
    world.pool.close().await;
    world.publish(0, 1, 300, &events[300..]).await;
    while first.next(SOON).await.expect("open")["total"]["window"]["count"] != 600 {}
    drop(first);
    for round in 0..10 {
        let since = if round % 2 == 0 { format!("&since={id}") } else { String::new() };
        let parameters = format!("{view}{since}");
        let crowd = (0..20).map(|_| world.websocket(&parameters));
        for mut socket in futures_util::future::join_all(crowd).await {
            let message = socket.next(SOON).await.expect("a snapshot");
            assert_eq!((&message["type"], &message["total"]["window"]["count"]), (&json!("snapshot"), &json!(600)));
        }
        let mut stream = world.event_stream(view, (round % 2 == 0).then_some(id.as_str())).await;
        assert_eq!(stream.next(SOON).await.expect("a snapshot").data["total"]["window"]["count"], 600);
    }
    assert_eq!(
        WebSocket::connect(
            &format!("{}/v1/live?window=2m", world.url.replacen("http", "ws", 1)),
            Some(&world.keys.read)
        )
        .await
        .err(),
        Some(503),
        "a view that nobody has looked at does ask"
    );
    world.stop().await;
}

/// W05: whatever a reader says it has seen, it ends with the whole.
#[tokio::test]
async fn a_reader_that_remembers_wrongly_gets_everything() {
    let mut world = World::new().await;
    world.publish(0, 1, 0, &[Event::new("a", NOW_MS, 10), Event::new("b", NOW_MS, 10)]).await;
    world.wait_for_count(2).await;
    let first = world.websocket("").await.next(SOON).await.expect("a snapshot");
    let (epoch, version) = first["id"].as_str().and_then(|id| id.rsplit_once('-')).expect("an id");
    let (epoch, version) = (epoch.to_owned(), version.parse::<u64>().expect("a version"));
    let remembered = [
        format!("{epoch}-{}", version + 1000),
        format!("{epoch}-0"),
        format!("{epoch}-18446744073709551615"),
        format!("{epoch}--1"),
        format!("000000000000-{version}"),
        "-".to_owned(),
        "%00".to_owned(),
        "%F0%9F%98%80-1".to_owned(),
    ];
    for id in remembered {
        let message = world.websocket(&format!("since={id}")).await.next(SOON).await.expect("a snapshot");
        assert_eq!((&message["type"], &message["resumed"]), (&json!("snapshot"), &json!(null)), "{id}");
        assert_eq!(message["rows"].as_array().map(Vec::len), Some(2), "{id}");
    }
    world.restart().await;
    world.wait_for_count(2).await;
    let again = world.websocket(&format!("since={epoch}-{version}")).await.next(SOON).await.expect("a snapshot");
    assert_eq!((&again["resumed"], again["rows"].as_array().map(Vec::len)), (&json!(null), Some(2)));
    assert_ne!(again["epoch"], json!(epoch), "a restart is another epoch");
    world.stop().await;
}
