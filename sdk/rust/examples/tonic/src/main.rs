//! A tonic server whose calls peep counts.

use std::time::Duration;

use peep_sdk::{Client, PeepLayer};
use tonic::transport::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let peep = Client::from_env();
    let (_, health) = tonic_health::server::health_reporter();

    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".to_owned());
    Server::builder()
        .layer(PeepLayer::new(peep.clone()))
        .add_service(health)
        .serve_with_shutdown(format!("127.0.0.1:{port}").parse()?, terminated())
        .await?;

    peep.shutdown(Duration::from_secs(5));
    Ok(())
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    if let Ok(mut terminate) = signal(SignalKind::terminate()) {
        terminate.recv().await;
    }
}
