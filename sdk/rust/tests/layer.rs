//! The layer around real services: axum over sockets, and tower services called by hand.

mod scripted;

use std::convert::Infallible;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use peep_sdk::{Client, PeepLayer, Route};
use scripted::{Answer, Ingest, quick, until};
use tower::{Service as _, ServiceBuilder, ServiceExt as _, service_fn};

/// `METHOD route status` of each event, sorted.
fn counted(ingest: &Ingest, client: &Client) -> Vec<String> {
    assert!(client.flush(Duration::from_secs(60)));
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("(none)").to_owned();
    let mut rows: Vec<String> = ingest
        .events()
        .iter()
        .map(|event| {
            assert!(event["duration_ms"].is_number(), "{event}");
            format!("{} {} {}", text(&event["method"]), text(&event["route"]), event["status"])
        })
        .collect();
    rows.sort();
    rows
}

fn shop(client: &Client) -> Router {
    let inner = Router::new().route("/orders/{order}", get(|| async {}));
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/users/{id}", get(|Path(_): Path<u64>| async {}).post(|_: String| async { StatusCode::CREATED }))
        .route("/files/{*path}", get(|| async { "file" }))
        .route("/boom", post(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .nest("/customers/{customer}", inner)
        .layer(PeepLayer::new(client.clone()))
}

#[tokio::test]
async fn axum_over_sockets_is_counted_with_its_templates() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, shop(&client)).into_future());
    let paths = ["/", "/users/1?token=secret", "/users/2", "/files/a/b", "/customers/7/orders/9", "/nowhere/secret"];
    tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        for path in paths {
            agent.get(format!("{origin}{path}")).call().unwrap().body_mut().read_to_string().unwrap();
        }
        agent.post(format!("{origin}/users/3")).send("body").unwrap();
        agent.post(format!("{origin}/boom")).send("").unwrap();
        assert_eq!(
            counted(&ingest, &client),
            [
                "GET (none) 404",
                "GET / 200",
                "GET /customers/{customer}/orders/{order} 200",
                "GET /files/{*path} 200",
                "GET /users/{id} 200",
                "GET /users/{id} 200",
                "POST /boom 500",
                "POST /users/{id} 201",
            ]
        );
        let events = ingest.events();
        let posted = events.iter().find(|event| event["status"] == 201).unwrap();
        assert_eq!((posted["bytes_in"].as_u64(), posted["bytes_out"].as_u64()), (Some(4), Some(0)));
        assert!(events.iter().all(|event| !event.to_string().contains("secret")));
    })
    .await
    .unwrap();
}

/// `length` bytes of which the body itself does not know how many they are.
fn streamed(length: usize) -> Response<Body> {
    let pieces = (0..length / 5).map(|_| Ok::<_, Infallible>(Bytes::from_static(b"hello")));
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    Response::builder().header("content-length", length).body(body).unwrap()
}

#[tokio::test]
async fn a_stream_whose_length_its_header_knows_is_complete_when_it_is_sent() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let app = Router::new()
        .route("/15", get(|| async { streamed(15) }))
        .route("/0", get(|| async { streamed(0) }))
        .layer(PeepLayer::new(client.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, app).into_future());
    tokio::task::spawn_blocking(move || {
        // hyper drops such a body after its last byte, without having asked for an end.
        let lengths = ["15", "0"].map(|path| {
            ureq::get(format!("{origin}/{path}")).call().unwrap().body_mut().read_to_string().unwrap().len()
        });
        assert_eq!(lengths, [15, 0]);
        until(&client, |stats| stats.recorded == 2);
        assert_eq!(counted(&ingest, &client), ["GET /0 200", "GET /15 200"]);
        let sizes: Vec<_> = ingest.events().iter().map(|event| event["bytes_out"].as_u64()).collect();
        assert_eq!(sizes, [Some(15), Some(0)]);
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_of_known_length_is_499() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let app = Router::new().route("/15", get(|| async { streamed(15) })).layer(PeepLayer::new(client.clone()));
    let response = app.oneshot(Request::get("/15").body(Body::empty()).unwrap()).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(counted(&ingest, &client), ["GET /15 499"]);
}

#[tokio::test]
async fn what_nest_service_mounts_has_no_template_but_may_name_its_route() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let files = service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::empty());
        if request.method() == "PUT" {
            response.extensions_mut().insert(Route("/files/{*path}"));
        }
        Ok::<_, Infallible>(response)
    });
    let app = Router::new().nest_service("/files", files).layer(PeepLayer::new(client.clone()));
    for method in ["GET", "PUT"] {
        let request = Request::builder().method(method).uri("/files/secret").body(Body::empty()).unwrap();
        app.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    }
    assert_eq!(counted(&ingest, &client), ["GET (none) 200", "PUT /files/{*path} 200"]);
}

#[tokio::test]
async fn a_trace_is_picked_up_from_its_header() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let trace = "12345678901234567890123456789012";
    let request = Request::get("/").header("traceparent", format!("00-{trace}-1234567890123456-01"));
    let response = shop(&client).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    counted(&ingest, &client);
    assert_eq!(ingest.events()[0]["trace_id"], trace);
}

/// A service whose body comes in two pieces, 60 ms apart, and then `end`.
fn slow_body(end: Result<Frame<Bytes>, &'static str>) -> impl http_body::Body<Data = Bytes, Error = &'static str> {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for frame in [Ok(Frame::data(Bytes::from("one"))), Ok(Frame::data(Bytes::from("two"))), end] {
            tokio::time::sleep(Duration::from_millis(30)).await;
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    StreamBody::new(futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|frame| (frame, receiver))
    }))
}

#[tokio::test]
async fn measured_is_the_end_of_the_body_and_not_its_beginning() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let layer = PeepLayer::new(client.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(service_fn(|_: Request<()>| async {
        let mut response = Response::new(slow_body(Ok(Frame::data(Bytes::from("three")))));
        response.extensions_mut().insert(Route("/slow"));
        Ok::<_, Infallible>(response)
    }));
    let response = service.call(Request::new(())).await.unwrap();
    assert_eq!(client.stats().recorded, 0, "not over yet");
    response.into_body().collect().await.unwrap();
    assert_eq!(counted(&ingest, &client), ["GET /slow 200"]);
    let event = &ingest.events()[0];
    assert!(event["duration_ms"].as_f64().unwrap() >= 60.0, "{event}");
    assert_eq!(event["bytes_out"], 11);
}

#[tokio::test]
async fn who_hangs_up_is_499_and_a_body_that_breaks_is_500() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let layer = PeepLayer::new(client.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request<()>| async move {
        if request.method() == "PUT" {
            std::future::pending::<()>().await;
        }
        Ok::<_, Infallible>(Response::new(slow_body(Err("broken"))))
    }));
    // Before the response, in the middle of the body, and a body that fails.
    let put = Request::put("/").body(()).unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(10), service.call(put)).await.is_err());
    let mut body = Box::pin(service.call(Request::new(())).await.unwrap().into_body());
    body.frame().await.unwrap().unwrap();
    drop(body);
    let post = Request::post("/").body(()).unwrap();
    assert!(service.call(post).await.unwrap().into_body().collect().await.is_err());
    assert_eq!(counted(&ingest, &client), ["GET (none) 499", "POST (none) 500", "PUT (none) 499"]);
}

#[tokio::test]
async fn a_service_that_fails_is_500_and_its_error_goes_on() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let layer = PeepLayer::new(client.clone());
    let mut service = ServiceBuilder::new()
        .layer(layer)
        .service(service_fn(|_: Request<()>| async { Err::<Response<Empty<Bytes>>, _>("no") }));
    assert_eq!(service.call(Request::new(())).await.map(|_| ()), Err("no"));
    assert_eq!(counted(&ingest, &client), ["GET (none) 500"]);
}

#[tokio::test]
async fn a_service_that_panics_is_500_wherever_it_does_and_whoever_catches_it() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let layer = PeepLayer::new(client.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request<()>| {
        assert_ne!(request.method(), "PUT", "in the call");
        async move {
            assert_ne!(request.method(), "POST", "in the handler");
            let body =
                futures_util::stream::poll_fn(|_| -> Poll<Option<Result<Bytes, Infallible>>> { panic!("in the body") });
            Ok::<_, Infallible>(Response::new(Body::from_stream(body)))
        }
    }));
    let mut call = |method: &str| service.call(Request::builder().method(method).body(()).unwrap());
    // A task drops what panicked while it does, whoever catches the panic drops it later.
    assert!(tokio::spawn(call("POST")).await.is_err());
    assert!(std::panic::AssertUnwindSafe(call("POST")).catch_unwind().await.is_err());
    let body = call("GET").await.unwrap().into_body();
    assert!(std::panic::AssertUnwindSafe(body.collect()).catch_unwind().await.is_err());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| call("PUT"))).is_err());
    assert_eq!(counted(&ingest, &client), ["GET (none) 500", "POST (none) 500", "POST (none) 500", "PUT (none) 500"]);
}

#[tokio::test]
async fn what_a_server_need_not_send_is_no_client_that_hung_up() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let layer = PeepLayer::new(client.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request<()>| async move {
        let status = match request.method().as_str() {
            "PUT" => StatusCode::NOT_MODIFIED,
            "GET" => StatusCode::SWITCHING_PROTOCOLS,
            _ => StatusCode::OK,
        };
        let mut response = Response::new(http_body_util::Full::new(Bytes::from("never asked for")));
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    }));
    for method in ["HEAD", "PUT", "GET", "CONNECT"] {
        // As hyper does: the body is dropped without having been asked.
        drop(service.call(Request::builder().method(method).uri("/").body(()).unwrap()).await.unwrap());
    }
    assert_eq!(
        counted(&ingest, &client),
        ["CONNECT (none) 200", "GET (none) 101", "HEAD (none) 200", "PUT (none) 304"]
    );
}

#[tokio::test]
async fn the_path_of_what_only_looks_like_grpc_stays_here() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let request = Request::post("/secret/path").header("content-type", "application/grpc").body(Body::empty());
    drop(shop(&client).oneshot(request.unwrap()).await.unwrap());
    assert_eq!(counted(&ingest, &client), ["POST (none) 404"]);
}

/// Answers as gRPC with the code that the header `want` names: before a body where there is `early`, after one message otherwise.
async fn grpc_answer(request: Request<()>) -> Result<Response<Body>, Infallible> {
    let code = request.headers()["want"].clone();
    let response = Response::builder().header("content-type", "application/grpc");
    if request.headers().contains_key("early") {
        return Ok(response.header("grpc-status", code).body(Body::empty()).unwrap());
    }
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), code)]);
    let message = Frame::data(Bytes::from_static(b"\0\0\0\0\x02ok"));
    let frames = [message, Frame::trailers(trailers)].map(Ok::<_, Infallible>);
    Ok(response.body(Body::new(StreamBody::new(futures_util::stream::iter(frames)))).unwrap())
}

fn grpc_call(path: &str, code: &str, is_early: bool) -> Request<()> {
    let request = Request::post(path).header("content-type", "application/grpc+proto").header("want", code);
    if is_early { request.header("early", "1") } else { request }.body(()).unwrap()
}

#[tokio::test]
async fn grpc_has_its_methods_as_routes_and_its_own_statuses() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let mut service = ServiceBuilder::new().layer(PeepLayer::new(client.clone())).service_fn(grpc_answer);
    for (code, is_early) in [("0", false), ("5", false), ("13", false), ("16", true), ("12", true)] {
        let call = grpc_call("/shop.v1.Cart/Add", code, is_early);
        service.call(call).await.unwrap().into_body().collect().await.unwrap();
    }
    // A stream without messages, and one that its client leaves after the first.
    service.call(grpc_call("/Shop/Nothing", "0", true)).await.unwrap().into_body().collect().await.unwrap();
    let mut left = service.call(grpc_call("/shop.v1.Cart/Watch", "0", false)).await.unwrap().into_body();
    left.frame().await.unwrap().unwrap();
    drop(left);
    assert_eq!(
        counted(&ingest, &client),
        [
            "POST /Shop/Nothing 200",
            "POST /shop.v1.Cart/Add 200",
            "POST /shop.v1.Cart/Add 401",
            "POST /shop.v1.Cart/Add 404",
            "POST /shop.v1.Cart/Add 500",
            "POST /shop.v1.Cart/Add 501",
            "POST /shop.v1.Cart/Watch 499",
        ]
    );
}

#[tokio::test]
async fn a_path_that_only_a_client_made_up_is_no_method_of_grpc_whatever_it_is_answered() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    // As an interceptor does that looks at a token, in front of all methods.
    let mut service = ServiceBuilder::new().layer(PeepLayer::new(client.clone())).service_fn(grpc_answer);
    for code in 1..=16 {
        let call = grpc_call("/users.ada/secret", &code.to_string(), true);
        service.call(call).await.unwrap().into_body().collect().await.unwrap();
    }
    // What answers any path with success has no methods, but the names of methods have no such characters.
    for path in
        ["/users/ada@example.com", "/users/ada/secret-token-1", "/secret", "/a/9secret", "//secret", "/a./secret"]
    {
        service.call(grpc_call(path, "0", false)).await.unwrap().into_body().collect().await.unwrap();
    }
    assert!(counted(&ingest, &client).iter().all(|row| row.starts_with("POST (none) ")));
    assert_eq!(ingest.events().len(), 22);
}

#[tokio::test]
async fn trailers_of_grpc_web_in_a_body_make_no_method() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let mut service = ServiceBuilder::new().layer(PeepLayer::new(client.clone())).service_fn(
        |request: Request<&'static [u8]>| async move {
            let body = http_body_util::Full::new(Bytes::from_static(request.body()));
            let response = Response::builder().header("content-type", request.headers()["content-type"].clone());
            Ok::<_, Infallible>(response.body(body).unwrap())
        },
    );
    let cases: [(&str, &str, &'static [u8]); 4] = [
        ("application/grpc-web", "/a.Secret/Bytes", b"\x80\0\0\0\x10grpc-status:16\r\n"),
        ("application/grpc-web-text", "/a.Secret/Text", b"gAAAAA9ncnBjLXN0YXR1czoxNg0K"),
        ("application/grpc-web", "/a.Cart/Bytes", b"\0\0\0\0\x02ok"),
        ("application/grpc-web-text", "/a.Cart/Text", b"AAAAAAJvaw=="),
    ];
    for (kind, path, body) in cases {
        let request = Request::post(path).header("content-type", kind).body(body).unwrap();
        service.call(request).await.unwrap().into_body().collect().await.unwrap();
    }
    assert_eq!(
        counted(&ingest, &client),
        ["POST (none) 200", "POST (none) 200", "POST /a.Cart/Bytes 200", "POST /a.Cart/Text 200"]
    );
}

#[tokio::test]
async fn nothing_but_template_method_status_sizes_and_trace_id_leaves_the_process() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let request = Request::post("/users/4711?token=secret")
        .header("authorization", "secret")
        .header("cookie", "session=secret")
        .header("user-agent", "secret")
        .header("content-length", "6")
        .header("traceparent", "00-12345678901234567890123456789012-1234567890123456-01");
    let response = shop(&client).oneshot(request.body(Body::from("secret")).unwrap()).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(counted(&ingest, &client), ["POST /users/{id} 201"]);
    let event = &ingest.events()[0];
    let mut names: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["bytes_in", "bytes_out", "duration_ms", "method", "route", "service", "source", "status", "trace_id", "ts"]
    );
    assert!(!event.to_string().contains("secret") && !event.to_string().contains("4711"), "{event}");
}

#[test]
fn the_readme_shows_the_examples_that_are_there() {
    for example in [
        include_str!("../examples/axum.rs"),
        include_str!("../examples/hyper.rs"),
        include_str!("../examples/tonic/src/main.rs"),
        include_str!("../examples/tower.rs"),
    ] {
        assert!(include_str!("../README.md").contains(&format!("```rust\n{example}```")));
    }
}
