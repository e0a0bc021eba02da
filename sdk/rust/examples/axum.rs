//! An axum application whose requests peep counts.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use peep_sdk::{Client, PeepLayer};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let peep = Client::from_env();
    let app = Router::new()
        .route("/users/{id}", get(|Path(id): Path<u64>| async move { format!("user {id}") }))
        .route("/boom", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .layer(PeepLayer::new(peep.clone()));

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    axum::serve(listener, app).with_graceful_shutdown(terminated()).await?;

    // Last: sends what is left, for at most five seconds. It blocks its thread, which has nothing else to do by now.
    peep.shutdown(Duration::from_secs(5));
    Ok(())
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        terminate.recv().await;
    }
}
