//! HTTP/2 on the plain port: that it works, and what clients get who use it against us.

mod support;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use peep_ingest::Config;
use peep_testkit::h2::{self, End, attack};
use support::{Ingest, config, start, start_with};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const EVENT: &str = r#"{"service":"a","duration_ms":1}"#;

type Client = http2::SendRequest<Full<Bytes>>;

async fn connect(ingest: &Ingest) -> Client {
    let stream = TcpStream::connect(ingest.address).await.unwrap();
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn post(client: &mut Client, ingest: &Ingest, body: &str) -> (u16, serde_json::Value) {
    let request = Request::post("http://peep/v1/events").version(Version::HTTP_2);
    let request = request.header("authorization", format!("Bearer {}", ingest.key));
    let answer = client.send_request(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

/// One exchange of frames that the server should end soon.
async fn attack(ingest: &Ingest, settings: &[(u16, u32)], pieces: impl IntoIterator<Item = Vec<u8>>) -> End {
    let stream = TcpStream::connect(ingest.address).await.unwrap();
    h2::converse(stream, settings, pieces, Duration::from_secs(20)).await
}

/// A config whose deadlines are short enough to wait for.
fn hasty() -> Config {
    let mut config = config();
    config.http.header_timeout = Duration::from_millis(300);
    config.http.body_timeout = Duration::from_millis(300);
    config.http.write_timeout = Duration::from_millis(300);
    config.append_timeout = Duration::from_millis(100);
    config
}

#[tokio::test]
async fn events_are_taken_on_many_streams_of_one_connection() {
    let ingest = start().await;
    let client = connect(&ingest).await;
    let posts = (0..300).map(|_| {
        let mut client = client.clone();
        let ingest = &ingest;
        async move { post(&mut client, ingest, EVENT).await }
    });
    for (status, answer) in futures_util::future::join_all(posts).await {
        assert_eq!((status, answer["accepted"].as_u64()), (202, Some(1)), "{answer}");
    }
    assert_eq!(ingest.events().await, 300);
}

#[tokio::test]
async fn a_large_body_comes_through_a_small_window() {
    let ingest = start().await;
    let mut client = connect(&ingest).await;
    let body = format!("{}\n", EVENT).repeat(5_000);
    let (status, answer) = post(&mut client, &ingest, &format!("[{}]", vec![EVENT; 5_000].join(","))).await;
    assert_eq!((status, answer["accepted"].as_u64()), (202, Some(5_000)));
    let (status, _) = post(&mut client, &ingest, &body.repeat(80)).await;
    assert_eq!(status, 413);
    assert_eq!(post(&mut client, &ingest, EVENT).await.0, 202, "a refused body leaves the window as it was");
}

#[tokio::test]
async fn a_body_that_never_ends_is_408() {
    let ingest = start_with(hasty()).await;
    let head = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::head(&ingest.key));
    let end = attack(&ingest, &[], [head, h2::frame(h2::DATA, 0, 1, b"{")]).await;
    assert!(end.closed && end.answers == 1, "{end:?}");
    assert_eq!(ingest.events().await, 0);
}

#[tokio::test]
async fn requests_in_flight_finish_at_shutdown_and_the_client_is_told_to_go() {
    let mut config = config();
    config.drain_timeout = Duration::from_secs(20);
    let ingest = start_with(config).await;
    let stream = TcpStream::connect(ingest.address).await.unwrap();
    let shutdown = ingest.shutdown.clone();
    let head = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::head(&ingest.key));
    let rest = h2::frame(h2::DATA, h2::END_STREAM, 1, EVENT.as_bytes());
    let pieces = [head].into_iter().chain(std::iter::once_with(move || {
        std::thread::sleep(Duration::from_millis(100));
        shutdown.request();
        std::thread::sleep(Duration::from_millis(100));
        rest
    }));
    let started = Instant::now();
    let end = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = stream.into_std().unwrap();
        runtime.block_on(async {
            h2::converse(TcpStream::from_std(stream).unwrap(), &[], pieces, Duration::from_secs(10)).await
        })
    });
    let end = end.await.unwrap();
    assert!(end.closed && end.answers == 1 && end.goaway == Some(0), "{end:?}");
    assert_eq!(ingest.events().await, 1);
    ingest.done.await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "a client that never takes its leave is not waited for");
}

#[tokio::test]
async fn whoever_asks_nothing_is_closed() {
    let ingest = start_with(hasty()).await;
    let half_a_head = h2::frame(h2::HEADERS, 0, 1, &h2::head(&ingest.key));
    for (name, hello, pieces) in [
        ("nothing", false, vec![]),
        ("half a preface", false, vec![h2::PREFACE[..10].to_vec()]),
        ("a preface", false, vec![h2::PREFACE.to_vec()]),
        ("settings", true, vec![]),
        ("half a head", true, vec![half_a_head]),
        ("half a frame", true, vec![vec![0, 0, 100, 1, 4]]),
    ] {
        let stream = TcpStream::connect(ingest.address).await.unwrap();
        let patience = Duration::from_secs(5);
        let end = match hello {
            true => h2::converse(stream, &[], pieces, patience).await,
            false => h2::say(stream, pieces, patience).await,
        };
        assert!(end.closed && end.took >= Duration::from_millis(250), "{name}: {end:?}");
    }
}

#[tokio::test]
async fn a_client_that_asks_now_and_then_is_kept() {
    let ingest = start_with(hasty()).await;
    let mut client = connect(&ingest).await;
    for _ in 0..4 {
        assert_eq!(post(&mut client, &ingest, EVENT).await.0, 202);
        sleep(Duration::from_millis(200)).await;
    }
    timeout(Duration::from_secs(5), async {
        while client.ready().await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("and closed when it does not");
}

#[tokio::test]
async fn floods_are_closed_and_others_do_not_notice() {
    let ingest = start().await;
    let key = ingest.key.clone();
    let calm = Some(h2::ENHANCE_YOUR_CALM);
    let mut floods: Vec<(&str, Option<u32>, attack::Pieces)> = vec![
        ("rapid reset", calm, attack::rapid_reset(&key)),
        ("continuation, large", calm, attack::continuation(&key, 100)),
        ("continuation, empty", calm, attack::continuation(&key, 0)),
        ("data, empty", calm, attack::data(&key, 0, 0)),
        ("data, padding only", calm, attack::data(&key, 0, 255)),
        ("hpack bomb", calm, attack::hpack_bomb()),
        ("settings", None, attack::frames(h2::SETTINGS, 0, &[])),
        ("settings, window", None, attack::frames(h2::SETTINGS, 0, &[0, 4, 0, 0, 0, 1])),
        ("ping", None, attack::frames(h2::PING, 0, &[0; 8])),
        ("priority", None, attack::frames(h2::PRIORITY, 1, &[0, 0, 0, 3, 9])),
        ("window update", None, attack::frames(h2::WINDOW_UPDATE, 0, &[0, 0, 0, 1])),
        ("unknown", None, attack::frames(0xbe, 0, &[])),
    ];
    for (name, error) in attack::stream_errors() {
        floods.push((name, None, attack::made_you_reset(&key, error)));
    }
    let (count, mut honest) = (floods.len(), connect(&ingest).await);
    for (name, goaway, pieces) in floods {
        let flood = attack(&ingest, &[], pieces);
        let (end, (status, _)) = tokio::join!(flood, post(&mut honest, &ingest, EVENT));
        assert!(end.closed && end.took < Duration::from_secs(10), "{name}: {end:?}");
        assert!(goaway.is_none() || end.goaway == goaway, "{name}: {end:?}");
        assert_eq!(status, 202, "{name}");
    }
    assert_eq!(ingest.events().await, count, "what was cancelled never happened");
}

#[tokio::test]
async fn answers_that_nobody_takes_are_given_up() {
    let ingest = start_with(hasty()).await;
    let request = |number| {
        let head = h2::frame(h2::HEADERS, h2::END_HEADERS, h2::stream(number), &h2::head("no key"));
        [head, h2::frame(h2::DATA, h2::END_STREAM, h2::stream(number), EVENT.as_bytes())].concat()
    };
    // SETTINGS_INITIAL_WINDOW_SIZE 0: the head of an answer may come, its body never.
    let end = attack(&ingest, &[(4, 0)], (0..50).map(request)).await;
    assert!(end.closed && end.answers == 50 && end.resets == 50, "{end:?}");
    assert!(end.took < Duration::from_secs(5), "{end:?}");
}

#[tokio::test]
async fn a_large_answer_is_not_kept_for_a_window_of_one_byte() {
    let ingest = start_with(hasty()).await;
    // 4 999 refusals in one answer: hundreds of kilobytes.
    let body = format!("[{EVENT}{}]", ",{}".repeat(4_999));
    let head = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::head(&ingest.key));
    let body = h2::frame(h2::DATA, h2::END_STREAM, 1, body.as_bytes());
    let end = attack(&ingest, &[(4, 1)], [head, body]).await;
    assert!(end.closed && end.answers == 1 && end.resets == 1, "{end:?}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let ingest = start_with(hasty()).await;
    let mut stream = TcpStream::connect(ingest.address).await.unwrap();
    let hello = [h2::PREFACE, &h2::frame(h2::SETTINGS, 0, 0, &[])].concat();
    let request =
        |number| h2::frame(h2::HEADERS, h2::END_HEADERS | h2::END_STREAM, h2::stream(number), &h2::head("no"));
    let pieces = std::iter::once(hello).chain((0..1_000_000).map(request));
    let end = h2::shout(&mut stream, pieces, Duration::from_secs(20)).await;
    assert!(end.closed && end.took < Duration::from_secs(15), "{end:?}");
}

#[tokio::test]
async fn a_client_that_is_gone_is_noticed() {
    let mut config = config();
    config.http2.ping_interval = Duration::from_millis(200);
    config.http2.ping_timeout = Duration::from_millis(200);
    let ingest = start_with(config).await;
    // A body that never ends, and nobody who would answer a PING.
    let head = h2::frame(h2::HEADERS, h2::END_HEADERS, 1, &h2::head(&ingest.key));
    let end = attack(&ingest, &[], [head]).await;
    assert!(end.closed && end.took < Duration::from_secs(3), "{end:?}");
}
