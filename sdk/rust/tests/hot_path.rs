//! A request asks for no memory once the client is warm.

mod counting;
mod scripted;

use std::convert::Infallible;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use counting::ALLOCATIONS;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use peep_sdk::{Client, Config, Event, PeepLayer, Route};
use scripted::{Answer, Ingest, quick};
use tower::{Layer as _, Service, service_fn};

/// Calls a service that is ready at once, to the end of its body.
fn call<S, B>(service: &mut S, request: Request<()>)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    let mut context = Context::from_waker(Waker::noop());
    let mut future = std::pin::pin!(service.call(request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut context) else { panic!("ready at once") };
    let mut body = std::pin::pin!(response.into_body());
    while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut context) {}
}

/// Sends when it is asked to.
fn patient(url: &str) -> Config {
    Config { flush_interval: Duration::from_secs(60), ..quick(url) }
}

/// Allocations of this thread in each of several rounds, the first ones left out.
fn steady(client: &Client, mut once: impl FnMut()) -> Vec<u64> {
    let mut spent = Vec::new();
    for _ in 0..12 {
        let before = ALLOCATIONS.get();
        for _ in 0..300 {
            once();
        }
        spent.push(ALLOCATIONS.get() - before);
        // The sender has given its chunks back.
        assert!(client.flush(Duration::from_secs(60)));
    }
    spent.split_off(4)
}

/// What the service or its server allocates is made before counting goes on.
fn uncounted<T>(make: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let made = make();
    ALLOCATIONS.set(before);
    made
}

#[test]
fn a_request_through_the_layer_allocates_nothing() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(patient(&ingest.url));
    let answer = service_fn(|_: Request<()>| {
        let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
        uncounted(|| response.extensions_mut().insert(Route("/users/{id}")));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut service = PeepLayer::new(client.clone()).layer(answer);
    let spent = steady(&client, || call(&mut service, Request::new(())));
    assert_eq!(spent, [0; 8]);
    assert_eq!(client.stats().recorded, 3600);
}

#[test]
fn a_call_of_grpc_allocates_nothing_whether_it_succeeds_or_fails() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(patient(&ingest.url));
    let grpc = ("content-type", "application/grpc");
    let mut is_failure = false;
    let answer = service_fn(move |_: Request<()>| {
        is_failure = !is_failure;
        let message = Full::new(Bytes::from_static(b"\0\0\0\0\x02ok"));
        let status = if is_failure { "5" } else { "0" };
        let response = || Response::builder().header(grpc.0, grpc.1).header("grpc-status", status).body(message);
        let response = uncounted(response).expect("a response");
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut service = PeepLayer::new(client.clone()).layer(answer);
    // One piece of memory that many point to, as in a server.
    let uri: http::Uri = "/shop.v1.Cart/Add".parse().expect("a path");
    let request = || Request::post(uri.clone()).header(grpc.0, grpc.1).body(()).expect("a request");
    let spent = steady(&client, || call(&mut service, uncounted(request)));
    assert_eq!(spent, [0; 8]);
}

#[test]
fn an_event_of_the_application_allocates_nothing() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(patient(&ingest.url));
    let attrs = [("rows", 1200.into()), ("share", 0.25.into()), ("kind", "nightly".into())];
    let spent = steady(&client, || {
        client.record(&Event::new("report").duration(Duration::from_micros(1234)).error("no").attrs(&attrs));
    });
    assert_eq!(spent, [0; 8]);
}
