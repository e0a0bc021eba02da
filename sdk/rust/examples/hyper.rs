//! A hyper server whose requests peep counts.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use peep_sdk::{Client, PeepLayer, Route};
use tower::{ServiceBuilder, service_fn};

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let (status, route) = match path.strip_prefix("/users/") {
        Some(_) => (StatusCode::OK, Some(Route("/users/{id}"))),
        None if path == "/boom" => (StatusCode::INTERNAL_SERVER_ERROR, Some(Route("/boom"))),
        None => (StatusCode::NOT_FOUND, None),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(b"hello")));
    *response.status_mut() = status;
    // There is no router that the layer could ask.
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    Ok(response)
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let peep = Client::from_env();
    let service = ServiceBuilder::new().layer(PeepLayer::new(peep.clone())).service(service_fn(answer));

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let serving = async {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
            });
        }
    };
    tokio::select! {
        () = serving => {}
        () = terminated() => {}
    }

    peep.shutdown(Duration::from_secs(5));
    Ok(())
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        terminate.recv().await;
    }
}
