//! The layer around real services: axum over sockets, and tower services called by hand.

mod scripted;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use peep_sdk::{Client, PeepLayer, Route};
use scripted::{Answer, Ingest, quick};
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
async fn what_a_server_need_not_send_is_no_client_that_hung_up() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let layer = PeepLayer::new(client.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request<()>| async move {
        let status = if request.method() == "PUT" { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut response = Response::new(http_body_util::Full::new(Bytes::from("never asked for")));
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    }));
    for method in ["HEAD", "PUT"] {
        // As hyper does: the body is dropped without having been asked.
        drop(service.call(Request::builder().method(method).uri("/").body(()).unwrap()).await.unwrap());
    }
    assert_eq!(counted(&ingest, &client), ["HEAD (none) 200", "PUT (none) 304"]);
}

#[tokio::test]
async fn the_path_of_what_only_looks_like_grpc_stays_here() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let request = Request::post("/secret/path").header("content-type", "application/grpc").body(Body::empty());
    drop(shop(&client).oneshot(request.unwrap()).await.unwrap());
    assert_eq!(counted(&ingest, &client), ["POST (none) 404"]);
}

#[tokio::test]
async fn grpc_has_its_methods_as_routes_and_its_own_statuses() {
    let ingest = Ingest::start(|_| Answer::Accept);
    let client = Client::new(quick(&ingest.url));
    let layer = PeepLayer::new(client.clone());
    let mut service = ServiceBuilder::new().layer(layer).service(service_fn(|request: Request<()>| async move {
        let code = request.headers()["want"].clone();
        let mut trailers = HeaderMap::new();
        if request.headers().contains_key("early") {
            let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", code);
            return Ok::<_, Infallible>(response.body(slow_body(Ok(Frame::trailers(trailers)))).unwrap());
        }
        trailers.insert("grpc-status", code);
        let response = Response::builder().header("content-type", "application/grpc");
        Ok(response.body(slow_body(Ok(Frame::trailers(trailers)))).unwrap())
    }));
    for (code, early) in [("0", false), ("5", false), ("13", false), ("16", true), ("12", true)] {
        let mut request =
            Request::post("/shop.v1.Cart/Add").header("content-type", "application/grpc+proto").header("want", code);
        if early {
            request = request.header("early", "1");
        }
        service.call(request.body(()).unwrap()).await.unwrap().into_body().collect().await.unwrap();
    }
    assert_eq!(
        counted(&ingest, &client),
        [
            "POST (none) 501",
            "POST /shop.v1.Cart/Add 200",
            "POST /shop.v1.Cart/Add 401",
            "POST /shop.v1.Cart/Add 404",
            "POST /shop.v1.Cart/Add 500",
        ]
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
