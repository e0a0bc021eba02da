//! One connection: TLS or not, HTTP/1.1 or HTTP/2, until it ends.
//!
//! Which protocol is decided once, by what was agreed on with TLS or by a look at the first bytes; after that the plain
//! HTTP/1.1 way, which most traffic takes, is hyper on the bare socket. The others pay for what they can do: writes that
//! nobody takes, streams that never end, frames that carry nothing. Promised: no connection is kept that does nothing for
//! `header_timeout`, whatever it speaks; on shutdown open requests finish and clients are told to go.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use peep_chassis::http2::{FrameGuard, PREFACE};
use peep_chassis::lifecycle::Shutdown;
use peep_chassis::socket::PatientStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until, timeout};

use crate::deadline::Deadlines;
use crate::head::{Watch, Watched};
use crate::http::Station;
use crate::metrics::{self, Cut, Protocol};
use crate::streams::{Pieces, Streams};

/// What every connection of a worker is served with.
pub(crate) struct Protocols {
    station: Arc<Station>,
    http1: http1::Builder,
    deadlines: Deadlines,
    shutdown: Shutdown,
}

impl Protocols {
    pub(crate) fn new(station: Arc<Station>, shutdown: Shutdown) -> Self {
        let mut http1 = http1::Builder::new();
        // No timer of hyper's: one for each head costs more than reading it. `deadlines` watches instead.
        // Not `pipeline_flush`: with it hyper drops the answer to a head it cannot parse, such as a 431.
        http1.max_buf_size(READ_BUFFER_BYTES_MAX);
        let deadlines = Deadlines::new(&station.config);
        Self { station, http1, deadlines, shutdown }
    }

    /// Ends waits that take too long, for ever.
    pub(crate) async fn sweep(&self) {
        self.deadlines.sweep().await;
    }

    pub(crate) fn speak_tls(&self) -> bool {
        self.station.config.tls.is_some()
    }

    /// Serves without TLS until the connection ends; `watcher` keeps the shutdown waiting for that.
    pub(crate) async fn serve(&self, stream: TcpStream, watcher: Watcher) {
        let header_timeout = self.station.config.http.header_timeout;
        let speaks_http2 = tokio::select! {
            () = self.shutdown.requested() => return,
            first = timeout(header_timeout, speaks_http2(&stream)) => first,
        };
        match speaks_http2 {
            Ok(Ok(false)) => self.serve_http1(stream, watcher).await,
            Ok(Ok(true)) => Box::pin(self.serve_http2(self.patient(stream), watcher)).await,
            Ok(Err(_)) => {}
            Err(_) => metrics::connection_cut(Cut::Idle),
        }
    }

    /// The same with TLS.
    pub(crate) async fn serve_tls(&self, stream: TcpStream, watcher: Watcher) {
        let Some(tls) = &self.station.config.tls else { return };
        let agreed = tokio::select! {
            () = self.shutdown.requested() => return,
            agreed = tls.accept(self.patient(stream)) => agreed,
        };
        // Whom TLS turned away was counted there.
        let Ok(stream) = agreed else { return };
        match stream.get_ref().1.alpn_protocol() {
            // Boxed: whoever never ends a handshake should not hold room for what would come after it.
            Some(ALPN_HTTP2) => Box::pin(self.serve_http2(stream, watcher)).await,
            _ => Box::pin(self.serve_http1(stream, watcher)).await,
        }
    }

    async fn serve_http1<S>(&self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        metrics::connection_speaks(Protocol::Http1);
        let (watch, patience) = (Watch::new(), self.deadlines.patience());
        let stream = patience.stream(Watched::new(stream, Arc::clone(&watch)));
        let service = service_fn(|request| {
            let clear = watch.next_request();
            patience.request(async {
                Ok::<_, Infallible>(match clear {
                    Ok(()) => self.station.answer(request, &patience).await,
                    Err(refused) => self.station.refuse(&request, &refused),
                })
            })
        });
        let connection = watcher.watch(self.http1.serve_connection(TokioIo::new(stream), service));
        match patience.connection(connection, || watch.is_within_head()).await {
            Some(Ok(())) => {}
            // A connection error concerns its client, who has seen it; hyper has answered what can be answered.
            Some(Err(error)) => tracing::debug!(%error, "connection ended early"),
            None => metrics::connection_cut(Cut::Idle),
        }
    }

    async fn serve_http2<S>(&self, stream: S, _watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        metrics::connection_speaks(Protocol::Http2);
        let config = &self.station.config;
        let streams = Streams::new(config.request_time_max());
        let stream = FrameGuard::new(stream, &config.http2, || metrics::connection_cut(Cut::ControlFrames));
        let (station, deadlines) = (Arc::clone(&self.station), self.deadlines.clone());
        let service = service_fn(move |request| {
            let (station, patience) = (Arc::clone(&station), deadlines.patience());
            async move { Ok::<_, Infallible>(station.answer(request, &patience).await.map(Pieces::new)) }
        });
        let connection = self.http2(&streams).serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut told_to_go = false;
        loop {
            // How long the connection may do nothing.
            let patience = if told_to_go { GOODBYE } else { config.http.header_timeout };
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended early");
                    }
                    return;
                }
                () = self.shutdown.requested(), if !told_to_go => {
                    connection.as_mut().graceful_shutdown();
                    told_to_go = true;
                    streams.stir();
                }
                () = sleep_until(streams.quiet_at(patience)) => {
                    if !streams.is_quiet_for(patience) {
                        continue;
                    }
                    if told_to_go {
                        return;
                    }
                    metrics::connection_cut(Cut::Idle);
                    connection.as_mut().graceful_shutdown();
                    told_to_go = true;
                    streams.stir();
                }
            }
        }
    }

    fn http2(&self, streams: &Streams) -> http2::Builder<Streams> {
        let limits = &self.station.config.http2;
        let mut http2 = http2::Builder::new(streams.clone());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .max_pending_accept_reset_streams(limits.pending_resets_max)
            .max_local_error_reset_streams(limits.error_resets_max)
            .max_header_list_size(limits.header_bytes_max)
            .max_frame_size(limits.frame_bytes_max)
            .initial_stream_window_size(limits.stream_window_bytes)
            .initial_connection_window_size(limits.connection_window_bytes)
            .max_send_buf_size(limits.send_bytes_max)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout);
        http2
    }

    fn patient(&self, stream: TcpStream) -> PatientStream {
        PatientStream::new(stream, self.station.config.http.write_timeout, || metrics::connection_cut(Cut::Stalled))
    }
}

/// Whether the client begins with HTTP/2's preface. Nothing is taken from the socket.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let mut pause = PEEK_PAUSE;
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 || seen == PREFACE.len() || first[..seen] != PREFACE[..seen] {
            return Ok(first == PREFACE);
        }
        // Some of the preface: rare, and the socket stays readable, so only time tells.
        sleep(pause).await;
        pause = (pause * 2).min(PEEK_PAUSE_MAX);
    }
}

/// Head of a request: generous for headers, small enough that 10 000 idle connections stay cheap. Beyond it: 431.
const READ_BUFFER_BYTES_MAX: usize = 64 << 10;
const ALPN_HTTP2: &[u8] = b"h2";
const PEEK_PAUSE: Duration = Duration::from_millis(1);
const PEEK_PAUSE_MAX: Duration = Duration::from_millis(250);
/// For an HTTP/2 client without open requests to take its leave.
const GOODBYE: Duration = Duration::from_millis(500);
