//! What does a request cost with the layer, against the same service without it? In turns; the median of the differences.
//!
//! `cargo bench -p peep-sdk`. The service is ready at once, so that nothing hides the cost. Ingest is a sink on this machine. Exits
//! 1 above the limit.

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use peep_sdk::{Client, Config, PeepLayer, Route};
use tower::{Layer as _, Service, service_fn};

const LIMIT_NS: f64 = 300.0;
const ROUNDS: usize = 201;
const REQUESTS: u32 = 2000;

fn main() -> std::process::ExitCode {
    let mut config = Config::from_lookup(|_| None);
    config.url = sink();
    "k".clone_into(&mut config.key);
    "bench".clone_into(&mut config.service);
    let client = Client::new(config);
    let answer = || {
        service_fn(|_: Request<()>| {
            let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
            response.extensions_mut().insert(Route("/users/{id}"));
            std::future::ready(Ok::<_, Infallible>(response))
        })
    };
    let mut bare = answer();
    let mut counted = PeepLayer::new(client.clone()).layer(answer());
    let mut differences = Vec::new();
    for round in 0..ROUNDS {
        // Whoever is first alternates: what drifts over a round cancels out.
        let (without, with) = if round % 2 == 0 {
            let without = run(&mut bare);
            (without, run(&mut counted))
        } else {
            let with = run(&mut counted);
            (run(&mut bare), with)
        };
        differences.push(with - without);
        // Sent meanwhile or now: what is dropped is cheaper, and not the question.
        client.flush(Duration::from_secs(60));
    }
    differences.sort_by(f64::total_cmp);
    let median = differences[ROUNDS / 2];
    let stats = client.stats();
    println!(
        "{median:.0} ns more per request (quartiles {:.0} and {:.0}, limit {LIMIT_NS}); {} recorded, {} accepted, {} dropped, {} KiB held",
        differences[ROUNDS / 4],
        differences[ROUNDS * 3 / 4],
        stats.recorded,
        stats.accepted,
        stats.dropped(),
        stats.held_bytes / 1024,
    );
    u8::from(median > LIMIT_NS || stats.accepted != stats.recorded).into()
}

/// Nanoseconds per request.
fn run<S, B>(service: &mut S) -> f64
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let mut future = std::pin::pin!(service.call(Request::new(())));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut context) else { continue };
        let mut body = std::pin::pin!(response.into_body());
        while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut context) {}
    }
    started.elapsed().as_nanos() as f64 / f64::from(REQUESTS)
}

/// Accepts everything.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let (mut length, mut is_gzip) = (0, false);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap_or(0);
                }
                is_gzip |= line.to_ascii_lowercase().starts_with("content-encoding: gzip");
                if line == "\r\n" {
                    let mut body = vec![0; length];
                    if reader.read_exact(&mut body).is_err() {
                        break;
                    }
                    if std::mem::take(&mut is_gzip) {
                        let packed = std::mem::take(&mut body);
                        let _ = flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut body);
                    }
                    let events = body.iter().filter(|byte| **byte == b'\n').count();
                    let answer = format!("{{\"accepted\":{events},\"rejected\":[]}}");
                    let _ = write!(&stream, "HTTP/1.1 202 A\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                }
                line.clear();
            }
        }
    });
    format!("http://{address}")
}
