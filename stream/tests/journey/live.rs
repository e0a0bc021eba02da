//! Live views: snapshots, frames, resuming, take-overs and slow readers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use peep_testkit::{EventStream, WebSocket};
use serde_json::{Value, json};

use crate::world::{Event, NOW_MS, World, traffic};

const SOON: Duration = Duration::from_secs(5);

/// What a reader of the protocol knows after some messages.
#[derive(Default, Debug)]
struct Picture {
    epoch: String,
    id: String,
    /// By key, then by instant: the count.
    rows: BTreeMap<String, BTreeMap<i64, u64>>,
    windows: BTreeMap<String, u64>,
    total: u64,
    kinds: Vec<String>,
}

impl Picture {
    fn apply(&mut self, message: &Value) {
        let kind = message["type"].as_str().expect("a type").to_owned();
        self.id = message["id"].as_str().expect("an id").to_owned();
        self.kinds.push(kind.clone());
        if kind == "heartbeat" {
            return;
        }
        let epoch = message["epoch"].as_str().expect("an epoch");
        if kind == "snapshot" && message["resumed"] != true {
            self.rows.clear();
            self.windows.clear();
            self.epoch = epoch.to_owned();
        }
        assert_eq!(self.epoch, epoch, "a new epoch begins with a snapshot");
        for row in message["rows"].as_array().expect("rows") {
            let key = row["key"].to_string();
            let slots = self.rows.entry(key.clone()).or_default();
            let columns = row["t"].as_array().expect("t").iter().zip(row["count"].as_array().expect("count"));
            slots.extend(columns.map(|(t, count)| (t.as_i64().expect("ms"), count.as_u64().expect("a count"))));
            self.windows.insert(key, row["window"]["count"].as_u64().expect("a count"));
        }
        for gone in message["gone"].as_array().into_iter().flatten() {
            self.rows.remove(&gone.to_string());
            self.windows.remove(&gone.to_string());
        }
        self.total = message["total"]["window"]["count"].as_u64().expect("a count");
    }

    async fn read_until(&mut self, socket: &mut WebSocket, total: u64) {
        let deadline = Instant::now() + SOON;
        while self.total != total || self.kinds.is_empty() {
            assert!(Instant::now() < deadline, "expected {total}, saw {self:?}");
            let message = socket.next(SOON).await.expect("the view stays open");
            self.apply(&message);
        }
        self.check();
    }

    /// Whatever the way, the parts agree with the whole.
    fn check(&self) {
        assert_eq!(self.windows.values().sum::<u64>(), self.total);
        for (key, window) in &self.windows {
            assert_eq!(self.rows[key].values().sum::<u64>(), *window, "{key}");
        }
    }
}

#[tokio::test]
async fn a_snapshot_then_frames_that_agree_with_the_query_api() {
    let world = World::new().await;
    let events = traffic(600);
    world.commit(0, 200, 1, &events[..200]).await;
    world.publish(0, 1, 200, &events[200..300]).await;
    world.wait_for_count(300).await;
    let mut socket = world.websocket("group_by=service,route&window=15m&quantiles=0.5,0.99").await;
    let snapshot = socket.next(SOON).await.expect("a snapshot");
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["quantiles"], json!(["0.5", "0.99"]));
    assert_eq!(snapshot["envs"], json!(["default", "staging"]));
    let mut picture = Picture::default();
    picture.apply(&snapshot);
    picture.check();
    assert_eq!(picture.total, 300);

    let announced = Instant::now();
    world.publish(0, 1, 300, &events[300..450]).await;
    picture.read_until(&mut socket, 450).await;
    assert!(announced.elapsed() < Duration::from_millis(800), "{:?}", announced.elapsed());
    // A commit of what was announced moves no number.
    world.commit(0, 450, 1, &events[200..450]).await;
    world.publish(0, 1, 450, &events[450..]).await;
    picture.read_until(&mut socket, 600).await;
    assert!(picture.kinds.iter().skip(1).all(|kind| kind != "snapshot"), "{:?}", picture.kinds);

    let answer = world.ask("/v1/summary?from=-15m&group_by=service,route").await;
    let rows = answer["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), picture.windows.len());
    for row in rows {
        let key = json!({"service": row["service"], "route": row["route"]}).to_string();
        assert_eq!(Some(picture.windows[&key]), row["count"].as_u64());
    }
    world.stop().await;
}

#[tokio::test]
async fn nothing_new_is_a_heartbeat_and_time_alone_empties_the_window() {
    let world = World::new().await;
    world.publish(0, 1, 0, &[Event::new("a", NOW_MS - 55_000, 10), Event::new("b", NOW_MS, 10)]).await;
    world.wait_for_count(2).await;
    let mut socket = world.websocket("window=1m").await;
    let mut picture = Picture::default();
    picture.read_until(&mut socket, 2).await;
    let heartbeat = socket.next(SOON).await.expect("open");
    assert_eq!((&heartbeat["type"], &heartbeat["id"]), (&json!("heartbeat"), &json!(picture.id)));
    assert_eq!(heartbeat["newest_event_ms"], json!(NOW_MS));
    world.clock.advance(Duration::from_secs(20));
    picture.read_until(&mut socket, 1).await;
    assert_eq!(picture.rows.len(), 1, "the empty row is gone");
    world.stop().await;
}

#[tokio::test]
async fn server_sent_events_carry_the_same_messages_and_resume() {
    let world = World::new().await;
    let events = traffic(300);
    world.publish(0, 1, 0, &events[..100]).await;
    world.wait_for_count(100).await;
    let mut stream = world.event_stream("window=15m", None).await;
    let snapshot = stream.next(SOON).await.expect("a snapshot");
    assert_eq!((snapshot.name.as_str(), &snapshot.data["type"]), ("snapshot", &json!("snapshot")));
    assert_eq!(snapshot.id.as_deref(), snapshot.data["id"].as_str());
    let mut picture = Picture::default();
    picture.apply(&snapshot.data);
    world.publish(0, 1, 100, &events[100..200]).await;
    while picture.total < 200 {
        picture.apply(&stream.next(SOON).await.expect("open").data);
    }
    drop(stream);

    world.publish(0, 1, 200, &events[200..]).await;
    world.wait_for_count(300).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut again = world.event_stream("window=15m", Some(&picture.id)).await;
    let resumed = again.next(SOON).await.expect("a snapshot").data;
    assert_eq!((&resumed["type"], &resumed["resumed"]), (&json!("snapshot"), &json!(true)));
    picture.apply(&resumed);
    picture.check();
    assert_eq!(picture.total, 300);

    let mut socket = world.websocket(&format!("window=15m&since={}", picture.id)).await;
    let up_to_date = socket.next(SOON).await.expect("a snapshot");
    assert_eq!((&up_to_date["resumed"], &up_to_date["rows"]), (&json!(true), &json!([])), "nothing changed since");

    let mut stranger = world.event_stream("window=15m", Some("0123-99")).await;
    let full = stranger.next(SOON).await.expect("a snapshot").data;
    assert_eq!((&full["type"], &full["resumed"]), (&json!("snapshot"), &Value::Null));
    world.stop().await;
}

#[tokio::test]
async fn a_takeover_neither_doubles_nor_loses() {
    let world = World::new().await;
    let events = traffic(500);
    world.commit(0, 100, 4, &events[..100]).await;
    world.publish(0, 4, 100, &events[100..200]).await;
    world.publish(0, 4, 200, &events[200..300]).await;
    world.wait_for_count(300).await;
    let mut socket = world.websocket("window=15m").await;
    let mut picture = Picture::default();
    picture.read_until(&mut socket, 300).await;
    let epoch = picture.epoch.clone();

    // The successor starts again at the cursor, with frames of other lengths; the old owner wakes up and is ignored.
    world.commit(0, 100, 5, &[]).await;
    world.publish(0, 5, 100, &events[100..250]).await;
    world.publish(0, 4, 300, &events[300..350]).await;
    picture.read_until(&mut socket, 250).await;
    assert_ne!(picture.epoch, epoch, "numbers only go back under another epoch");
    world.publish(0, 5, 250, &events[250..400]).await;
    world.commit(0, 250, 5, &events[100..250]).await;
    world.publish(0, 5, 400, &events[400..]).await;
    picture.read_until(&mut socket, 500).await;
    world.wait_for_count(500).await;
    world.stop().await;
}

#[tokio::test]
async fn without_frames_the_view_follows_the_commits() {
    let world = World::new().await;
    let events = traffic(200);
    world.commit(0, 100, 1, &events[..100]).await;
    let mut socket = world.websocket("window=15m").await;
    let mut picture = Picture::default();
    picture.read_until(&mut socket, 100).await;
    world.commit(0, 200, 1, &events[100..]).await;
    picture.read_until(&mut socket, 200).await;
    world.stop().await;
}

#[tokio::test]
async fn a_key_of_one_environment_hears_of_no_other() {
    let world = World::new().await;
    let events = [Event::new("a", NOW_MS, 10), Event::new("a", NOW_MS, 20).env("staging")];
    world.publish(0, 1, 0, &events).await;
    world.wait_for_count(2).await;
    let url = format!("{}/v1/live", world.url.replacen("http", "ws", 1));
    let mut socket = WebSocket::connect(&url, Some(&world.keys.staging)).await.expect("accepted");
    let snapshot = socket.next(SOON).await.expect("a snapshot");
    assert_eq!((&snapshot["total"]["window"]["count"], &snapshot["envs"]), (&json!(1), &json!(["staging"])));
    assert_eq!(WebSocket::connect(&format!("{url}?env=default"), Some(&world.keys.staging)).await.err(), Some(403));
    world.stop().await;
}

#[tokio::test]
async fn a_gap_heals_with_the_next_commit() {
    let world = World::new().await;
    let events = traffic(300);
    world.publish(0, 1, 0, &events[..100]).await;
    let mut socket = world.websocket("window=15m").await;
    let mut picture = Picture::default();
    picture.read_until(&mut socket, 100).await;
    // The frame [100, 200) never arrives; what follows cannot be joined yet.
    world.publish(0, 1, 200, &events[200..]).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    world.commit(0, 200, 1, &events[..200]).await;
    picture.read_until(&mut socket, 300).await;
    world.stop().await;
}

/// Publishes frames of about 150 KB, far more than a socket with a small receive buffer takes.
pub(crate) async fn publish_much(world: &World, frames: usize) -> u64 {
    let route = |n: usize| format!("/{n}/{}", "x".repeat(100));
    let events: Vec<Event> = (0..300).map(|n| Event { route: route(n), ..Event::new("a", NOW_MS, 10) }).collect();
    let mut from = 0;
    for _ in 0..frames {
        from = world.publish(0, 1, from, &events).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    from
}

#[tokio::test]
async fn a_reader_that_does_not_read_gets_the_newest_and_no_queue() {
    let world = World::with(&[("PEEP_STREAM_FRAME_INTERVAL", "50")]).await;
    let mut slow = RawReader::connect(&world).await;
    let mut quick = world.websocket("window=15m&group_by=route").await;
    let mut quick_picture = Picture::default();
    let (total, ()) = tokio::join!(publish_much(&world, 40), async {
        while quick_picture.total < 40 * 300 {
            quick_picture.apply(&quick.next(SOON).await.expect("open"));
        }
    });
    let frames = quick_picture.kinds.len();
    assert!(frames >= 20, "{frames}");

    let mut picture = Picture::default();
    let mut messages = 0;
    while picture.total < total {
        picture.apply(&slow.next().await.expect("still open"));
        messages += 1;
    }
    picture.check();
    assert_eq!(picture.rows, quick_picture.rows, "the slow reader ends with the same picture");
    assert!(messages <= 8, "{messages} messages instead of {frames}: old ones were kept for it");
    world.stop().await;
}

#[tokio::test]
async fn a_connection_that_takes_nothing_is_cut() {
    let world = World::with(&[("PEEP_STREAM_FRAME_INTERVAL", "50"), ("PEEP_STREAM_WRITE_TIMEOUT", "300")]).await;
    let mut stalled = RawReader::connect(&world).await;
    let mut quick = world.websocket("window=15m&group_by=route").await;
    tokio::join!(publish_much(&world, 25), async {
        let mut picture = Picture::default();
        while picture.total < 25 * 300 {
            picture.apply(&quick.next(SOON).await.expect("whoever reads is not cut"));
        }
    });
    while stalled.next().await.is_some() {}
    world.stop().await;
}

/// Server-sent events on a socket with a small receive buffer, which is only read when the test says so.
struct RawReader {
    lines: tokio::io::Lines<tokio::io::BufReader<tokio::net::TcpStream>>,
}

impl RawReader {
    async fn connect(world: &World) -> Self {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
        let address = world.url.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("an address");
        let mut stream = socket.connect(address).await.expect("connect");
        // HTTP/1.0: the body ends with the connection and has no chunks.
        let request = format!(
            "GET /v1/live?window=15m&group_by=route HTTP/1.0\r\naccept: text/event-stream\r\nauthorization: Bearer {}\r\n\r\n",
            world.keys.read
        );
        stream.write_all(request.as_bytes()).await.expect("send the request");
        Self { lines: BufReader::new(stream).lines() }
    }

    /// The next message, `None` when the connection ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let line = tokio::time::timeout(SOON, self.lines.next_line()).await.expect("something comes").ok()??;
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).ok();
            }
        }
    }
}

#[tokio::test]
async fn viewers_of_one_view_share_a_topic_and_places_are_bounded() {
    let world = World::with(&[("PEEP_STREAM_TOPICS_MAX", "1"), ("PEEP_STREAM_SUBSCRIBERS_MAX", "2")]).await;
    let mut first = world.websocket("service=a&service=b").await;
    let mut second = world.websocket("service=b&service=a").await;
    assert!(first.next(SOON).await.is_some() && second.next(SOON).await.is_some());
    let url = format!("{}/v1/live", world.url.replacen("http", "ws", 1));
    assert_eq!(WebSocket::connect(&url, Some(&world.keys.read)).await.err(), Some(503), "no place");
    second.close().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(WebSocket::connect(&url, Some(&world.keys.read)).await.err(), Some(503), "no other view");
    world.stop().await;
}

#[tokio::test]
async fn a_view_that_nobody_watches_makes_room_for_another() {
    let world = World::with(&[("PEEP_STREAM_TOPICS_MAX", "1"), ("PEEP_STREAM_TOPIC_IDLE_MAX", "100")]).await;
    let first = world.websocket("service=a").await;
    first.close().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut other = world.websocket("service=b").await;
    assert_eq!(other.next(SOON).await.expect("a snapshot")["type"], "snapshot");
    world.stop().await;
}

#[tokio::test]
async fn viewers_are_told_when_the_service_goes_away() {
    let world = World::new().await;
    let mut socket = world.websocket("").await;
    let mut stream = world.event_stream("", None).await;
    assert!(socket.next(SOON).await.is_some() && stream.next(SOON).await.is_some());
    let started = Instant::now();
    world.stop().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    while socket.next(SOON).await.is_some() {}
    while stream.next(SOON).await.is_some() {}
}

#[tokio::test]
async fn a_revoked_session_stops_seeing() {
    let world = World::new().await;
    let signed_in = world.anonymous().post_json("/v1/session", &json!({"key": world.keys.read})).await;
    let cookie =
        signed_in.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a cookie").to_owned();
    let url = format!("{}/v1/live", world.url);
    let mut stream = EventStream::connect(&url, &[("cookie", &cookie)]).await.expect("accepted");
    assert!(stream.next(SOON).await.is_some());
    let page = world.anonymous().with_header("cookie", &cookie).with_header("origin", &world.url);
    assert_eq!(page.delete("/v1/session").await.status, 204);
    let ended = async { while stream.next(SOON).await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(8), ended).await.expect("within seconds");
    world.stop().await;
}

#[tokio::test]
async fn rows_beyond_the_budget_are_one_row_with_exact_numbers() {
    let world = World::with(&[("PEEP_STREAM_GROUPS_MAX", "5")]).await;
    let events: Vec<Event> = (1..=20u64)
        .flat_map(|n| (0..n).map(move |_| Event { route: format!("/{n}"), ..Event::new("a", NOW_MS, n * 100) }))
        .collect();
    world.publish(0, 1, 0, &events).await;
    world.wait_for_count(210).await;
    let summary = world.ask("/v1/summary?from=-15m&group_by=route").await;
    let counts: Vec<u64> =
        summary["rows"].as_array().expect("rows").iter().map(|row| row["count"].as_u64().expect("a count")).collect();
    assert_eq!(counts, [20, 19, 18, 17, 136]);
    let mut socket = world.websocket("group_by=route").await;
    let mut picture = Picture::default();
    picture.read_until(&mut socket, 210).await;
    assert_eq!(picture.windows[r#"{"route":"(other)"}"#], 136);
    world.stop().await;
}
