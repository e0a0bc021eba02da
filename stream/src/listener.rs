//! The socket: accept, bound, serve, drain.
//!
//! Arrives: TCP connections, with TLS when there is a certificate. Leaves: requests for the router. Promises: at most a
//! configured number of connections; a client that sends its request head too slowly, or that takes no byte of an answer
//! for too long, is cut, whatever the handler is doing; on shutdown open requests finish, live streams are told to end, and
//! what remains after the budget is dropped. Does not: anything about paths, or HTTP/2: a viewer needs one connection
//! for its WebSocket, and answers are large, so that windows which never open would have to be watched stream by stream.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use peep_chassis::lifecycle::Shutdown;
use peep_chassis::socket::PatientStream;
use peep_chassis::tls::Tls;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::metrics;

/// The bounds of the listener.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// Open connections; more wait in the kernel's queue.
    pub connections_max: usize,
    /// For the head of a request.
    pub header_timeout: Duration,
    /// Without a byte taken by the client.
    pub write_timeout: Duration,
    /// For open requests, after shutdown was requested.
    pub drain_timeout: Duration,
}

/// Serves until shutdown, then drains.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ListenerLimits,
    tls: Option<Tls>,
    shutdown: &Shutdown,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let connections = GracefulShutdown::new();
    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        // What a slow reader of an event stream may leave in our memory.
        .max_buf_size(WRITE_BUFFER_BYTES);
    loop {
        let place = tokio::select! {
            () = shutdown.requested() => break,
            place = Arc::clone(&places).acquire_owned() => place.expect("the semaphore is never closed"),
        };
        let stream = tokio::select! {
            () = shutdown.requested() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, mostly: accepting again at once would spin.
                    tracing::warn!(%error, "accepting a connection failed");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            }
        };
        prepare(&stream);
        let stream = PatientStream::new(stream, limits.write_timeout, metrics::stalled_connection_cut);
        let service = TowerToHyperService::new(router.clone());
        let (server, watcher) = (server.clone(), connections.watcher());
        let (tls, shutdown) = (tls.clone(), shutdown.clone());
        tokio::spawn(async move {
            let _open = metrics::connection_opened();
            match tls {
                None => serve_connection(&server, stream, service, watcher).await,
                Some(tls) => {
                    let agreed = tokio::select! {
                        () = shutdown.requested() => return,
                        agreed = tls.accept(stream) => agreed,
                    };
                    // Whom TLS turned away was counted there.
                    if let Ok(stream) = agreed {
                        serve_connection(&server, stream, service, watcher).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(limits.drain_timeout, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still open after the drain budget; closing them");
    }
}

async fn serve_connection<S>(
    server: &Builder<TokioExecutor>,
    stream: S,
    service: TowerToHyperService<Router>,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

fn prepare(stream: &TcpStream) {
    // Without it small frames wait for the acknowledgement of the one before: 40 ms each.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _ = socket.set_tcp_keepalive(&keepalive);
    // Bytes that were written but not sent are old news by the time a slow reader gets them.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const KEEPALIVE: Duration = Duration::from_secs(30);
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;
