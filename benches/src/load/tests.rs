use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// What a fake ingest was sent: sequence numbers with their bodies, in order of arrival.
type Received = Arc<Mutex<Vec<(String, Bytes)>>>;

/// Answers the n-th request as `answer(n, events)` says: status and body.
async fn fake_ingest(answer: impl Fn(usize, usize) -> (u16, String) + Send + Sync + 'static) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Received::default();
    let (log, answer) = (Arc::clone(&received), Arc::new(answer));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            let service = service_fn(move |request: Request<Incoming>| {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                async move {
                    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
                    let identity = format!("{} {}", header("peep-producer"), header("peep-seq"));
                    assert_eq!(header("authorization"), "Bearer peep_ing_test");
                    let body = request.into_body().collect().await?.to_bytes();
                    let events = body.iter().filter(|&&byte| byte == b'\n').count();
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.push((identity, body));
                        log.len() - 1
                    };
                    let (status, body) = answer(number, events);
                    Ok::<_, hyper::Error>(
                        Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap(),
                    )
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, received)
}

fn accepted(events: usize) -> (u16, String) {
    (202, format!("{{\"accepted\":{events},\"rejected\":[],\"receipt\":\"r\"}}"))
}

async fn run_with(url: &str, words: &str) -> bool {
    let fixed = ["peep-load", "--quiet", "--url", url];
    let options = Options::try_parse_from(fixed.into_iter().chain(words.split_whitespace())).unwrap();
    run::run(&options, "peep_ing_test").await.unwrap()
}

#[tokio::test]
async fn the_rate_and_the_batch_size_are_kept() {
    let (url, received) = fake_ingest(|_, events| accepted(events)).await;
    assert!(run_with(&url, "--rate 1000 --duration 1s --batch 50 --steady").await);
    let received = received.lock().unwrap();
    let events: usize = received.iter().map(|(_, body)| body.iter().filter(|&&byte| byte == b'\n').count()).sum();
    assert!((995..=1005).contains(&events), "{events}");
    assert!((20..=22).contains(&received.len()), "{}", received.len());
}

#[tokio::test]
async fn history_ends_where_live_traffic_begins() {
    let (url, received) = fake_ingest(|_, events| accepted(events)).await;
    assert!(run_with(&url, "--rate 100 --duration 300ms --backfill 1m --steady").await);
    let mut times: Vec<i64> = Vec::new();
    for (_, body) in received.lock().unwrap().iter() {
        for line in body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let event: serde_json::Value = serde_json::from_slice(line).unwrap();
            times.push(event["ts"].as_i64().unwrap());
        }
    }
    times.sort_unstable();
    assert!(times.len() > 6_000, "{}", times.len());
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(gap <= 11, "{gap} ms without an event");
}

#[tokio::test]
async fn a_retry_keeps_identity_and_bytes_and_the_run_is_clean() {
    let (url, received) =
        fake_ingest(|number, events| if number == 0 { (503, String::new()) } else { accepted(events) }).await;
    assert!(run_with(&url, "--rate 100 --duration 300ms --batch 1000 --linger 1h --connections 1").await);
    let received = received.lock().unwrap();
    assert_eq!(received.len(), 2);
    assert_eq!(received[0], received[1]);
}

#[tokio::test]
async fn anything_not_accepted_fails_the_run() {
    let rejecting = |_, events: usize| {
        (
            202,
            format!(
                "{{\"accepted\":{},\"rejected\":[{{\"index\":0,\"code\":\"invalid_ts\",\"message\":\"m\"}}]}}",
                events - 1
            ),
        )
    };
    let (url, _) = fake_ingest(rejecting).await;
    assert!(!run_with(&url, "--rate 100 --duration 200ms").await);
    let (url, received) = fake_ingest(|_, _| (401, "{\"error\":{\"code\":\"unauthorized\"}}".to_owned())).await;
    assert!(!run_with(&url, "--rate 100 --duration 200ms").await);
    assert!(!received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn nobody_there_is_a_failure_and_no_hang() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(!run_with(&url, "--rate 100 --duration 100ms --retry-for 200ms").await);
}

#[tokio::test]
async fn a_stall_shows_in_the_latency_because_the_schedule_goes_on() {
    // The first answer takes 400 ms; with one connection all batches due meanwhile wait for it.
    let stall = |number, events| {
        if number == 0 {
            std::thread::sleep(Duration::from_millis(400));
        }
        accepted(events)
    };
    let (url, received) = fake_ingest(stall).await;
    assert!(run_with(&url, "--rate 1000 --duration 600ms --batch 10 --connections 1 --steady").await);
    assert!(received.lock().unwrap().len() >= 55, "no batch was left out");
}

#[test]
fn lengths_are_read_with_their_unit() {
    let seconds = |text| length(text).unwrap().finite().map(|length| length.as_secs_f64());
    assert_eq!(
        [seconds("30s"), seconds("15m"), seconds("250ms"), seconds("forever")],
        [Some(30.0), Some(900.0), Some(0.25), None]
    );
    assert!(length("soon").is_err() && length("-1s").is_err());
}
