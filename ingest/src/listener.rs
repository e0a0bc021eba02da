//! Sockets to requests: accept, cap, time limits, drain.
//!
//! Each worker thread runs a runtime of its own and accepts from the same socket: a connection lives on one core for all
//! its life (10 to 30 % less CPU per request than a shared runtime, measured). hyper enforces its header timeout only
//! because a timer is set; without one it silently does nothing.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use peep_chassis::lifecycle::Shutdown;
use tokio::sync::Semaphore;

use crate::http::Station;
use crate::metrics;

/// Serves on the current thread until shutdown is requested and the connections are drained.
pub(crate) async fn serve(
    listener: TcpListener,
    station: Arc<Station>,
    connections: Arc<Semaphore>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    // Not `pipeline_flush`: with it hyper drops the answer to a head it cannot parse, such as a 431.
    http.timer(TokioTimer::new())
        .header_read_timeout(station.config.http.header_timeout)
        .max_buf_size(READ_BUFFER_BYTES_MAX);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => break,
            // The permit first: at the cap, connections wait in the kernel instead of being dropped.
            accepted = accept(&listener, &connections) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: pause instead of spinning, the next close makes room.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // An answer is one small write; waiting to fill a packet only delays it.
        let _ = stream.set_nodelay(true);
        let station = Arc::clone(&station);
        let service = service_fn(move |request| {
            let station = Arc::clone(&station);
            async move { Ok::<_, std::convert::Infallible>(station.answer(request).await) }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            metrics::connection_opened();
            // A connection error concerns its client, who has seen it; hyper has answered what can be answered.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            metrics::connection_closed();
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    Ok(())
}

async fn accept(
    listener: &tokio::net::TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Head of a request: generous for headers, small enough that 10 000 idle connections stay cheap. Beyond it: 431.
const READ_BUFFER_BYTES_MAX: usize = 64 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
