//! The socket: accept, bound, serve, drain.
//!
//! Arrives: TCP connections. Leaves: requests for the router. Promises: at most a configured number of connections; a
//! client that sends its request head too slowly, or that takes no byte of an answer for too long, is cut, whatever the
//! handler is doing; on shutdown open requests finish, live streams are told to end, and what remains after the budget
//! is dropped. Does not: TLS (a proxy's job) or anything about paths.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use peep_chassis::lifecycle::Shutdown;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep, sleep, timeout};

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
pub async fn serve(listener: TcpListener, router: Router, limits: ListenerLimits, shutdown: &Shutdown) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let connections = GracefulShutdown::new();
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        // What a slow reader of an event stream may leave in our memory.
        .max_buf_size(WRITE_BUFFER_BYTES);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(H2_STREAMS_MAX);
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
        let stream = DeadlineStream::new(stream, limits.write_timeout);
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let _open = metrics::connection_opened();
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended with an error");
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(limits.drain_timeout, connections.shutdown()).await.is_err() {
        tracing::warn!("some requests were still open after the drain budget; closing them");
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

/// A stream whose writes fail when the other side takes nothing for too long.
///
/// The deadline lives below HTTP: hyper and the WebSocket are both frozen inside of a write then, and could not check it.
struct DeadlineStream {
    inner: TcpStream,
    patience: Duration,
    /// Set while a write is waiting.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl DeadlineStream {
    fn new(inner: TcpStream, patience: Duration) -> Self {
        Self { inner, patience, stalled: None }
    }

    fn check<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        if stalled.as_mut().poll(context).is_ready() {
            metrics::stalled_connection_cut();
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no data")));
        }
        Poll::Pending
    }
}

impl AsyncRead for DeadlineStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl AsyncWrite for DeadlineStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.check(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.check(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        // A TCP flush is always ready and says nothing about the client; it must not reset the deadline.
        if flushed.is_ready() { flushed } else { self.check(context, flushed) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.inner).poll_shutdown(context);
        self.check(context, closed)
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const KEEPALIVE: Duration = Duration::from_secs(30);
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
const H2_STREAMS_MAX: u32 = 64;
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 128 * 1024;
