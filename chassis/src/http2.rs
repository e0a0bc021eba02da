//! What HTTP/2 may cost: the settings, and a guard for what the protocol's implementation does not bound.
//!
//! The implementation (h2) ends a connection over streams that are reset before they are looked at, over errors it answers with
//! resets, over endless headers and over empty or tiny DATA. It answers every PING and SETTINGS, though, reads every PRIORITY and
//! WINDOW_UPDATE, ignores every unknown frame and lets requests be cancelled, as fast as they come. [`FrameGuard`] reads along
//! and counts those: a connection that sends them faster than [`Http2Limits::control_frames_per_second_max`] is closed.
//! Frames that carry requests are free.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::Settings;

mod frames;

use frames::Frames;

/// What a client says first when it speaks HTTP/2.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bounds of one HTTP/2 connection, the same for every listener of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    pub streams_max: u32,
    /// Streams the client resets before they were looked at (rapid reset, CVE-2023-44487).
    pub pending_resets_max: usize,
    /// Streams the client makes us reset by its errors (MadeYouReset, CVE-2025-8671).
    pub error_resets_max: usize,
    pub header_bytes_max: u32,
    pub frame_bytes_max: u32,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// Of one stream, waiting to be sent.
    pub send_bytes_max: usize,
    pub control_frames_per_second_max: u32,
    /// Without a frame from the client before it is asked whether it is there.
    pub ping_interval: Duration,
    /// For its answer.
    pub ping_timeout: Duration,
}

impl Http2Limits {
    pub fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            streams_max: settings.u64(
                "PEEP_HTTP2_STREAMS_MAX",
                100,
                1..=10_000,
                "Requests at once on one HTTP/2 connection.",
            ) as u32,
            pending_resets_max: settings.u64(
                "PEEP_HTTP2_PENDING_RESETS_MAX",
                20,
                1..=10_000,
                "Requests a client may cancel before they were looked at; one more ends its connection (rapid reset, CVE-2023-44487).",
            ) as usize,
            error_resets_max: settings.u64(
                "PEEP_HTTP2_ERROR_RESETS_MAX",
                100,
                1..=10_000,
                "Requests of one connection that may end by a protocol error of the client; one more ends the connection (MadeYouReset, CVE-2025-8671).",
            ) as usize,
            header_bytes_max: settings.bytes(
                "PEEP_HTTP2_HEADER_BYTES_MAX",
                64 << 10,
                4 << 10..=1 << 20,
                "Headers of one request, decompressed, with 32 bytes more for each; beyond it the request is answered 431, far beyond it the connection ends.",
            ) as u32,
            frame_bytes_max: settings.bytes(
                "PEEP_HTTP2_FRAME_BYTES_MAX",
                16 << 10,
                16 << 10..=1 << 20,
                "Largest frame; as much memory a connection may hold for reading.",
            ) as u32,
            stream_window_bytes: settings.bytes(
                "PEEP_HTTP2_STREAM_WINDOW",
                256 << 10,
                64 << 10..=16 << 20,
                "Body bytes of one request that a client may send ahead of what was read.",
            ) as u32,
            connection_window_bytes: settings.bytes(
                "PEEP_HTTP2_CONNECTION_WINDOW",
                512 << 10,
                64 << 10..=64 << 20,
                "Body bytes of all requests of a connection that a client may send ahead of what was read. More is faster over long distances; it bounds what a connection may hold beside PEEP_INGEST_BODY_BYTES_IN_FLIGHT_MAX.",
            ) as u32,
            send_bytes_max: settings.bytes(
                "PEEP_HTTP2_SEND_BYTES_MAX",
                64 << 10,
                16 << 10..=16 << 20,
                "Bytes of one answer that wait for the connection to take them.",
            ),
            control_frames_per_second_max: settings.u64(
                "PEEP_HTTP2_CONTROL_FRAMES_PER_SECOND_MAX",
                1_000,
                10..=1_000_000,
                "Frames of one connection that carry no request (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, cancelled requests, unknown ones); a connection that sends more is closed.",
            ) as u32,
            ping_interval: settings.duration_ms(
                "PEEP_HTTP2_PING_INTERVAL",
                20_000,
                100..=600_000,
                "How long an HTTP/2 client may be silent while a request is open before it is asked whether it is there.",
            ),
            ping_timeout: settings.duration_ms(
                "PEEP_HTTP2_PING_TIMEOUT",
                10_000,
                100..=600_000,
                "How long it may take to answer; a client that does not is gone and its connection is closed.",
            ),
        }
    }
}

/// Reads along with an HTTP/2 connection. Anything that does not begin with [`PREFACE`] passes without a further look.
///
/// It closes without a GOAWAY, which RFC 9113 (6.8) allows for a misbehaving peer: the frame it would be written between is
/// the implementation's to know.
pub struct FrameGuard<I> {
    inner: I,
    frames: Frames,
    on_flood: fn(),
}

impl<I> FrameGuard<I> {
    /// `on_flood` is told once for each connection that is closed.
    pub fn new(inner: I, limits: &Http2Limits, on_flood: fn()) -> Self {
        Self { inner, frames: Frames::new(limits.control_frames_per_second_max), on_flood }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for FrameGuard<I> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(context, into);
        if matches!(read, Poll::Ready(Ok(()))) && !self.frames.admit(&into.filled()[before..]) {
            (self.on_flood)();
            return Poll::Ready(Err(io::Error::other("the client sends too many frames that carry no request")));
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for FrameGuard<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
