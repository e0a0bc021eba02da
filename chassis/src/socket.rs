//! A stream whose writes fail when the other side takes nothing for too long.
//!
//! The deadline lives below TLS and HTTP: both are frozen inside of a write then, and could not check it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A TCP stream with a deadline for its writes; the error is [`io::ErrorKind::TimedOut`].
pub struct PatientStream {
    inner: TcpStream,
    patience: Duration,
    on_stall: fn(),
    /// Set while a write is waiting.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl PatientStream {
    /// `on_stall` is told once for each connection that is cut.
    pub fn new(inner: TcpStream, patience: Duration, on_stall: fn()) -> Self {
        Self { inner, patience, on_stall, stalled: None }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.inner
    }

    /// Without the deadline.
    pub fn into_socket(self) -> TcpStream {
        self.inner
    }

    fn check<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + patience)));
        if stalled.as_mut().poll(context).is_ready() {
            (self.on_stall)();
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no data")));
        }
        Poll::Pending
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl AsyncWrite for PatientStream {
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
