//! What does a request cost with the layer, against the same service without it? In turns; the median of the differences.
//!
//! `cargo bench -p peep-sdk --bench request`. The service is ready at once, so that nothing hides the cost. Ingest is a sink on this
//! machine, and the sender keeps up: a run fits the buffer, and what it recorded is sent before the next one, because an event that is
//! dropped costs less and is not the question. Exits 1 above the limit, when one event was dropped, or when a request
//! allocated.

#[path = "../tests/counting/mod.rs"]
mod counting;

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
const ROUNDS: usize = 301;
/// Some 300 KiB of lines, of the 512 KiB that there is room for.
const REQUESTS: u32 = 1500;
/// Until caches, branch predictors and the sender's chunks are what they will be.
const WARM_UP_ROUNDS: usize = 20;

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
    let mut run_counted = || {
        let run = run(&mut counted);
        client.flush(Duration::from_secs(60));
        run
    };
    let (mut without, mut with, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    let mut allocations = 0;
    for round in 0..WARM_UP_ROUNDS + ROUNDS {
        // One, the other, the other, the one: what drifts over a round cancels out.
        let runs = [run(&mut bare), run_counted(), run_counted(), run(&mut bare)];
        if round < WARM_UP_ROUNDS {
            continue;
        }
        let pair = [(runs[0].0 + runs[3].0) / 2.0, (runs[1].0 + runs[2].0) / 2.0];
        without.push(pair[0]);
        with.push(pair[1]);
        differences.push(pair[1] - pair[0]);
        allocations += (runs[1].1 + runs[2].1) as i64 - (runs[0].1 + runs[3].1) as i64;
    }
    let median = told("more per request", &mut differences);
    told("with the layer", &mut with);
    told("without", &mut without);
    let stats = client.stats();
    println!(
        "{} recorded, {} accepted, {} dropped, {} KiB held; {allocations} allocations more in {} requests",
        stats.recorded,
        stats.accepted,
        stats.dropped(),
        stats.held_bytes / 1024,
        2 * ROUNDS as u64 * u64::from(REQUESTS),
    );
    let missed = median > LIMIT_NS || stats.dropped() > 0 || stats.accepted != stats.recorded || allocations > 0;
    println!("limit {LIMIT_NS} ns, no drops, no allocations: {}", if missed { "MISSED" } else { "kept" });
    u8::from(missed).into()
}

/// Prints the distribution and returns its median.
fn told(what: &str, values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |share: usize| values[(values.len() - 1) * share / 4];
    println!(
        "{what:<18}{:>6.0} ns median, quartiles {:.0} and {:.0}, min {:.0}, max {:.0}",
        at(2),
        at(1),
        at(3),
        at(0),
        at(4)
    );
    at(2)
}

/// Nanoseconds per request, and the allocations of all.
fn run<S, B>(service: &mut S) -> (f64, u64)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    let allocations = counting::ALLOCATIONS.get();
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let mut future = std::pin::pin!(service.call(Request::new(())));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut context) else { continue };
        let mut body = std::pin::pin!(response.into_body());
        while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut context) {}
    }
    let elapsed = started.elapsed();
    (elapsed.as_nanos() as f64 / f64::from(REQUESTS), counting::ALLOCATIONS.get() - allocations)
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
                    // In one piece: of several the second would wait for the first to be acknowledged.
                    let answer = format!("HTTP/1.1 202 A\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
                    let _ = (&stream).write_all(answer.as_bytes());
                }
                line.clear();
            }
        }
    });
    format!("http://{address}")
}
